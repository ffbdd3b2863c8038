"""What clusters' objects and pods' logs become as events: only news, each once, also after an outage."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import LabError
from chaos.kube import watch
from chaos.kube.podlogs import PodLogs
from chaos.kube.trackers import (
    EndpointTracker,
    LeaseTracker,
    NodeTracker,
    PodTracker,
    WarningTracker,
    unix_time,
)
from chaos.measure.recorder import read_events
from topologies.loader import load as load_topology

Object = dict[str, Any]


def pod(
    name: str = "db-0",
    *,
    uid: str = "u1",
    ready: bool = True,
    deleting: bool = False,
    restarts: int = 0,
    **more: Any,
) -> Object:
    """A pod as the API server has it."""
    metadata: Object = {"name": name, "namespace": "faultline", "uid": uid}
    if deleting:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    state = {"restartCount": restarts, "state": {"running": {}}, **more}
    return {
        "metadata": metadata,
        "status": {
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
            "containerStatuses": [state],
        },
    }


def named(found: Object) -> str | None:
    """Pods called db-... are ours."""
    return "db@ral" if found["metadata"]["name"].startswith("db-") else None


def kinds(events: Any) -> list[str]:
    """Kinds only."""
    return [one.kind for one in events]


class TestPods:
    """`PodTracker`."""

    def test_what_is_there_at_the_first_look_is_no_news(self) -> None:
        """Only changes are events."""
        tracker = PodTracker(named)
        assert list(tracker.renew([pod()], 0.0)) == []
        assert list(tracker.feed(pod(), 1.0)) == []

    def test_a_graceful_deletion_and_its_replacement(self) -> None:
        """Asked to end, not ready any more, made anew, ready."""
        tracker = PodTracker(named)
        list(tracker.renew([pod()], 0.0))
        seen = [
            *tracker.feed(pod(deleting=True), 1.0),
            *tracker.feed(pod(deleting=True, ready=False), 2.0),
            *tracker.feed(pod(deleting=True, ready=False), 3.0, gone=True),
            *tracker.feed(pod(uid="u2", ready=False), 4.0),
            *tracker.feed(pod(uid="u2"), 5.0),
        ]
        assert kinds(seen) == ["pod.deleted", "pod.not-ready", "pod.created", "pod.ready"]
        assert [one.time for one in seen] == [1.0, 2.0, 4.0, 5.0]
        assert {one.component for one in seen} == {"db@ral"}

    def test_a_forced_deletion_is_a_deletion(self) -> None:
        """The object goes without having been marked."""
        tracker = PodTracker(named)
        list(tracker.renew([pod()], 0.0))
        assert kinds(tracker.feed(pod(), 1.0, gone=True)) == ["pod.deleted"]

    def test_a_restart_tells_the_exit_code(self) -> None:
        """137 is SIGKILL."""
        tracker = PodTracker(named)
        list(tracker.renew([pod()], 0.0))
        ended = {"terminated": {"exitCode": 137, "reason": "Error"}}
        (event,) = tracker.feed(pod(restarts=1, lastState=ended), 1.0)
        assert (event.kind, event.detail) == ("container.restart", "db-0: exit code 137 (Error)")

    def test_a_missing_image_is_trouble_told_once(self) -> None:
        """With the reason that Kubernetes gives."""
        tracker = PodTracker(named)
        list(tracker.renew([], 0.0))
        stuck = pod(ready=False, state={"waiting": {"reason": "ErrImageNeverPull"}})
        seen = [*tracker.feed(stuck, 1.0), *tracker.feed(stuck, 2.0)]
        assert kinds(seen) == ["pod.created", "pod.trouble"]
        assert seen[1].detail == "db-0: ErrImageNeverPull"

    def test_what_happened_during_an_outage_is_told_afterwards(self) -> None:
        """A pod that was replaced while nobody could look was deleted, and another one made."""
        tracker = PodTracker(named)
        list(tracker.renew([pod()], 0.0))
        seen = list(tracker.renew([pod(uid="u2")], 9.0))
        assert kinds(seen) == ["pod.deleted", "pod.created", "pod.ready"]
        assert {one.time for one in seen} == {9.0}

    def test_others_pods_are_none_of_ours(self) -> None:
        """Nothing is told of them."""
        tracker = PodTracker(named)
        list(tracker.renew([], 0.0))
        assert list(tracker.feed(pod("other"), 1.0)) == []

    @given(st.lists(st.tuples(st.booleans(), st.booleans()), max_size=12))
    def test_looking_all_the_time_or_only_at_the_end_gives_the_same_state(
        self, states: list[tuple[bool, bool]]
    ) -> None:
        """After any history, a fresh look at everything tells nothing more."""
        tracker = PodTracker(named)
        list(tracker.renew([pod()], 0.0))
        last = pod()
        deleting = False
        for ready, asked in states:
            deleting = deleting or asked
            last = pod(ready=ready, deleting=deleting)
            list(tracker.feed(last, 1.0))
        assert list(tracker.renew([last], 2.0)) == []


class TestOthers:
    """EndpointSlices, nodes, leases, Events."""

    @staticmethod
    def slice_of(uid: str, **ready: bool) -> Object:
        """An EndpointSlice of the Service db."""
        return {
            "metadata": {"name": uid, "uid": uid, "labels": {"kubernetes.io/service-name": "db"}},
            "endpoints": [
                {"addresses": [address.replace("_", ".")], "conditions": {"ready": is_ready}}
                for address, is_ready in ready.items()
            ],
        }

    def test_an_address_that_moves_between_slices_stays(self) -> None:
        """The Service as a whole counts."""
        tracker = EndpointTracker(lambda found: "db@ral")
        list(tracker.renew([self.slice_of("a", x1=True), self.slice_of("b")], 0.0))
        assert list(tracker.feed(self.slice_of("b", x1=True), 1.0)) == []
        assert list(tracker.feed(self.slice_of("a"), 2.0)) == []
        (event,) = tracker.feed(self.slice_of("b", x1=False), 3.0)
        assert (event.kind, event.detail) == ("endpoint.removed", "db: x1")
        assert kinds(tracker.feed(self.slice_of("b", x1=True), 4.0)) == ["endpoint.added"]

    def test_a_slice_that_goes_takes_its_addresses(self) -> None:
        """As a Service without pods has none."""
        tracker = EndpointTracker(lambda found: "db@ral")
        list(tracker.renew([self.slice_of("a", x1=True)], 0.0))
        assert kinds(tracker.renew([], 1.0)) == ["endpoint.removed"]

    @staticmethod
    def node(status: str, unschedulable: bool = False) -> Object:
        """A node."""
        condition = {"type": "Ready", "status": status, "reason": "why"}
        return {
            "metadata": {"name": "n"},
            "spec": {"unschedulable": unschedulable},
            "status": {"conditions": [condition]},
        }

    def test_nodes_that_say_nothing_are_not_ready(self) -> None:
        """`Unknown` is not ready, as for the endpoints; cordons are told too."""
        tracker = NodeTracker(lambda found: "ral/1")
        list(tracker.renew([self.node("True")], 0.0))
        seen = [
            *tracker.feed(self.node("Unknown"), 1.0),
            *tracker.feed(self.node("False"), 2.0),
            *tracker.feed(self.node("True"), 3.0),
            *tracker.feed(self.node("True", unschedulable=True), 4.0),
            *tracker.feed(self.node("True"), 5.0),
        ]
        assert kinds(seen) == ["node.not-ready", "node.ready", "node.cordoned", "node.uncordoned"]

    def test_a_lease_runs_out_by_our_clock_and_is_pardoned_after_an_outage(self) -> None:
        """Not renewed for its length: expired, once; an API server that was away is no reason."""
        tracker = LeaseTracker(lambda found: "ral/1")
        lease: Object = {"metadata": {"name": "n"}, "spec": {"renewTime": "a", "leaseDurationSeconds": 12}}
        list(tracker.renew([lease], 100.0))
        assert list(tracker.look(112.0)) == []
        tracker.pardon(115.0)
        assert list(tracker.look(120.0)) == []
        assert kinds(tracker.look(128.0)) == ["node.lease-expired"]
        assert list(tracker.look(129.0)) == []
        lease["spec"]["renewTime"] = "b"
        assert kinds(tracker.feed(lease, 130.0)) == ["node.lease-renewed"]

    def test_warnings_are_told_each_time_they_happen(self) -> None:
        """Old ones and normal ones are not."""
        tracker = WarningTracker(lambda found: "db@ral")
        warning: Object = {
            "metadata": {"name": "w"},
            "type": "Warning",
            "reason": "BackOff",
            "message": "restarting\n failed container",
            "count": 3,
            "involvedObject": {"kind": "Pod", "name": "db-0"},
        }
        assert list(tracker.renew([warning], 0.0)) == []
        assert list(tracker.feed(warning, 1.0)) == []
        (event,) = tracker.feed({**warning, "count": 4}, 2.0)
        assert event.detail == "BackOff db-0: restarting failed container"
        assert list(tracker.feed({**warning, "type": "Normal", "count": 5}, 3.0)) == []


class TestTime:
    """RFC 3339."""

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [
            ("1970-01-01T00:00:01Z", 1.0),
            ("1970-01-01T00:00:01.5Z", 1.5),
            ("1970-01-01T00:00:01.123456789Z", 1.123456),
            ("1970-01-01T01:00:01.25+01:00", 1.25),
        ],
    )
    def test_nanoseconds_and_zones_are_read(self, text: str, seconds: float) -> None:
        """Container runtimes write nanoseconds in any zone."""
        assert unix_time(text) == pytest.approx(seconds, abs=1e-9)


class TestLogs:
    """`PodLogs`: files as a container runtime writes them."""

    def test_a_view_of_galera_is_told_at_the_time_it_was_said(self, tmp_path: Path) -> None:
        """Also when the line came in parts, also from the file of the next life of the container."""
        role = {"db-0": ("db", "db@ral/0")}
        logs = PodLogs(tmp_path, "faultline", role.get)  # type: ignore[arg-type]
        home = tmp_path / "faultline_db-0_uid" / "db"
        home.mkdir(parents=True)
        view = "WSREP: New COMPONENT: primary = {}, bootstrap = no, my_idx = 0, memb_num = {}"
        first = home / "0.log"
        first.write_text(
            f"1970-01-01T00:00:10.5Z stderr P x [Note] {view.format('yes', 3)[:20]}\n"
            f"1970-01-01T00:00:10.5Z stderr F {view.format('yes', 3)[20:]}\n"
            f"1970-01-01T00:00:12Z stderr F {view.format('no', 1)}"
        )
        logs.find()
        (event,) = logs.look()
        assert (event.time, event.component, event.kind) == (10.5, "db@ral/0", "galera.view")
        with first.open("a") as file:  # the torn line is completed
            file.write("\n")
        assert kinds(logs.look()) == ["galera.non-primary"]
        (home / "1.log").write_text(f"1970-01-01T00:00:20Z stderr F {view.format('yes', 3)}\n")
        logs.find()
        assert kinds(logs.look()) == ["galera.primary", "galera.view"]
        logs.close()

    def test_a_rotated_file_is_read_from_its_beginning(self, tmp_path: Path) -> None:
        """The kubelet renames a long file and begins a new one of the same name."""
        role = {"frontend-1-a": ("haproxy", "frontend@ral")}
        logs = PodLogs(tmp_path, "faultline", role.get)  # type: ignore[arg-type]
        home = tmp_path / "faultline_frontend-1-a_uid" / "haproxy"
        home.mkdir(parents=True)
        log = home / "0.log"
        down = "Server service/web-cam is DOWN, reason: Layer4 timeout"
        log.write_text(f"1970-01-01T00:00:10Z stderr F {down}\n")
        logs.find()
        from chaos.services.haproxy import BACKEND

        assert kinds(logs.look()) == (["haproxy.server-down"] if BACKEND == "service" else [])
        log.rename(home / "0.log.20260101")
        log.write_text(f"1970-01-01T00:00:11Z stderr F Server {BACKEND}/web-cam is UP\n")
        logs.find()
        assert kinds(logs.look()) == ["haproxy.server-up"]
        logs.close()


class TestPlan:
    """What is watched, as a file."""

    def test_pods_and_services_of_a_topology_have_components(self, tmp_path: Path) -> None:
        """Names of stateful pods are whole, those of Deployments begin with their workload's."""
        topology = load_topology("iris-2site-kubernetes", size="lab")
        nodes = {"ral": ["r-control-plane", "r-worker"], "cam": ["c-control-plane"]}
        watch.plan(tmp_path, watch.places(topology, tmp_path, nodes.__getitem__))
        ral, cam = watch.read_plan(tmp_path)
        assert ral.role_of("db-1") == ("db", "db@ral/1")
        assert cam.role_of("db-0") == ("db", "db@cam")
        assert ral.role_of("iam-7c6d5-abcde") == ("iam", "iam@ral")
        assert cam.role_of("cache-sentinel-0") == ("sentinel", "cache-sentinel@cam")
        assert cam.role_of("gateway-6b9f-xyz12") == ("gateway", "gateway@cam")
        assert ral.role_of("coredns-6b9f-xyz12") is None
        assert ral.node_of("r-worker") == "ral/1"
        assert ral.node_of("c-control-plane") is None
        assert ral.services["iam"] == "iam@ral"

    def test_a_file_that_is_not_there_is_an_error(self, tmp_path: Path) -> None:
        """With its name."""
        with pytest.raises(LabError, match=r"watch\.json"):
            watch.read_plan(tmp_path)

    def test_an_api_server_that_never_answered_is_told(self, tmp_path: Path) -> None:
        """Nothing listens at the address: unreachable, and no thread ends by it."""
        config = tmp_path / "config.yaml"
        config.write_text(
            "apiVersion: v1\nkind: Config\ncurrent-context: c\n"
            "clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}]\n"
            "contexts: [{name: c, context: {cluster: c, user: u}}]\nusers: [{name: u, user: {}}]\n"
        )
        book = watch.Book(tmp_path / "events.jsonl")
        place = watch.Place("ral", str(config), (), {}, {})
        witness = watch.Witness(place, book.write, logs=False)
        witness.start()
        import time

        deadline = time.monotonic() + 10
        while not read_events(tmp_path) and time.monotonic() < deadline:
            time.sleep(0.05)
        witness.stop()
        assert [(one.component, one.kind) for one in read_events(tmp_path)] == [
            ("api@ral", "api.unreachable")
        ]
