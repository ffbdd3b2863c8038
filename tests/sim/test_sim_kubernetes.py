"""The deployment on Kubernetes: who ends, replaces and finds whom, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from experiments.faults import Fault, Kill, Pause, ScheduledFault
from experiments.kubernetes_faults import (
    ApiServerDown,
    ClusterStop,
    ContainerKill,
    CorednsDown,
    GatewayKill,
    KubeletStop,
    NetworkIsolation,
    NodeDrain,
    NodePause,
    NodeStop,
    PodDelete,
    RollingRestart,
    ScaleToZero,
)
from experiments.metrics import reduce
from experiments.observation import Observation
from experiments.workload import ProbeStream, Workload
from sim.calibration import Calibration, Estimate
from sim.engine.reference import Simulation
from sim.predict import Scenario, predict
from sim.program import Program, compile_program
from sim.protocols.kubernetes_nodes import not_ready_bounds
from topologies.loader import load
from topologies.model import Topology

AT = 12.0
TWO_NODES = ("sites.ral.nodes=2",)


def lab(*overrides: str, name: str = "iris-2site-galera") -> Topology:
    """A library topology in lab size."""
    return load(name, size="lab", overrides=overrides)


def quiet(duration: float = 50.0) -> Workload:
    """One user and slow probes: what matters here is what the clusters do."""
    probes = [ProbeStream(flow="health", rate=5.0, timeout=2.0)]
    return Workload(users=1, think=2.0, warmup=2.0, duration=duration, probes=probes)


def run(
    *faults: Fault | tuple[float, Fault, float | None],
    topology: Topology | None = None,
    duration: float = 50.0,
    seed: int = 1,
    at: float = AT,
    length: float | None = 20.0,
) -> tuple[Simulation, Observation]:
    """Run to the end with faults in force from ``at`` for ``length`` seconds."""
    timeline = [
        ScheduledFault(name=f"f{number}", fault=found[1], at=found[0], duration=found[2])
        if isinstance(found, tuple)
        else ScheduledFault(name=f"f{number}", fault=found, at=at, duration=length)
        for number, found in enumerate(faults)
    ]
    program = compile_program(topology or lab(), quiet(duration), timeline, platform="kubernetes")
    simulation = Simulation.of(program, seed)
    simulation.run_until(duration)
    return simulation, simulation.observation()


def times(observation: Observation, kind: str, component: str = "") -> list[float]:
    """When events of a kind happened, counted from the fault's begin."""
    return [
        event.at - AT
        for event in observation.events
        if event.kind == kind and event.at >= AT and component in ("", event.component)
    ]


def failures(observation: Observation, site: str | None = None) -> Sequence[float]:
    """Starts of failed probes, counted from the fault's begin."""
    probes = observation.requests[observation.requests["source"] == "probe"]
    failed = probes[probes["outcome"] != "ok"]
    if site is not None:
        failed = failed[failed["site"] == site]
    return [float(start) - AT for start in failed["start"]]


# -- the program -----------------------------------------------------------------------------


def test_program_without_platform_is_untouched() -> None:
    """Compiling without a platform adds nothing to the program: its text and hash stay as they were."""
    program = compile_program(lab(), quiet())
    assert program.platform is None
    assert '"platform"' not in program.to_json()
    assert not any(name.startswith("pod_") for name in program.costs)


def test_every_pod_has_a_cpu_of_its_own() -> None:
    """One station per pod with its limit as quota and the kubelet's period; it reads back the same."""
    program = compile_program(lab(), quiet(), platform="kubernetes")
    stations = [component.cpu for component in program.components]
    assert stations == list(range(len(program.components)))
    quota = dict(zip([c.name for c in program.components], program.arrays["cpu_quota"], strict=True))
    assert quota["iam@ral"] == quota["db@cam"] == 0.5
    assert quota["frontend@ral"] == 0.2
    assert set(program.arrays["cpu_period"]) == {0.1}
    assert Program.from_json(program.to_json()).hash == program.hash
    assert program.hash != compile_program(lab(), quiet()).hash


def test_pods_are_spread_over_nodes() -> None:
    """Two replicas of a service keep apart, and workers are filled before the busy control plane."""
    topology = lab(*TWO_NODES, "services.iam.replicas.ral=2")
    program = compile_program(topology, quiet(), platform="kubernetes")
    assert program.platform is not None
    nodes = {c.name: pod["node"] for c, pod in zip(program.components, program.platform["pods"], strict=True)}
    assert {nodes["iam@ral/0"], nodes["iam@ral/1"]} == {0, 1}
    assert nodes["db@ral"] == 1
    assert nodes["db@cam"] == 0


def test_nothing_happens_by_itself() -> None:
    """Without a fault no pod is touched, no probe fails, and nobody becomes ill."""
    simulation, observation = run(duration=40.0)
    assert observation.events == ()
    assert not failures(observation)
    assert set(simulation.status().values()) == {"up"}
    assert observation.extra["platform"] == "kubernetes"


# -- pods ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(5))
def test_deleted_pod_is_replaced_as_fast_as_seen(seed: int) -> None:
    """A small Deployment pod is ready again about as fast as on kind 0.30, where it took 1.4 to 2.6 s."""
    _, observation = run(PodDelete(target="frontend@ral"), seed=seed, length=None, duration=20.0)
    [ready] = times(observation, "pod.ready", "frontend@ral")
    assert 0.7 <= ready <= 2.9


def test_most_requests_outlive_a_gap_without_endpoints() -> None:
    """While a Service has no endpoint few connections are refused, and the rest get through later.

    As in a run on kind 0.30 (pod-kill, 20 users): 0.3 % of the probes failed in a gap of 4 s, six within
    the first moments; the others waited for a retransmission of their SYN, 1 to 4 s long.
    """
    busy = Workload(
        users=4, think=2.0, warmup=2.0, duration=40.0, probes=[ProbeStream(flow="health", rate=20.0)]
    )
    fault = ScheduledFault(name="f", fault=PodDelete(target="iam@ral", grace=0.0), at=AT, duration=20.0)
    program = compile_program(lab(), busy, [fault], platform="kubernetes")
    simulation = Simulation.of(program, 3)
    simulation.run_until(40.0)
    probes = simulation.observation().requests
    probes = probes[(probes["source"] == "probe") & (probes["front_end"] == "ral")]
    gap = probes[(probes["start"] > AT) & (probes["start"] < AT + 4.0)]
    failed = gap[gap["outcome"] != "ok"]
    assert 5 <= len(failed) <= 20
    waited = gap[(gap["outcome"] == "ok") & (gap["latency"] > 0.9)]
    assert len(waited) > 2 * len(failed)
    assert waited["latency"].max() < 6.0


def test_deployment_replaces_at_once_and_a_stateful_set_waits() -> None:
    """The successor of a Deployment's pod is made when the deletion begins, a member's when it is gone."""
    _, observation = run(PodDelete(target="iam@ral"), PodDelete(target="db@ral"), duration=40.0)
    [iam] = times(observation, "pod.created", "iam@ral")
    [db] = times(observation, "pod.created", "db@ral")
    [left] = times(observation, "process.stop", "db@ral")
    assert iam < 0.2
    assert left < 0.3  # told to end, it leaves its group at once
    assert db > left + 0.15  # and ends a while later


def test_container_is_restarted_in_its_pod() -> None:
    """A killed container is back without a new pod, first at once and then with back-off."""
    kills: list[Any] = [
        (AT, ContainerKill(target="frontend@ral"), None),
        (AT + 6, ContainerKill(target="frontend@ral"), None),
    ]
    _, observation = run(*kills, duration=40.0)
    assert not times(observation, "pod.created")
    first, second = times(observation, "process.start", "frontend@ral")
    assert first < 2.5
    assert 16.0 <= second <= 18.5


def test_killed_component_stays_down_until_the_undo() -> None:
    """The general fault keeps its meaning: nothing replaces the pod while it is in force."""
    simulation, observation = run(Kill(target="iam@ral"), duration=60.0)
    assert not [at for at in times(observation, "process.start", "iam@ral") if at < 20.0]
    assert times(observation, "pod.ready", "iam@ral")[0] > 20.0
    assert simulation.status()["iam@ral"] == "up"


def test_hung_service_leaves_its_endpoints() -> None:
    """A paused identity service fails its readiness probe, and comes back when it runs again."""
    _, observation = run(Pause(target="iam@ral"), duration=50.0)
    [ill] = times(observation, "pod.not-ready", "iam@ral")
    # threshold 3, period 2 s, timeout 2 s
    assert 6.0 <= ill <= 8.3
    [well] = times(observation, "pod.ready", "iam@ral")
    assert 20.0 <= well <= 22.5


def test_scaled_to_zero_and_back() -> None:
    """All pods go gracefully, none comes before the undo."""
    _, observation = run(ScaleToZero(target="iam@ral"), duration=50.0)
    assert times(observation, "pod.deleted", "iam@ral")[0] < 0.5
    assert min(times(observation, "pod.created", "iam@ral")) >= 20.0


def test_rolling_restart_with_surge_is_not_noticed() -> None:
    """The new pod is ready before the old one goes, so that no request fails."""
    _, observation = run(RollingRestart(target="iam@ral"), duration=40.0)
    [created] = times(observation, "pod.created", "iam@ral")
    [deleted] = times(observation, "pod.deleted", "iam@ral")
    assert deleted > created + 2.0
    assert not failures(observation)


def test_isolated_member_is_silent_but_not_restarted() -> None:
    """Its node still reaches an isolated pod: its probes succeed while its peers expel it."""
    topology = lab(name="iris-3site-galera")
    _, observation = run(NetworkIsolation(target="db@edi"), topology=topology, duration=50.0)
    assert times(observation, "galera.view", "db@ral")
    assert not [at for at in times(observation, "pod.not-ready", "db@edi") if at < 20.0]


def test_killed_member_comes_back_under_its_name_only_when_it_is_forgotten() -> None:
    """Its container is restarted at once, but it joins after the others have suspected its old self."""
    topology = lab(name="iris-3site-galera")
    _, observation = run(ContainerKill(target="db@edi"), topology=topology, duration=50.0, seed=2)
    noticed = min(times(observation, "galera.view", "db@ral"))
    assert noticed > 5.0  # suspect_timeout
    assert min(times(observation, "process.start", "db@edi")) > noticed
    assert max(times(observation, "galera.view", "db@edi")) < 30.0


# -- nodes -----------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(4))
def test_lost_node_is_noticed_in_time(seed: int) -> None:
    """NotReady within the arithmetic of lease and monitor; eviction a toleration later."""
    topology = lab(*TWO_NODES)
    at = AT + 0.7 * seed
    _, observation = run(
        NodeStop(node="ral/1"), topology=topology, duration=45.0, at=at, length=None, seed=seed
    )
    settings = topology.kubernetes
    least, most = not_ready_bounds(12.0, settings.lease_renewal, settings.node_monitor_period)
    [lost] = [event.at - at for event in observation.events if event.kind == "node.not-ready"]
    assert least <= lost <= most + 0.1
    deleted = min(event.at - at for event in observation.events if event.kind == "pod.deleted")
    assert lost + 10.0 <= deleted <= lost + 10.3


@pytest.mark.parametrize(("version", "least", "most"), [("1.31", 30.0, 45.0), ("1.34", 40.0, 55.0)])
def test_grace_depends_on_the_release(version: str, least: float, most: float) -> None:
    """With upstream's own timers a lost node is noticed after 30-45 s up to 1.31, 40-55 s since."""
    plain = [
        "node_status_update_frequency=10s", "node_lease_duration=40s", "node_monitor_period=5s",
        "node_monitor_grace_period=null", f'version="{version}"',
    ]  # fmt: skip
    topology = lab(*TWO_NODES, *(f"kubernetes.{text}" for text in plain))
    _, observation = run(NodeStop(node="ral/1"), topology=topology, duration=70.0, length=None)
    [lost] = times(observation, "node.not-ready")
    assert least <= lost <= most


def test_only_deployments_leave_a_lost_node() -> None:
    """A member on a lost node is not replaced until the node is back; a Deployment's pod is."""
    _, observation = run(NodeStop(node="ral/1"), topology=lab(*TWO_NODES), duration=80.0, length=40.0)
    moved = times(observation, "pod.created")
    assert min(times(observation, "pod.created", "iam@ral")) < 40.0
    assert min(times(observation, "pod.created", "db@ral")) > 40.0
    assert moved
    assert times(observation, "node.ready", "ral/1")
    assert times(observation, "pod.ready", "db@ral")


def test_pods_of_a_stopped_kubelet_still_answer() -> None:
    """Without its kubelet a node counts as lost; its pods leave the Services though they run."""
    topology = lab(*TWO_NODES)
    _, observation = run(KubeletStop(node="ral/1"), topology=topology, duration=45.0, length=20.0)
    [lost] = times(observation, "node.not-ready")
    assert not [at for at in times(observation, "process.stop") if at < 20.0]
    early = [at for at in failures(observation) if at < lost]
    assert not early
    assert [at for at in failures(observation) if lost < at < lost + 5]


def test_frozen_node_is_replaced_where_it_can_be() -> None:
    """A Deployment's pod starts elsewhere while its node stands still, and serves before the node is back."""
    topology = lab(*TWO_NODES)
    _, observation = run(NodePause(node="ral/1"), topology=topology, duration=60.0, length=35.0)
    [ready] = times(observation, "node.ready", "ral/1")
    assert 35.0 <= ready <= 35.0 + topology.kubernetes.node_status_update_frequency
    started = [at for at in times(observation, "process.start", "web@ral") if at < 35.0]
    assert started
    assert not [at for at in times(observation, "process.start", "db@ral") if at < 35.0]


def test_drain_respects_budgets() -> None:
    """With a budget of one the second replica is evicted only when the first has a ready successor."""
    topology = lab("sites.ral.nodes=1", "services.iam.replicas.ral=2")
    _, observation = run(NodeDrain(node="ral/0"), topology=topology, duration=60.0, length=30.0)
    gone = [at for k in (0, 1) for at in times(observation, "pod.deleted", f"iam@ral/{k}")]
    assert len([at for at in gone if at < 30.0]) == 1  # its successor has no node to go to
    moving = lab(*TWO_NODES, "services.iam.replicas.ral=2")
    _, observation = run(NodeDrain(node="ral/1"), topology=moving, duration=60.0, length=30.0)
    moved = [k for k in (0, 1) if times(observation, "pod.created", f"iam@ral/{k}")]
    assert len(moved) == 1  # the other one was on the other node
    assert times(observation, "process.start", f"iam@ral/{moved[0]}")[0] < 10.0


def test_drained_member_waits_for_its_volume() -> None:
    """A member's volume is on its node: evicted, it comes back when the node takes pods again."""
    _, observation = run(NodeDrain(node="ral/1"), topology=lab(*TWO_NODES), duration=60.0, length=20.0)
    assert min(times(observation, "process.stop", "db@ral")) < 1.0
    assert min(times(observation, "process.start", "db@ral")) > 20.0
    assert min(times(observation, "process.start", "web@ral")) < 3.0


# -- clusters --------------------------------------------------------------------------------


def test_data_plane_outlives_the_api_server() -> None:
    """Nothing is noticed while the API server is away, though a container dies meanwhile and is restarted."""
    simulation, observation = run(
        (AT, ApiServerDown(site="ral"), 25.0),
        (AT + 5, ContainerKill(target="cache@ral"), None),
        duration=34.0,
    )
    assert not failures(observation)
    assert times(observation, "process.start", "cache@ral")[0] < 8.0
    assert not times(observation, "pod.not-ready", "cache@ral")
    assert times(observation, "api.unreachable", "api@ral") == [0.0]
    states = simulation.status()
    assert states["iam@ral"] == "unknown"
    assert states["iam@cam"] == "up"


def test_gateway_kill_cuts_the_links_until_the_pod_is_back() -> None:
    """Nothing passes between the sites until a new gateway has shaken hands."""
    program = compile_program(lab(), quiet(), platform="kubernetes")
    simulation = Simulation.of(program, 1)
    simulation.run_until(AT)
    simulation.inject(GatewayKill(site="ral"))
    blocked = simulation._running.world.network.blocked[0]
    simulation.run_until(AT + 0.01)
    assert blocked[0][1]
    assert blocked[1][0]
    simulation.run_until(AT + 0.5)
    assert blocked[0][1]
    simulation.run_until(AT + 6.0)
    assert not blocked[0][1]
    assert not blocked[1][0]


def test_stopped_cluster_comes_back_as_a_whole() -> None:
    """All pods of a site go and return with their nodes; the API is unknown meanwhile, not down."""
    topology = lab(name="iris-3site-galera")
    simulation, observation = run(ClusterStop(site="edi"), topology=topology, duration=90.0, length=20.0)
    assert times(observation, "api.unreachable", "api@edi") == [0.0]
    assert min(times(observation, "process.start", "db@edi")) > 20.0
    assert set(simulation.status().values()) == {"up"}
    recovered = reduce(observation, topology, quiet(90.0))["recovery_time{site=ral,flow=health}@whole"]
    assert recovered.value < 15.0  # the others serve on


def test_proxies_do_not_start_without_names() -> None:
    """Running proxies need no names, but one that starts while CoreDNS is away exits and backs off."""
    _, observation = run(
        (AT, CorednsDown(site="ral"), 15.0), (AT + 3, ContainerKill(target="web@ral"), None), duration=60.0
    )
    assert not [at for at in failures(observation) if at < 2.9]
    restarts = times(observation, "container.restart", "web@ral")
    assert len(restarts) >= 2
    assert times(observation, "pod.ready", "web@ral")[0] > 12.0


# -- predictions -----------------------------------------------------------------------------


def test_prediction_on_kubernetes_is_reproducible() -> None:
    """The same question has the same bytes, which name the platform; slower pods move the recovery."""
    fault = ScheduledFault(name="f", fault=PodDelete(target="iam@ral"), at=AT, duration=10.0)
    scenario = Scenario(lab(), quiet(30.0), (fault,), platform="kubernetes")
    one = predict(scenario, replications=4, workers=1)
    assert predict(scenario, replications=4, workers=1).to_json() == one.to_json()
    assert one.data()["platform"] == "kubernetes"
    slow = Calibration.default().with_pods()
    assert slow.pods is not None
    slow = slow.model_copy(update={"pods": slow.pods.model_copy(update={"sandbox": Estimate(mean=6.0)})})
    key = "time_to{event=pod.ready}@whole"
    other = predict(scenario, slow, replications=4, workers=1)
    assert other.metrics[key].median > one.metrics[key].median + 4.0


def test_calibration_without_pods_keeps_its_hash_and_draws() -> None:
    """Times of a cluster come last in everything: files and predictions without them do not change."""
    plain = Calibration.default()
    assert '"pods"' not in plain.canonical()
    from sim.random import Stream

    mine = plain.resample(Stream(3, "calibration", "1"))
    with_pods = plain.with_pods().resample(Stream(3, "calibration", "1"))
    assert with_pods.pods is not None
    assert with_pods.model_copy(update={"pods": None}) == mine
