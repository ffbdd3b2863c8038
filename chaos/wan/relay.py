"""The relay: one process that carries every packet between the lab's namespaces, late on purpose.

It holds a TUN device `wan0` in each namespace, keeps each packet until it is due and writes it to
the device it goes to. A user-space relay works on every kernel (netem is a module that many lack),
cuts one direction at a time, sees which packets are WireGuard's, and knows how late it is itself.

Run as `python -m chaos.wan.relay --plan FILE --socket PATH`; controlled over the socket, one JSON
object per line and answer: `ping`, `set`, `cut`, `heal`, `degrade`, `restore`, `stats`.
"""

from __future__ import annotations

import argparse
import fcntl
import gc
import json
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import asdict, replace
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from typing import Any

from chaos.errors import LabError
from chaos.host import namespaces
from chaos.wan.routing import Decision, Routes, channel_name, is_wireguard
from chaos.wan.shaping import Quality, Shaper, in_series
from chaos.wan.timer import Timer

DEVICE = "wan0"
LONGEST_PACKET = 2048  # the devices' MTU is 1500
BATCH = 64  # packets read from one device before the others and the due ones get their turn
MOST_HELD = 200_000  # packets; a guard for memory (300 MB), far above what rates and delays need
LATENESS_STEP = 50e-6
LATENESS_STEPS = 4000  # up to 0.2 s

_TUNSETIFF = 0x400454CA
_IFF_TUN = 0x0001
_IFF_NO_PI = 0x1000


def open_tun(namespace: str, device: str = DEVICE) -> int:
    """Create TUN ``device`` inside ``namespace`` and return its descriptor; it lives as long as that.

    Raises:
        LabError: the namespace does not exist or may not be entered.
        OSError: no TUN support, or the device exists.
    """
    with namespaces.entered(namespace):
        descriptor = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(descriptor, _TUNSETIFF, struct.pack("16sH22x", device.encode(), _IFF_TUN | _IFF_NO_PI))
    return descriptor


class Network:
    """Links and channels of the relay, and what is done to them. Knows no sockets and no time.

    A channel's quality is that of its links in series, of which the plan lists both ways one after
    the other; degradations change links, each under a name, so that they can overlap and be taken
    back in any order.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        """Take over a plan's data (`chaos.wan.plan.Plan.data`)."""
        self._links = [Quality(**link) for link in data["links"]]
        self._degraded: list[dict[str, dict[str, float]]] = [{} for _ in self._links]
        self._via = {
            channel_name(c["source"], c["target"], c["path"]): tuple(c["via"]) for c in data["channels"]
        }
        self._own: dict[str, dict[str, float]] = {}
        self.shapers = {name: Shaper(name, self.quality(name), data["seed"]) for name in self._via}

    def quality(self, channel: str) -> Quality:
        """What is in force on a channel now."""
        links = []
        for index in self._via[channel]:
            quality = self._links[index]
            for change in self._degraded[index].values():
                quality = replace(quality, **change)
            links.append(quality)
        return replace(in_series(links), **self._own.get(channel, {}))

    def _refresh(self) -> None:
        for name, shaper in self.shapers.items():
            shaper.quality = self.quality(name)

    def _named(self, source: str, target: str, path: str) -> list[Shaper]:
        paths = ("vpn", "public") if path == "all" else (path,)
        names = [channel_name(source, target, one) for one in paths]
        found = [self.shapers[name] for name in names if name in self.shapers]
        if not found and path != "vpn":
            raise ValueError(f"there is no path {path} from {source} to {target}")
        return found

    def set(self, source: str, target: str, path: str, **values: float) -> None:
        """Fix values of one direction, whatever its links do; without values it follows them again."""
        replace(Quality(), **values)  # raises on a value that channels do not have
        for shaper in self._named(source, target, path):
            if values:
                self._own.setdefault(shaper.name, {}).update(values)
            else:
                self._own.pop(shaper.name, None)
        self._refresh()

    def cut(self, name: str, pairs: list[list[str]], path: str) -> None:
        """Drop the packets of ``pairs`` until `heal(name)`. All or nothing."""
        shapers = [shaper for source, target in pairs for shaper in self._named(source, target, path)]
        for shaper in shapers:
            shaper.cuts.add(name)

    def heal(self, name: str | None = None) -> None:
        """Take one cut or all of them back."""
        for shaper in self.shapers.values():
            if name is None:
                shaper.cuts.clear()
            else:
                shaper.cuts.discard(name)

    def degrade(self, name: str, link: int, way: int | None = None, **values: float) -> None:
        """Change a link until `restore(name)`; a later degradation of it wins where both say something.

        Args:
            name: of the degradation.
            link: in file order.
            way: 0 from the link's first site to its second, 1 back; both when not given.
            values: of a `Quality`.
        """
        ways = [2 * link, 2 * link + 1] if way is None else [2 * link + way]
        for index in ways:
            replace(self._links[index], **values)  # raises on a value that links do not have
            self._degraded[index][name] = values
        self._refresh()

    def restore(self, name: str | None = None) -> None:
        """Take one degradation or all of them back."""
        for changes in self._degraded:
            if name is None:
                changes.clear()
            else:
                changes.pop(name, None)
        self._refresh()


class Counters:
    """What the relay tells about itself."""

    def __init__(self) -> None:
        """Begin at zero."""
        self.packets = 0
        self.bytes = 0
        self.drops: Counter[str] = Counter()
        self.late = [0] * (LATENESS_STEPS + 1)
        self.late_max = 0.0

    def late_quantile(self, share: float) -> float:
        """Upper edge of the bucket of lateness below which ``share`` of the delayed packets are."""
        total = sum(self.late)
        passed = 0
        for step, number in enumerate(self.late):
            passed += number
            if total and passed >= share * total:
                return min((step + 1) * LATENESS_STEP, self.late_max)
        return 0.0


class Relay:
    """The event loop."""

    def __init__(self, data: dict[str, Any], socket_path: Path, scheduling: str) -> None:
        """Open the devices and the control socket.

        Raises:
            OSError: a device or the socket cannot be created.
            LabError: a namespace is missing.
        """
        self.network = Network(data)
        self.counters = Counters()
        self.scheduling = scheduling
        self._routes = Routes(data["stations"], data["next_hop"], list(self.network.shapers))
        self._stations = data["stations"]
        self._devices = [open_tun(station["namespace"]) for station in data["stations"]]
        self._ingress = {descriptor: index for index, descriptor in enumerate(self._devices)}
        self._decisions: list[dict[bytes, Decision | None]] = [{} for _ in self._devices]
        self._held: list[tuple[float, int, Shaper, int, bytes]] = []
        self._order = count()
        self._timer = Timer()
        self._poll = select.epoll()
        self._clients: dict[int, tuple[socket.socket, bytearray]] = {}
        self._listener = _listen(socket_path)
        self._running = True
        for descriptor in (*self._devices, self._timer.fileno(), self._listener.fileno()):
            self._poll.register(descriptor, select.EPOLLIN)

    def run(self) -> None:
        """Carry packets until told to stop (SIGTERM)."""
        signal.signal(signal.SIGTERM, self._stop)
        while self._running:
            for descriptor, _ in self._poll.poll():
                if descriptor in self._ingress:
                    self._take(descriptor)
                elif descriptor == self._timer.fileno():
                    self._timer.clear()
                elif descriptor == self._listener.fileno():
                    self._accept()
                elif descriptor in self._clients:  # not a device that was closed a moment ago
                    self._serve(descriptor)
            self._deliver()
            self._timer.set(self._held[0][0] if self._held else None)

    def _stop(self, *_: object) -> None:
        self._running = False
        self._timer.set(time.monotonic())

    def _take(self, descriptor: int) -> None:
        ingress = self._ingress[descriptor]
        decisions = self._decisions[ingress]
        shapers = self.network.shapers
        held, drops = self._held, self.counters.drops
        read, monotonic = os.read, time.monotonic
        for _ in range(BATCH):
            try:
                packet = read(descriptor, LONGEST_PACKET)
            except BlockingIOError:
                return
            now = monotonic()
            if len(packet) < 20 or packet[0] >> 4 != 4:
                drops["unroutable"] += 1
                continue
            ends = packet[12:20]
            try:
                decision = decisions[ends]
            except KeyError:
                decision = decisions[ends] = self._routes.decide(ingress, ends[:4], ends[4:])
            if decision is None:
                drops["unroutable"] += 1
                continue
            name = decision.public
            if name != decision.vpn and is_wireguard(packet):
                name = decision.vpn
            shaper = shapers.get(name)
            if shaper is None:
                drops["unroutable"] += 1
                continue
            due = shaper.admit(now, len(packet))
            if due is None:
                drops[shaper.dropped] += 1
            elif due <= now:
                self._write(shaper, decision.egress, packet)
            elif len(held) >= MOST_HELD:
                drops["queue"] += 1
            else:
                heappush(held, (due, next(self._order), shaper, decision.egress, packet))

    def _deliver(self) -> None:
        held, counters = self._held, self.counters
        late_steps = counters.late
        while held:
            now = time.monotonic()
            if held[0][0] > now:
                return
            due, _, shaper, egress, packet = heappop(held)
            if shaper.cuts:  # what was under way when the link was cut is lost with it
                counters.drops["cut"] += 1
                continue
            late = now - due
            late_steps[min(int(late / LATENESS_STEP), LATENESS_STEPS)] += 1
            if late > counters.late_max:
                counters.late_max = late
            self._write(shaper, egress, packet)

    def _write(self, shaper: Shaper, egress: int, packet: bytes) -> None:
        try:
            os.write(self._devices[egress], packet)
        except OSError:  # the device is not up, or the receiver's queue is full
            self.counters.drops["device"] += 1
            return
        shaper.packets += 1
        self.counters.packets += 1
        self.counters.bytes += len(packet)

    def _accept(self) -> None:
        with suppress(OSError):
            client, _ = self._listener.accept()
            client.setblocking(False)
            self._clients[client.fileno()] = (client, bytearray())
            self._poll.register(client.fileno(), select.EPOLLIN)

    def _serve(self, descriptor: int) -> None:
        client, buffer = self._clients[descriptor]
        try:
            received = client.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            received = b""
        buffer += received
        while b"\n" in buffer:
            line, _, rest = bytes(buffer).partition(b"\n")
            buffer[:] = rest
            with suppress(OSError):  # the asker went away
                client.send(json.dumps(self.answer(line)).encode() + b"\n")
        if not received:
            self._poll.unregister(descriptor)
            del self._clients[descriptor]
            client.close()

    def answer(self, line: bytes) -> dict[str, Any]:
        """Carry one control request out; a wrong one changes nothing."""
        try:
            request = json.loads(line)
            operation = request.pop("op")
            if operation == "ping":
                return {"ok": True, "pid": os.getpid(), "scheduling": self.scheduling}
            if operation == "stats":
                return {"ok": True, "stats": self.stats(reset=bool(request.get("reset")))}
            if operation == "reopen":
                self.reopen(**request)
                return {"ok": True}
            if operation not in {"set", "cut", "heal", "degrade", "restore"}:
                raise ValueError(f"there is no operation {operation!r}")
            getattr(self.network, operation)(**request)
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            return {"ok": False, "error": str(error)}
        return {"ok": True}

    def reopen(self, namespace: str) -> None:
        """Open the device of a station again: its namespace is another one since its node was restarted."""
        names = [station["namespace"] for station in self._stations]
        if namespace not in names:
            raise ValueError(f"there is no station {namespace!r}")
        index = names.index(namespace)
        try:
            opened = open_tun(namespace)
        except (OSError, LabError) as error:
            raise ValueError(f"cannot open {DEVICE} in {namespace}: {error}") from error
        old = self._devices[index]
        self._poll.unregister(old)
        del self._ingress[old]
        os.close(old)
        self._devices[index] = opened
        self._ingress[opened] = index
        self._poll.register(opened, select.EPOLLIN)

    def stats(self, *, reset: bool) -> dict[str, Any]:
        """The counters, as plain data."""
        counters = self.counters
        result = {
            "packets": counters.packets,
            "bytes": counters.bytes,
            "drops": dict(counters.drops),
            "late_p99": counters.late_quantile(0.99),
            "late_max": counters.late_max,
            "held": len(self._held),
            "cpu_seconds": time.process_time(),
            "scheduling": self.scheduling,
            "channels": {name: shaper.packets for name, shaper in self.network.shapers.items()},
            "quality": {name: asdict(shaper.quality) for name, shaper in self.network.shapers.items()},
            "cuts": {name: sorted(s.cuts) for name, s in self.network.shapers.items() if s.cuts},
        }
        if reset:
            self.counters = Counters()
            for shaper in self.network.shapers.values():
                shaper.packets = 0
        return result


def _listen(path: Path) -> socket.socket:
    with suppress(FileNotFoundError):
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(8)
    return listener


def prioritise(priority: int) -> str:
    """Get the CPU before everybody else: SCHED_FIFO, else niceness -20; returns what was permitted."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority))
        return "fifo"
    except OSError:
        pass
    try:
        os.setpriority(os.PRIO_PROCESS, 0, -20)
        return "nice"
    except OSError:
        return "normal"


def main(arguments: list[str] | None = None) -> int:
    """Run the relay until it is told to stop."""
    parser = argparse.ArgumentParser(prog="python -m chaos.wan.relay", description=__doc__.splitlines()[0])
    parser.add_argument("--plan", type=Path, required=True, help="JSON of chaos.wan.plan.Plan.data")
    parser.add_argument("--socket", type=Path, required=True, help="path of the control socket")
    parser.add_argument("--priority", type=int, default=10, help="SCHED_FIFO priority")
    given = parser.parse_args(arguments)
    relay = Relay(json.loads(given.plan.read_text()), given.socket, prioritise(given.priority))
    gc.disable()  # nothing here makes cycles, and a collection of many held packets takes milliseconds
    relay.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
