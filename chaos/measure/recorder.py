"""The lab's recorder: a process of its own that writes down events and health while the lab is up.

    python -m chaos.measure.recorder --directory LAB

It outlives the command that brought the lab up, so nothing is missed between two commands. It reads
the daemons from the lab's `state.json` (again whenever that changes) and writes `events.jsonl` and
`health.jsonl`, one JSON object per line, flushed line by line.
"""

from __future__ import annotations

import argparse
import json
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chaos.errors import LabError
from chaos.host.cgroups import Cgroups, Throttled
from chaos.host.processes import is_alive, is_stopped
from chaos.kube.accounting import NodeUsage
from chaos.lab.state import STATE_FILE, LabState, Running
from chaos.measure import pace
from chaos.measure.collectors import (
    PERIOD,
    Follower,
    GaleraReader,
    GdnsdReader,
    HaproxyReader,
    Reader,
    Seen,
    SentinelReader,
)
from chaos.measure.health import CpuTimes, Sample
from chaos.wan import control

EVENTS_FILE = "events.jsonl"
HEALTH_FILE = "health.jsonl"
_HEALTH_PERIOD = 1.0
_ALIVE_PERIOD = 0.1


def reader_for(running: Running, sites: dict[str, str]) -> Reader | None:
    """Who reads the log of a daemon; None when it tells nothing of use."""
    match running.role:
        case "mariadb":
            return GaleraReader(running.component)
        case "sentinel":
            return SentinelReader(running.component)
        case "haproxy":
            return HaproxyReader(running.component)
        case "gdnsd":
            return GdnsdReader(running.service, sites)
    return None


class Recorder:
    """Follows the logs, watches the processes and samples the machine."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._events = (directory / EVENTS_FILE).open("a", buffering=1)
        self._health = (directory / HEALTH_FILE).open("a", buffering=1)
        self._state_file = directory / STATE_FILE
        self._read_at: int | None = None
        self._state: LabState | None = None
        self._followers: dict[str, Follower] = {}
        self._alive: dict[str, str] = {}
        self._cgroups = Cgroups()
        self._sampler = Sampler(self._cgroups, directory / "wan" / "relay.sock")

    def run(self, stop: list[int]) -> None:
        """Record until a signal number appears in ``stop``."""
        next_health = next_alive = 0.0
        while not stop:
            began = time.monotonic()
            self._reload()
            for follower in self._followers.values():
                for event in follower.look(time.time()):
                    self._write(event)
            if began >= next_alive:
                self._watch()
                next_alive = began + _ALIVE_PERIOD
            if began >= next_health and self._state is not None:
                sample = self._sampler.sample(self._state)
                if sample is not None:
                    self._health.write(sample.line() + "\n")
                next_health = began + _HEALTH_PERIOD
            time.sleep(max(0.001, PERIOD - (time.monotonic() - began)))

    def _reload(self) -> None:
        try:
            changed = self._state_file.stat().st_mtime_ns
        except FileNotFoundError:
            return
        if changed == self._read_at:
            return
        try:
            self._state = LabState.read(self._directory)
        except LabError:  # being replaced at this moment: the next look sees it
            return
        self._read_at = changed
        for running in self._state.daemons:
            if running.component not in self._followers:
                reader = reader_for(running, self._state.public_sites())
                if reader is not None:
                    self._followers[running.component] = Follower(running.log, reader)

    def _watch(self) -> None:
        """Note processes that stop running or run again, whoever did it."""
        for running in self._state.daemons if self._state else ():
            now = _state_of(running)
            was = self._alive.get(running.component, now)
            self._alive[running.component] = now
            if was != now:
                kind = "process.start" if now == "running" else "process.stop"
                detail = {"stopped": "paused", "running": "resumed" if was == "stopped" else ""}.get(now, "")
                self._write(Seen(time.time(), running.component, kind, detail))

    def _write(self, event: Seen) -> None:
        self._events.write(json.dumps(asdict(event)) + "\n")


def _state_of(running: Running) -> str:
    if running.process is None or not is_alive(running.process):
        return "gone"
    return "stopped" if is_stopped(running.process) else "running"


class Sampler:
    """Health of one second after the other."""

    def __init__(self, cgroups: Cgroups, relay: Path) -> None:
        self._cgroups = cgroups
        self._relay = relay
        self._before: tuple[float, CpuTimes, dict[str, float], dict[str, Throttled]] | None = None
        self._clusters: NodeUsage | None = None

    def sample(self, state: LabState) -> Sample | None:
        """What happened since the last call; None at the first."""
        now = time.time()
        if state.nodes and self._clusters is None:
            self._clusters = NodeUsage(state.nodes, self._cgroups.hierarchy)
        cpu = CpuTimes.read(Path("/proc/stat").read_text())
        groups = {name: seconds for name in self._groups(state) if (seconds := self._used(name)) is not None}
        throttled = {site: found for site in state.sites if (found := self._throttled_of(site)) is not None}
        relay = self._relay_lateness()
        before, self._before = self._before, (now, cpu, groups, throttled)
        if before is None:
            return None
        then, cpu_then, groups_then, throttled_then = before
        seconds = max(1e-6, now - then)
        busy, steal = cpu.shares_since(cpu_then)
        return Sample(
            time=now,
            seconds=seconds,
            busy=busy,
            steal=steal,
            cpu={name: (used - groups_then.get(name, used)) / seconds for name, used in groups.items()},
            throttled={
                site: (found.seconds - throttled_then[site].seconds) / seconds
                for site, found in throttled.items()
                if site in throttled_then
            },
            late_p99=relay[0] if relay else None,
            late_max=relay[1] if relay else None,
            pace=pace.measure(),
        )

    def _groups(self, state: LabState) -> list[str]:
        watch = ["watch"] if state.nodes else []
        return [*state.sites, "net", "load", *self._cgroups.children("load"), "recorder", *watch]

    def _used(self, name: str) -> float | None:
        if self._clusters is not None and name in self._clusters.sites:
            return self._clusters.cpu_seconds(name)
        try:
            return self._cgroups.cpu_seconds(name)
        except (OSError, LabError):
            return None

    def _throttled_of(self, site: str) -> Throttled | None:
        if self._clusters is not None:
            return self._clusters.throttled(site)
        try:
            return self._cgroups.throttled(site)
        except (OSError, LabError):
            return None

    def _relay_lateness(self) -> tuple[float, float] | None:
        try:
            found: dict[str, Any] = control.request(self._relay, "stats", timeout=0.5, reset=True)["stats"]
        except (LabError, ValueError):
            return None
        return float(found["late_p99"]), float(found["late_max"])


def read_events(directory: Path) -> list[Seen]:
    """All events recorded so far, in UNIX time, ordered; a torn last line is left out."""
    try:
        lines = (directory / EVENTS_FILE).read_text().splitlines()
    except FileNotFoundError:
        return []
    found = []
    for line in lines:
        try:
            found.append(Seen(**json.loads(line)))
        except (ValueError, TypeError):
            continue
    return sorted(found, key=lambda event: event.time)


def main() -> None:
    """Record until SIGTERM."""
    parser = argparse.ArgumentParser(description="Record a lab's events and health.")
    parser.add_argument("--directory", required=True, type=Path, help="the lab's directory")
    stop: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _: stop.append(number))
    Recorder(parser.parse_args().directory).run(stop)


if __name__ == "__main__":
    main()
