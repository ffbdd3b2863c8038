"""The lab on kind by what is special about it: links, nodes, members, gateways, what a SIGKILL leaves.

One pair of clusters serves the whole module; it is kept between the labs that run on it.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from chaos.faults.context import Component
from chaos.heal import heal
from chaos.host import namespaces
from chaos.kube import clusters, docker
from chaos.kube.links import round_trip
from chaos.kube.settings import node_name
from chaos.lab.kind import KindLab
from chaos.lab.layout import IAM_PORT
from chaos.lab.state import LabState
from chaos.services import http, mariadb
from experiments.kubernetes_faults import ApiServerDown, ClusterStop, GatewayKill, NetworkIsolation, PodDelete
from topologies.loader import load
from topologies.model import Topology

pytestmark = pytest.mark.kind

TOLERANCE = 0.002
"""Seconds that the round trip between pods may differ from the topology's."""


NAME = "iris-2site-kubernetes"
WHOLE = dict.fromkeys(("db@ral/0", "db@ral/1", "db@cam"), ("3", "Primary"))
"""How the database's members see their cluster when nothing is wrong."""


def topology() -> Topology:
    """Two sites, a cluster each; two nodes and two of the three database members at the first."""
    return load(NAME, size="lab")


@pytest.fixture(scope="module")
def kept() -> Iterator[None]:
    """Clusters that stay between the labs of this module, and nothing that stays after it."""
    KindLab().prepare(topology())
    try:
        yield
    finally:
        heal(keep_clusters=False)


HARNESS = f"""
import sys, time
from chaos.lab.kind import KindLab
from experiments.faults import Partition
from experiments.kubernetes_faults import NodePause
from topologies.loader import load

lab = KindLab()
lab.up(load("{NAME}", size="lab"))
print("up", flush=True)
sys.stdin.readline()
lab.inject(Partition(isolate=["cam"]))
lab.inject(NodePause(node="cam/0"))
print("broken", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def harness(kept: None) -> Iterator[subprocess.Popen[str]]:
    """The process that has brought the lab up; at a line it breaks a link and a node."""
    with subprocess.Popen(
        [sys.executable, "-c", HARNESS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().strip() == "up"
            yield process
        finally:
            process.kill()


@pytest.fixture(scope="module")
def lab(harness: subprocess.Popen[str]) -> KindLab:
    """The lab, up: as another process than the one that has it sees it."""
    return KindLab()


def state_of(lab: KindLab, component: str) -> str:
    """State of one component."""
    return {one.component: one.state for one in lab.status()}[component]


def until(holds: Callable[[], object], what: str, patience: float = 60.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"after {patience:g} s still not: {what}"
        time.sleep(0.3)


@contextmanager
def inside(lab: KindLab, component: Component) -> Iterator[tuple[str, str]]:
    """A name for the network of a component's pod, and the pod's address."""
    live = lab._components().find(component)
    name = f"fl-test-{component.site}"
    namespaces.attach(name, live.processes[0].pid)
    try:
        yield name, live.address
    finally:
        namespaces.delete(name)


def trips(namespace: str, address: str, port: int) -> list[float]:
    """Seconds that each of ten TCP connections took to be made: one round trip.

    Not pings: the lab's NetworkPolicies let in what the service needs, and nothing else.
    """
    found = []
    with namespaces.entered(namespace):
        for _ in range(10):
            began = time.monotonic()
            socket.create_connection((address, port), timeout=2.0).close()
            found.append(time.monotonic() - began)
    return found


def test_pods_of_two_clusters_are_the_topologys_round_trip_apart(lab: KindLab) -> None:
    """A pod reaches a pod of the other cluster by its own address, in the link's RTT."""
    (link,) = topology().links
    with (
        inside(lab, Component("web", "ral")) as (here, _),
        inside(lab, Component("iam", "cam")) as (_, there),
    ):
        found = trips(here, there, IAM_PORT)
    assert statistics.median(found) == pytest.approx(link.rtt, abs=TOLERANCE)


def views(lab: KindLab) -> dict[str, tuple[str, str]]:
    """Member -> size and status of its cluster as it sees it; members that do not answer are left out."""
    found = {}
    for server in lab._components().databases():
        try:
            status = mariadb.variables(server, "wsrep_cluster_%")
        except (pymysql.err.MySQLError, OSError):
            continue
        found[server.component] = (status["wsrep_cluster_size"], status["wsrep_cluster_status"])
    return found


def test_members_and_replicas_of_a_site_run_on_different_nodes(lab: KindLab) -> None:
    """Galera spans the clusters: each member counts all; a node has one pod of each service."""
    assert views(lab) == WHOLE
    for service in ("db", "iam"):
        found = lab._targets().actions("ral").pods("faultline", f"app.kubernetes.io/name={service}")
        assert len(found) == len({pod.node for pod in found}) == 2, service


def test_tokens_are_issued_at_both_front_ends(lab: KindLab) -> None:
    """A user next to each site gets a token through its HAProxy, and the health page says who answered."""
    layout = LabState.read(lab.directory).layout
    for site in topology().sites:
        namespace, address = layout.users_namespace(site), layout.public(site)
        assert http.get(namespace, address, 80, "/actuator/health", 5.0)[0] == 200
        program = (
            "import urllib.request, urllib.parse, base64, json, sys\n"
            "from chaos.iam.schema import LOADTEST as c\n"
            "auth = base64.b64encode(f'{c.client_id}:{c.secret}'.encode()).decode()\n"
            "form = {'grant_type': 'client_credentials', 'scope': 'scim:read'}\n"
            "body = urllib.parse.urlencode(form).encode()\n"
            f"r = urllib.request.Request('http://{address}/token', body, {{'Authorization': 'Basic ' + auth,"
            " 'Host': 'iam.faultline.test'})\n"
            "a = urllib.request.urlopen(r, timeout=10)\n"
            "print(a.headers['X-Front-End'], 'access_token' in json.load(a))"
        )
        argv = namespaces.argv_inside(namespace, [sys.executable, "-c", program])
        said = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
        assert said.stdout.split() == [site, "True"], said.stderr


def test_another_process_sees_the_same_lab(lab: KindLab) -> None:
    """State on disk is enough: a new object knows all components and their states."""
    other = KindLab(lab.directory)
    assert other.status() == lab.status()
    assert other.facts().facts == lab.facts().facts


def test_facts_name_what_two_runs_may_differ_in(lab: KindLab) -> None:
    """Versions, images, WireGuard, CPU limits and whether NetworkPolicies are enforced are on record."""
    facts = lab.facts().facts
    assert set(facts["versions"]["kubernetes"]) == set(topology().sites)
    assert facts["network"]["wireguard"]["implementation"] in ("kernel", "wireguard-go")
    assert facts["cpu_limits"]["ral"]["iam"] == topology().sites["ral"].cpu
    assert facts["images"]["lab"] and facts["images"]["node"]
    assert facts["network_policies"]
    assert "db-0" in facts["configurations"]["cam"]
    json.dumps(facts)


@pytest.mark.parametrize("options", [(), ("--host-names", "--image", "another:1")])
def test_kubectl_takes_what_faultline_manifests_prints(lab: KindLab, options: tuple[str, ...]) -> None:
    """The API server finds nothing wrong with any object, neither placeholders nor other options."""
    from chaos.kube.image import current

    images = current()
    assert images is not None
    for site in topology().sites:
        printed = subprocess.run(
            [sys.executable, "-m", "faultline", "manifests", NAME, "--site", site, *options],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        kubeconfig = lab.directory / "kube" / f"{site}.yaml"
        applied = subprocess.run(
            [str(images.kubectl), "--kubeconfig", str(kubeconfig), "apply", "--dry-run=server", "-f", "-"],
            input=printed.stdout,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert applied.returncode == 0, applied.stderr
        wanted = printed.stdout.count("\nkind: ")
        assert len([line for line in applied.stdout.splitlines() if "(server dry run)" in line]) == wanted


def test_a_cluster_that_cannot_be_asked_is_unknown_and_goes_on(lab: KindLab) -> None:
    """Without its API server a cluster's components are `unknown`, never `up`, and users are still served."""
    layout = LabState.read(lab.directory).layout
    injected = lab.inject(ApiServerDown(site="cam"))
    try:
        until(lambda: state_of(lab, "db@cam") == "unknown", "unknown")
        states = {one.component: one.state for one in lab.status()}
        assert {state for name, state in states.items() if name.endswith("@cam")} == {"unknown"}
        assert {state for name, state in states.items() if name.endswith("@ral")} == {"up"}
        assert http.get(layout.users_namespace("cam"), layout.public("cam"), 80, "/actuator/health")[0] == 200
    finally:
        lab.undo(injected)
    until(lambda: state_of(lab, "db@cam") == "up", "up again", 90.0)


def test_a_deleted_member_comes_back_under_its_name(lab: KindLab) -> None:
    """The two others go on as a majority; the new pod has the volume of the old one and joins."""
    second = Component("db", "ral", 1)
    (before,) = lab._targets().pods(second)
    injected = lab.inject(PodDelete(target=str(second), grace=0.0))
    until(lambda: ("2", "Primary") in views(lab).values(), "a cluster of two")
    until(lambda: views(lab) == WHOLE, "a cluster of three", 90.0)
    (after,) = lab._targets().pods(second)
    assert after.name == before.name and after.uid != before.uid
    lab.undo(injected)
    until(lambda: {one.state for one in lab.status()} == {"up"}, "everything up")


def test_an_isolated_member_is_alone_until_it_is_let_out(lab: KindLab) -> None:
    """The policy cuts connections that stand: the member loses the others, and they go on without it."""
    injected = lab.inject(NetworkIsolation(target="db@ral/1"))
    until(lambda: views(lab).get("db@ral/1", ("", ""))[1] == "non-Primary", "the member without others")
    until(lambda: views(lab).get("db@cam") == ("2", "Primary"), "a cluster of two")
    states = {one.component: one.state for one in lab.status()}
    assert (states["db@ral/1"], states["db@ral/0"], states["db@cam"]) == ("down", "up", "up")
    lab.undo(injected)
    until(lambda: views(lab) == WHOLE, "a cluster of three", 90.0)
    until(lambda: {one.state for one in lab.status()} == {"up"}, "everything up")


def test_a_cluster_without_power_is_unknown_and_comes_back(lab: KindLab) -> None:
    """Nothing at a site without power is called `up`; the undo brings nodes, links and members back."""
    layout = LabState.read(lab.directory).layout
    injected = lab.inject(ClusterStop(site="cam"))
    try:
        states = {one.component: one.state for one in lab.status()}
        assert {state for name, state in states.items() if name.endswith("@cam")} == {"unknown"}
        assert "up" in {state for name, state in states.items() if name.endswith("@ral")}
        assert round_trip(layout.namespace("ral"), layout.overlay("cam"), 1.0) is None
    finally:
        lab.undo(injected)
    until(lambda: {one.state for one in lab.status()} == {"up"}, "everything up", 150.0)
    assert round_trip(layout.namespace("ral"), layout.overlay("cam"), 1.0) is not None
    for site in topology().sites:
        asked = (layout.users_namespace(site), layout.public(site), 80, "/actuator/health")
        until(lambda asked=asked: http.get(*asked)[0] == 200, f"{site} served")  # type: ignore[misc]


def test_a_killed_gateway_is_replaced_and_restores_the_link(lab: KindLab) -> None:
    """The pod that Kubernetes puts in its place sets interface, routes and rules up by itself."""
    layout = LabState.read(lab.directory).layout
    ends = (layout.namespace("ral"), layout.overlay("cam"))
    assert round_trip(*ends, 1.0) is not None
    (before,) = lab._targets().gateway("ral")
    injected = lab.inject(GatewayKill(site="ral"))
    until(lambda: [one.uid for one in lab._targets().gateway("ral")] not in ([], [before.uid]), "another pod")
    until(lambda: round_trip(*ends, 1.0) is not None, "the link again")
    lab.undo(injected)
    until(lambda: {one.state for one in lab.status()} == {"up"}, "everything up")


def test_what_a_sigkill_leaves_is_put_right(lab: KindLab, harness: subprocess.Popen[str]) -> None:
    """The harness is killed with a node frozen and a link cut: heal puts both right, down leaves nothing."""
    assert harness.stdin is not None and harness.stdout is not None
    harness.stdin.write("\n")
    harness.stdin.flush()
    assert harness.stdout.readline().strip() == "broken"
    os.kill(harness.pid, signal.SIGKILL)
    harness.wait()
    node = node_name("cam", 0)
    assert docker.inspect([node])[0].state == "paused"
    done = heal()
    assert any("NodePause" in line or "node-pause" in line for line in done)
    assert any("partition" in line for line in done)
    # The clusters were made to be kept: they are still there, and well.
    assert docker.inspect([node])[0].state == "running"
    assert clusters.Kept.read() is not None
    assert namespaces.names() == []
    heal(keep_clusters=False)
    assert_nothing_is_left(lab.directory)


def assert_nothing_is_left(directory: Path) -> None:
    """No container, network, volume, mount, directory."""
    assert docker.nodes(namespaces.PREFIX) == []
    assert docker.docker("network", "inspect", clusters.NETWORK, check=False).returncode != 0
    assert not directory.exists()
    volumes = docker.docker("volume", "ls", "--quiet").stdout.split()
    assert not [name for name in volumes if name.startswith(namespaces.PREFIX)]
    assert namespaces.PREFIX + "cam" not in Path("/proc/self/mountinfo").read_text()


def test_a_sigkill_while_clusters_are_made_leaves_nothing(kept: None) -> None:
    """Neither what is there by then nor what a command that outlived the harness would have made."""
    heal(keep_clusters=False)
    program = (
        "from chaos.lab.kind import KindLab; from topologies.loader import load\n"
        f"KindLab().up(load('{NAME}', size='lab'))"
    )
    with subprocess.Popen([sys.executable, "-c", program]) as harness:
        until(lambda: docker.nodes(namespaces.PREFIX) or harness.poll() is not None, "a node", 90.0)
        assert harness.poll() is None
        os.kill(harness.pid, signal.SIGKILL)
    heal(keep_clusters=False)
    time.sleep(2.0)
    assert_nothing_is_left(KindLab().directory)
