"""Component events out of the daemons' own logs.

Each reader turns the lines of one daemon's log into events of the shared vocabulary
(`experiments.observation.Event`). Following the log files costs a read per file and look and sees
every change, while polling the daemons misses what happens between two polls and disturbs them.
Redis writes milliseconds into its lines; the others' clocks tick in seconds or not at all, so
their events carry the time at which the line was seen, at most one look (`PERIOD`) late.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from io import FileIO
from pathlib import Path
from typing import Protocol

from chaos.services.haproxy import BACKEND

PERIOD = 0.02
"""Seconds between two looks at the logs: the error bar of the events' times."""

_LONGEST_LINE = 65536


@dataclass(frozen=True)
class Seen:
    """An event in UNIX time; the lab turns it into seconds since the load started."""

    time: float
    component: str
    kind: str
    detail: str = ""


class Reader(Protocol):
    """Turns one daemon's log lines into events."""

    def feed(self, line: str, now: float) -> Iterator[Seen]:
        """The events that ``line``, seen at UNIX time ``now``, tells of."""


_COMPONENT_VIEW = re.compile(r"WSREP: New COMPONENT: primary = (yes|no).*memb_num = (\d+)")


class GaleraReader:
    """Views of a Galera member.

    `galera.view` for every primary view, `galera.non-primary` when the member leaves the primary
    component, `galera.primary` when it is back in one (it may still have to catch up).
    """

    def __init__(self, component: str) -> None:
        self._component = component
        self._primary: bool | None = None

    def feed(self, line: str, now: float) -> Iterator[Seen]:
        """Read one line of the server's error log."""
        match = _COMPONENT_VIEW.search(line)
        if match is None:
            return
        primary, members = match[1] == "yes", match[2]
        was, self._primary = self._primary, primary
        if primary:
            if was is False:
                yield Seen(now, self._component, "galera.primary", f"{members} members")
            yield Seen(now, self._component, "galera.view", f"{members} members")
        elif was:
            # A member that has just started is non-primary until it has met the others: no event.
            yield Seen(now, self._component, "galera.non-primary", f"alone with {members} members")


_SENTINEL = re.compile(
    r"^\d+:X (?P<time>\d+ \w{3} \d{4} \d\d:\d\d:\d\d\.\d{3}) . "
    r"(?P<event>[+-](?:sdown|odown|switch-master)) (?P<rest>.*)"
)
_SENTINEL_KINDS = {
    "+sdown": "redis.sdown",
    "+odown": "redis.odown",
    "+switch-master": "redis.switch-master",
}


class SentinelReader:
    """What a sentinel says about the primary."""

    def __init__(self, component: str) -> None:
        self._component = component

    def feed(self, line: str, now: float) -> Iterator[Seen]:
        """Read one line of the sentinel's log; its own time is used."""
        match = _SENTINEL.match(line)
        if match is None or match["event"] not in _SENTINEL_KINDS:
            return
        about = match["rest"]
        if match["event"] != "+switch-master" and not about.startswith("master "):
            return  # a replica or another sentinel: no failover follows from it
        time = datetime.strptime(match["time"], "%d %b %Y %H:%M:%S.%f").timestamp()  # local, as Redis writes
        yield Seen(time, self._component, _SENTINEL_KINDS[match["event"]], about)


_HAPROXY = re.compile(
    rf"(?:Backup )?Server {BACKEND}/(?P<server>\S+) is (?P<state>UP|DOWN)(?:, reason: (?P<reason>[^,.]+))?"
)


class HaproxyReader:
    """Server state changes of a front end."""

    def __init__(self, component: str) -> None:
        self._component = component

    def feed(self, line: str, now: float) -> Iterator[Seen]:
        """Read one line of the front end's standard error."""
        match = _HAPROXY.search(line)
        if match is None:
            return
        detail = match["server"] + (f": {match['reason']}" if match["reason"] else "")
        yield Seen(now, self._component, f"haproxy.server-{match['state'].lower()}", detail)


_GDNSD = re.compile(
    r"state of '(?P<address>[^/']+)/[^']*' changed from (?P<old>[A-Z]+)\S* to (?P<new>[A-Z]+)"
)


class GdnsdReader:
    """Front ends that leave and enter the DNS balancer's answers, as `<service>@<site of the front end>`."""

    def __init__(self, service: str, sites: Mapping[str, str]) -> None:
        """Name addresses by ``sites`` (public address -> site)."""
        self._service = service
        self._sites = sites

    def feed(self, line: str, now: float) -> Iterator[Seen]:
        """Read one line of the balancer's log."""
        match = _GDNSD.search(line)
        if match is None or match["old"] == match["new"]:
            return
        site = self._sites.get(match["address"], match["address"])
        yield Seen(now, f"{self._service}@{site}", f"dns.{match['new'].lower()}", match["address"])


class Follower:
    """Reads what is appended to a file, line by line, from its beginning; the file may come later."""

    def __init__(self, path: Path, reader: Reader) -> None:
        self._path = path
        self._reader = reader
        self._file: FileIO | None = None
        self._rest = b""

    def look(self, now: float) -> list[Seen]:
        """Events of the lines that were completed since the last look, made at UNIX time ``now``."""
        if self._file is None:
            try:
                self._file = FileIO(self._path)
            except FileNotFoundError:
                return []
        found: list[Seen] = []
        while chunk := self._file.read(_LONGEST_LINE):
            lines = (self._rest + chunk).split(b"\n")
            self._rest = lines.pop()[-_LONGEST_LINE:]
            for line in lines:
                found.extend(self._reader.feed(line.decode(errors="replace"), now))
        return found

    def close(self) -> None:
        """Let go of the file."""
        if self._file is not None:
            self._file.close()
            self._file = None
