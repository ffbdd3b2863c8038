"""A method becomes faults over time, as Chaos Toolkit would carry it out."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.faults import Degrade, Kill, Partition, Pause, ScheduledFault
from experiments.loader import from_document
from experiments.model import Experiment
from experiments.timeline import compile_timeline, windows
from topologies.document import parse
from topologies.errors import InputError


def act(func: str, pauses: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    """An action of ours."""
    provider = {"type": "python", "module": "chaos.toolkit.actions", "func": func, "arguments": arguments}
    activity = {"type": "action", "name": func, "provider": provider}
    return activity if pauses is None else {**activity, "pauses": pauses}


def experiment(*method: dict[str, Any], **more: Any) -> Experiment:
    """An experiment of 100 s with 10 s of warm-up."""
    data = {
        "title": "t",
        "description": "d",
        "controls": [
            {"name": "faultline", "provider": {"type": "python", "module": "chaos.toolkit.control"}}
        ],
        "method": list(method),
        "extensions": [
            {
                "name": "faultline",
                "topology": "iris-3site-galera",
                "workload": {"duration": "100s", "warmup": "10s"},
            }
        ],
        **more,
    }
    return from_document(parse(json.dumps(data, indent=1), "here.yaml"))


def times(*method: dict[str, Any], **more: Any) -> list[tuple[str, float, float | None]]:
    """The compiled faults as (kind, at, duration)."""
    return [(f.fault.fault, f.at, f.duration) for f in compile_timeline(experiment(*method, **more))]


CUT: dict[str, Any] = {"isolate": ["edi"]}
NOTHING = {"type": "process", "path": "true"}


class TestClock:
    """What moves the time at which a step happens."""

    def test_the_method_begins_after_the_warm_up(self) -> None:
        """An action without `at` is carried out as soon as the warm-up is over."""
        assert times(act("partition", **CUT)) == [("partition", 10.0, None)]

    def test_at_is_a_moment_and_duration_a_length(self) -> None:
        """Both come as quantities."""
        assert times(act("partition", at="0.5min", duration="2000ms", **CUT)) == [("partition", 30.0, 2.0)]

    def test_pauses_move_the_clock_before_and_after(self) -> None:
        """A pause before delays its own action; a pause after delays the next."""
        steps = (
            act("kill", {"before": 5, "after": 7}, target="db@edi", duration="1s"),
            act("pause", target="db@ral"),
        )
        assert times(*steps) == [("kill", 15.0, 1.0), ("pause", 22.0, None)]

    def test_a_fault_does_not_hold_up_the_method(self) -> None:
        """The next step comes at once, while the fault lasts."""
        steps = (act("kill", target="db@edi", duration="30s"), act("kill", target="db@ral"))
        assert [at for _, at, _ in times(*steps)] == [10.0, 10.0]

    def test_wait_moves_to_a_moment_and_never_back(self) -> None:
        """Waiting for what has passed takes no time."""
        steps = (act("wait", until="40s"), act("wait", until="20s"), act("kill", target="db@edi"))
        assert times(*steps) == [("kill", 40.0, None)]

    def test_heal_all_ends_what_is_in_force(self) -> None:
        """Faults that ended before keep their length."""
        steps = (
            act("kill", target="db@edi", duration="5s"),
            act("partition", **CUT),
            act("pause", target="iam@ral", duration="60s"),
            act("wait", until="40s"),
            act("heal_all"),
        )
        assert times(*steps) == [("kill", 10.0, 5.0), ("partition", 10.0, 30.0), ("pause", 10.0, 30.0)]

    def test_probes_and_ignored_actions_take_no_time_but_their_pauses_do(self) -> None:
        """What the simulation knows nothing of only passes time where it says so."""
        steps = (
            {"type": "action", "name": "note", "provider": NOTHING, "pauses": {"after": 3},
             "x-faultline": {"predict": "ignore"}},
            {"type": "probe", "name": "look", "provider": NOTHING, "pauses": {"before": 2}},
            act("kill", target="db@edi"),
        )  # fmt: skip
        assert times(*steps) == [("kill", 15.0, None)]

    def test_a_background_activity_holds_nothing_up(self) -> None:
        """Its pauses pass beside the method."""
        beside = {
            "type": "probe",
            "name": "look",
            "provider": NOTHING,
            "pauses": {"after": 30},
            "background": True,
        }
        assert times(beside, act("kill", target="db@edi")) == [("kill", 10.0, None)]

    def test_references_are_followed(self) -> None:
        """A `ref` in the method is the activity of that name."""
        steady = {
            "title": "s",
            "probes": [{"type": "probe", "name": "look", "provider": NOTHING, "tolerance": 0}],
        }
        found = times({"ref": "look"}, act("kill", target="db@edi"), **{"steady-state-hypothesis": steady})
        assert found == [("kill", 10.0, None)]

    def test_configuration_is_filled_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Values and environment variables of the configuration stand for `${name}`."""
        monkeypatch.setenv("FL_TEST_LENGTH", "4s")
        configuration = {"start": "20s", "length": {"type": "env", "key": "FL_TEST_LENGTH"}, "rest": 2}
        step = act("kill", {"before": "${rest}"}, target="db@edi", at="${start}", duration="${length}")
        assert times(step, configuration=configuration) == [("kill", 20.0, 4.0)]

    @given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=8))
    def test_pauses_add_up(self, pauses: list[tuple[int, int]]) -> None:
        """The n-th step comes after all pauses before it, its own included."""
        steps = [
            act("kill", {"before": a, "after": b}, target=f"db@edi/{i}") for i, (a, b) in enumerate(pauses)
        ]
        expected = [10.0 + sum(map(sum, pauses[:i])) + pauses[i][0] for i in range(len(pauses))]
        assert [at for _, at, _ in times(*steps)] == expected


class TestFaults:
    """What is injected."""

    def test_every_fault_arrives_with_its_fields(self) -> None:
        """The compiled fault is the one that was written, without its times."""
        found = compile_timeline(
            experiment(
                act("kill", target="db@edi", signal="TERM", at="20s"),
                act("pause", target="iam@ral/0", at="21s"),
                act("partition", grudge={"ral": ["cam"]}, path="all", at="22s"),
                act("degrade", between=["ral", "edi"], rtt="200ms", loss="1%", at="23s"),
            )
        )
        assert [fault.fault for fault in found] == [
            Kill(target="db@edi", signal="TERM"),
            Pause(target="iam@ral/0"),
            Partition(grudge={"ral": ["cam"]}, path="all"),
            Degrade(between=("ral", "edi"), rtt=0.2, loss=0.01),
        ]

    def test_windows_are_cut_off_at_the_end_of_the_load(self) -> None:
        """An open fault lasts to the end, and so does one that is longer than the load."""
        kill = Kill(target="db@edi")
        timeline = [
            ScheduledFault(name="a", fault=kill, at=10, duration=5),
            ScheduledFault(name="b", fault=kill, at=20),
            ScheduledFault(name="c", fault=kill, at=30, duration=500),
        ]
        assert windows(timeline, 100.0) == ((10, 15), (20, 100), (30, 100))


class TestRefusals:
    """What cannot be predicted is an error with its place."""

    @pytest.mark.parametrize(
        ("steps", "why"),
        [
            ([act("partition", at="5s", **CUT)], "within the warm-up"),
            ([act("partition", at="100s", **CUT)], "the load is over at 100s"),
            ([act("partition", {"before": 95}, **CUT)], "the load is over at 100s"),
            ([act("wait", until="50s"), act("partition", at="40s", **CUT)], "end only at 50s"),
            ([act("partition", {"before": -1}, **CUT)], "zero or more seconds"),
            ([act("partition", {"before": "soon"}, **CUT)], "a number of seconds"),
            ([{**act("partition", **CUT), "background": True}], "cannot run in the background"),
            ([{**act("partition", **CUT), "x-faultline": {"predict": "ignore"}}], "cannot be ignored"),
            ([{"type": "action", "name": "x", "provider": NOTHING}], "predict: ignore"),
            ([{"ref": "nobody"}], "no activity is named 'nobody'"),
            ([act("kill", target="db@edi"), act("pause", target="db@edi/0")], "still holds db@edi"),
            ([act("partition", **CUT), act("partition", at="20s", **CUT)], "still holds edi"),
            (
                [
                    act("degrade", between=["ral", "edi"], rtt="1s"),
                    act("degrade", between=["edi", "ral"], loss="1%"),
                ],
                "still holds ral-edi",
            ),
        ],
    )
    def test_with_line_and_reason(self, steps: list[dict[str, Any]], why: str) -> None:
        """The message has file and line and says what is wrong."""
        with pytest.raises(InputError, match=why) as caught:
            experiment(*steps)
        assert caught.value.file == "here.yaml" and (caught.value.line or 0) > 1

    def test_faults_one_after_the_other_do_not_contradict(self) -> None:
        """One may begin at the moment the other ends, and different targets never collide."""
        steps = (
            act("kill", target="db@edi", duration="5s"),
            act("kill", target="db@ral", duration="50s"),
            act("kill", target="db@edi", at="15s", duration="5s"),
        )
        assert len(times(*steps)) == 3
