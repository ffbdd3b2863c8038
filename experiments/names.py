"""How faults name what they act on."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

Target = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*@[a-z][a-z0-9-]*(/\d+)?$")]
"""`service@site`: all of it there; `service@site/index`: one of them, counted from 0."""

Workload = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*@[a-z][a-z0-9-]*$")]
"""`service@site`: the Deployment or StatefulSet as a whole."""

NodeName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*/\d+$")]
"""`site/index`: a node, counted from 0; the first is the control plane and the VPN gateway."""


def node_parts(node: str) -> tuple[str, int]:
    """Site and index of a node's name."""
    site, _, index = node.partition("/")
    return site, int(index)


def overlap(a: str, b: str) -> bool:
    """Whether two targets name a component in common."""
    whole_a, _, index_a = a.partition("/")
    whole_b, _, index_b = b.partition("/")
    return whole_a == whole_b and (not index_a or not index_b or index_a == index_b)
