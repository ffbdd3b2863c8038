"""Cut one of three Galera sites off, several times, and set the view changes beside the model's.

    python -m benchmarks.galera_views RTT [CUTS]             (root; e.g. 30ms 5: about half a minute per cut)

Prints, in seconds, when the cut-off member turned non-primary and the majority had its view (from the cut),
and when all three were in one view again (from the heal), each next to the range in which the model
puts 90 % of single cuts of the same lengths under the same load. Run it when no other lab is up.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points

from chaos.lab.base import Lab
from experiments.faults import Partition
from experiments.observation import Event
from experiments.workload import ProbeStream, Workload
from sim.engine.reference import open_simulation
from sim.statistics import PREDICTION_LEVEL, prediction_interval
from topologies.loader import load
from topologies.model import Topology

ISOLATED = "edi"
SETTLE = 8.0
"""Seconds before the first cut and after each heal."""

CUT = 9.0
STEP = 1.37
"""Length of the first cut and how much longer each one is, in seconds: retries come every 4 s."""

REPLICATIONS = 30
MOMENTS = {
    "non-primary (cut off)": ("galera.non-primary", f"db@{ISOLATED}", False),
    "view of the majority": ("galera.view", "db@ral", False),
    "one view again": ("galera.view", "db@ral", True),
}
"""Event, component and whether it is counted from the heal."""


def topology(rtt: str) -> Topology:
    """Three sites with ``rtt`` on every link."""
    plain = load("iris-3site-galera", size="lab")
    overrides = [f"links[{number}].rtt={rtt}" for number in range(len(plain.links))]
    return load("iris-3site-galera", size="lab", overrides=overrides)


def workload(duration: float) -> Workload:
    """Six users who write, and a probe."""
    return Workload(
        flow="access-token",
        users=6,
        think=1.0,
        duration=duration,
        probes=(ProbeStream(flow="health", rate=5.0),),
    )


def moments(events: Iterable[Event], cut: float, healed: float, end: float) -> dict[str, float]:
    """When the moments of one cut came, as far as they did."""
    found: dict[str, float] = {}
    for event in events:
        for name, (kind, component, again) in MOMENTS.items():
            low, high = (healed, end) if again else (cut, healed)
            if (event.kind, event.component) == (kind, component) and low < event.at < high:
                found.setdefault(name, event.at - low)
    return found


def modelled(deployment: Topology, lengths: list[float], replications: int) -> list[dict[str, float]]:
    """One cut per replication, its length one of ``lengths`` in turn."""
    found = []
    for seed in range(replications):
        length = lengths[seed % len(lengths)]
        cut = SETTLE + seed / replications
        simulation = open_simulation(deployment, workload(SETTLE + 1 + length + SETTLE), seed)
        simulation.run_until(cut)
        number = simulation.inject(Partition(isolate=[ISOLATED]))
        simulation.run_until(cut + length)
        simulation.undo(number)
        simulation.run_until(cut + length + SETTLE)
        found.append(moments(simulation.events(), cut, cut + length, cut + length + SETTLE))
    return found


@contextmanager
def local_lab(deployment: Topology) -> Iterator[Lab]:
    """The local lab, taken down whatever happens."""
    (entry,) = entry_points(group="faultline.labs", name="local")
    opened: Callable[[], Lab] = entry.load()
    lab = opened()
    try:
        lab.up(deployment)
        yield lab
    finally:
        lab.down()


def measured(deployment: Topology, lengths: list[float]) -> list[dict[str, float]]:
    """One cut after the other on the local lab."""
    found = []
    with local_lab(deployment) as lab:
        lab.start_load(workload(sum(lengths) + SETTLE * (len(lengths) + 2) + 5), seed=1)
        lab.clock.sleep(SETTLE)
        for length in lengths:
            injected = lab.inject(Partition(isolate=[ISOLATED]))
            lab.clock.sleep(length)
            healed = lab.clock.now()
            lab.undo(injected)
            lab.clock.sleep(SETTLE)
            found.append(moments(lab.events(), injected.at, healed, lab.clock.now()))
    return found


def main(words: list[str]) -> int:
    """Measure, model, print."""
    rtt, cuts = words[0], int(words[1]) if len(words) > 1 else 5
    deployment = topology(rtt)
    lengths = [round(CUT + STEP * number, 2) for number in range(cuts)]
    lab = measured(deployment, lengths)
    model = modelled(deployment, lengths, REPLICATIONS)
    print(f"RTT {rtt}, cuts of {', '.join(f'{length:g}' for length in lengths)} s; times in seconds")
    outside = 0
    for name in MOMENTS:
        predicted = [one[name] for one in model if name in one]
        seen = [one[name] for one in lab if name in one]
        low, high = prediction_interval(predicted)
        outside += sum(not low <= value <= high for value in seen)
        values = "  ".join(f"{value:5.2f}" for value in seen)
        print(f"{name:24s} model {low:5.2f} .. {high:5.2f} ({PREDICTION_LEVEL:.0%})   measured {values}")
    print(f"{outside} of {sum(len(one) for one in lab)} measured values outside the model's range")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:] or ["30ms"]))
