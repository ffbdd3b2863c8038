"""Events out of the daemons' own words, in the log files that a node keeps of its containers.

They are read from outside the node, so that they are read whatever becomes of the cluster's API
server. Every line carries the time at which the container said it, so a look now and then is enough.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from io import FileIO
from pathlib import Path

from chaos.kube.trackers import unix_time
from chaos.measure.collectors import GaleraReader, HaproxyReader, Reader, Seen, SentinelReader
from topologies.kubernetes import Role

PERIOD = 0.2
"""Seconds between two looks."""

_LONGEST_LINE = 65536
_LINE = re.compile(rb"(?P<time>\S+) (?:stdout|stderr) (?P<tag>[FP]) (?P<text>.*)")
"""The container runtime's format: `F` ends a line, `P` is a part of one."""

READERS: Mapping[Role, Callable[[str], Reader]] = {
    "db": GaleraReader,
    "sentinel": SentinelReader,
    "haproxy": HaproxyReader,
}


@dataclass
class _File:
    """One log file that is being read."""

    path: Path
    reader: Reader
    file: FileIO
    number: int
    rest: bytes = b""
    part: bytes = b""

    def look(self) -> Iterator[Seen]:
        while chunk := self.file.read(_LONGEST_LINE):
            lines = (self.rest + chunk).split(b"\n")
            self.rest = lines.pop()[-_LONGEST_LINE:]
            for line in lines:
                match = _LINE.fullmatch(line)
                if match is None:
                    continue
                self.part = (self.part + match["text"])[-_LONGEST_LINE:]
                if match["tag"] == b"F":
                    text, self.part = self.part.decode(errors="replace"), b""
                    said = unix_time(match["time"].decode())
                    for event in self.reader.feed(text, said):
                        # A daemon's own clock is right too, but in the time zone of its pod.
                        yield replace(event, time=said)


@dataclass
class PodLogs:
    """Follows the logs of a node's pods.

    Attributes:
        directory: where the node keeps them (`/var/log/pods`), as this machine sees it.
        namespace: of the pods to follow.
        role: what a pod does and which component it is, by its name; None when it is none of ours.
    """

    directory: Path
    namespace: str
    role: Callable[[str], tuple[Role, str] | None]
    _files: dict[Path, _File] = field(default_factory=dict)
    _readers: dict[str, Reader] = field(default_factory=dict)

    def find(self) -> None:
        """Look for files that are new: of a new pod, of a restarted container, or after a rotation."""
        for path in sorted(self.directory.glob(f"{self.namespace}_*/*/*.log")):
            try:
                number = path.stat().st_ino
                if path in self._files and self._files[path].number == number:
                    continue
                reader = self._reader(path)
                if reader is None:
                    continue
                old = self._files.pop(path, None)
                if old is not None:
                    old.file.close()
                self._files[path] = _File(path, reader, FileIO(path), number)
            except OSError:  # gone between two steps
                continue

    def look(self) -> Iterator[Seen]:
        """Events of the lines that came since the last look."""
        for path, one in list(self._files.items()):
            try:
                yield from one.look()
            except (OSError, ValueError):
                self._files.pop(path).file.close()

    def close(self) -> None:
        """Let go of all files."""
        for one in self._files.values():
            one.file.close()
        self._files.clear()

    def _reader(self, path: Path) -> Reader | None:
        # <namespace>_<pod>_<uid>/<container>/<restart>.log
        pod = path.parent.parent.name.removeprefix(f"{self.namespace}_").rpartition("_")[0]
        found = self.role(pod)
        if found is None or found[0] not in READERS:
            return None
        role, component = found
        # One reader for all lives of a pod: it knows what the pod's daemon was before.
        if pod not in self._readers:
            self._readers[pod] = READERS[role](component)
        return self._readers[pod]
