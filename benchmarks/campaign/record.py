"""The data file of a cell: what was predicted, what was measured, and the ledger's rows that tie the two.

The payloads of the ledger's rows are functions of the file, so that anybody can hash them again and see
that the prediction in the file is the one that was registered before the measurement.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.campaign.cells import REPEATS, Cell
from experiments.metrics import MetricValue
from faultline import facts
from faultline.home import write_atomically
from faultline.ledger import Row, canonical
from sim.calibration import Calibration
from sim.predict import Prediction

ROOT = Path(__file__).parents[2]
ROOM = ROOT / "tests" / "corpus" / "campaign"
SCHEMA = "faultline/campaign/1"
LAB = ("network", "quota_cores", "quota_period", "versions")

Data = dict[str, Any]


@dataclass(frozen=True)
class Recorded:
    """A cell's data file, read or to be written.

    Attributes:
        data: its content.
    """

    data: Data

    @classmethod
    def begin(cls, cell: Cell, prediction: Prediction, calibration: Calibration) -> Recorded:
        """A cell that is predicted, from the campaign's ``calibration``, and not yet measured."""
        return cls(
            {
                "schema": SCHEMA,
                "cell": cell.name,
                "factors": cell.factors,
                "machine": facts.machine(),
                "software": facts.versions(),
                "calibration": calibration.hash,
                "topology": cell.topology.model_dump(mode="json"),
                "workload": cell.workload.model_dump(mode="json"),
                "timeline": [fault.model_dump(mode="json", exclude_none=True) for fault in cell.timeline],
                "lab": {},
                "prediction": predicted(prediction),
                "repeats": [],
            }
        )

    @classmethod
    def read(cls, path: Path) -> Recorded:
        """The inverse of `write`.

        Raises:
            ValueError: it is no such file.
        """
        data = json.loads(path.read_text())
        if data.get("schema") != SCHEMA:
            raise ValueError(f"{path}: expected schema {SCHEMA}, found {data.get('schema')!r}")
        return cls(data)

    @property
    def name(self) -> str:
        """Of the cell."""
        return str(self.data["cell"])

    @property
    def flow(self) -> str:
        """Of the cell's users."""
        return str(self.data["workload"]["flow"])

    @property
    def prediction(self) -> Data:
        """What was registered."""
        found: Data = self.data["prediction"]
        return found

    @property
    def repeats(self) -> list[Data]:
        """All that were measured, those that were taken again included."""
        found: list[Data] = self.data["repeats"]
        return found

    @property
    def counted(self) -> list[Data]:
        """Those that stand: not taken again."""
        return [repeat for repeat in self.repeats if not repeat["retaken"]]

    @property
    def sound(self) -> list[Data]:
        """Those that stand and were measured on an undisturbed machine."""
        return [repeat for repeat in self.counted if not repeat["disturbances"]]

    @property
    def complete(self) -> bool:
        """Whether nothing is left to measure."""
        return len(self.counted) >= REPEATS

    def write(self, room: Path) -> Path:
        """Write the file into ``room``."""
        room.mkdir(parents=True, exist_ok=True)
        path = room / f"{self.name}.json"
        write_atomically(path, (spelled(self.data) + "\n").encode())
        return path


def read_all(room: Path = ROOM) -> list[Recorded]:
    """All data files of ``room``, in name order."""
    return [Recorded.read(path) for path in sorted(room.glob("*.json")) if path.stem != "calibration"]


def is_kept(key: str) -> bool:
    """Whether a metric is worth keeping: no break-down by site, by request for the whole run only."""
    return "site=" not in key and ("request=" not in key or key.endswith("@whole"))


def predicted(prediction: Prediction) -> Data:
    """What is kept of a prediction: per metric [mean, low, median, high, censored]."""
    whole = prediction.data()
    return {
        "program": prediction.program_hash,
        "calibration": prediction.calibration_hash,
        "seed": prediction.seed,
        "replications": prediction.replications,
        "engine": prediction.engine,
        "level": prediction.level,
        "machine_busy": whole["machine_busy"],
        "metrics": {
            key: [
                found["mean"],
                found["interval90"][0],
                found["median"],
                found["interval90"][1],
                found["censored"],
            ]
            for key, found in whole["metrics"].items()
            if is_kept(key)
        },
    }


def measured(values: Mapping[str, MetricValue]) -> dict[str, list[Any]]:
    """What is kept of a measurement: per metric [value, samples, resolution, censored]."""
    return {
        key: [found.value, found.n, found.resolution, found.censored]
        for key, found in values.items()
        if is_kept(key)
    }


def registered(data: Data) -> Data:
    """Payload of the ledger's prediction row."""
    prediction = data["prediction"]
    return {
        "experiment": f"campaign {data['cell']}",
        "topology": data["topology"]["topology"],
        "size": "lab",
        "backend": "local",
        "seed": prediction["seed"],
        "level": prediction["level"],
        "program_hash": prediction["program"],
        "calibration_hash": prediction["calibration"],
        "document_sha256": hashlib.sha256(canonical(prediction).encode()).hexdigest(),
        "hypotheses": [],
        "intervals": {
            key: [low, median, high, censored]
            for key, (_, low, median, high, censored) in prediction["metrics"].items()
        },
    }


def scorable(repeat: Data) -> Data:
    """Payload of the ledger's measurement row."""
    return {
        "backend": "local",
        "validation": True,
        "disturbances": repeat["disturbances"],
        "load_started": repeat["load_started"],
        "first_injection": repeat["first_injection"],
        "metrics": {
            key: {"value": value, "n": n, "resolution": resolution, "censored": censored}
            for key, (value, n, resolution, censored) in repeat["metrics"].items()
        },
    }


def witness(row: Row) -> Data:
    """What is kept of a ledger's row: all but the payload, which can be made again."""
    return {"n": row.n, "time": row.time, "previous": row.previous_hash, "hash": row.hash}


def spelled(value: Any, depth: int = 4, indent: str = "") -> str:
    """JSON with a line for whatever lies ``depth`` levels deep; keys keep their order, as sites must."""
    if depth == 0 or not isinstance(value, dict | list) or not value:
        return json.dumps(value, allow_nan=False)
    inner = indent + " "
    if isinstance(value, list):
        if not isinstance(value[0], dict):
            return json.dumps(value, allow_nan=False)
        parts = [spelled(one, depth - 1, inner) for one in value]
    else:
        parts = [f"{json.dumps(key)}: {spelled(value[key], depth - 1, inner)}" for key in value]
    opening, closing = "[]" if isinstance(value, list) else "{}"
    return f"{opening}\n" + ",\n".join(f"{inner}{part}" for part in parts) + f"\n{indent}{closing}"
