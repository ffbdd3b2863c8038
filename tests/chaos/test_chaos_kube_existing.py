"""Clusters that somebody already has: what is put there, taken away, and kept on record."""

from __future__ import annotations

import ipaddress
import socket
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from owners_files import CONFIG, write_kubeconfig

from chaos import heal
from chaos.errors import LabError
from chaos.faults.context import Inverse
from chaos.faults.kubernetes import scaling
from chaos.kube import existing, surroundings
from chaos.kube.access import Access
from chaos.kube.addresses import Addresses
from chaos.kube.api import Refused, Unreachable
from chaos.kube.context import Workload
from chaos.kube.existing import adapted
from chaos.kube.manifests.rendering import render
from chaos.undo import UndoLog
from topologies.loader import load


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A kubeconfig with two contexts."""
    return write_kubeconfig(tmp_path)


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
