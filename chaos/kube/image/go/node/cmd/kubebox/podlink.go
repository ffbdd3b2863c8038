package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/listers/core/v1"
	networklisters "k8s.io/client-go/listers/networking/v1"
	"k8s.io/klog/v2"

	"faultline.invalid/node/policy"
)

// podlink is the pod network of a node, on nodes that share a layer-2 network:
//
//   - the CNI configuration of the node's pod range: a veth pair for each pod;
//   - a route to the pod range of every other node;
//   - network policies, as nftables rules (package policy);
//   - the node's address in place of the pod's for what leaves the pod network.
//     Ranges of DIRECT are reached with the pod's own address: those of the
//     clusters at the far end of a tunnel.
//
// Settings come by the environment: NODE_NAME, POD_RANGES and DIRECT (both
// separated by commas; DIRECT also takes from-to), CNI_FILE.
type podlink struct {
	*agent
	node       string
	podRanges  []string
	direct     []string
	cniFile    string
	nodes      v1.NodeLister
	pods       v1.PodLister
	namespaces v1.NamespaceLister
	policies   networklisters.NetworkPolicyLister

	podRange string // in the CNI file
	rules    string // in the kernel
	routes   map[string]netlink.Route
}

func runPodlink() int {
	common, err := newAgent("podlink")
	if err != nil {
		klog.Errorf("podlink: %v", err)
		return 1
	}
	core := common.watched.Core().V1()
	policies := common.watched.Networking().V1().NetworkPolicies()
	common.watch(core.Nodes().Informer())
	common.watch(core.Pods().Informer())
	common.watch(core.Namespaces().Informer())
	common.watch(policies.Informer())
	p := &podlink{
		agent:      common,
		node:       os.Getenv("NODE_NAME"),
		podRanges:  list("POD_RANGES"),
		direct:     list("DIRECT"),
		cniFile:    os.Getenv("CNI_FILE"),
		nodes:      core.Nodes().Lister(),
		pods:       core.Pods().Lister(),
		namespaces: core.Namespaces().Lister(),
		policies:   policies.Lister(),
		routes:     map[string]netlink.Route{},
	}
	if p.node == "" || p.cniFile == "" || len(p.podRanges) == 0 {
		klog.Error("podlink: NODE_NAME, CNI_FILE and POD_RANGES must be set")
		return 64
	}
	return common.run(p.pass)
}

func list(variable string) []string {
	return strings.FieldsFunc(os.Getenv(variable), func(r rune) bool { return r == ',' || r == ' ' })
}

func (p *podlink) pass(context.Context) error {
	nodes, err := p.nodes.List(labels.Everything())
	if err != nil {
		return err
	}
	own, err := p.connect(nodes)
	if err != nil {
		return err
	}
	if err := p.filter(); err != nil {
		return err
	}
	// Last: the runtime takes the file's presence as "the network is ready".
	return p.configure(own)
}

// connect keeps the routes to the other nodes' pods, and gives this node's range.
func (p *podlink) connect(nodes []*corev1.Node) (own string, err error) {
	stale := p.routes
	p.routes = map[string]netlink.Route{}
	var failures []error
	for _, node := range nodes {
		if node.Name == p.node {
			own = node.Spec.PodCIDR
			continue
		}
		_, target, err := net.ParseCIDR(node.Spec.PodCIDR)
		address := internalAddress(node)
		if err != nil || address == nil {
			continue // not given one yet; the node's next event brings it
		}
		route := netlink.Route{Dst: target, Gw: address}
		p.routes[target.String()] = route
		delete(stale, target.String())
		if err := netlink.RouteReplace(&route); err != nil {
			failures = append(failures, fmt.Errorf("route to the pods of %s by %s: %w", node.Name, address, err))
		}
	}
	for _, route := range stale {
		_ = netlink.RouteDel(&route) // gone with its device already, perhaps
	}
	if own == "" {
		failures = append(failures, fmt.Errorf("no pod range for node %s yet", p.node))
	}
	return own, errors.Join(failures...)
}

func internalAddress(node *corev1.Node) net.IP {
	for _, a := range node.Status.Addresses {
		if a.Type == corev1.NodeInternalIP {
			if ip := net.ParseIP(a.Address).To4(); ip != nil {
				return ip
			}
		}
	}
	return nil
}

// filter loads policies and address translation as one table, in one transaction:
// there is no moment without either.
func (p *podlink) filter() error {
	state, err := p.state()
	if err != nil {
		return err
	}
	var rules strings.Builder
	rules.WriteString("table ip podlink\ndelete table ip podlink\ntable ip podlink {\n")
	rules.WriteString(state.Chains(p.node))
	own := strings.Join(p.podRanges, ", ")
	near := strings.Join(append(append([]string{}, p.podRanges...), p.direct...), ", ")
	fmt.Fprintf(&rules, "\tchain leave {\n\t\ttype nat hook postrouting priority srcnat; policy accept;\n"+
		"\t\tip saddr { %s } ip daddr != { %s } masquerade\n\t}\n}\n", own, near)
	if rules.String() == p.rules && exec.Command("nft", "list", "table", "ip", "podlink").Run() == nil {
		return nil
	}
	load := exec.Command("nft", "-f", "-")
	load.Stdin = strings.NewReader(rules.String())
	if said, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("nft: %w: %s", err, bytes.TrimSpace(said))
	}
	p.rules = rules.String()
	return nil
}

func (p *podlink) state() (state policy.State, err error) {
	if state.Pods, err = p.pods.List(labels.Everything()); err != nil {
		return state, err
	}
	if state.Namespaces, err = p.namespaces.List(labels.Everything()); err != nil {
		return state, err
	}
	state.Policies, err = p.policies.List(labels.Everything())
	return state, err
}

func (p *podlink) configure(podRange string) error {
	if _, err := os.Stat(p.cniFile); err == nil && podRange == p.podRange {
		return nil
	}
	type object = map[string]any
	text, err := json.Marshal(object{
		"cniVersion": "0.4.0",
		"name":       "podlink",
		"plugins": []object{
			{
				"type": "ptp",
				"ipam": object{
					"type":    "host-local",
					"dataDir": "/run/podlink", // a node's restart frees every address
					"ranges":  [][]object{{{"subnet": podRange}}},
					"routes":  []object{{"dst": "0.0.0.0/0"}},
				},
			},
			{"type": "portmap", "capabilities": object{"portMappings": true}},
		},
	})
	if err != nil {
		return err
	}
	// The runtime watches the directory, so the file has to appear whole.
	unfinished := filepath.Join(filepath.Dir(p.cniFile), ".podlink")
	if err := os.WriteFile(unfinished, text, 0o644); err != nil {
		return err
	}
	if err := os.Rename(unfinished, p.cniFile); err != nil {
		return err
	}
	p.podRange = podRange
	klog.Infof("podlink: pods of %s get addresses of %s", p.node, podRange)
	return nil
}
