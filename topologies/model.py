"""What exists: sites, links, services and client populations.

Every parameter carries the real component's name and its default. Defaults are
documented values, never fitted ones; the source stands in each docstring
(shared facts `components.md` and `iam.md`, which cite code and measurements).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from topologies.base import NAME_PATTERN as NAME_PATTERN
from topologies.base import Model as Model
from topologies.base import Name as Name
from topologies.kubernetes import Kubernetes as Kubernetes
from topologies.quantities import Bandwidth, Duration, Ratio, Size

if TYPE_CHECKING:
    from topologies.picture import Picture


class Site(Model):
    """A place with its own network and failure domain.

    Attributes:
        nodes: machines at the site; replicas are spread over them round robin.
        cpu: cores per node (a CPU quota in the lab).
        memory: bytes per node.
        host: name of a machine that several sites share, as in a test rig where the sites are namespaces
            or containers: their nodes with the same number compete for the same cores, those of the
            largest of them. Only in production size: in the lab each site has its own quota.
    """

    nodes: int = Field(1, ge=1, le=64)
    cpu: float = Field(8.0, gt=0, le=1024)
    memory: Size = 30 * 2.0**30
    host: Name | None = None


class Link(Model):
    """A path between two sites.

    Attributes:
        between: the two sites.
        rtt: round-trip time in seconds.
        forward: share of it that packets take from the first site to the second; the way back takes the
            rest. Half, unless the two ways differ (asymmetric routes, satellites, traffic engineering).
        jitter: half width in seconds of the uniform one-way variation.
        bandwidth: bits per second per direction.
        loss: packet loss ratio per direction.
        vpn: what carries service-to-service traffic. `liqo` (which builds on WireGuard) is predicted
            as `wireguard`; no lab of this project runs it, only clusters that have it already.
        nat: the clusters at both ends use the same addresses for pods and Services, as clusters do that
            were made without knowing of each other; the gateways translate (labs on Kubernetes).
    """

    between: tuple[Name, Name]
    rtt: Duration
    forward: Ratio = 0.5
    jitter: Duration = 0.0
    bandwidth: Bandwidth = 1e9
    loss: Ratio = 0.0
    vpn: Literal["wireguard", "liqo", "none"] = "wireguard"
    nat: bool = False

    def one_way(self, source: str) -> float:
        """Seconds from ``source``, one of the two sites, to the other."""
        return self.rtt * (self.forward if source == self.between[0] else 1 - self.forward)


class IndigoIam(Model):
    """The identity service (INDIGO IAM).

    Attributes:
        replicas: front ends per site.
        database: name of the database service. With Galera a front end uses the member of its
            own site, else the nearest; with replication it uses the primary (IAM knows one
            endpoint and no read replicas: facts/iam.md section 6).
        sessions: name of the session store, if any.
        threads: request threads per front end (embedded Tomcat default 200).
        pool: database connections per front end (HikariCP maximum-pool-size 50).
        pool_timeout: wait for a free connection before the request fails (HikariCP 30 s).
        clear_access_tokens_on_refresh: delete a refresh token's access tokens on refresh
            (column default of client_details: on).
        reuse_refresh_token: keep the refresh token on refresh (column default: on).
        token_scope_rows: rows of the table `token_scope` at the start, one per scope of every access token
            that is not cleaned up yet; a refresh that clears access tokens reads all of them
            (facts/iam.md 1.2). Matters with a service profile that has a cost per row.
        access_token_lifetime: until an access token expires and the clean-up may delete it; a setting of
            each client, 3600 s by default (facts/iam.md section 4). Matters, like the next two, with a
            service profile that has background jobs.
        token_cleanup_period: pause between two clean-ups of expired tokens by one front end
            (`IAM_TOKEN_CLEANUP_PERIOD_MSEC`); the service profile's when not given, 300 s for INDIGO IAM.
        notification_task_delay: pause between two looks for pending notifications
            (`IAM_NOTIFICATION_TASK_DELAY`); the service profile's when not given, 5 s for INDIGO IAM.
        store_access_tokens: keep access tokens in the database (`IAM_ACCESS_TOKEN_STORE_ON_DATABASE`, from
            1.14 on; always before). Without it they are checked offline, requests that give no refresh
            token write nothing, and a refresh clears nothing (facts/iam.md section 4). Predicted only:
            the lab's service stores them.
    """

    kind: Literal["indigo-iam"]
    replicas: dict[Name, Annotated[int, Field(ge=1, le=64)]]
    database: Name
    sessions: Name | None = None
    threads: int = Field(200, ge=1)
    pool: int = Field(50, ge=1)
    pool_timeout: Duration = 30.0
    clear_access_tokens_on_refresh: bool = True
    reuse_refresh_token: bool = True
    token_scope_rows: int = Field(0, ge=0)
    access_token_lifetime: Duration = Field(3600.0, ge=1.0)
    token_cleanup_period: Duration | None = Field(None, ge=1e-3)
    notification_task_delay: Duration | None = Field(None, ge=1e-3)
    store_access_tokens: bool = True

    @property
    def clears_access_tokens(self) -> bool:
        """Whether a refresh deletes access tokens: there must be some."""
        return self.store_access_tokens and self.clear_access_tokens_on_refresh


Isolation = Literal["repeatable-read", "read-committed"]
"""`transaction_isolation` of a MariaDB server; its default is the first."""


class Galera(Model):
    """A MariaDB Galera cluster (defaults: galera-4 26.4 provider options, components.md 1.9).

    Attributes:
        isolation: with `read-committed` the scan of clear-access-tokens locks the rows it deletes, not the
            gaps: it no longer stands in the way of token issuances, here or applied (facts/iam.md 2.1, T1).
    """

    kind: Literal["galera"]
    members: dict[Name, Annotated[int, Field(ge=1, le=16)]]
    suspect_timeout: Duration = Field(5.0, ge=1e-3)
    inactive_timeout: Duration = Field(15.0, ge=1e-3)
    inactive_check_period: Duration = Field(0.5, ge=1e-3)
    keepalive_period: Duration = Field(1.0, ge=1e-3)
    install_timeout: Duration = Field(7.5, ge=1e-3)
    user_send_window: int = Field(2, ge=1)
    send_window: int = Field(4, ge=1)
    fc_limit: int = Field(16, ge=1)
    slave_threads: int = Field(1, ge=1)
    retry_autocommit: int = Field(1, ge=0)
    sync_wait: int = Field(0, ge=0, le=15)
    flush_log_at_trx_commit: Literal[0, 1, 2] = 1
    isolation: Isolation = "repeatable-read"


class MariadbReplication(Model):
    """MariaDB primary and replicas (defaults: components.md 2.1). `isolation`: as of `Galera`."""

    kind: Literal["mariadb-replication"]
    primary: Name
    replicas: list[Name]
    semi_sync: bool = False
    semi_sync_timeout: Duration = 10.0
    slave_parallel_threads: int = Field(0, ge=0)
    flush_log_at_trx_commit: Literal[0, 1, 2] = 1
    isolation: Isolation = "repeatable-read"


class RedisSentinel(Model):
    """Redis with Sentinel (defaults: Redis 7.0 `sentinel.c`, components.md 3.1).

    Attributes:
        quorum: sentinels that must agree on ODOWN; a majority when not given.
    """

    kind: Literal["redis-sentinel"]
    primary: Name
    replicas: list[Name] = Field(default_factory=list)
    sentinels: list[Name]
    quorum: int | None = Field(None, ge=1)
    down_after: Duration = Field(30.0, ge=1e-3)
    failover_timeout: Duration = Field(180.0, ge=1e-3)


class Nginx(Model):
    """An nginx reverse proxy per site in front of the site's own upstream replicas.

    Defaults: nginx passive health (components.md 4.3). With a single peer `max_fails` has no effect.
    """

    kind: Literal["nginx"]
    sites: list[Name]
    upstream: Name
    max_fails: int = Field(1, ge=0)
    fail_timeout: Duration = 10.0
    connect_timeout: Duration = 60.0
    read_timeout: Duration = 60.0


class HaproxyCheck(Model):
    """HAProxy health check (defaults: HAProxy 2.6 manual, components.md 4.1)."""

    kind: Literal["tcp", "http"] = "tcp"
    inter: Duration = Field(2.0, ge=1e-3)
    fall: int = Field(3, ge=1)
    rise: int = Field(2, ge=1)


class Haproxy(Model):
    """One HAProxy per listed site.

    Attributes:
        backend: the service it balances over: an nginx or an identity service.
        reach: which sites' servers are in the backend: `all`, only `local`, or `local-first`
            (remote servers are `backup`: used when no local server is up).
        timeout_connect, timeout_server, timeout_client: Debian's haproxy.cfg (5 s, 50 s, 50 s).
        timeout_queue: `timeout connect` when not given, as HAProxy does.
    """

    kind: Literal["haproxy"]
    sites: list[Name]
    backend: Name
    balance: Literal["roundrobin", "leastconn"] = "roundrobin"
    reach: Literal["all", "local", "local-first"] = "all"
    check: HaproxyCheck = HaproxyCheck()
    timeout_connect: Duration = 5.0
    timeout_server: Duration = 50.0
    timeout_client: Duration = 50.0
    timeout_queue: Duration | None = None
    retries: int = Field(3, ge=0)
    redispatch: bool = False


class DnsCheck(Model):
    """gdnsd service monitor (defaults: gdnsd 3.8, components.md 5.2)."""

    interval: Duration = Field(10.0, ge=1e-3)
    timeout: Duration | None = None
    down: int = Field(10, ge=1)
    ok: int = Field(10, ge=1)
    up: int = Field(20, ge=1)


class DnsBalancer(Model):
    """A health-checked DNS answer with the addresses of every front end that is up (gdnsd multifo)."""

    kind: Literal["dns-balancer"]
    targets: Name
    ttl: Duration = 30.0
    check: DnsCheck = DnsCheck()


Service = Annotated[
    IndigoIam | Galera | MariadbReplication | RedisSentinel | Nginx | Haproxy | DnsBalancer,
    Field(discriminator="kind"),
]


class Clients(Model):
    """A population of users at a place on the public network next to a site.

    Public paths between a population and the other sites have the delay of the route between
    the sites but do not use the VPN: a VPN cut leaves them alone, the loss of a site does not.

    Attributes:
        site: where they are.
        share: weight of this population in the workload's users.
        resolver_cache: how long a client keeps a DNS answer, whatever its TTL (JVM default 30 s).
    """

    site: Name
    share: float = Field(1.0, gt=0, le=1e6)
    resolver_cache: Duration = 30.0


class Topology(Model):
    """A whole deployment.

    Attributes:
        topology: its name.
        lab: what differs in the size that fits one machine; merged over the rest when the
            topology is loaded with `size="lab"`.
        kubernetes: what the clusters are set to, one cluster per site; only the backends `kind`
            and `kubernetes` have clusters.
    """

    topology: Annotated[str, Field(pattern=r"^[a-z][a-z0-9-]*$")]
    description: str = ""
    sites: dict[Name, Site] = Field(min_length=1)
    links: list[Link] = Field(default_factory=list)
    services: dict[Name, Service] = Field(min_length=1)
    clients: dict[Name, Clients] = Field(min_length=1)
    kubernetes: Kubernetes = Kubernetes()
    lab: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _consistent(self) -> Topology:
        from topologies.consistency import ensure_topology_is_consistent

        ensure_topology_is_consistent(self)
        return self

    def with_(self, *overrides: str) -> Topology:
        """Give a copy with ``path=value`` texts applied, as in ``with_("links[0].rtt=200ms")``.

        Raises:
            topologies.errors.InputError: an override cannot be read or does not fit.
        """
        from topologies.document import Document

        written = Document(self.model_dump(mode="json"), self.topology)
        return written.with_overrides(overrides).validate(type(self))

    def plot(self, *cut: tuple[str, str]) -> Picture:
        """The picture by itself; links between the pairs of sites in ``cut`` are drawn as cut."""
        from topologies.picture import Picture, picture

        return Picture(picture(self, cut=cut))

    def _repr_svg_(self) -> str:
        """The picture that a notebook shows."""
        from topologies.picture import picture

        return picture(self)

    def _repr_html_(self) -> str:
        """Picture and single points of failure, which a notebook prefers."""
        from topologies.picture import notebook_view

        return notebook_view(self)

    def services_of(self, *kinds: type[Model]) -> dict[str, Any]:
        """The services whose model is one of ``kinds``, by name, in file order."""
        return {name: service for name, service in self.services.items() if isinstance(service, kinds)}
