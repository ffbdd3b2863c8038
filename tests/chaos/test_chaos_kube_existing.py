"""Clusters that somebody already has: what is read, what is refused, what is put there."""

from __future__ import annotations

import ipaddress
import json
import socket
import stat
import subprocess
import sys
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from chaos import heal
from chaos.errors import InjectionError, LabError
from chaos.faults.context import Inverse
from chaos.faults.kubernetes import scaling
from chaos.kube import existing, surroundings
from chaos.kube.access import Access
from chaos.kube.actions import enforces
from chaos.kube.addresses import Addresses
from chaos.kube.api import Refused, Unreachable
from chaos.kube.clusters import kubeconfig
from chaos.kube.context import Workload
from chaos.kube.existing import adapted
from chaos.kube.manifests.rendering import render
from chaos.kube.refusal import Refusing, not_enforced, refusal
from chaos.undo import UndoLog
from experiments import kubernetes_faults as kf
from experiments.faults import Degrade, Fault, Kill, Partition, Pause
from faultline.home import Home
from faultline.inputs import prepare
from faultline.labs import refuse_unenforced
from topologies.errors import InputError
from topologies.loader import load

CONFIG = """
apiVersion: v1
kind: Config
current-context: prod
clusters:
- {name: one, cluster: {server: 'https://192.0.2.1:6443', certificate-authority: ca.pem}}
- {name: two, cluster: {server: 'https://192.0.2.2:6443', insecure-skip-tls-verify: true}}
contexts:
- {name: prod, context: {cluster: one, user: admin}}
- {name: test, context: {cluster: two, user: robot}}
- {name: torn, context: {cluster: gone, user: robot}}
- {name: nobody, context: {cluster: two, user: gone}}
- {name: again, context: {cluster: one, user: robot}}
users:
- {name: admin, user: {client-certificate: admin.pem, client-key: admin.key}}
- {name: robot, user: {token: secret}}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A kubeconfig with two contexts."""
    file = tmp_path / "config"
    file.write_text(CONFIG)
    return file


class TestAccess:
    """Contexts and front ends, as users name them."""

    def test_each_site_gets_a_kubeconfig_of_its_own_context_only(self, config: Path, tmp_path: Path) -> None:
        """Nothing of other clusters, files found from anywhere, readable by the owner only."""
        access = Access.of(["ral=test", "cam=prod"], kubeconfig=str(config))
        access.write_kubeconfigs(["ral", "cam"], tmp_path / "lab")
        file = kubeconfig(tmp_path / "lab", "cam")
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        written = yaml.safe_load(file.read_text())
        assert written["current-context"] == "prod"
        assert [one["name"] for one in written["clusters"]] == ["one"]
        assert written["clusters"][0]["cluster"]["certificate-authority"] == str(tmp_path / "ca.pem")
        assert "secret" not in file.read_text()
        assert "secret" in kubeconfig(tmp_path / "lab", "ral").read_text()

    @pytest.mark.parametrize(
        ("contexts", "message"),
        [
            (["ral=prodd"], "no context 'prodd'"),
            (["cam=prod"], "'cam' is not a site"),
            ([], "the site 'ral' has no context"),
            (["ral"], "SITE=VALUE"),
            (["=prod"], "SITE=VALUE"),
            (["ral=torn"], "a cluster 'gone', which is not there"),
            (["ral=nobody"], "a user 'gone', who is not there"),
        ],
    )
    def test_a_wrong_context_is_named_with_what_there_is(
        self, config: Path, contexts: list[str], message: str
    ) -> None:
        """Before anything is predicted or touched."""
        with pytest.raises(InputError, match=message):
            Access.of(contexts, kubeconfig=str(config)).check(["ral"])

    @pytest.mark.parametrize("context", ["prod", "again"])
    def test_two_sites_are_two_clusters(self, config: Path, context: str) -> None:
        """One namespace has room for one site: by the same context or by another one of the same server."""
        access = Access.of(["ral=prod", f"cam={context}"], kubeconfig=str(config))
        with pytest.raises(InputError, match="ral and cam are the same cluster"):
            access.check(["ral", "cam"])

    def test_a_front_end_of_no_site_is_an_error(self, config: Path) -> None:
        """A slip of the pen must not send users elsewhere."""
        access = Access.of(["ral=prod"], kubeconfig=str(config), front_ends=["rla=http://192.0.2.9"])
        with pytest.raises(InputError, match="'rla' is not a site"):
            access.check(["ral"])

    def test_several_files_count_together(
        self, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """As for kubectl: the first that has a name counts, those that are missing do not."""
        other = tmp_path / "elsewhere" / "config"
        other.parent.mkdir()
        other.write_text(CONFIG.replace("name: test", "name: more").replace("ca.pem", "other.pem"))
        monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}:{config}:{other}")
        access = Access.of(["ral=prod", "cam=more"])
        access.check(["ral", "cam"])
        (cluster,) = access.only("ral")["clusters"]
        assert cluster["cluster"]["certificate-authority"] == str(tmp_path / "ca.pem")
        assert access.only("cam")["users"] == [{"name": "robot", "user": {"token": "secret"}}]

    def test_a_file_that_is_no_kubeconfig_is_an_error(self, tmp_path: Path) -> None:
        """Missing, torn, or something else."""
        for text in (None, "{", "a: b", "contexts: [x]", "contexts: [{name: x}]"):
            file = tmp_path / "config"
            file.unlink(missing_ok=True)
            if text is not None:
                file.write_text(text)
            with pytest.raises(InputError, match="config"):
                Access.of(["ral=x"], kubeconfig=str(file)).check(["ral"])

    def test_the_environment_says_the_same_as_the_options(
        self, config: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For plain `chaos run`, which has no options of ours."""
        monkeypatch.setenv("FAULTLINE_CONTEXTS", "ral=test,cam=prod")
        monkeypatch.setenv("FAULTLINE_URLS", "ral=http://192.0.2.9:8000/")
        monkeypatch.setenv("KUBECONFIG", str(config))
        access = Access.from_environment()
        access.check(["ral", "cam"])
        assert dict(access.front_ends) == {"ral": "192.0.2.9:8000"}
        assert not access.allow_nodes

    @pytest.mark.parametrize(
        ("url", "address"),
        [
            ("http://192.0.2.9:8000/", "192.0.2.9:8000"),
            ("192.0.2.9:8000", "192.0.2.9:8000"),
            ("http://iam.example.org", "iam.example.org:80"),
            ("https://192.0.2.9", None),
            ("http://192.0.2.9/iam", None),
            ("http://192.0.2.9:nope", None),
        ],
    )
    def test_front_ends_are_asked_over_http(self, url: str, address: str | None) -> None:
        """With a port of 80 when none is given; paths and HTTPS are errors."""
        if address is None:
            with pytest.raises(InputError, match="--url"):
                Access.of([], front_ends=[f"ral={url}"])
        else:
            assert Access.of([], front_ends=[f"ral={url}"]).front_ends["ral"] == address

    def test_the_command_refuses_with_64(self, config: Path, tmp_path: Path) -> None:
        """A wrong context, no context, a fault on nodes and one on links: said with what to write instead."""
        options = ["--backend", "kubernetes", "--kubeconfig", str(config)]
        for arguments, message in (
            (["pod-kill", "--context", "ral=nope", "--context", "cam=prod"], "no context 'nope'"),
            (["pod-kill"], "the site 'ral' has no context"),
            (["node-stop", "--context", "ral=test", "--context", "cam=prod"], "--allow-nodes"),
            (["gateway-kill", "--context", "ral=test", "--context", "cam=prod"], "not the lab's"),
        ):
            done = subprocess.run(
                [sys.executable, "-m", "faultline", "run", *arguments, *options],
                capture_output=True,
                text=True,
                env={"PATH": "/usr/bin:/bin", "FAULTLINE_HOME": str(tmp_path / "home")},
                check=False,
            )
            assert done.returncode == 64, done.stderr
            assert message in done.stderr
        assert not (tmp_path / "home").exists()


class TestRefusals:
    """What is not for clusters that are not ours."""

    @pytest.mark.parametrize(
        ("fault", "without", "allowed"),
        [
            (kf.PodDelete(target="iam@ral"), True, True),
            (kf.ScaleToZero(target="iam@ral"), True, True),
            (kf.NetworkIsolation(target="iam@ral"), True, True),
            (kf.CorednsDown(site="ral"), True, True),
            (kf.NodeDrain(node="ral/0"), False, True),
            (kf.NodeStop(node="ral/0"), False, True),
            (kf.ApiServerDown(site="ral"), False, True),
            (kf.ContainerKill(target="iam@ral"), False, True),
            (Kill(target="iam@ral"), False, True),
            (Pause(target="iam@ral"), False, True),
            (kf.GatewayKill(site="ral"), False, False),
            (Partition(isolate=["ral"]), False, False),
            (Degrade(between=("ral", "cam"), loss=0.1), False, False),
        ],
        ids=lambda value: getattr(value, "fault", ""),
    )
    def test_nodes_need_leave_and_links_are_never_touched(
        self, fault: Fault, without: bool, allowed: bool
    ) -> None:
        """Faults through the API always, on nodes with --allow-nodes, on links never."""
        assert (refusal(fault, Access({})) is None) == without
        assert (refusal(fault, Access({}, allow_nodes=True)) is None) == allowed

    def test_refusing_machines_do_nothing(self) -> None:
        """Whatever asks them, also an undo."""
        machines = Refusing()
        for act in (machines.kill, machines.start, machines.pause, machines.unpause, machines.processes):
            with pytest.raises(InjectionError, match="--allow-nodes"):
                act(["n"])


ISOLATION = """
title: Cut off by a policy
description: The identity service hears nobody.
steady-state-hypothesis:
  title: It answers
  probes:
    - name: every component is up
      type: probe
      tolerance: true
      provider: {type: python, module: chaos.toolkit.probes, func: all_components_up}
method:
  - name: isolate it
    type: action
    provider:
      type: python
      module: chaos.toolkit.actions
      func: network_isolation
      arguments: {target: iam@ral, at: 12s, duration: 10s}
extensions:
  - name: faultline
    topology: iris-1site
    workload: {flow: workflow, users: 3, ramp: 3/s, think: 2s, duration: 40s, warmup: 8s}
    hypotheses:
      - {metric: lost_commits, expect: "<= 0"}
"""


class Daemons(BaseHTTPRequestHandler):
    """An API server that knows DaemonSets only."""

    found: ClassVar[list[dict[str, Any]]] = []

    def do_GET(self) -> None:
        """List them."""
        assert self.path == "/apis/apps/v1/daemonsets"
        body = json.dumps({"items": self.found}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def daemons(name: str, image: str) -> dict[str, Any]:
    """A DaemonSet."""
    containers = [{"name": name, "image": image}]
    return {"metadata": {"name": name}, "spec": {"template": {"spec": {"containers": containers}}}}


class TestPolicies:
    """Isolation by NetworkPolicies is refused before a run where it would change nothing."""

    @pytest.mark.parametrize(
        ("name", "image", "does"),
        [
            ("calico-node", "calico/node:v3.27.0", True),
            ("podlink", "faultline.local/kubebox:1", True),
            ("kindnet", "kindest/kindnetd:v20241212-9f82dd49", True),
            ("kindnet", "kindest/kindnetd:v20240513-cd2ac642", False),
            ("kube-flannel-ds", "flannel/flannel:v0.25.1", False),
            ("kube-proxy", "kube-proxy:v1.34.4", False),
        ],
    )
    def test_plugins_are_known_by_name_and_age(self, name: str, image: str, does: bool) -> None:
        """Kindnet has enforced policies since kind 0.24 only, flannel never."""
        assert enforces(daemons(name, image)) == does

    def test_the_command_asks_before_it_predicts(self, tmp_path: Path) -> None:
        """With the line of the fault; what would be enforced goes on to the next check."""
        experiment = tmp_path / "isolation.yaml"
        experiment.write_text(ISOLATION)
        server = HTTPServer(("127.0.0.1", 0), Daemons)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            config = tmp_path / "config"
            config.write_text(
                CONFIG.replace("https://192.0.2.1:6443", f"http://127.0.0.1:{server.server_port}")
            )
            access = Access.of(["ral=prod"], kubeconfig=str(config))
            Daemons.found = [daemons("kube-flannel-ds", "flannel/flannel:v0.25.1")]
            why = not_enforced("ral", access)
            assert why is not None and "known to enforce NetworkPolicies" in why
            inputs = replace(prepare(str(experiment), home=Home(tmp_path / "home")), access=access)
            with pytest.raises(InputError, match=r"isolation\.yaml:\d+.*known to enforce NetworkPolicies"):
                refuse_unenforced(inputs)
            Daemons.found.append(daemons("cilium", "cilium:v1.16"))
            assert not_enforced("ral", access) is None
            refuse_unenforced(inputs)
        finally:
            server.shutdown()
            server.server_close()


class TestFree:
    """Two labs in one namespace would overwrite each other."""

    def test_a_lab_of_somebody_else_is_left_alone(self) -> None:
        """It is named, with the command for the case that nobody runs it any more."""

        class Occupied:
            """A cluster with a StatefulSet of a lab's."""

            site = "ral"
            found: ClassVar[list[dict[str, Any]]] = [{"metadata": {"name": "db"}}]

            def objects(self, version: str, kind: str, *, selector: str) -> list[dict[str, Any]]:
                assert selector == existing.OURS
                return self.found if kind == "StatefulSet" else []

        cluster: Any = Occupied()
        with pytest.raises(LabError, match=r"ral has a lab already \(statefulset/db\).*kubectl delete"):
            existing.ensure_free(cluster)
        Occupied.found = []
        existing.ensure_free(cluster)


class TestUnfinished:
    """A cluster that does not answer is not forgotten."""

    @pytest.fixture
    def directory(self, config: Path, tmp_path: Path) -> Path:
        """Of a lab on two clusters, at an address where nobody listens."""
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        config.write_text(CONFIG.replace("https://192.0.2.1:6443", f"http://127.0.0.1:{port}"))
        found = tmp_path / "lab"
        Access.of(["ral=prod"], kubeconfig=str(config)).write_kubeconfigs(["ral"], found)
        return found

    def test_objects_that_could_not_be_removed_are_removed_later(self, directory: Path) -> None:
        """What says where they are stays, and the message says what removes them by hand."""
        for _ in range(2):
            done, left = existing.withdraw_all(directory)
            assert done == []
            (line,) = left
            assert "namespace faultline of ral" in line and "kubectl delete" in line

    def test_only_faults_on_what_is_the_owners_stay_on_record(
        self, directory: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A cordoned node outlives the lab; a workload that was scaled goes with it."""

        def away(*_: object) -> str:
            raise Unreachable("the API server of ral does not answer")

        monkeypatch.setattr("chaos.faults.kubernetes.replay.replay", away)
        log = UndoLog(directory / "undo.jsonl")
        ours = Workload("ral", "faultline", "Deployment", "iam")
        theirs = Workload("ral", "kube-system", "Deployment", "coredns")
        log.record(Inverse("uncordon", {"site": "ral", "node": "worker"}), "node-cordon")
        log.record(scaling.inverse([(ours, 2)]), "scale-to-zero")
        log.record(scaling.inverse([(theirs, 2)]), "coredns-down")
        done, left = heal._replay(directory)
        assert [one.note for one in log.pending()] == ["node-cordon", "coredns-down"]
        assert len(left) == 2 and all("still in force" in line for line in left)
        assert len(done) == 1 and "left to the removal" in done[0]
        monkeypatch.setattr("chaos.faults.kubernetes.replay.replay", lambda *_: "uncordon worker")
        assert heal._replay(directory)[1] == []
        assert log.pending() == []


class TestObjects:
    """What is put there."""

    def test_the_namespace_stays_the_owners(self) -> None:
        """It is neither made nor relabelled; node ports are as usual; every object has our label."""
        topology = load("iris-2site-galera", size="lab")
        for objects in render(topology, host_names=True).values():
            found = adapted(objects, 30080)
            assert len(found) == len(objects) - 1
            assert "Namespace" not in {one["kind"] for one in found}
            assert all(one["metadata"]["namespace"] == "faultline" for one in found)
            assert all(one["metadata"]["labels"]["app.kubernetes.io/part-of"] == "faultline" for one in found)
            ports = [
                port["nodePort"]
                for one in found
                if one["kind"] == "Service"
                for port in one["spec"]["ports"]
                if "nodePort" in port
            ]
            assert ports == [30080]

    def test_everything_that_is_put_there_is_taken_away(self) -> None:
        """No kind is rendered that `withdraw` does not know."""
        topology = load("iris-2site-kubernetes", size="lab")
        kinds = {one["kind"] for objects in render(topology).values() for one in adapted(objects, 30080)}
        assert kinds <= {kind for _, kind in existing.KINDS}

    def test_every_kind_has_its_right(self) -> None:
        """What is put there and taken away may be put there and taken away."""
        known = {right.resource for right in existing.RIGHTS if "delete" in right.verbs}
        plural = {"NetworkPolicy": "networkpolicies"}
        for _, kind in existing.KINDS:
            assert plural.get(kind, f"{kind.lower()}s") in known

    @settings(max_examples=8, deadline=None)
    @given(st.integers(16, 22), st.integers(0, 15))
    def test_services_keep_their_offsets_in_any_range(self, prefix: int, number: int) -> None:
        """Distinct addresses inside the cluster's own range, the same for all who ask."""
        topology = load("iris-2site-galera", size="lab")
        network = ipaddress.ip_network(f"10.{16 + number}.0.0/{prefix}")
        ranges = {"ral": ("10.0.0.0/16", str(network)), "cam": ("10.1.0.0/16", "10.99.0.0/16")}
        ours = Addresses.of(topology)
        moved = ours.within(ranges)
        found = [ipaddress.ip_address(one.address) for one in moved.at("ral")]
        assert len(set(found)) == len(found) == len(ours.at("ral"))
        assert all(one in network for one in found)
        assert moved.service_range("ral") == str(network)
        assert moved.seen_pod_range("cam") == "10.1.0.0/16"
        rendered = render(topology, addresses=moved)["ral"]
        addresses = {one["spec"].get("clusterIP") for one in rendered if one["kind"] == "Service"}
        assert {str(one) for one in found} == addresses

    def test_a_range_that_is_too_small_is_an_error(self) -> None:
        """With the name of what does not fit."""
        ranges = {"ral": ("10.0.0.0/16", "10.5.0.0/27"), "cam": ("10.1.0.0/16", "10.99.0.0/16")}
        with pytest.raises(LabError, match="no room for"):
            Addresses.of(load("iris-2site-galera", size="lab")).within(ranges)

    @pytest.mark.parametrize(
        ("answers", "found"),
        [
            ({"servicecidrs": {"items": [{"spec": {"cidrs": ["10.9.0.0/20"]}}]}}, "10.9.0.0/20"),
            ({"refused": "The range of valid IPs is 10.8.0.0/16"}, "10.8.0.0/16"),
            ({"refused": "no", "given": "10.7.3.9"}, "10.7.3.0/24"),
            ({"refused": "no"}, None),
        ],
        ids=["an object", "a refusal", "a trial", "nothing"],
    )
    def test_the_range_of_services_is_found_out(self, answers: dict[str, Any], found: str | None) -> None:
        """As far as the account and the release allow; else it is an error."""

        class Answering:
            site = "ral"

            def request(self, method: str, path: str, body: Any = None, **_: Any) -> Any:
                if path.endswith("servicecidrs"):
                    if "servicecidrs" not in answers:
                        raise Refused("forbidden", 403)
                    return answers["servicecidrs"]
                if "clusterIP" in body["spec"]:
                    raise Refused(answers["refused"], 422)
                if "given" not in answers:
                    raise Refused("forbidden", 403)
                return {"spec": {"clusterIP": answers["given"]}}

        cluster: Any = Answering()
        if found is None:
            with pytest.raises(LabError, match="range of Services of ral"):
                surroundings.service_range(cluster)
        else:
            assert surroundings.service_range(cluster) == found

    def test_rights_are_objects_that_an_owner_can_apply(self) -> None:
        """No right to write outside of the namespace, unless nodes are allowed."""
        for allow in (False, True):
            own, wide = existing.role(allow)
            assert own["metadata"]["namespace"] == "faultline"
            verbs = {verb for rule in wide["rules"] for verb in rule["verbs"]}
            assert verbs == {"get", "list", "watch"} | ({"patch"} if allow else set())
