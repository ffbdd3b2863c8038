"""Processes, links and the clock as the control plane sees them: views of records, not copies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sim.engine.compiled import cpus, events, network, pools, requests
from sim.engine.compiled import layout as w
from sim.engine.compiled.memory import Memory
from sim.engine.network import Network
from sim.engine.pools import MINIMUM_IDLE
from sim.engine.recorder import Recorder
from sim.engine.setting import Setting
from sim.program import PUBLIC, VPN, Component, Program
from sim.protocols import haproxy

KINDS = {
    "iam": w.IAM,
    "db": w.MEMBER,
    "redis": w.REDIS,
    "sentinel": w.SENTINEL,
    "nginx": w.NGINX,
    "haproxy": w.HAPROXY,
}
_WORDS = {w.IAM: w.R_WORDS, w.MEMBER: w.B_WORDS, w.NGINX: w.G_WORDS, w.HAPROXY: w.X_WORDS}


class Clock:
    """What the recorder and the network ask of an environment."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    @property
    def now(self) -> float:
        """Virtual seconds since the load started."""
        return float(self._memory.f64[w.NOW])

    def event(self) -> None:
        """Nobody waits for events of the control plane."""


class World(Setting):
    """One simulated deployment, in the reference's words."""

    def __init__(self, program: Program, seed: int) -> None:
        super().__init__(program, seed)
        self.memory = Memory(seed, max(1 << 12, 4 * int(program.workload["users"])))
        self.env = Clock(self.memory)
        self.recorder = Recorder(self.env, program.sites)  # type: ignore[arg-type]
        machines = [Machine(self.memory, cores) for cores in program.arrays["set_cores"].tolist()]
        self.cpus = [
            Cpu(self.memory, *own, machines[shared] if shared >= 0 else None)
            for shared, own in self.cpu_settings()
        ]
        self.network = Links(self)
        self.daemons: dict[str, Daemon] = {}
        self.by_component: dict[str, Daemon] = {}
        self._calls: dict[int, Callable[[], None]] = {}
        self._handles = 0

    def handle(self, call: Callable[[], None]) -> int:
        """A number for something that Python is to do later."""
        self._handles += 1
        self._calls[self._handles] = call
        return self._handles

    def carry_out(self, handle: int) -> None:
        """It is time."""
        self._calls.pop(handle)()

    def drop_handle(self, handle: int) -> None:
        """It will not be done."""
        self._calls.pop(handle, None)

    def daemon(self, component: Component) -> Daemon:
        """A process that serves nothing of its own here."""
        return Daemon(self, component)

    def at(self, delay: float, call: Callable[[], None]) -> None:
        """Call ``call`` after ``delay`` seconds."""
        memory = self.memory
        events.push(memory.i64, memory.f64, float(delay), w.PYTHON, self.handle(call), 0)


class Machine:
    """A machine whose cores CPUs share."""

    def __init__(self, memory: Memory, cores: float) -> None:
        self._memory = memory
        self.record = memory.block(w.MC_WORDS)
        memory.f64[self.record + w.MC_CORES] = cores
        memory.f64[self.record + w.MC_WAKE_AT] = float("inf")

    def add(self, cpu: int) -> None:
        """Have the CPU with record ``cpu`` share the cores."""
        whole = self._memory.i64
        last = whole[self.record + w.MC_LAST]
        whole[last + w.Q_NEXT if last else self.record + w.MC_FIRST] = cpu
        whole[self.record + w.MC_LAST] = cpu
        whole[cpu + w.Q_MACHINE] = self.record


class Cpu:
    """A CPU, or a group's share of a machine's."""

    def __init__(
        self, memory: Memory, cores: float, quota: float, period: float, machine: Machine | None = None
    ) -> None:
        self._memory = memory
        self.record = memory.block(w.Q_WORDS)
        real = memory.f64
        real[self.record + w.Q_CORES] = cores
        real[self.record + w.Q_PERIOD] = period
        limited = quota < cores
        real[self.record + w.Q_GRANT] = quota * period if limited else -1.0
        real[self.record + w.Q_BUDGET] = quota * period if limited else 0.0
        real[self.record + w.Q_WAKE_AT] = float("inf")
        jobs = memory.block(3 * 64)
        memory.i64[self.record + w.Q_HEAP], memory.i64[self.record + w.Q_HEAP_CAP] = jobs, 64
        if machine is not None:
            memory.f64[self.record + w.Q_BOUNDARY] = period
            machine.add(self.record)

    @property
    def busy(self) -> float:
        """Core-seconds used so far."""
        return float(self._memory.f64[self.record + w.Q_BUSY])

    def stalled(self) -> float:
        """Seconds until the group may run again."""
        return cpus.stalled(self._memory.i64, self._memory.f64, self.record)


class Daemon:
    """A process that can be killed and paused."""

    links = 0
    """Where a request's links are that is inside such a process, 0 where nobody ever is."""

    def __init__(self, world: World, component: Component) -> None:
        self.world = world
        self.memory = memory = world.memory
        self.component = component
        self.name = component.name
        self.site = component.site
        self.cpu = world.cpus[component.cpu]
        self.on_change: list[Callable[[], None]] = []
        kind = KINDS[component.kind]
        self.record = memory.block(_WORDS.get(kind, w.A_WORDS))
        whole = memory.i64
        whole[self.record + w.A_UP] = 1
        whole[self.record + w.A_CPU] = self.cpu.record
        whole[self.record + w.A_SITE] = component.site
        whole[self.record + w.A_KIND] = kind
        whole[self.record + w.A_COMPONENT] = world.program.components.index(component)

    @property
    def up(self) -> bool:
        """Whether it runs (a paused one does)."""
        return bool(self.memory.i64[self.record + w.A_UP])

    @property
    def paused(self) -> bool:
        """Stopped by SIGSTOP."""
        return bool(self.memory.i64[self.record + w.A_PAUSED])

    @property
    def answering(self) -> bool:
        """Runs and is not paused."""
        return self.up and not self.paused

    def kill(self) -> None:
        """The process dies at once, and with it all that was inside."""
        if not self.up:
            return
        memory = self.memory
        memory.i64[self.record + w.A_UP] = 0
        cpus.drop(memory.i64, memory.f64, self.record)
        if self.paused:
            self.resume()
        if self.links:
            requests.interrupt_all(memory.i64, memory.f64, self.record, self.links)
        self.world.recorder.event(self.name, "process.stop")
        self._changed()

    def start(self) -> None:
        """The process serves again."""
        if self.up:
            return
        self.memory.i64[self.record + w.A_UP] = 1
        self.world.recorder.event(self.name, "process.start")
        self._changed()

    def pause(self) -> None:
        """SIGSTOP."""
        if self.paused or not self.up:
            return
        self.memory.i64[self.record + w.A_PAUSED] = 1
        cpus.pause(self.memory.i64, self.memory.f64, self.record)
        self.world.recorder.event(self.name, "process.stop", "paused")
        self._changed()

    def resume(self) -> None:
        """SIGCONT."""
        if not self.paused:
            return
        memory = self.memory
        memory.i64[self.record + w.A_PAUSED] = 0
        cpus.resume(memory.i64, memory.f64, self.record)
        events.broadcast(memory.i64, memory.f64, self.record + w.A_RESUMED_HEAD)
        if self.up:
            self.world.recorder.event(self.name, "process.start", "resumed")
            self._changed()

    def _changed(self) -> None:
        for listener in self.on_change:
            listener()


class Replica(Daemon):
    """An identity service."""

    links = w.C_RI_NEXT

    def __init__(
        self, world: World, component: Component, settings: dict[str, Any], database: Any, member: Daemon
    ) -> None:
        super().__init__(world, component)
        memory, here = self.memory, self.record
        self._idle = min(settings["pool"], MINIMUM_IDLE)
        threads, connections = memory.block(w.O_WORDS), memory.block(w.O_WORDS)
        memory.i64[threads + w.O_CAPACITY] = settings["threads"]
        memory.i64[connections + w.O_CAPACITY] = settings["pool"]
        memory.f64[connections + w.O_TIMEOUT] = settings["pool_timeout"]
        memory.i64[connections + w.O_IDLE] = memory.block(settings["pool"] + MINIMUM_IDLE)
        memory.i64[here + w.R_THREADS], memory.i64[here + w.R_CONNECTIONS] = threads, connections
        memory.i64[here + w.R_MEMBER] = member.record
        memory.i64[here + w.R_TOGETHER] = member.cpu is self.cpu and member.site == self.site
        memory.f64[here + w.R_RTT] = world.program.costs["statement_rtt"][0]
        self._fresh()

    def _fresh(self) -> None:
        memory = self.memory
        pools.renew(memory.i64, memory.f64, memory.i64[self.record + w.R_THREADS], 0)
        pools.renew(memory.i64, memory.f64, memory.i64[self.record + w.R_CONNECTIONS], self._idle)

    def start(self) -> None:
        """A new process has new pools."""
        self._fresh()
        super().start()


class Nginx(Daemon):
    """nginx in front of its site's identity services."""

    def __init__(
        self, world: World, component: Component, settings: dict[str, Any], replicas: list[Replica]
    ) -> None:
        super().__init__(world, component)
        memory, here, count = self.memory, self.record, len(replicas)
        values = {
            w.G_STREAM: memory.stream("proxy", component.name),
            w.G_COUNT: count,
            w.G_REPLICAS: memory.ints([replica.record for replica in replicas]),
            w.G_MAX_FAILS: settings["max_fails"],
            w.G_WEIGHT: memory.ints([1] * count),
            w.G_EFFECTIVE: memory.ints([1] * count),
            w.G_CURRENT: memory.ints([0] * count),
            w.G_FAILS: memory.ints([0] * count),
            w.G_ACCESSED: memory.reals([-1e18] * count),
            w.G_CHECKED: memory.reals([-1e18] * count),
        }
        for word, value in values.items():
            memory.i64[here + word] = value
        memory.f64[here + w.G_READ_TIMEOUT] = settings["read_timeout"]
        memory.f64[here + w.G_FAIL_TIMEOUT] = settings["fail_timeout"]

    def kill(self) -> None:
        """HAProxy sees its connections reset and answers 502."""
        super().kill()
        memory = self.memory
        requests.refuse_all(
            memory.i64,
            memory.f64,
            self.record,
            w.C_NG_NEXT,
            self.record + w.G_CALLS_HEAD,
            haproxy.BAD_GATEWAY,
            -1,
        )


class FrontEnd(Daemon):
    """HAProxy at a site."""

    def __init__(
        self, world: World, component: Component, settings: dict[str, Any], servers: list[Nginx | Replica]
    ) -> None:
        super().__init__(world, component)
        memory, here = self.memory, self.record
        reach, check = settings["reach"], settings["check"]
        self.servers = [s for s in servers if reach != "local" or s.site == self.site]
        self.rise: int = check["rise"]
        self.fall: int = check["fall"]
        count = len(self.servers)
        values = {
            w.X_STREAM: memory.stream("proxy", component.name),
            w.X_COUNT: count,
            w.X_SERVERS: memory.ints([server.record for server in self.servers]),
            w.X_HEALTH: memory.ints([self.rise + self.fall - 1] * count),  # long since up
            w.X_TURN: memory.reals([0.0] * count),
            w.X_SESSIONS: memory.ints([0] * count),
            w.X_BACKUP: memory.ints([reach == "local-first" and s.site != self.site for s in self.servers]),
            w.X_WEIGHT: memory.ints([1] * count),
            w.X_USED: memory.reals([-1e9] * count),
            w.X_FALL: self.fall,
            w.X_RISE: self.rise,
            w.X_LEASTCONN: settings["balance"] == "leastconn",
            w.X_RETRIES: settings["retries"],
            w.X_REDISPATCH: settings["redispatch"],
            w.X_HTTP: check["kind"] != "tcp",
        }
        for word, value in values.items():
            memory.i64[here + word] = value
        memory.f64[here + w.X_INTER] = check["inter"]
        memory.f64[here + w.X_CONNECT] = settings["timeout_connect"]
        memory.f64[here + w.X_TIMEOUT_SERVER] = settings["timeout_server"]

    def kill(self) -> None:
        """Clients see their connections reset."""
        super().kill()
        memory = self.memory
        head = self.record + w.X_CALLS_HEAD
        requests.refuse_all(memory.i64, memory.f64, self.record, w.C_FE_NEXT, head, 0, w.REFUSED)

    def start(self) -> None:
        """A new process believes that all servers are up, until their first check fails."""
        memory = self.memory
        for server in range(len(self.servers)):
            memory.i64[memory.i64[self.record + w.X_HEALTH] + server] = self.rise
            memory.i64[memory.i64[self.record + w.X_SESSIONS] + server] = 0
        super().start()


class Links(Network):
    """The network: kept by the reference's code, followed by the kernels."""

    def __init__(self, world: World) -> None:
        super().__init__(world.env, world.program, world.streams)  # type: ignore[arg-type]
        self._memory = memory = world.memory
        memory.i64[w.SITES] = self.count
        memory.i64[w.SYN_LINEAR] = self._syn_linear
        memory.i64[w.NETWORK] = memory.block(2 * self.count * self.count * w.L_WORDS)
        for path in (VPN, PUBLIC):
            for i in range(self.count):
                for j in range(self.count):
                    memory.i64[self._place(path, i, j) + w.L_STREAM] = memory.stream(
                        "link", f"{path}/{i}/{j}"
                    )
        self._copy()

    def _place(self, path: int, i: int, j: int) -> int:
        return int(self._memory.i64[w.NETWORK]) + ((path * self.count + i) * self.count + j) * w.L_WORDS

    def _copy(self) -> None:
        memory, link = self._memory, self._link
        for path in (VPN, PUBLIC):
            for i in range(self.count):
                for j in range(self.count):
                    here = self._place(path, i, j)
                    memory.f64[here + w.L_DELAY] = link["delay"][path][i][j]
                    memory.f64[here + w.L_JITTER] = link["jitter"][path][i][j]
                    memory.f64[here + w.L_LOSS] = link["loss"][path][i][j]
                    memory.f64[here + w.L_BANDWIDTH] = link["bandwidth"][path][i][j]
                    memory.i64[here + w.L_BLOCKED] = self.blocked[path][i][j]

    def delay(self, path: int, i: int, j: int, size: int = 500, syn: bool = False) -> float:
        """Seconds that a message of ``size`` bytes sent now takes over a live link."""
        return network.carried(self._memory.i64, self._memory.f64, path, i, j, size, syn)

    def apply(self) -> None:
        """Put the cuts in force and tell everybody."""
        self._settle()
        self._copy()
        events.broadcast(self._memory.i64, self._memory.f64, w.CHANGED_HEAD)
        for listener in self._listeners:
            listener()

    def degrade(self, a: int, b: int, values: dict[str, float | None]) -> None:
        """Give the link between two sites other values."""
        super().degrade(a, b, values)
        self._copy()
