"""Predicting a recorded cell anew, with the model as it is now: how a change of a mechanism is judged."""

from __future__ import annotations

from pydantic import TypeAdapter

from benchmarks.campaign.record import Recorded, predicted
from benchmarks.campaign.run import SEED
from experiments.faults import ScheduledFault
from experiments.workload import Workload
from sim.calibration import Calibration
from sim.predict import Scenario, predict
from sim.profile import load as load_profile
from topologies.model import Topology

_TIMELINE = TypeAdapter(tuple[ScheduledFault, ...])


def predicted_again(recorded: Recorded, calibration: Calibration) -> Recorded:
    """A copy of ``recorded`` whose prediction was made now, and says so: it has no place in a ledger.

    Args:
        recorded: what was measured, and where.
        calibration: of that campaign.
    """
    data = recorded.data
    topology = Topology.model_validate(data["topology"])
    scenario = Scenario(
        topology,
        Workload.model_validate(data["workload"]),
        _TIMELINE.validate_python(data["timeline"]),
        (),
        "lab",
    )
    demands = load_profile().calibrated(calibration, topology)
    made = predict(scenario, demands, SEED, replications=recorded.prediction["replications"], workers=1)
    repeats = [
        {key: value for key, value in repeat.items() if key != "ledger"} for repeat in recorded.repeats
    ]
    return Recorded(
        {**data, "prediction": predicted(made), "repeats": repeats, "made": "after the measurement"}
    )
