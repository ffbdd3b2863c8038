"""What a fault needs of the lab, and what it leaves behind to be undone."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar

from chaos.errors import InjectionError
from chaos.host.processes import Process

PathClass = Literal["vpn", "public", "all"]
Pair = tuple[str, str]
"""A direction: packets from the first place to the second."""


@dataclass(frozen=True, order=True)
class Component:
    """One daemon (with its children) of a service, as faults see it: `service@site/index`."""

    service: str
    site: str
    index: int = 0

    @property
    def place(self) -> str:
        """`service@site`, the name of the component where it is the only one."""
        return f"{self.service}@{self.site}"

    def data(self) -> list[Any]:
        """As plain data; `Component(*data)` is the way back."""
        return [self.service, self.site, self.index]

    def __str__(self) -> str:
        return f"{self.place}/{self.index}"


@dataclass(frozen=True)
class Inverse:
    """What takes a fault back, as plain data: a fresh process can carry it out.

    Attributes:
        kind: which driver carries it out: `restart`, `continue`, `heal`, `restore`, or one of those of
            `chaos.faults.kubernetes`.
        args: JSON-able arguments.
    """

    kind: str
    args: dict[str, Any] = field(default_factory=dict)


class Network(Protocol):
    """The part of `chaos.wan.links.Wan` that faults use."""

    def sites(self) -> Sequence[str]:
        """Sites of the topology, in file order."""

    def places(self) -> Sequence[str]:
        """Sites plus whatever else has an address on the public network (`dns`)."""

    def has_link(self, a: str, b: str) -> bool:
        """Whether the topology links the two sites directly."""

    def route(self, a: str, b: str) -> Sequence[str]:
        """Sites that packets between two sites pass, both ends included."""

    def cut(self, name: str, pairs: Collection[Pair], path: PathClass) -> None:
        """Drop the packets of ``pairs`` until `heal(name)`."""

    def heal(self, name: str | None = None) -> None:
        """Take the cut ``name`` back, or all of them."""

    def degrade(
        self,
        name: str,
        a: str,
        b: str,
        *,
        rtt: float | None = None,
        jitter: float | None = None,
        loss: float | None = None,
        bandwidth: float | None = None,
    ) -> None:
        """Make the route between two sites worse until `restore(name)`; None leaves a value alone."""

    def restore(self, name: str | None = None) -> None:
        """Take the degradation ``name`` back, or all of them."""


class FaultContext(Protocol):
    """What the lab offers to the faults; `chaos.lab.local` implements it."""

    @property
    def wan(self) -> Network:
        """The network between the sites."""

    def components(self) -> Sequence[Component]:
        """Every component that a fault may name, running or not."""

    def processes(self, component: Component) -> Sequence[Process]:
        """The live processes of the component, children included (empty when it is down)."""

    def restart(self, component: Component) -> None:
        """Start the component again as an operator would, crash recovery included.

        Raises:
            chaos.errors.LabError: it does not come up.
        """


Context = TypeVar("Context", contravariant=True)


class FaultDriver(Protocol[Context]):
    """One kind of fault. `plan` touches nothing, so that its result can be written to disk first."""

    def plan(self, context: Context, fault: Any, name: str) -> Inverse:
        """Check the fault against the lab and return what will undo it.

        Raises:
            InjectionError: it names something the lab does not have.
        """

    def inject(self, context: Context, fault: Any, name: str) -> None:
        """Put the fault in force; may leave it half applied when it raises."""

    def undo(self, context: Context, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Take the fault back; harmless when it is not in force.

        Args:
            context: the lab.
            inverse: what `plan` returned.
            others: inverses of faults that stay in force: what they still need is left alone.
        """


_TARGET = re.compile(r"(?P<service>[a-z][a-z0-9-]*)@(?P<site>[a-z][a-z0-9-]*)(?:/(?P<index>\d+))?")


def resolve(target: str, components: Iterable[Component]) -> list[Component]:
    """The components that ``target`` (`service@site` or `service@site/index`) names.

    Raises:
        InjectionError: none does; the message lists the known targets.
    """
    known = sorted(components)
    match = _TARGET.fullmatch(target)
    found = [
        component
        for component in known
        if match is not None
        and (component.service, component.site) == (match["service"], match["site"])
        and (match["index"] is None or int(match["index"]) == component.index)
    ]
    if not found:
        places = Counter((component.service, component.site) for component in known)
        spelled = [
            str(component) if places[component.service, component.site] > 1 else component.place
            for component in known
        ]
        raise InjectionError(
            f"there is no {target} in this lab; write one of {', '.join(spelled) or '(nothing)'}"
        )
    return found
