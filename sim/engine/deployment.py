"""All services of a program, wired together and running."""

from __future__ import annotations

from sim.engine.cleanup import CleanUp
from sim.engine.database import Database, Member
from sim.engine.frontends import FrontEnd, Nginx
from sim.engine.galera import Galera
from sim.engine.health import DnsBalancer, ServerChecks
from sim.engine.jobs import Scheduler
from sim.engine.kubernetes import Clusters
from sim.engine.replication import Replication
from sim.engine.service import Plan, Replica
from sim.engine.sessions import Sessions
from sim.engine.users import Load
from sim.engine.world import Daemon, World
from sim.program import Component, Program


class Deployment:
    """The system under load.

    Attributes:
        links: pairs of site indices, as the topology names them.
        clusters: what carries the processes, if that is Kubernetes.
    """

    def __init__(self, program: Program, seed: int) -> None:
        world = self.world = World(program, seed)
        self.links = [(a, b) for a, b in program.links]
        services = program.services
        self.databases: dict[str, Database] = {}
        for name, settings in services.items():
            if settings["kind"] == "galera":
                self.databases[name] = Galera(world, name, settings)
            elif settings["kind"] == "mariadb-replication":
                self.databases[name] = Replication(world, name, settings)
        plan = Plan(world)
        self.replicas: list[Replica] = []
        for component in self._of("iam"):
            settings = services[component.service]
            database = self.databases[settings["database"]]
            self.replicas.append(Replica(world, component, settings, database, plan))
        self._background(plan)
        self.proxies: list[Nginx] = []
        for component in self._of("nginx"):
            settings = services[component.service]
            local = [r for r in self.replicas if r.site == component.site]
            if program.platform is not None:
                local = local[:1]  # one address, behind which a Service spreads the connections
            self.proxies.append(Nginx(world, component, settings, local))
        self.front_ends: list[FrontEnd] = []
        for component in self._of("haproxy"):
            settings = services[component.service]
            servers: list[Nginx | Replica] = [
                *(proxy for proxy in self.proxies if proxy.component.service == settings["backend"]),
                *(replica for replica in self.replicas if replica.component.service == settings["backend"]),
            ]
            if program.platform is not None:
                servers = list({server.site: server for server in reversed(servers)}.values())[::-1]
            self.front_ends.append(FrontEnd(world, component, settings, servers))
        self.sessions = [
            Sessions(world, name, settings)
            for name, settings in services.items()
            if settings["kind"] == "redis-sentinel"
        ]
        daemons: list[Daemon] = [*self.replicas, *self.proxies, *self.front_ends]
        daemons += [member for database in self.databases.values() for member in database.members]
        daemons += [daemon for sessions in self.sessions for daemon in sessions.daemons]
        by_name = {daemon.name: daemon for daemon in daemons}
        world.daemons.update({c.name: by_name[c.name] for c in program.components})
        for front_end in self.front_ends:
            ServerChecks(world, front_end)
        self.balancer: DnsBalancer | None = None
        for name, settings in services.items():
            if settings["kind"] == "dns-balancer":
                targets = [f for f in self.front_ends if f.component.service == settings["targets"]]
                self.balancer = DnsBalancer(world, name, settings, targets)
        self.clusters = Clusters(self) if program.platform is not None else None
        self.load = Load(world, self.balancer.front_ends if self.balancer else self.front_ends, self.balancer)

    def _background(self, plan: Plan) -> None:
        """The jobs of the identity service, if it has any."""
        jobs = self.world.program.jobs
        if jobs is None:
            return
        for replica in self.replicas:
            database = replica.database
            if database.clean_up is None:
                database.clean_up = CleanUp(database, jobs, replica.settings["access_token_lifetime"])
            Scheduler(replica, jobs, plan, database.clean_up)

    def _of(self, kind: str) -> list[Component]:
        return [component for component in self.world.program.components if component.kind == kind]

    def site(self, name: str) -> int:
        """Index of a site.

        Raises:
            ValueError: there is no such site.
        """
        sites = self.world.program.sites
        if name not in sites:
            raise ValueError(f"there is no site {name}; there are {', '.join(sites)}")
        return sites.index(name)

    @property
    def members(self) -> list[Member]:
        """All database members."""
        return [member for database in self.databases.values() for member in database.members]
