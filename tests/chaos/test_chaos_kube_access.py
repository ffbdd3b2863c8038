"""Clusters that somebody already has: how they are reached, and what is refused there."""

from __future__ import annotations

import json
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
from owners_files import CONFIG, one_fault, write_kubeconfig

from chaos.errors import InjectionError
from chaos.kube.access import Access
from chaos.kube.actions import enforces
from chaos.kube.clusters import kubeconfig
from chaos.kube.refusal import Refusing, not_enforced, refusal
from experiments import kubernetes_faults as kf
from experiments.faults import Degrade, Fault, Kill, Partition, Pause
from faultline.home import Home
from faultline.inputs import prepare
from faultline.labs import refuse_unenforced
from topologies.errors import InputError


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A kubeconfig with two contexts."""
    return write_kubeconfig(tmp_path)


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


ISOLATION = one_fault(
    "network_isolation", "{target: iam@ral, at: 12s, duration: 10s}", title="Cut off by a policy"
)


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
