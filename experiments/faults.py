"""The faults an experiment can ask for, as data.

`sim` turns a fault into state changes of the model, `chaos` into an action on the real thing
with its inverse. Neither knows the other: this module is all they share.
A target is written `service@site` or `service@site/index` (index counts from 0 at that site):
`db@edi` is every database member at edi, `iam@ral/1` the second identity service at ral.
Faults that take a Kubernetes cluster are in `experiments.kubernetes_faults`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from experiments.kubernetes_faults import AnyKubernetesFault
from experiments.names import Target
from topologies.errors import Misfit, MisfitError
from topologies.model import Model, Name
from topologies.quantities import Bandwidth, Duration, Ratio


class Kill(Model):
    """End a component's processes at once; undone by starting them again (crash recovery included).

    Attributes:
        signal: `KILL` is a crash, `TERM` a graceful stop.
    """

    fault: Literal["kill"] = "kill"
    target: Target
    signal: Literal["KILL", "TERM"] = "KILL"


class Pause(Model):
    """Stop a component's processes from running (SIGSTOP); undone by SIGCONT."""

    fault: Literal["pause"] = "pause"
    target: Target


class Partition(Model):
    """Sites that no longer hear each other.

    Exactly one of `isolate`, `between` and `grudge` says who.

    Attributes:
        isolate: these sites lose the links to all others (they still hear one another).
        between: only the links between these two sites.
        grudge: site -> sites whose packets it no longer receives (one direction each).
        path: `vpn` cuts only service-to-service traffic, `all` also the public network.
    """

    fault: Literal["partition"] = "partition"
    isolate: list[Name] | None = None
    between: tuple[Name, Name] | None = None
    grudge: dict[Name, list[Name]] | None = None
    path: Literal["vpn", "all"] = "vpn"

    @model_validator(mode="after")
    def _says_who_once(self) -> Partition:
        given = [name for name in ("isolate", "between", "grudge") if getattr(self, name) is not None]
        one = "exactly one of isolate, between and grudge"
        if not given:
            raise MisfitError(
                [Misfit((), "nothing says who is parted from whom", one, "as in isolate: [edi]")]
            )
        if len(given) > 1:
            message = f"{' and '.join(given)} both say who is parted from whom"
            raise MisfitError([Misfit((given[1],), message, one, on_key=True)])
        if not getattr(self, given[0]):
            raise MisfitError([Misfit((given[0],), "no site is named", "at least one site")])
        if self.between is not None and self.between[0] == self.between[1]:
            raise MisfitError(
                [Misfit(("between",), "a site cannot be parted from itself", "two different sites")]
            )
        return self


class Degrade(Model):
    """A link that becomes slow, jittery, lossy or narrow; what is not given stays as it was.

    Undone by restoring the topology's own values. Applies to the route of both the VPN and the
    public path between the two sites, in both directions.
    """

    fault: Literal["degrade"] = "degrade"
    between: tuple[Name, Name]
    rtt: Duration | None = None
    jitter: Duration | None = None
    loss: Ratio | None = None
    bandwidth: Bandwidth | None = None

    @model_validator(mode="after")
    def _changes_a_link(self) -> Degrade:
        if self.between[0] == self.between[1]:
            raise MisfitError([Misfit(("between",), "no link joins a site to itself", "two different sites")])
        if all(value is None for value in (self.rtt, self.jitter, self.loss, self.bandwidth)):
            some = "at least one of rtt, jitter, loss and bandwidth"
            raise MisfitError([Misfit((), "nothing about the link is changed", some, "as in rtt: 200ms")])
        if self.bandwidth == 0:
            raise MisfitError(
                [Misfit(("bandwidth",), "a link without bandwidth is a cut", hint="use the action partition")]
            )
        return self


Fault = Annotated[Kill | Pause | Partition | Degrade | AnyKubernetesFault, Field(discriminator="fault")]


class ScheduledFault(Model):
    """A fault with its window, in seconds since the load started.

    Attributes:
        name: the action's name in the experiment.
        at: when it is injected.
        duration: how long it stays; None means until the end of the run.
    """

    name: str
    fault: Fault
    at: float
    duration: float | None = None
