"""Chaos Toolkit runs our experiments on a lab, breaks what it was told, and always puts it back."""

from __future__ import annotations

import json
import os
import signal
import textwrap
from pathlib import Path
from typing import Any

import pytest
from fake_simulator import FakeSimulator

from chaos.errors import InjectionError, LabError, SteadyStateError
from chaos.lab.simulated import SimulatedLab
from chaos.toolkit import actions, probes
from chaos.toolkit.session import Session, current, current_or_none, run_experiment
from experiments.loader import load
from experiments.model import Experiment
from topologies.loader import load as load_topology
from topologies.model import Topology

HEAD = """
title: t
description: d
controls: [{name: faultline, provider: {type: python, module: chaos.toolkit.control}}]
"""
TAIL = """
extensions:
  - name: faultline
    topology: iris-3site-galera
    workload: {duration: 60s, warmup: 10s, probes: [{flow: health, rate: 4/s}]}
"""


def act(func: str, **arguments: Any) -> dict[str, Any]:
    """An action of ours as JSON."""
    name = f"{func} {' '.join(map(str, arguments.values()))}"
    provider = {"type": "python", "module": "chaos.toolkit.actions", "func": func, "arguments": arguments}
    return {"type": "action", "name": name, "provider": provider}


def experiment_with(tmp_path: Path, method: list[dict[str, Any]], more: str = "") -> Experiment:
    """An experiment of 60 s on three sites with ``method``."""
    file = tmp_path / "experiment.yaml"
    file.write_text(f"{HEAD}method: {json.dumps(method)}\n{textwrap.dedent(more)}{TAIL}")
    return load(file)


@pytest.fixture(scope="module")
def topology() -> Topology:
    """Three sites in lab size."""
    return load_topology("iris-3site-galera", size="lab")


STEADY = """
steady-state-hypothesis:
  title: it answers
  probes:
    - name: all up
      type: probe
      tolerance: true
      provider: {type: python, module: chaos.toolkit.probes, func: all_components_up}
    - name: probes succeed
      type: probe
      tolerance: {type: range, range: [0.95, 1.0]}
      provider: {type: python, module: chaos.toolkit.probes, func: success_ratio, arguments: {window: 5s}}
"""


class TestRun:
    """A whole run on virtual time."""

    def test_faults_come_and_go_at_their_times(self, tmp_path: Path, topology: Topology) -> None:
        """Injection happens at `at`, the undo at `at` + `duration`, and the load runs to its end."""
        fake = FakeSimulator()
        experiment = experiment_with(
            tmp_path, [act("partition", isolate=["edi"], at="20s", duration="15s")], STEADY
        )
        journal, seen = run_experiment(experiment, SimulatedLab(fake), topology, seed=7)
        assert fake.calls == [(0.0, "start"), (20.0, "inject partition"), (35.0, "undo partition")]
        assert (fake.now, fake.seed) == (60.0, 7)
        assert seen.windows == ((20.0, 35.0),)
        assert (journal["status"], journal["deviated"]) == ("completed", False)
        recorded = journal["faultline"]
        assert recorded["faults"][0]["at"] == 20.0 and recorded["faults"][0]["undone"] == 35.0
        # refused for 15 s of 4 probes per second at one site, nowhere else
        assert recorded["metrics"]["unavailability{site=edi,flow=health}@whole"]["value"] == 15.0
        assert recorded["metrics"]["unavailability{site=ral,flow=health}@whole"]["value"] == 0.0
        json.dumps(journal)

    def test_an_undo_comes_before_an_injection_at_the_same_moment(
        self, tmp_path: Path, topology: Topology
    ) -> None:
        """Back-to-back faults on one target do not overlap."""
        fake = FakeSimulator()
        method = [
            act("kill", target="db@edi", at="20s", duration="5s"),
            act("pause", target="db@edi", at="25s"),
        ]
        run_experiment(experiment_with(tmp_path, method), SimulatedLab(fake), topology)
        assert fake.calls[1:] == [
            (20, "inject kill"),
            (25, "undo kill"),
            (25, "inject pause"),
            (60, "undo pause"),
        ]

    def test_overlapping_faults_are_undone_in_order_of_their_ends(
        self, tmp_path: Path, topology: Topology
    ) -> None:
        """The one that ends first is taken back first, whichever came first."""
        fake = FakeSimulator()
        method = [
            act("kill", target="db@edi", at="20s", duration="30s"),
            act("pause", target="iam@ral", at="21s", duration="2s"),
            act("degrade", between=["ral", "cam"], rtt="200ms", at="22s", duration="10s"),
        ]
        run_experiment(experiment_with(tmp_path, method), SimulatedLab(fake), topology)
        assert fake.calls[4:] == [(23, "undo pause"), (32, "undo degrade"), (50, "undo kill")]

    def test_pauses_pass_on_the_labs_clock_and_come_back_into_the_journal(
        self, tmp_path: Path, topology: Topology
    ) -> None:
        """Half a virtual minute of pauses takes no real time and moves the injection."""
        fake = FakeSimulator()
        step = act("kill", target="db@edi", duration="1s") | {"pauses": {"before": 5, "after": 25}}
        journal, _ = run_experiment(
            experiment_with(tmp_path, [step, act("heal_all")]), SimulatedLab(fake), topology
        )
        assert fake.calls[1:] == [(15, "inject kill"), (16, "undo kill")]
        assert journal["run"][0]["activity"]["pauses"] == {"before": 5, "after": 25}
        assert journal["duration"] < 5

    def test_wait_and_heal_all_end_faults_early(self, tmp_path: Path, topology: Topology) -> None:
        """`heal_all` in the method takes back what has no end of its own."""
        fake = FakeSimulator()
        method = [act("kill", target="db@edi", at="20s"), act("wait", until="30s"), act("heal_all")]
        journal, _ = run_experiment(experiment_with(tmp_path, method), SimulatedLab(fake), topology)
        assert fake.calls[1:] == [(20, "inject kill"), (30, "undo kill")]
        assert journal["run"][2]["output"] == ["kill db@edi 20s"]

    def test_a_service_that_is_still_broken_at_the_end_has_deviated(
        self, tmp_path: Path, topology: Topology
    ) -> None:
        """The steady state after the method looks at the last seconds of the load."""
        experiment = experiment_with(tmp_path, [act("partition", isolate=["edi"], at="50s")], STEADY)
        journal, seen = run_experiment(experiment, SimulatedLab(FakeSimulator()), topology)
        assert journal["deviated"]
        assert journal["steady_states"]["after"]["probes"][1]["output"] == pytest.approx(2 / 3)
        assert seen.windows == ((50.0, 60.0),)

    def test_a_metric_can_be_probed_at_the_end_of_the_method(
        self, tmp_path: Path, topology: Topology
    ) -> None:
        """The probe `metric` waits for the end of the load and gives the catalogue's number."""
        provider = {
            "type": "python",
            "module": "chaos.toolkit.probes",
            "func": "metric",
            "arguments": {"name": "unavailability", "flow": "health", "site": "edi"},
        }
        method = [
            act("partition", isolate=["edi"], at="20s", duration="15s"),
            {"type": "probe", "name": "down for", "provider": provider},
        ]
        journal, _ = run_experiment(
            experiment_with(tmp_path, method), SimulatedLab(FakeSimulator()), topology
        )
        assert journal["run"][1]["output"] == 15.0

    @pytest.mark.parametrize(
        "name", ["baseline", "site-cut", "member-kill", "primary-kill", "frontend-hang", "slow-link"]
    )
    def test_every_library_experiment_runs(self, name: str, topology: Topology) -> None:
        """All six run to the end, and what the simulator was told is the compiled timeline."""
        from experiments.timeline import compile_timeline, windows

        experiment = load(name)
        journal, seen = run_experiment(experiment, SimulatedLab(FakeSimulator()), topology)
        assert journal["status"] == "completed"
        assert seen.windows == windows(compile_timeline(experiment), experiment.workload.duration)


class TestFailure:
    """What goes wrong is said, and nothing is left broken."""

    def test_a_refused_injection_stops_the_run(self, tmp_path: Path, topology: Topology) -> None:
        """The activity has failed in the journal, later faults are not tried, the error says which."""
        fake = FakeSimulator(refuses_inject=True)
        method = [act("kill", target="db@edi", at="20s"), act("kill", target="db@cam", at="25s")]
        session = Session(SimulatedLab(fake), topology, experiment_with(tmp_path, method).workload)
        with pytest.raises(
            InjectionError, match=r"'kill db@edi 20s' could not be injected.*the fake refuses"
        ):
            session.run(experiment_with(tmp_path, method))
        assert session.journal is not None
        assert [run["status"] for run in session.journal["run"]] == ["failed"]
        assert "InjectionError" in str(session.journal["run"][0]["exception"])
        assert session.journal["faultline"]["failures"][0]["stage"] == "inject"
        assert fake.calls == [(0.0, "start")]

    def test_a_refused_undo_is_an_injection_error_too(self, tmp_path: Path, topology: Topology) -> None:
        """A fault that stays in force spoils the run, even when everything else went well."""
        experiment = experiment_with(tmp_path, [act("kill", target="db@edi", at="20s", duration="5s")])
        with pytest.raises(InjectionError, match="could not be taken back: the fake cannot undo"):
            run_experiment(experiment, SimulatedLab(FakeSimulator(refuses_undo=True)), topology)

    def test_nothing_is_broken_when_the_steady_state_is_not_met(
        self, tmp_path: Path, topology: Topology
    ) -> None:
        """A service that is sick before the method is not experimented on."""
        fake = FakeSimulator(sick=True)
        experiment = experiment_with(tmp_path, [act("kill", target="db@edi", at="20s")], STEADY)
        with pytest.raises(SteadyStateError, match=r"'probes succeed' gave 0\.0"):
            run_experiment(experiment, SimulatedLab(fake), topology)
        assert fake.calls == [(0.0, "start")]

    def test_a_lab_that_does_not_come_up_is_taken_down(self, tmp_path: Path, topology: Topology) -> None:
        """The lab's own error reaches the caller, and `down` was called."""

        class Broken(SimulatedLab):
            downs = 0

            def up(self, topology: Topology) -> None:
                raise LabError("no namespaces on this machine")

            def down(self) -> None:
                self.downs += 1

        lab = Broken(FakeSimulator())
        with pytest.raises(LabError, match="no namespaces on this machine"):
            run_experiment(experiment_with(tmp_path, []), lab, topology)
        assert lab.downs == 1 and current_or_none() is None

    def test_the_lab_comes_down_though_nobody_can_be_told(self, tmp_path: Path, topology: Topology) -> None:
        """Whoever is told of the progress may fail, as on a full disk: no reason to leave a lab behind."""

        class Watched(SimulatedLab):
            downs = 0

            def down(self) -> None:
                self.downs += 1
                super().down()

        def refuse(stage: str, text: str) -> None:
            if stage in {"undo", "down"}:
                raise OSError(28, "No space left on device")

        lab, fake_method = Watched(FakeSimulator()), [act("kill", target="db@edi", at="20s", duration="5s")]
        with pytest.raises(OSError, match="No space left"):
            run_experiment(experiment_with(tmp_path, fake_method), lab, topology, progress=refuse)
        assert lab.downs == 1 and current_or_none() is None

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_during_an_action_takes_the_faults_back(
        self, number: signal.Signals, tmp_path: Path, topology: Topology
    ) -> None:
        """Chaos Toolkit plays no rollbacks then; the control undoes, and the caller sees an interruption."""

        class Struck(FakeSimulator):
            def run_until(self, at: float) -> None:
                super().run_until(at)
                if at == 30.0:
                    os.kill(os.getpid(), number)

        fake = Struck()
        method = [
            act("kill", target="db@edi", at="20s"),
            act("wait", until="30s"),
            act("kill", target="db@cam", at="40s"),
        ]
        with pytest.raises(KeyboardInterrupt):
            run_experiment(experiment_with(tmp_path, method), SimulatedLab(fake), topology)
        assert fake.calls[1:] == [(20, "inject kill"), (30, "undo kill")]
        assert current_or_none() is None

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_during_the_warm_up_takes_the_lab_down(
        self, number: signal.Signals, tmp_path: Path, topology: Topology
    ) -> None:
        """Nothing has been injected yet, but the lab must not stay."""

        class Struck(SimulatedLab):
            downs = 0

            def start_load(self, workload: Any, seed: int) -> None:
                os.kill(os.getpid(), number)
                super().start_load(workload, seed)

            def down(self) -> None:
                self.downs += 1

        lab = Struck(FakeSimulator())
        with pytest.raises(KeyboardInterrupt):
            run_experiment(experiment_with(tmp_path, []), lab, topology)
        assert lab.downs == 1

    @pytest.mark.parametrize(
        "moment", [15.0, 25.0, 60.0], ids=["warm-up or pause", "wait", "end of the load"]
    )
    def test_what_breaks_while_time_passes_reaches_the_caller(
        self, moment: float, tmp_path: Path, topology: Topology
    ) -> None:
        """Chaos Toolkit would swallow it in a control, and call it a failed activity in an action."""

        class Crashing(FakeSimulator):
            def run_until(self, at: float) -> None:
                super().run_until(at)
                if at == moment:
                    raise ZeroDivisionError("the simulator has a bug")

        fake = Crashing()
        method = [
            act("kill", target="db@edi") | {"pauses": {"before": 5}},
            act("wait", until="25s"),
            act("kill", target="db@cam", at="40s"),
        ]
        with pytest.raises(ZeroDivisionError, match="the simulator has a bug"):
            run_experiment(experiment_with(tmp_path, method), SimulatedLab(fake), topology)
        injected = [call for _, call in fake.calls if call == "inject kill"]
        assert len(injected) == {15.0: 0, 25.0: 1, 60.0: 2}[moment]
        assert len([call for _, call in fake.calls if call == "undo kill"]) == len(injected)

    def test_one_session_at_a_time(self, tmp_path: Path, topology: Topology) -> None:
        """A second session in the same process is refused."""
        workload = experiment_with(tmp_path, []).workload
        with (
            Session(SimulatedLab(FakeSimulator()), topology, workload),
            pytest.raises(LabError, match="one at a time"),
            Session(SimulatedLab(FakeSimulator()), topology, workload),
        ):
            pass

    def test_without_a_session_the_error_says_what_to_declare(self) -> None:
        """Actions outside a run point to the control."""
        with pytest.raises(LabError, match=r"chaos\.toolkit\.control"):
            current()


class TestSignatures:
    """What a prediction believes about the actions is what Chaos Toolkit can call."""

    def test_actions_take_the_fields_of_their_models(self) -> None:
        """Every action of the vocabulary exists with exactly the model's fields as parameters."""
        import inspect

        from experiments.activity import ACTIONS

        assert set(actions.__all__) == set(ACTIONS)
        for name, model in ACTIONS.items():
            expected = [field for field in model.model_fields if field != "fault"]
            assert sorted(inspect.signature(getattr(actions, name)).parameters) == sorted(expected)

    def test_probes_take_what_the_vocabulary_says(self) -> None:
        """Every probe of the vocabulary exists with exactly those parameters."""
        import inspect

        from experiments.activity import PROBES

        assert set(probes.__all__) == set(PROBES)
        for name, known in PROBES.items():
            assert tuple(inspect.signature(getattr(probes, name)).parameters) == known
