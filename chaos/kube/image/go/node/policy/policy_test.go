package policy

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func pod(namespace, name, node, ip string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Ports: []corev1.ContainerPort{{Name: "web", ContainerPort: 8080}},
		}}},
		Status: corev1.PodStatus{PodIP: ip, Phase: corev1.PodRunning},
	}
}

func app(name string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
}

func policyOf(name string, spec netv1.NetworkPolicySpec) *netv1.NetworkPolicy {
	return &netv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: name}, Spec: spec}
}

func cluster(policies ...*netv1.NetworkPolicy) State {
	host := pod("a", "gateway", "one", "172.30.0.2")
	host.Spec.HostNetwork = true
	done := pod("a", "done", "one", "10.0.0.9")
	done.Status.Phase = corev1.PodSucceeded
	return State{
		Pods: []*corev1.Pod{
			pod("a", "server", "one", "10.0.0.2"), pod("a", "client", "two", "10.0.1.3"),
			pod("b", "client", "two", "10.0.1.4"), host, done,
		},
		Namespaces: []*corev1.Namespace{
			{ObjectMeta: metav1.ObjectMeta{Name: "a"}},
			{ObjectMeta: metav1.ObjectMeta{Name: "b", Labels: map[string]string{"team": "b"}}},
		},
		Policies: policies,
	}
}

// body gives the lines of a chain without its head.
func body(t *testing.T, rules, chain string) []string {
	t.Helper()
	_, after, found := strings.Cut(rules, "\tchain "+chain+" {")
	if !found {
		t.Fatalf("no chain %s in:\n%s", chain, rules)
	}
	inside, _, _ := strings.Cut(after, "\n\t}")
	lines := strings.Split(inside, "\n")[1:]
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return lines
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

const (
	self = "ct original ip saddr 10.0.0.2 return"
	end  = "counter drop"
)

func ingressOf(rules ...netv1.NetworkPolicyIngressRule) *netv1.NetworkPolicy {
	return policyOf("p", netv1.NetworkPolicySpec{
		PodSelector: *app("server"), PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeIngress}, Ingress: rules,
	})
}

func TestNoPolicyLeavesEverythingOpen(t *testing.T) {
	if rules := cluster().Chains("one"); strings.Contains(rules, "drop") || strings.Contains(rules, "vmap") {
		t.Error(rules)
	}
}

func TestIsolationConcernsSelectedPodsOfTheNodeOnly(t *testing.T) {
	state := cluster(ingressOf())
	here, elsewhere := state.Chains("one"), state.Chains("two")
	expect(t, body(t, here, "in-0"), self, end)
	if !strings.Contains(here, "ct reply ip saddr vmap { 10.0.0.2 : jump in-0 }") {
		t.Error(here)
	}
	if strings.Contains(here, "out-") || strings.Contains(elsewhere, "drop") {
		t.Error(here, elsewhere)
	}
}

func TestAPeerWithoutNamespacesIsOfThePolicysOwn(t *testing.T) {
	rules := cluster(ingressOf(netv1.NetworkPolicyIngressRule{
		From: []netv1.NetworkPolicyPeer{{PodSelector: app("client")}},
	})).Chains("one")
	expect(t, body(t, rules, "in-0"), self, "ct original ip saddr { 10.0.1.3 } return", end)
}

func TestNamespaceAndPodSelectorsOfOnePeerMustBothHold(t *testing.T) {
	other := &metav1.LabelSelector{MatchLabels: map[string]string{"team": "b"}}
	rules := cluster(ingressOf(netv1.NetworkPolicyIngressRule{
		From: []netv1.NetworkPolicyPeer{{NamespaceSelector: other, PodSelector: app("client")}},
	})).Chains("one")
	expect(t, body(t, rules, "in-0"), self, "ct original ip saddr { 10.0.1.4 } return", end)
	rules = cluster(ingressOf(netv1.NetworkPolicyIngressRule{
		From: []netv1.NetworkPolicyPeer{{NamespaceSelector: other, PodSelector: app("server")}},
	})).Chains("one")
	expect(t, body(t, rules, "in-0"), self, end)
}

func TestAnEmptyRuleAllowsEverything(t *testing.T) {
	rules := cluster(ingressOf(netv1.NetworkPolicyIngressRule{})).Chains("one")
	expect(t, body(t, rules, "in-0"), self, "return", end)
}

func TestPortsByNumberRangeNameAndProtocol(t *testing.T) {
	udp, last := corev1.ProtocolUDP, int32(90)
	first, web, unknown := intstr.FromInt32(80), intstr.FromString("web"), intstr.FromString("none")
	rules := cluster(ingressOf(netv1.NetworkPolicyIngressRule{
		From: []netv1.NetworkPolicyPeer{{PodSelector: app("client")}},
		Ports: []netv1.NetworkPolicyPort{
			{Port: &first, EndPort: &last}, {Port: &web}, {Port: &unknown}, {Protocol: &udp},
		},
	})).Chains("one")
	from := "ct original ip saddr { 10.0.1.3 } "
	expect(t, body(t, rules, "in-0"), self,
		from+"meta l4proto tcp ct reply proto-src 80-90 return",
		from+"meta l4proto tcp ct reply proto-src 8080 return",
		from+"meta l4proto udp return", end)
}

func TestAddressBlocksWithExceptions(t *testing.T) {
	rules := cluster(ingressOf(netv1.NetworkPolicyIngressRule{From: []netv1.NetworkPolicyPeer{
		{IPBlock: &netv1.IPBlock{CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16", "10.2.0.0/16"}}},
		{IPBlock: &netv1.IPBlock{CIDR: "fd00::/8"}},
	}})).Chains("one")
	expect(t, body(t, rules, "in-0"), self,
		"ct original ip saddr 10.0.0.0/8 ct original ip saddr != { 10.1.0.0/16, 10.2.0.0/16 } return", end)
}

func TestEgressLooksAtTheAnsweringEnd(t *testing.T) {
	web := intstr.FromString("web")
	p := policyOf("p", netv1.NetworkPolicySpec{
		PodSelector: *app("client"), PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeEgress},
		Egress: []netv1.NetworkPolicyEgressRule{{
			To:    []netv1.NetworkPolicyPeer{{PodSelector: app("server")}},
			Ports: []netv1.NetworkPolicyPort{{Port: &web}},
		}},
	})
	rules := cluster(p).Chains("two")
	expect(t, body(t, rules, "out-0"), "ct reply ip saddr 10.0.1.3 return",
		"ct reply ip saddr 10.0.0.2 meta l4proto tcp ct reply proto-src 8080 return", end)
	if !strings.Contains(rules, "ct original ip saddr vmap { 10.0.1.3 : jump out-0 }") {
		t.Error(rules)
	}
}

func TestPoliciesAddUp(t *testing.T) {
	first, second := ingressOf(netv1.NetworkPolicyIngressRule{
		From: []netv1.NetworkPolicyPeer{{PodSelector: app("client")}},
	}), ingressOf()
	second.Name = "q"
	there, back := cluster(first, second).Chains("one"), cluster(second, first).Chains("one")
	expect(t, body(t, there, "in-0"), self, "ct original ip saddr { 10.0.1.3 } return", end)
	if there != back {
		t.Error("the order of the policies shows in the rules")
	}
}

func TestPodsOnTheHostsNetworkAndEndedOnesAreLeftAlone(t *testing.T) {
	everyone := policyOf("p", netv1.NetworkPolicySpec{PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeIngress}})
	rules := cluster(everyone).Chains("one")
	if strings.Contains(rules, "172.30.0.2") || strings.Contains(rules, "10.0.0.9") || !strings.Contains(rules, "10.0.0.2") {
		t.Error(rules)
	}
}
