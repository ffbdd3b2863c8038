"""Machine-local service demands: measured at rest, kept apart from what they predict.

A calibration holds what a baseline can measure with one user at one site and no fault: CPU per
request, proxy hops, applying a write set, a local commit, round trips inside a machine, start
times. Protocol timers are never in it: they come from the topology or from the components'
documented defaults.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, ValidationError

from experiments.workload import Request
from sim.estimates import Estimate as Estimate
from sim.estimates import Plain, Positive
from sim.pod_times import PodTimes as PodTimes
from sim.profile import Profile
from sim.random import Stream
from sim.refill import Refill
from topologies.errors import InputError, Problem, dotted, suggestion

SCHEMA_VERSION = 1
REQUESTS: tuple[Request, ...] = ("access-token", "password", "refresh", "token-exchange", "health")
LATE = ("group_message", "pods", "profile", "refill")
"""What a calibration may lack."""
DEFAULT_FILE = Path(__file__).with_name("calibration.json")


class Demand(Plain):
    """What one request of a kind costs, in seconds.

    Attributes:
        app_cpu: CPU of the identity service.
        db_cpu: CPU of the database member.
        wait: time in neither, round trips and local commit not counted (they are modelled).
    """

    app_cpu: Estimate
    db_cpu: Estimate
    wait: Estimate = Estimate(mean=0.0)


class Machine(Plain):
    """What the numbers were measured on.

    Attributes:
        cores: cores that one node's processes can use at once.
        quota_period: CFS period of the nodes' CPU quotas in seconds.
        tcp_syn_linear_timeouts: the kernel's setting (4 since Linux 6.5, 0 before).
        pace: CPU seconds of a fixed piece of work (`chaos.measure.pace`) at that time, if measured.
        facts: anything that identifies the machine (CPU model, kernel, versions).
    """

    cores: Annotated[int, Field(ge=1, le=1024)] = 2
    quota_period: Annotated[float, Field(gt=0, le=1)] = 0.05
    tcp_syn_linear_timeouts: Annotated[int, Field(ge=0, le=255)] = 4
    pace: Positive | None = None
    facts: dict[str, str] = Field(default_factory=dict)


class StartTimes(Plain):
    """Seconds from starting a component's process until it serves again.

    Attributes:
        db_rejoin: from the start of a killed member's process to Synced, over IST.
    """

    iam: Estimate
    db: Estimate
    db_rejoin: Estimate
    redis: Estimate
    nginx: Estimate
    haproxy: Estimate


class Calibration(Plain):
    """All of it, versioned and hashable.

    Attributes:
        source: where the numbers come from, for people.
        requests: demands per request kind.
        proxy_cpu: CPU per HTTP request and proxy (HAProxy or nginx).
        apply_cpu: CPU to apply one token's write set on another member.
        local_commit: engine commit with its flush, at an idle member.
        statement_rtt: round trip of a statement between a service and a database on the same
            node, without the CPU of either.
        vpn_delay: what the VPN adds to a packet, one way, beyond the link's delay.
        public_delay: the same for the public path.
        load_cpu: CPU that the load generator, relay and VPN of the lab spend per request, outside
            the nodes' quotas.
        start: start times.
        pods: times of a Kubernetes cluster; the shipped ones when not given.
        refill: CPU that requests cost more after a pause (`sim.protocols.caches`); nothing when not given.
        group_message: what handling one message of a group takes a member; nothing when not given.
        profile: what requests do, step by step; the lab's identity service when not given. Put there by
            `sim.profile.Profile.calibrated`, never part of a file.
    """

    schema_version: Literal[1] = 1
    source: str
    machine: Machine = Machine()
    requests: dict[Request, Demand]
    proxy_cpu: Estimate
    apply_cpu: Estimate
    local_commit: Estimate
    statement_rtt: Estimate
    vpn_delay: Estimate
    public_delay: Estimate
    load_cpu: Estimate = Estimate(mean=0.0)
    start: StartTimes
    pods: PodTimes | None = None
    refill: Refill | None = None
    group_message: Estimate | None = None
    profile: Profile | None = None

    def model_post_init(self, context: Any) -> None:
        """Insist on every request kind: a missing one would be predicted as free."""
        missing = [kind for kind in REQUESTS if kind not in self.requests]
        if missing:
            raise ValueError(f"requests lacks {', '.join(missing)}")

    @property
    def hash(self) -> str:
        """SHA-256 over the canonical JSON."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    def with_pods(self) -> Calibration:
        """The same with times of a Kubernetes cluster, the shipped ones where none were measured."""
        return self if self.pods is not None else self.model_copy(update={"pods": PodTimes()})

    def canonical(self) -> str:
        """JSON with sorted keys: equal calibrations give equal bytes."""
        return json.dumps(self._data(), sort_keys=True, separators=(",", ":"))

    def _data(self) -> dict[str, Any]:
        data = self.model_dump(mode="json")
        if self.machine.pace is None:
            del data["machine"]["pace"]
        return {name: value for name, value in data.items() if name not in LATE or value is not None}

    @classmethod
    def default(cls) -> Calibration:
        """The shipped one: the real service's figures (facts/iam.md 1.2), with wide uncertainty."""
        return load(DEFAULT_FILE)

    def save(self, path: str | Path) -> None:
        """Write it as readable JSON."""
        text = json.dumps(self._data(), sort_keys=True, indent=2)
        Path(path).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> Calibration:
        """Read one from a file (see the function `load`)."""
        return load(path)

    def resample(self, stream: Stream) -> Calibration:
        """One draw from the uncertainty of all parameters.

        Each estimate has its own index in ``stream`` (in order of the sorted field paths), so
        adding a request to a workload does not change the draw of another. What a calibration may lack
        comes last, so that it does not change the draws of anything else.
        """
        index = 0

        def drawn(value: Any) -> Any:
            nonlocal index
            if isinstance(value, Estimate):
                index += 1
                return value.drawn(stream.normal(index - 1))
            if isinstance(value, BaseModel):
                names = sorted(type(value).model_fields, key=lambda name: (name in LATE, name))
                fields = {name: drawn(getattr(value, name)) for name in names}
                return type(value).model_construct(**fields)
            if isinstance(value, dict):
                return {key: drawn(value[key]) for key in sorted(value)}
            return value

        result: Self = drawn(self)
        return result


def load(path: str | Path) -> Calibration:
    """Read a calibration file.

    Raises:
        InputError: the file is missing, is not JSON or does not have the shape of a calibration;
            it names the file, the line where one is known, and how to get a good file.
    """
    remedy = "run `faultline calibrate` to write a new one, or leave the file out to use the shipped figures"
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a text file"
        raise InputError(f"cannot read the calibration: {reason}", file=str(path), hint=remedy) from error
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(
            f"not JSON: {error.msg}",
            file=str(path),
            line=error.lineno,
            column=error.colno,
            expected="a calibration written by `faultline calibrate`",
            hint=remedy,
        ) from error
    except RecursionError:
        raise InputError("nested too deeply", file=str(path), hint=remedy) from None
    if isinstance(data, dict) and data.get("schema_version") != SCHEMA_VERSION:
        raise InputError(
            f"schema_version is {data.get('schema_version')!r}",
            file=str(path),
            line=_line_of(text, ("schema_version",)),
            expected=str(SCHEMA_VERSION),
            hint=remedy,
        )
    try:
        return Calibration.model_validate(data)
    except ValidationError as error:
        problems = []
        # An unknown key before the missing one that it was meant to be.
        for found in sorted(error.errors(), key=lambda found: found["type"] != "extra_forbidden"):
            where = tuple(str(part) for part in found["loc"])
            message, hint = found["msg"], remedy
            if found["type"] == "extra_forbidden":
                message = "unknown key"
                hint = f"{suggestion(where[-1], Calibration.model_fields)} {remedy}"
            line = _line_of(text, where)
            problems.append(Problem(message, str(path), line, None, dotted(where), "", hint))
        raise InputError(problems=problems) from error


def _line_of(text: str, path: Sequence[str]) -> int:
    """The line of the deepest key of ``path`` that can be found, each searched after its parent."""
    position = 0
    for key in path:
        found = text.find(json.dumps(key), position)
        if found < 0:
            break
        position = found
    return text.count("\n", 0, position) + 1
