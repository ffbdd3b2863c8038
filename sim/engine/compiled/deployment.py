"""All services of a program laid out in the memory, in the order in which the reference makes them."""

from __future__ import annotations

from math import ceil
from typing import Any

from experiments.workload import STEPS, users_per_population
from sim.engine.compiled import events
from sim.engine.compiled import layout as w
from sim.engine.compiled.background import Scheduler, lay_out
from sim.engine.compiled.databases import Cluster, Database, Member, Primary
from sim.engine.compiled.endings import ROW_WORDS
from sim.engine.compiled.processes import Daemon, FrontEnd, Nginx, Replica, World
from sim.engine.compiled.sessions import Sessions
from sim.program import Component, Program
from sim.protocols import dns
from sim.steps import KINDS, writing_kinds


class Deployment:
    """The system under load.

    Attributes:
        links: pairs of site indices, as the topology names them.
        labels: of the DNS balancer's checks, by number, for the log.
    """

    clusters = None

    def __init__(self, program: Program, seed: int, *, keep_rows: bool = True) -> None:
        world = self.world = World(program, seed)
        memory = self.memory = world.memory
        memory.i64[w.KEEP_ROWS] = keep_rows
        self.links = [(a, b) for a, b in program.links]
        self.labels: list[str] = []
        self._parameters()
        services = program.services
        self.databases: dict[str, Database] = {}
        for name, settings in services.items():
            if settings["kind"] == "galera":
                self.databases[name] = Cluster(world, name, settings)
            elif settings["kind"] == "mariadb-replication":
                self.databases[name] = Primary(world, name, settings)
        self.replicas: list[Replica] = []
        for component in self._of("iam"):
            settings = services[component.service]
            database = self.databases[settings["database"]]
            member = database.member_for(component.site, component.index)
            self.replicas.append(Replica(world, component, settings, database, member))
        self._background()
        self.proxies: list[Nginx] = []
        for component in self._of("nginx"):
            local = [r for r in self.replicas if r.site == component.site]
            self.proxies.append(Nginx(world, component, services[component.service], local))
        self.front_ends: list[FrontEnd] = []
        for component in self._of("haproxy"):
            settings = services[component.service]
            backend = settings["backend"]
            servers: list[Nginx | Replica] = [
                *(proxy for proxy in self.proxies if proxy.component.service == backend),
                *(replica for replica in self.replicas if replica.component.service == backend),
            ]
            self.front_ends.append(FrontEnd(world, component, settings, servers))
        self.sessions = [
            Sessions(world, name, settings)
            for name, settings in services.items()
            if settings["kind"] == "redis-sentinel"
        ]
        daemons: list[Any] = [*self.replicas, *self.proxies, *self.front_ends, *self.members]
        daemons += [daemon for sessions in self.sessions for daemon in sessions.daemons]
        by_name: dict[str, Daemon] = {daemon.name: daemon for daemon in daemons}
        world.daemons.update({c.name: by_name[c.name] for c in program.components})
        for front_end in self.front_ends:
            self._server_checks(front_end)
        targets = self.front_ends
        for name, settings in services.items():
            if settings["kind"] == "dns-balancer":
                targets = [f for f in self.front_ends if f.component.service == settings["targets"]]
                self._dns_balancer(name, settings, targets)
        self._load(targets)

    def _of(self, kind: str) -> list[Component]:
        return [component for component in self.world.program.components if component.kind == kind]

    @property
    def members(self) -> list[Member]:
        """All database members."""
        return [member for database in self.databases.values() for member in database.members]

    def site(self, name: str) -> int:
        """Index of a site.

        Raises:
            ValueError: there is no such site.
        """
        sites = self.world.program.sites
        if name not in sites:
            raise ValueError(f"there is no site {name}; there are {', '.join(sites)}")
        return sites.index(name)

    # -- parts that live in the memory alone -----------------------------------------------------

    def _parameters(self) -> None:
        memory, program = self.memory, self.world.program
        workload, steps = program.workload, program.steps
        memory.f64[w.DURATION] = workload["duration"]
        memory.f64[w.TIMEOUT] = workload["timeout"]
        memory.f64[w.THINK] = workload["think"]
        flow = [KINDS.index(kind) for kind in STEPS[workload["flow"]]]
        memory.i64[w.FLOW_STEPS] = memory.ints([len(flow), *flow])
        # After them a place with a single read for every replica, which may have background jobs.
        first, more = steps.first.tolist(), len(self._of("iam"))
        memory.i64[w.STEPS_FIRST] = memory.ints([*first, *(first[-1] + n + 1 for n in range(more))])
        rows = memory.block((len(steps.kind) + more) * ROW_WORDS)
        memory.i64[w.STEPS_ROWS] = rows
        for number in range(len(steps.kind)):
            row = rows + number * ROW_WORDS
            memory.i64[row], memory.i64[row + 1] = steps.kind[number], steps.trips[number]
            memory.f64[row + 2], memory.f64[row + 3] = steps.app_cpu[number], steps.db_cpu[number]
            memory.f64[row + 4], memory.i64[row + 5] = steps.wait[number], steps.bytes[number]
            memory.f64[row + 6], memory.i64[row + 7] = steps.row_cpu[number], steps.rows[number]
            memory.i64[row + 8], memory.f64[row + 9] = steps.points[number], steps.apply_factor[number]
            memory.i64[row + 10] = steps.refresh_token[number]
        writing = writing_kinds(steps)
        memory.i64[w.WRITING] = memory.ints([kind in writing for kind in KINDS])
        variations = [value for kind in KINDS for value in program.demand_cv.get(kind, (0.0, 0.0))]
        memory.i64[w.DEMAND_CV] = memory.reals(variations)
        for name, word in (
            ("proxy_cpu", w.COST_PROXY),
            ("apply_cpu", w.COST_APPLY),
            ("local_commit", w.COST_COMMIT),
        ):
            memory.f64[word], memory.f64[word + 1] = program.costs[name]
        for name, word in (("refill_app", w.REFILL_APP), ("refill_db", w.REFILL_DB)):
            memory.f64[word], _ = program.costs[name]

    def _background(self) -> None:
        """The jobs of the identity service, if it has any."""
        program, memory = self.world.program, self.memory
        jobs, steps = program.jobs, program.steps
        if jobs is None:
            return
        settings = program.services[self._of("iam")[0].service]
        database = self.databases[settings["database"]]
        lay_out(memory, jobs, settings["access_token_lifetime"], database)
        for number, replica in enumerate(self.replicas):
            step = int(memory.i64[w.STEPS_ROWS]) + (len(steps.kind) + number) * ROW_WORDS
            Scheduler(replica, jobs, len(steps.first) - 1 + number, step)

    def _check(self, front_end: FrontEnd, stream: int, timeout: float, event: int) -> int:
        memory = self.memory
        check = memory.block(w.K_WORDS)
        memory.i64[check + w.K_FRONT_END] = front_end.record
        memory.i64[check + w.K_STREAM] = stream
        memory.f64[check + w.K_TIMEOUT] = timeout
        events.push_urgent(memory.i64, memory.f64, event, check, 0)
        return check

    def _server_checks(self, front_end: FrontEnd) -> None:
        memory = self.memory
        for server in range(len(front_end.servers)):
            stream = memory.stream("check", f"{front_end.name}/{server}")
            inter = float(memory.f64[front_end.record + w.X_INTER])
            check = self._check(front_end, stream, inter, w.RESUME_CHECK)
            memory.i64[check + w.K_SERVER] = server

    def _dns_balancer(self, name: str, settings: dict[str, Any], front_ends: list[FrontEnd]) -> None:
        memory, check = self.memory, settings["check"]
        thresholds = dns.Thresholds(
            check["interval"], check["timeout"], check["up"], check["ok"], check["down"]
        )
        monitors = memory.block(w.M_WORDS * len(front_ends))
        memory.i64[w.MONITORS] = monitors
        memory.i64[w.MONITOR_LIMIT] = max(1, ceil(0.5 * len(front_ends) - 1e-9))
        for number, front_end in enumerate(front_ends):
            monitor = monitors + number * w.M_WORDS
            memory.i64[monitor + w.M_UP] = 1
            memory.f64[monitor + w.M_INTERVAL] = thresholds.interval
            memory.i64[monitor + w.M_DOWN_AFTER] = thresholds.down
            memory.i64[monitor + w.M_OK_AFTER] = thresholds.ok
            memory.i64[monitor + w.M_UP_AFTER] = thresholds.up
            label = f"{name}@{self.world.program.sites[front_end.site]}"
            stream = memory.stream("dns", label)
            record = self._check(front_end, stream, dns.timeout_of(thresholds), w.RESUME_DNS)
            memory.i64[record + w.K_MONITOR] = monitor
            memory.i64[record + w.K_ID] = len(self.labels)
            self.labels.append(label)

    def _load(self, front_ends: list[FrontEnd]) -> None:
        memory, program = self.memory, self.world.program
        workload, populations = program.workload, program.clients
        memory.i64[w.FRONT_ENDS] = memory.ints([front_end.record for front_end in front_ends])
        memory.i64[w.FRONT_END_COUNT] = len(front_ends)
        shares = {name: clients["share"] for name, clients in populations.items()}
        counts = users_per_population(workload["users"], shares)
        for name, clients in populations.items():
            count = counts.get(name, 0)
            ramp = workload["ramp"] * count / workload["users"]
            site = program.sites.index(clients["site"])
            for number in range(count):
                label = f"{name}/{number}"
                user = memory.block(w.U_WORDS)
                memory.f64[user + w.U_KEEP] = clients["resolver_cache"]
                memory.f64[user + w.U_EXPIRES] = float("-inf")
                memory.f64[user + w.U_DELAY] = number / ramp
                memory.i64[user + w.U_SITE] = site
                memory.i64[user + w.U_DEMAND] = memory.stream("user.demand", label)
                memory.i64[user + w.U_CHOICE] = memory.stream("user.choice", label)
                memory.i64[user + w.U_THINK] = memory.stream("user.think", label)
                events.push_urgent(memory.i64, memory.f64, w.RESUME_USER, user, 0)
        caches = {clients["site"]: clients["resolver_cache"] for clients in reversed(populations.values())}
        for site, site_name in enumerate(program.sites):
            cache = memory.block(w.D_WORDS)
            memory.f64[cache + w.D_KEEP] = caches.get(site_name, 30.0)
            memory.f64[cache + w.D_EXPIRES] = float("-inf")
            for stream in workload["probes"]:
                label = f"{site}/{stream['flow']}"
                probe = memory.block(w.P_WORDS)
                period = 1 / stream["rate"]
                phase = self.world.streams.get("probe.phase", label).uniform(0)
                memory.i64[probe + w.P_SITE] = site
                memory.i64[probe + w.P_KIND] = KINDS.index(stream["flow"])
                memory.f64[probe + w.P_PERIOD] = period
                memory.f64[probe + w.P_PHASE] = period * phase
                memory.f64[probe + w.P_TIMEOUT] = stream["timeout"]
                memory.i64[probe + w.P_DEMAND] = memory.stream("probe.demand", label)
                memory.i64[probe + w.P_CHOICE] = memory.stream("probe.choice", label)
                memory.i64[probe + w.P_CACHE] = cache
                events.push_urgent(memory.i64, memory.f64, w.RESUME_PROBE, probe, 0)
