package policy

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	netv1 "k8s.io/api/networking/v1"
)

// The rules in a real kernel: three namespaces as pods, one as the node between
// them, and a translated address as a Service has.

const (
	prefix  = "podlink-test-"
	answers = `import socketserver
class Echo(socketserver.StreamRequestHandler):
    def handle(self):
        for line in self.rfile: self.wfile.write(line)
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer(("", 8080), Echo).serve_forever()`
	asks = `import itertools, socket, sys
try:
    s = socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.7)
    for line in itertools.chain(["first"], sys.stdin):
        s.sendall(b"x\n")
        print("yes" if s.recv(9) else "no", flush=True)
except OSError:
    print("no", flush=True)`
)

func run(t *testing.T, line string, arguments ...any) {
	t.Helper()
	words := strings.Fields(fmt.Sprintf(line, arguments...))
	if said, err := exec.Command(words[0], words[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v: %s", strings.Join(words, " "), err, said)
	}
}

func in(namespace string, arguments ...string) *exec.Cmd {
	return exec.Command("ip", append([]string{"netns", "exec", prefix + namespace}, arguments...)...)
}

func load(t *testing.T, rules string) {
	t.Helper()
	command := in("node", "nft", "-f", "-")
	command.Stdin = strings.NewReader(rules)
	if said, err := command.CombinedOutput(); err != nil {
		t.Fatalf("nft: %v: %s\n%s", err, said, rules)
	}
}

func enforce(t *testing.T, state State) {
	t.Helper()
	load(t, "table ip podlink\ndelete table ip podlink\ntable ip podlink {\n"+state.Chains("one")+"}\n")
}

func reaches(t *testing.T, from, address, port string) string {
	t.Helper()
	said, err := in(from, "python3", "-c", asks, address, port).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(said))
}

func network(t *testing.T, pods ...string) {
	t.Helper()
	for _, name := range append([]string{"node"}, pods...) {
		_ = exec.Command("ip", "netns", "del", prefix+name).Run() // left by a test that was killed
		run(t, "ip netns add %s%s", prefix, name)
		t.Cleanup(func() { run(t, "ip netns del %s%s", prefix, name) })
	}
	for i, name := range pods {
		run(t, "ip -n %snode link add v%d type veth peer name eth0 netns %s%s", prefix, i, prefix, name)
		run(t, "ip -n %snode addr add 10.0.%d.1/24 dev v%d", prefix, i, i)
		run(t, "ip -n %snode link set v%d up", prefix, i)
		run(t, "ip -n %s%s addr add 10.0.%d.2/24 dev eth0", prefix, name, i)
		run(t, "ip -n %s%s link set eth0 up", prefix, name)
		run(t, "ip -n %s%s route add default via 10.0.%d.1", prefix, name, i)
	}
	run(t, "ip netns exec %snode sysctl -qw net.ipv4.ip_forward=1", prefix)
	load(t, "table ip service {\nchain translate {\ntype nat hook prerouting priority dstnat;\n"+
		"ip daddr 10.9.9.9 tcp dport 80 dnat to 10.0.0.2:8080\n}\n}\n")
	server := in(pods[0], "python3", "-c", answers)
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Process.Kill(); _ = server.Wait() })
}

func TestRulesHoldInTheKernel(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
	network(t, "server", "client", "other")
	state := cluster()
	state.Pods = append(state.Pods[:0:0], pod("a", "server", "one", "10.0.0.2"),
		pod("a", "client", "one", "10.0.1.2"), pod("a", "other", "one", "10.0.2.2"))
	enforce(t, state)
	for deadline := time.Now().Add(10 * time.Second); reaches(t, "other", "10.0.0.2", "8080") != "yes"; {
		if time.Now().After(deadline) {
			t.Fatal("nobody is reached before there is any policy")
		}
	}

	// A connection by the Service's address that is open before any policy is.
	open := in("other", "python3", "-c", asks, "10.9.9.9", "80")
	more, _ := open.StdinPipe()
	output, _ := open.StdoutPipe()
	if err := open.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = open.Process.Kill(); _ = open.Wait() })
	lines := bufio.NewScanner(output)
	again := func() string {
		_, _ = io.WriteString(more, "again\n")
		lines.Scan()
		return lines.Text()
	}
	if lines.Scan(); lines.Text() != "yes" || again() != "yes" {
		t.Fatalf("by the Service: %q", lines.Text())
	}

	state.Policies = []*netv1.NetworkPolicy{ingressOf(netv1.NetworkPolicyIngressRule{
		From: []netv1.NetworkPolicyPeer{{PodSelector: app("client")}},
	})}
	enforce(t, state)
	if said := again(); said != "no" {
		t.Errorf("a connection that was open goes on under a policy against it: %q", said)
	}
	for _, c := range []struct{ from, address, port, want string }{
		{"client", "10.0.0.2", "8080", "yes"},
		{"client", "10.9.9.9", "80", "yes"},
		{"other", "10.0.0.2", "8080", "no"},
		{"other", "10.9.9.9", "80", "no"},
		{"node", "10.0.0.2", "8080", "yes"},
	} {
		if got := reaches(t, c.from, c.address, c.port); got != c.want {
			t.Errorf("%s reaches %s:%s: %s, want %s", c.from, c.address, c.port, got, c.want)
		}
	}

	state.Policies = []*netv1.NetworkPolicy{policyOf("out", netv1.NetworkPolicySpec{
		PodSelector: *app("client"), PolicyTypes: []netv1.PolicyType{netv1.PolicyTypeEgress},
	})}
	enforce(t, state)
	if got := reaches(t, "client", "10.9.9.9", "80"); got != "no" {
		t.Error("a pod that may not connect to anybody reaches a Service")
	}
	if got := reaches(t, "other", "10.9.9.9", "80"); got != "yes" {
		t.Error("another pod's policy stops a pod")
	}
}
