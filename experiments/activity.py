"""The vocabulary of an experiment's method: which actions and probes exist and what they take.

The functions themselves live in the Chaos Toolkit extension that runs them; here stands only what
a prediction needs to know about them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from experiments.faults import Degrade, Fault, Kill, Partition, Pause
from experiments.kubernetes_faults import (
    ApiServerDown,
    ClusterStop,
    ContainerKill,
    CorednsDown,
    GatewayKill,
    KubeletStop,
    NetworkIsolation,
    NodeCordon,
    NodeDrain,
    NodePause,
    NodeStop,
    PodDelete,
    RollingRestart,
    ScaleToZero,
)
from topologies.errors import Misfit, MisfitError, suggestion
from topologies.model import Model
from topologies.quantities import DURATION_UNITS, Duration, parse
from topologies.validation import misfits_of

ACTIONS_MODULE = "chaos.toolkit.actions"
PROBES_MODULE = "chaos.toolkit.probes"
CONTROL_MODULE = "chaos.toolkit.control"


class Timing(Model):
    """When a fault is in force.

    Attributes:
        at: seconds since the load started; at once when not given.
        duration: seconds until the fault is taken back; until the end of the load when not given.
    """

    at: Duration | None = None
    duration: Duration | None = Field(None, gt=0)


class KillAction(Kill, Timing):
    """Arguments of `kill`."""


class PauseAction(Pause, Timing):
    """Arguments of `pause`."""


class PartitionAction(Partition, Timing):
    """Arguments of `partition`."""


class DegradeAction(Degrade, Timing):
    """Arguments of `degrade`."""


class PodDeleteAction(PodDelete, Timing):
    """Arguments of `pod_delete`."""


class ContainerKillAction(ContainerKill, Timing):
    """Arguments of `container_kill`."""


class ScaleToZeroAction(ScaleToZero, Timing):
    """Arguments of `scale_to_zero`."""


class RollingRestartAction(RollingRestart, Timing):
    """Arguments of `rolling_restart`."""


class NodeCordonAction(NodeCordon, Timing):
    """Arguments of `node_cordon`."""


class NodeDrainAction(NodeDrain, Timing):
    """Arguments of `node_drain`."""


class NodeStopAction(NodeStop, Timing):
    """Arguments of `node_stop`."""


class NodePauseAction(NodePause, Timing):
    """Arguments of `node_pause`."""


class KubeletStopAction(KubeletStop, Timing):
    """Arguments of `kubelet_stop`."""


class ClusterStopAction(ClusterStop, Timing):
    """Arguments of `cluster_stop`."""


class ApiServerDownAction(ApiServerDown, Timing):
    """Arguments of `api_server_down`."""


class GatewayKillAction(GatewayKill, Timing):
    """Arguments of `gateway_kill`."""


class NetworkIsolationAction(NetworkIsolation, Timing):
    """Arguments of `network_isolation`."""


class CorednsDownAction(CorednsDown, Timing):
    """Arguments of `coredns_down`."""


class WaitAction(Model):
    """Arguments of `wait`.

    Attributes:
        until: seconds since the load started.
    """

    until: Duration


class HealAllAction(Model):
    """`heal_all` takes nothing."""


PROBES: Mapping[str, tuple[str, ...]] = {
    "success_ratio": ("window", "flow", "site"),
    "all_components_up": (),
    "metric": ("name", "site", "flow", "request", "kind", "event", "during"),
}
"""Our probes and their arguments."""

FaultAction = (
    KillAction
    | PauseAction
    | PartitionAction
    | DegradeAction
    | PodDeleteAction
    | ContainerKillAction
    | ScaleToZeroAction
    | RollingRestartAction
    | NodeCordonAction
    | NodeDrainAction
    | NodeStopAction
    | NodePauseAction
    | KubeletStopAction
    | ClusterStopAction
    | ApiServerDownAction
    | GatewayKillAction
    | NetworkIsolationAction
    | CorednsDownAction
)
Action = FaultAction | WaitAction | HealAllAction

FAULT_ACTIONS: Mapping[str, type[FaultAction]] = {
    "kill": KillAction,
    "pause": PauseAction,
    "partition": PartitionAction,
    "degrade": DegradeAction,
    "pod_delete": PodDeleteAction,
    "container_kill": ContainerKillAction,
    "scale_to_zero": ScaleToZeroAction,
    "rolling_restart": RollingRestartAction,
    "node_cordon": NodeCordonAction,
    "node_drain": NodeDrainAction,
    "node_stop": NodeStopAction,
    "node_pause": NodePauseAction,
    "kubelet_stop": KubeletStopAction,
    "cluster_stop": ClusterStopAction,
    "api_server_down": ApiServerDownAction,
    "gateway_kill": GatewayKillAction,
    "network_isolation": NetworkIsolationAction,
    "coredns_down": CorednsDownAction,
}
ACTIONS: Mapping[str, type[Action]] = {**FAULT_ACTIONS, "wait": WaitAction, "heal_all": HealAllAction}

_FAULTS: Mapping[type[FaultAction], type[Fault]] = {
    KillAction: Kill,
    PauseAction: Pause,
    PartitionAction: Partition,
    DegradeAction: Degrade,
    PodDeleteAction: PodDelete,
    ContainerKillAction: ContainerKill,
    ScaleToZeroAction: ScaleToZero,
    RollingRestartAction: RollingRestart,
    NodeCordonAction: NodeCordon,
    NodeDrainAction: NodeDrain,
    NodeStopAction: NodeStop,
    NodePauseAction: NodePause,
    KubeletStopAction: KubeletStop,
    ClusterStopAction: ClusterStop,
    ApiServerDownAction: ApiServerDown,
    GatewayKillAction: GatewayKill,
    NetworkIsolationAction: NetworkIsolation,
    CorednsDownAction: CorednsDown,
}


def fault_of(action: FaultAction) -> Fault:
    """The fault that ``action`` asks for, without its time."""
    model = _FAULTS[type(action)]
    return model(**{name: getattr(action, name) for name in model.model_fields})


def read_action(function: str, arguments: Mapping[str, Any]) -> Action:
    """Read the arguments of one of our actions.

    Raises:
        MisfitError: the action is unknown, or an argument is unknown, missing or unreadable.
    """
    if function not in ACTIONS:
        hint = suggestion(function, ACTIONS)
        raise MisfitError([Misfit(("func",), f"there is no action {function!r}", hint=hint)])
    model = ACTIONS[function]
    unknown = unknown_arguments(function, arguments, [name for name in model.model_fields if name != "fault"])
    if unknown:
        raise MisfitError(unknown)
    try:
        return model.model_validate(dict(arguments), context={"units": "required"})
    except ValidationError as error:
        raise MisfitError(
            [
                Misfit(("arguments", *part.path), part.message, part.expected, part.hint, part.on_key)
                for part in misfits_of(error, model, dict(arguments))
            ]
        ) from None


def unknown_arguments(function: str, arguments: Mapping[str, Any], known: Sequence[str]) -> list[Misfit]:
    """Arguments of an activity that ``function`` does not take, with paths from the provider."""
    return [
        Misfit(
            ("arguments", name),
            f"{function} has no argument {name!r}",
            hint=suggestion(name, known, what=f"{function} takes") if known else "remove it: it takes none",
            on_key=True,
        )
        for name in arguments
        if name not in known
    ]


def probe_misfits(function: str, arguments: Any) -> list[Misfit]:
    """What is wrong with the use of one of our probes, with paths from the provider."""
    if function not in PROBES:
        return [Misfit(("func",), f"there is no probe {function!r}", hint=suggestion(function, PROBES))]
    if arguments is None:
        arguments = {}
    if not isinstance(arguments, dict):
        return [Misfit(("arguments",), "the arguments have no names", "keys and values")]
    misfits = unknown_arguments(function, arguments, PROBES[function])
    window = arguments.get("window")
    if "window" in PROBES[function] and window is not None:
        try:
            if not isinstance(window, str) or parse(window, DURATION_UNITS, "5s") <= 0:
                raise ValueError(f"cannot look back {window!r}: write a time of more than zero, as in 5s")
        except ValueError as error:
            misfits.append(Misfit(("arguments", "window"), str(error)))
    return misfits


class _Part(BaseModel):
    """A part of a Chaos Toolkit file; keys that Chaos Toolkit does not know are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class Provider(_Part):
    """Who carries an activity out (the keys are Chaos Toolkit's)."""

    model_config = ConfigDict(extra="allow", frozen=True)

    type: Literal["python", "process", "http"]
    module: str = ""
    func: str = ""
    arguments: Any = None


class Pauses(_Part):
    """Seconds to wait around an activity, as numbers, or `${name}` from the configuration."""

    before: float | str | None = None
    after: float | str | None = None


class Marks(_Part):
    """What this project needs to know about an activity of somebody else's.

    Attributes:
        predict: `ignore` says that the activity changes nothing that the simulation knows.
    """

    predict: Literal["ignore"]


class Activity(_Part):
    """A step of the method, a probe of the steady state, or a rollback; or a `ref` to one."""

    ref: str | None = None
    type: Literal["action", "probe"] | None = None
    name: str = ""
    provider: Provider | None = None
    pauses: Pauses | None = None
    background: bool = False
    timeout: float | None = None
    dry: Any = None
    tolerance: Any = None
    output: Any = None
    secrets: Any = None
    configuration: Any = None
    controls: list[dict[str, Any]] = Field(default_factory=list)
    marks: Marks | None = Field(None, alias="x-faultline")

    @model_validator(mode="after")
    def _complete(self) -> Activity:
        if self.ref is None:
            missing = [key for key in ("type", "name", "provider") if not getattr(self, key)]
            if missing:
                raise MisfitError(
                    [Misfit((), f"the key {key!r} is missing", hint=f"add `{key}: ...`") for key in missing]
                )
        return self

    def is_ours(self, module: str = ACTIONS_MODULE) -> bool:
        """Whether ``module`` of this project carries it out."""
        return self.provider is not None and self.provider.type == "python" and self.provider.module == module


class SteadyState(_Part):
    """What must hold before the method and after it."""

    title: str = Field(min_length=1)
    probes: list[Activity] = Field(default_factory=list)
    controls: list[dict[str, Any]] = Field(default_factory=list)
