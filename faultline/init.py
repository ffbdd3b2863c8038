"""Begin with something that works: a copy of a library experiment with all it needs beside it."""

from __future__ import annotations

import json
import re
from pathlib import Path

from experiments.loader import load as load_experiment
from experiments.loader import locate as locate_experiment
from topologies.errors import InputError
from topologies.loader import is_there
from topologies.loader import locate as locate_topology
from topologies.schema import topology_schema

SCHEMA = "topology.schema.json"
_SCHEMA_LINE = re.compile(r"^# yaml-language-server: \$schema=.*$", re.MULTILINE)
_TOPOLOGY_LINE = re.compile(r"^(?P<key>\s*(?:- )?topology:\s*)(?P<name>\S+)", re.MULTILINE)


def write_starter(directory: Path, name: str) -> list[Path]:
    """Write experiment, topology and schema into ``directory``; return what was written.

    Raises:
        InputError: a file is already there (nothing is written then), or cannot be written.
    """
    experiment = load_experiment(name)
    source = locate_topology(experiment.topology, relative_to=experiment.file.parent)
    text = locate_experiment(name).read_text()
    files = {
        directory / f"{experiment.name}.yaml": _TOPOLOGY_LINE.sub(rf"\g<key>{source.name}", text, count=1),
        directory / source.name: _SCHEMA_LINE.sub(
            f"# yaml-language-server: $schema={SCHEMA}", source.read_text(), count=1
        ),
        directory / SCHEMA: json.dumps(topology_schema(), indent=1) + "\n",
    }
    there = [path for path in files if is_there(path, anything=True)]
    if there:
        raise InputError(
            "is already there, and nothing is overwritten",
            file=str(there[0]),
            hint="name another directory: `faultline init DIRECTORY`",
        )
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for path, content in files.items():
            path.write_text(content)
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror}", file=str(error.filename or directory)
        ) from None
    # What was written must itself be right: the topology line is the one that was changed.
    load_experiment(directory / f"{experiment.name}.yaml")
    return list(files)
