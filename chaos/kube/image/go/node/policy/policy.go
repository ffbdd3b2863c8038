// Package policy turns network policies into nftables chains for the pods of one
// node.
//
// A connection is judged by who began it and who answers it, both as connection
// tracking knows them: the source of the original direction and the source of the
// reply direction. Those are the real ends, whatever a Service translated in
// between, and they are the same for each packet of a connection in either
// direction. So a policy holds for every packet: a new one also ends connections
// that are open already.
//
// Only forwarded packets are judged. What a node itself sends to its pods (the
// kubelet's probes) is always let through, as Kubernetes demands, and so is what
// pods on the host's network send.
package policy

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	netv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// State is what the policies of a cluster are about.
type State struct {
	Pods       []*corev1.Pod
	Namespaces []*corev1.Namespace
	Policies   []*netv1.NetworkPolicy
}

// direction is the half of a policy that is looked at.
type direction struct {
	name  string // of the chain that sorts packets by pod
	own   string // key of the connection's end that is the judged pod
	other string // key of its other end
}

const (
	client = "ct original ip saddr"
	server = "ct reply ip saddr"
)

var (
	ingress = direction{name: "in", own: server, other: client}
	egress  = direction{name: "out", own: client, other: server}
)

// rule is one entry of a policy's ingress or egress list.
type rule struct {
	peers []netv1.NetworkPolicyPeer
	ports []netv1.NetworkPolicyPort
}

// Chains gives the chains that enforce the policies on the pods of node, to be
// put into a table of family ip. The same state gives the same text.
func (s State) Chains(node string) string {
	var chains, dispatch strings.Builder
	for _, d := range []direction{ingress, egress} {
		var branches []string
		for i, pod := range s.localPods(node) {
			rules, isolated := s.rulesFor(pod, d)
			if !isolated {
				continue
			}
			chain := fmt.Sprintf("%s-%d", d.name, i)
			branches = append(branches, fmt.Sprintf("%s : jump %s", pod.Status.PodIP, chain))
			fmt.Fprintf(&chains, "\tchain %s { # %s/%s\n", chain, pod.Namespace, pod.Name)
			fmt.Fprintf(&chains, "\t\t%s %s return\n", d.other, pod.Status.PodIP) // itself, by a Service
			for _, r := range rules {
				for _, match := range s.matches(r, pod, d) {
					fmt.Fprintf(&chains, "\t\t%s\n", strings.TrimSpace(match+" return"))
				}
			}
			chains.WriteString("\t\tcounter drop\n\t}\n")
		}
		if len(branches) > 0 {
			fmt.Fprintf(&dispatch, "\t\t%s vmap { %s }\n", d.own, strings.Join(branches, ", "))
		}
	}
	// Jumps may only lead to chains that stand before them.
	return chains.String() + "\tchain policies {\n\t\ttype filter hook forward priority filter; policy accept;\n" +
		dispatch.String() + "\t}\n"
}

func onPodNetwork(pod *corev1.Pod) bool {
	return !pod.Spec.HostNetwork && net.ParseIP(pod.Status.PodIP).To4() != nil &&
		pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

func (s State) localPods(node string) []*corev1.Pod {
	var local []*corev1.Pod
	for _, pod := range s.Pods {
		if pod.Spec.NodeName == node && onPodNetwork(pod) {
			local = append(local, pod)
		}
	}
	slices.SortFunc(local, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.UID, b.UID))
	})
	return local
}

// rulesFor gathers what all policies that select the pod allow; policies add up.
func (s State) rulesFor(pod *corev1.Pod, d direction) (rules []rule, isolated bool) {
	policies := slices.Clone(s.Policies)
	slices.SortFunc(policies, func(a, b *netv1.NetworkPolicy) int { return cmp.Compare(a.Name, b.Name) })
	for _, p := range policies {
		if p.Namespace != pod.Namespace || !selects(&p.Spec.PodSelector, pod.Labels) || !concerns(p, d) {
			continue
		}
		isolated = true
		if d == ingress {
			for _, r := range p.Spec.Ingress {
				rules = append(rules, rule{r.From, r.Ports}.in(p.Namespace))
			}
		} else {
			for _, r := range p.Spec.Egress {
				rules = append(rules, rule{r.To, r.Ports}.in(p.Namespace))
			}
		}
	}
	return rules, isolated
}

// in writes down the namespace that peers without a namespace selector mean.
func (r rule) in(namespace string) rule {
	peers := slices.Clone(r.peers)
	for i := range peers {
		if peers[i].IPBlock == nil && peers[i].NamespaceSelector == nil {
			peers[i].NamespaceSelector = &metav1.LabelSelector{
				MatchLabels: map[string]string{corev1.LabelMetadataName: namespace},
			}
		}
	}
	return rule{peers, r.ports}
}

func concerns(p *netv1.NetworkPolicy, d direction) bool {
	if len(p.Spec.PolicyTypes) == 0 { // the API server fills it in; its rule, for objects from elsewhere
		return d == ingress || len(p.Spec.Egress) > 0
	}
	wanted := netv1.PolicyTypeIngress
	if d == egress {
		wanted = netv1.PolicyTypeEgress
	}
	return slices.Contains(p.Spec.PolicyTypes, wanted)
}

func selects(selector *metav1.LabelSelector, set map[string]string) bool {
	if selector == nil {
		return true
	}
	compiled, err := metav1.LabelSelectorAsSelector(selector)
	return err == nil && compiled.Matches(labels.Set(set)) // what cannot be read allows nothing
}

// matches gives the nftables expressions of what a rule lets through; an empty
// expression matches everything.
func (s State) matches(r rule, pod *corev1.Pod, d direction) []string {
	var found []string
	add := func(peer, port string) {
		found = append(found, strings.TrimSpace(peer+" "+port))
	}
	var pods []*corev1.Pod
	peers := []string{}
	if len(r.peers) == 0 {
		peers = append(peers, "")
		pods = s.Pods
	}
	for _, p := range r.peers {
		if p.IPBlock != nil {
			block := fmt.Sprintf("%s %s", d.other, p.IPBlock.CIDR)
			if len(p.IPBlock.Except) > 0 {
				block += fmt.Sprintf(" %s != { %s }", d.other, strings.Join(p.IPBlock.Except, ", "))
			}
			if !strings.Contains(p.IPBlock.CIDR, ":") {
				peers = append(peers, block)
			}
			continue
		}
		pods = append(pods, s.selected(p)...)
	}
	if len(r.peers) > 0 {
		if set := addresses(pods); set != "" {
			peers = append(peers, d.other+" "+set)
		}
	}
	if len(r.ports) == 0 {
		for _, peer := range peers {
			add(peer, "")
		}
	}
	for _, port := range r.ports {
		if port.Port == nil || port.Port.Type == intstr.Int {
			for _, peer := range peers {
				add(peer, number(port))
			}
		} else if d == ingress {
			if n, ok := named(pod, port); ok {
				for _, peer := range peers {
					add(peer, n)
				}
			}
		} else { // a name means something else at each answering pod
			for _, other := range pods {
				if n, ok := named(other, port); ok && onPodNetwork(other) {
					add(d.other+" "+other.Status.PodIP, n)
				}
			}
		}
	}
	return found
}

func (s State) selected(peer netv1.NetworkPolicyPeer) []*corev1.Pod {
	inside := map[string]bool{}
	for _, namespace := range s.Namespaces {
		set := labels.Merge(namespace.Labels, labels.Set{corev1.LabelMetadataName: namespace.Name})
		inside[namespace.Name] = selects(peer.NamespaceSelector, set)
	}
	var found []*corev1.Pod
	for _, pod := range s.Pods {
		if inside[pod.Namespace] && selects(peer.PodSelector, pod.Labels) && onPodNetwork(pod) {
			found = append(found, pod)
		}
	}
	return found
}

func addresses(pods []*corev1.Pod) string {
	var all []string
	for _, pod := range pods {
		if onPodNetwork(pod) {
			all = append(all, pod.Status.PodIP)
		}
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) == 0 {
		return ""
	}
	return "{ " + strings.Join(all, ", ") + " }"
}

func protocol(port netv1.NetworkPolicyPort) corev1.Protocol {
	if port.Protocol == nil {
		return corev1.ProtocolTCP
	}
	return *port.Protocol
}

func expression(p corev1.Protocol, ports string) string {
	match := "meta l4proto " + strings.ToLower(string(p))
	if ports != "" {
		match += " ct reply proto-src " + ports
	}
	return match
}

func number(port netv1.NetworkPolicyPort) string {
	ports := ""
	if port.Port != nil {
		ports = strconv.Itoa(port.Port.IntValue())
		if port.EndPort != nil {
			ports += "-" + strconv.Itoa(int(*port.EndPort))
		}
	}
	return expression(protocol(port), ports)
}

// named looks a port's name up among the ports that a pod's containers declare.
func named(pod *corev1.Pod, port netv1.NetworkPolicyPort) (string, bool) {
	for _, container := range pod.Spec.Containers {
		for _, declared := range container.Ports {
			if declared.Name == port.Port.StrVal && cmp.Or(declared.Protocol, corev1.ProtocolTCP) == protocol(port) {
				return expression(protocol(port), strconv.Itoa(int(declared.ContainerPort))), true
			}
		}
	}
	return "", false
}
