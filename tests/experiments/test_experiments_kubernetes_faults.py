"""Faults of Kubernetes clusters in an experiment's file: reading, checking, contradicting."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from experiments import kubernetes_faults as kf
from experiments.activity import FAULT_ACTIONS, HealAllAction, WaitAction, fault_of, read_action
from experiments.faults import Fault
from experiments.loader import check, from_document
from experiments.model import Experiment
from experiments.names import node_parts, overlap
from experiments.timeline import compile_timeline
from topologies.document import parse
from topologies.errors import InputError
from topologies.loader import load as load_topology

TARGET = {"target": "iam@ral"}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "pod_delete": {**TARGET, "grace": "0s"},
    "container_kill": TARGET,
    "scale_to_zero": TARGET,
    "rolling_restart": TARGET,
    "node_cordon": {"node": "ral/0"},
    "node_drain": {"node": "ral/0", "grace": "2s"},
    "node_stop": {"node": "ral/0"},
    "node_pause": {"node": "ral/0"},
    "kubelet_stop": {"node": "ral/0"},
    "cluster_stop": {"site": "ral"},
    "api_server_down": {"site": "ral"},
    "gateway_kill": {"site": "ral"},
    "network_isolation": TARGET,
    "coredns_down": {"site": "ral"},
}


def experiment(*actions: tuple[str, dict[str, Any]], topology: str = "iris-3site-galera") -> Experiment:
    """An experiment of 100 s with these actions."""
    method = [
        {
            "type": "action",
            "name": f"{index} {func}",
            "provider": {
                "type": "python",
                "module": "chaos.toolkit.actions",
                "func": func,
                "arguments": arguments,
            },
        }
        for index, (func, arguments) in enumerate(actions)
    ]
    control = {"name": "faultline", "provider": {"type": "python", "module": "chaos.toolkit.control"}}
    workload = {"duration": "100s", "warmup": "10s"}
    data = {
        "title": "t",
        "description": "d",
        "controls": [control],
        "method": method,
        "extensions": [{"name": "faultline", "topology": topology, "workload": workload}],
    }
    return from_document(parse(json.dumps(data, indent=1), "here.yaml"))


def test_every_kubernetes_fault_has_an_action_and_back() -> None:
    """The arguments above name all faults of the module, each under its own name with underscores."""
    known = {model.model_fields["fault"].default for model in kf.AnyKubernetesFault.__args__}
    assert {name.replace("_", "-") for name in ARGUMENTS} == known
    assert set(ARGUMENTS) | {"kill", "pause", "partition", "degrade"} == set(FAULT_ACTIONS)


@pytest.mark.parametrize("func", ARGUMENTS)
def test_an_action_becomes_a_fault_that_survives_json(func: str) -> None:
    """Fault -> JSON -> Fault gives the same fault: undo logs and run records carry it so."""
    action = read_action(func, {**ARGUMENTS[func], "at": "3s"})
    assert not isinstance(action, WaitAction | HealAllAction)
    fault = fault_of(action)
    assert fault.fault == func.replace("_", "-")
    adapter: TypeAdapter[Any] = TypeAdapter(Fault)
    assert adapter.validate_json(adapter.dump_json(fault)) == fault


@pytest.mark.parametrize("func", ARGUMENTS)
def test_every_action_can_be_called_by_chaos_toolkit(func: str) -> None:
    """Loading lets Chaos Toolkit check the function and its signature; the timeline has the fault."""
    (scheduled,) = compile_timeline(experiment((func, {**ARGUMENTS[func], "at": "20s", "duration": "5s"})))
    assert (scheduled.fault.fault, scheduled.at, scheduled.duration) == (func.replace("_", "-"), 20.0, 5.0)
    assert isinstance(scheduled.fault, kf.KubernetesFault)
    assert scheduled.fault.cluster == "ral"


@pytest.mark.parametrize(
    ("func", "arguments", "message"),
    [
        ("node_stop", {"node": "ral/1"}, "ral has only ral/0"),
        ("node_stop", {"node": "rul/0"}, "unknown site 'rul'"),
        ("node_drain", {"node": "ral"}, "node"),
        ("cluster_stop", {"site": "rul"}, "unknown site 'rul'"),
        ("pod_delete", {"target": "iaam@ral"}, "there is no service 'iaam'"),
        ("pod_delete", {"target": "iam@ral/7"}, "has no number 7"),
        ("scale_to_zero", {"target": "iam@ral/0"}, "target"),
        ("pod_delete", {"target": "iam@ral", "grace": 3}, "grace"),
        ("container_kill", {"target": "iam@ral", "signal": "TERM"}, "no argument 'signal'"),
    ],
)
def test_what_is_not_there_is_named_with_its_line(func: str, arguments: dict[str, Any], message: str) -> None:
    """Unknown nodes, sites, services and arguments are errors with file and line."""
    with pytest.raises(InputError) as caught:
        check(experiment((func, arguments)), load_topology("iris-3site-galera", size="lab"))
    assert message in str(caught.value)
    assert str(caught.value).startswith("here.yaml:")


@pytest.mark.parametrize(
    ("first", "second", "held"),
    [
        (("scale_to_zero", TARGET), ("pod_delete", TARGET), "iam@ral"),
        (("kill", {"target": "iam@ral/0"}), ("scale_to_zero", TARGET), "iam@ral/0"),
        (("node_cordon", {"node": "ral/0"}), ("node_drain", {"node": "ral/0"}), "ral/0"),
        (("node_pause", {"node": "ral/1"}), ("node_stop", {"node": "ral/1"}), "ral/1"),
        (("cluster_stop", {"site": "ral"}), ("node_stop", {"node": "ral/1"}), "the cluster of ral"),
        (("node_stop", {"node": "ral/1"}), ("cluster_stop", {"site": "ral"}), "the cluster of ral"),
        (("api_server_down", {"site": "ral"}), ("pod_delete", TARGET), "the API server of ral"),
        (("node_pause", {"node": "ral/0"}), ("gateway_kill", {"site": "ral"}), "the API server of ral"),
        (("scale_to_zero", TARGET), ("api_server_down", {"site": "ral"}), "the API server of ral"),
        (("coredns_down", {"site": "ral"}), ("coredns_down", {"site": "ral"}), "the same thing at ral"),
    ],
)
def test_faults_that_hold_the_same_contradict_each_other(
    first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]], held: str
) -> None:
    """What one holds (or takes the API server for) the other cannot have at the same time."""
    starts = ({"at": "20s", "duration": "20s"}, {"at": "30s", "duration": "20s"})
    with pytest.raises(InputError, match=held):
        experiment((first[0], first[1] | starts[0]), (second[0], second[1] | starts[1]))
    later = {"at": "40s", "duration": "20s"}
    experiment((first[0], first[1] | starts[0]), (second[0], second[1] | later))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("pod_delete", TARGET), ("pod_delete", TARGET)),
        (("pod_delete", TARGET), ("api_server_down", {"site": "ral"})),
        (("api_server_down", {"site": "cam"}), ("pod_delete", TARGET)),
        (("node_pause", {"node": "ral/1"}), ("pod_delete", TARGET)),
        (("node_stop", {"node": "ral/1"}), ("node_stop", {"node": "ral/2"})),
    ],
)
def test_faults_that_leave_each_other_alone_may_overlap(
    first: tuple[str, dict[str, Any]], second: tuple[str, dict[str, Any]]
) -> None:
    """A fault that is over at once holds nothing; different nodes and sites do not meet."""
    experiment((first[0], first[1] | {"at": "20s"}), (second[0], second[1] | {"at": "30s"}))


@given(site=st.from_regex(r"\A[a-z][a-z0-9-]{0,14}\Z"), index=st.integers(0, 63))
def test_a_node_is_named_by_site_and_number(site: str, index: int) -> None:
    """The parts of a node's name are what it was made of."""
    assert node_parts(f"{site}/{index}") == (site, index)


@given(st.lists(st.sampled_from(["a@x", "a@x/0", "a@x/1", "a@y", "b@x/0"]), min_size=2, max_size=2))
def test_overlap_is_symmetric_and_holds_for_itself(pair: list[str]) -> None:
    """Whether two targets share a component does not depend on their order."""
    a, b = pair
    assert overlap(a, b) == overlap(b, a)
    assert overlap(a, a)
