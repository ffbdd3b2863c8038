"""A link that becomes slow, jittery, lossy or narrow, in both directions and on both paths."""

from __future__ import annotations

from collections.abc import Sequence

from chaos.errors import InjectionError
from chaos.faults.context import FaultContext, Inverse
from experiments.faults import Degrade

KIND = "restore"


class DegradeDriver:
    """Changes under the fault's name; degradations of one link can overlap."""

    def plan(self, context: FaultContext, fault: Degrade, name: str) -> Inverse:
        """Give the link its own values back."""
        a, b = fault.between
        unknown = [site for site in (a, b) if site not in context.wan.sites()]
        if unknown:
            raise InjectionError(
                f"there is no site {unknown[0]}; the topology has {', '.join(context.wan.sites())}"
            )
        if not context.wan.has_link(a, b):
            raise InjectionError(f"{a} and {b} have no link of their own: degrade a link on their route")
        if fault.rtt is None and fault.jitter is None and fault.loss is None and fault.bandwidth is None:
            raise InjectionError("the degradation changes nothing: give rtt, jitter, loss or bandwidth")
        return Inverse(KIND, {"name": name})

    def inject(self, context: FaultContext, fault: Degrade, name: str) -> None:
        """Change the link."""
        a, b = fault.between
        context.wan.degrade(
            name, a, b, rtt=fault.rtt, jitter=fault.jitter, loss=fault.loss, bandwidth=fault.bandwidth
        )

    def undo(self, context: FaultContext, inverse: Inverse, others: Sequence[Inverse]) -> None:
        """Take the change back; what another degradation changes stays changed."""
        context.wan.restore(inverse.args["name"])
