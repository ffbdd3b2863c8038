"""One run of one lab: what the actions, probes and the control of the extension share.

`faultline run` opens a session around Chaos Toolkit; under plain `chaos run` the control opens one
itself. Chaos Toolkit hands activities nothing but their arguments, so the current session is a
module-level value: one process runs one experiment.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any

from chaoslib.experiment import run_experiment as run_chaos_toolkit

from chaos.errors import InjectionError, LabError, SteadyStateError
from chaos.lab.base import Lab
from chaos.toolkit.agenda import Agenda, Applied, Failure
from experiments.faults import Fault
from experiments.metrics import MetricValue, reduce
from experiments.model import Experiment
from experiments.observation import Observation
from experiments.workload import Workload
from topologies.model import Topology

Progress = Callable[[str, str], None]
"""Told (stage, text): stages `up`, `load`, `steady`, `inject`, `undo`, `stop`, `observe`, `down`."""

_current: Session | None = None


def current() -> Session:
    """The session of this process.

    Raises:
        LabError: there is none.
    """
    if _current is None:
        raise LabError(
            "no lab is open: declare the control chaos.toolkit.control in the experiment's `controls`, "
            "or start it with `faultline run`"
        )
    return _current


def current_or_none() -> Session | None:
    """The session of this process, if there is one."""
    return _current


class Session:
    """A lab, its load and the faults in it, from bringing it up to taking it down.

    A context manager: on leaving, whatever happened, faults are taken back and the lab is down.

    Args:
        lab: where the experiment runs.
        topology: what runs in it.
        workload: what users do.
        seed: of the users' random numbers.
        progress: told what happens, for people to see.

    Attributes:
        journal: Chaos Toolkit's journal, once the run has ended, however it ended.
        error: what made the run stop, if it did.
    """

    def __init__(
        self,
        lab: Lab,
        topology: Topology,
        workload: Workload,
        *,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> None:
        self.lab = lab
        self.topology = topology
        self.workload = workload
        self.seed = seed
        self.progress: Progress = progress or (lambda stage, text: None)
        self.agenda = Agenda(lab, self.progress)
        self.journal: dict[str, Any] | None = None
        self.error: Exception | None = None
        self.interrupted = False
        self.method_started = False
        self.activity = ""  # name of the activity that is carried out
        self._stage = "new"
        self._observation: Observation | None = None
        self._closing = threading.RLock()

    def __enter__(self) -> Session:
        """Become the current session.

        Raises:
            LabError: this process already has one.
        """
        global _current
        if _current is not None:
            raise LabError("this process already runs an experiment: one at a time")
        _current = self
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Take everything down."""
        global _current
        try:
            self.close()
        finally:
            _current = None

    @property
    def failures(self) -> list[Failure]:
        """Faults that could not be injected or taken back."""
        return self.agenda.failures

    @property
    def applied(self) -> list[Applied]:
        """Faults as they were really carried out."""
        return self.agenda.applied

    @property
    def load_is_over(self) -> bool:
        """Whether the load ran to its end."""
        return self._stage in ("over", "closed") and self.error is None and not self.interrupted

    def open(self) -> None:
        """Bring the lab up, start the load and wait until the warm-up is over.

        Raises:
            LabError: from the lab.
        """
        if self._stage != "new":
            raise LabError("this session has already been used: make a new one for every run")
        self._stage = "up"
        self.progress("up", f"bringing up {self.topology.topology}")
        self.lab.up(self.topology)
        self._stage = "load"
        self.progress(
            "load", f"{self.workload.users} users, {self.workload.flow}, {self.workload.duration:g}s"
        )
        self.lab.start_load(self.workload, self.seed)
        self.agenda.sleep_until(self.workload.warmup)
        self.progress("steady", f"warm-up of {self.workload.warmup:g}s is over")

    def now(self) -> float:
        """Seconds since the load started, on the lab's clock."""
        return self.lab.clock.now()

    def sleep(self, seconds: float) -> None:
        """Let ``seconds`` pass on the lab's clock; faults that become due are taken back."""
        self.agenda.sleep_until(self.now() + seconds)

    def sleep_until(self, at: float) -> None:
        """Let time pass on the lab's clock until ``at``; faults that become due are taken back."""
        self.agenda.sleep_until(at)

    def inject(self, fault: Fault, *, at: float | None = None, duration: float | None = None) -> Applied:
        """Put ``fault`` in force at ``at`` (now when None) for ``duration`` (to the end when None).

        Raises:
            LabError: there is no load, or the fault could not be injected.
        """
        name = self.activity or fault.fault
        if self._stage != "load":
            message = "the load is not running"
            self.failures.append(Failure("inject", name, message))
            raise InjectionError(f"{name}: {message}")
        return self.agenda.inject(name, fault, at, duration)

    def heal_all(self) -> list[Applied]:
        """Take back every fault in force."""
        return self.agenda.heal_all()

    def finish_load(self) -> None:
        """Wait for the end of the load, stop it, and take back what is still in force.

        Raises:
            LabError: from the lab.
        """
        if self._stage != "load":
            return
        self.agenda.sleep_until(self.workload.duration)
        self.progress("stop", f"load is over at {self.now():.1f}s")
        self.lab.stop_load()
        self._stage = "over"
        self.heal_all()

    def observation(self) -> Observation:
        """What was seen; the lab is asked once, after the load.

        Raises:
            LabError: the load has not run to its end.
        """
        if self._observation is None:
            if self._stage != "over":
                raise LabError("there is no observation: the load has not run to its end")
            self.progress("observe", "collecting requests and events, auditing the writes")
            self._observation = self.lab.observe()
        return self._observation

    @property
    def observed(self) -> Observation | None:
        """What was seen, if that has been collected already."""
        return self._observation

    def metrics(self) -> dict[str, MetricValue]:
        """All metrics of the observation.

        Raises:
            LabError: as `observation`.
        """
        return reduce(self.observation(), self.topology, self.workload)

    def close(self) -> None:
        """Take back all faults, stop the load and take the lab down. Safe to call again.

        Raises:
            LabError: the lab could not be taken down.
        """
        with self._closing:
            if self._stage in ("new", "closed"):
                self._stage = "closed"
                self.agenda.close()
                return
            try:
                self.heal_all()
                if self._stage == "load":
                    try:
                        self.lab.stop_load()
                    except Exception as error:  # the lab must come down all the same
                        self.error = self.error or error
            finally:
                self.agenda.close()
                try:
                    self.progress("down", "taking the lab down")
                finally:  # whoever is told may fail (a full disk, a closed terminal): the lab comes down
                    self.lab.down()
                    self._stage = "closed"

    def record(self) -> dict[str, Any]:
        """What this project adds to the journal, JSON-able."""
        facts = self.lab.facts()
        values = self.metrics() if self._observation is not None else {}
        return {
            "backend": facts.backend,
            "lab": facts.facts,
            "topology": self.topology.topology,
            "seed": self.seed,
            "faults": [
                {
                    "name": applied.name,
                    "fault": applied.fault.model_dump(mode="json", exclude_none=True),
                    "wanted": applied.wanted,
                    "at": applied.at,
                    "due": applied.due,
                    "undone": applied.undone,
                }
                for applied in self.applied
            ],
            "failures": [vars(failure) for failure in self.failures],
            "error": None if self.error is None else str(self.error),
            "metrics": {key: vars(value) for key, value in values.items()},
        }

    def run(self, experiment: Experiment) -> tuple[dict[str, Any], Observation]:
        """Let Chaos Toolkit execute ``experiment`` in this session.

        Whatever the outcome, the lab is down afterwards and `journal` is set if Chaos Toolkit got
        far enough to write one.

        Returns:
            Chaos Toolkit's journal and what was seen.

        Raises:
            InjectionError: a fault could not be injected or taken back.
            SteadyStateError: the steady state was not met before the method, so nothing was broken.
            LabError: the lab failed.
            KeyboardInterrupt: the run was interrupted (SIGINT, SIGTERM); all faults are taken back.
        """
        with self:
            self.journal = run_chaos_toolkit(experiment.raw, settings={})
        return self._outcome(self.journal)

    def _outcome(self, journal: dict[str, Any]) -> tuple[dict[str, Any], Observation]:
        if self.failures:
            raise InjectionError("; ".join(map(str, self.failures)))
        if self.error is not None:
            raise self.error
        if self.interrupted or journal["status"] == "interrupted":
            raise KeyboardInterrupt
        before = journal["steady_states"]["before"]
        if before is not None and not before["steady_state_met"]:
            raise SteadyStateError(f"the steady state was not met before the method: {_unmet(before)}")
        if self._observation is None:
            raise LabError(f"the run ended with status {journal['status']!r} before the load was over")
        return journal, self._observation


def run_experiment(
    experiment: Experiment,
    lab: Lab,
    topology: Topology,
    *,
    seed: int | None = None,
    progress: Progress | None = None,
) -> tuple[dict[str, Any], Observation]:
    """Execute ``experiment`` on ``lab``.

    Args:
        experiment: what is done.
        lab: where; it is brought up and taken down.
        topology: what runs in it, in the lab's size.
        seed: of the users' random numbers; the experiment's own, else 0, when not given.
        progress: told what happens.

    Returns:
        Chaos Toolkit's journal and what was seen.

    Raises:
        InjectionError, SteadyStateError, LabError, KeyboardInterrupt: as `Session.run`.
    """
    chosen = seed if seed is not None else experiment.seed or 0
    return Session(lab, topology, experiment.workload, seed=chosen, progress=progress).run(experiment)


def _unmet(state: dict[str, Any]) -> str:
    probe = state["probes"][-1]
    name, expected = probe["activity"]["name"], probe["activity"].get("tolerance")
    if probe["status"] == "failed":
        return f"{name!r} failed: {''.join(probe.get('exception', []))[-300:].strip()}"
    return f"{name!r} gave {probe['output']!r}, expected {expected!r}"
