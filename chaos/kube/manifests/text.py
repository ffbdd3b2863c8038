"""Manifests as people and kubectl read them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from chaos.kube.manifests.objects import Object


class _Dumper(yaml.SafeDumper):
    """Writes files inside values as they are, and never an alias."""

    def ignore_aliases(self, data: Any) -> bool:
        """Repeat what occurs twice: aliases are hard to read."""
        return True


def _text(dumper: _Dumper, value: str) -> yaml.Node:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)


_Dumper.add_representer(str, _text)


def to_yaml(objects: Sequence[Object]) -> str:
    """One YAML document per object, keys in the order of their making."""
    return "".join(
        "---\n" + yaml.dump(one, Dumper=_Dumper, sort_keys=False, width=110, allow_unicode=True)
        for one in objects
    )
