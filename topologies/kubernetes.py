"""Settings of the Kubernetes clusters that carry a topology: one cluster per site.

They go to both sides: to kubeadm and the manifests of a lab, and to the model that predicts it.
Defaults are upstream's documented ones. What Kubernetes does not let anybody set (the kubelet's
one-second look at its containers, the first back-off of 10 s) is not here: the model knows it.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from topologies.base import Model
from topologies.errors import Misfit, MisfitError, Path
from topologies.quantities import Duration, Ratio, Size

Role = Literal["iam", "db", "redis", "sentinel", "nginx", "haproxy", "gateway"]
"""What a pod does; the kinds of `Workloads`."""

GRACE_SINCE_1_32 = 50.0
GRACE_BEFORE_1_32 = 40.0


def _whole_seconds(model: Model, *names: str) -> list[Misfit]:
    """Fields of ``model`` that the Kubernetes API can only hold as whole seconds, and are not."""
    found = []
    for name in names:
        value = getattr(model, name)
        if value is not None and value != int(value):
            wanted = f"whole seconds, as in {math.ceil(value)}s"
            found.append(Misfit((name,), f"{value:g}s is not a number of whole seconds", wanted))
    return found


def _quoted(value: Any) -> Any:
    """A release is a text: as a number 1.30 would be 1.3."""
    if isinstance(value, float):
        raise ValueError(f"{value:g} is a number: write the release in quotes, as in '\"1.34\"'")
    return value


class Probe(Model):
    """When the kubelet asks a container how it is (SetDefaults_Probe, pkg/apis/core/v1/defaults.go).

    Attributes:
        initial_delay: after the container's start, before the first probe.
        period: from probe to probe.
        timeout: an answer later than this is a failure.
        success_threshold: successes in a row until it counts as well again.
        failure_threshold: failures in a row until it counts as ill.
    """

    initial_delay: Duration = 0.0
    period: Duration = Field(10.0, ge=1)
    timeout: Duration = Field(1.0, ge=1)
    success_threshold: int = Field(1, ge=1)
    failure_threshold: int = Field(3, ge=1)

    @model_validator(mode="after")
    def _in_whole_seconds(self) -> Probe:
        if found := _whole_seconds(self, "initial_delay", "period", "timeout"):
            raise MisfitError(found)
        return self


class IamReadiness(Probe):
    """GET /actuator/health, as INDIGO's page on high availability has it (facts/iam.md section 7)."""

    initial_delay: Duration = 90.0
    timeout: Duration = Field(10.0, ge=1)


class Pod(Model):
    """How one kind of pod is run.

    Attributes:
        cpu: its limit in cores; the `cpu` of its site when not given.
        memory: its limit in bytes; none when not given.
        readiness: decides whether Services send it anything; without one a started container is
            ready.
        liveness: restarts the container when it fails; none by default.
        termination_grace_period: from SIGTERM to SIGKILL (terminationGracePeriodSeconds 30).
        pre_stop_sleep: waits so long before SIGTERM, within the grace period, so that nobody sends
            requests any more when it comes.
    """

    cpu: Annotated[float, Field(gt=0, le=1024)] | None = None
    memory: Size | None = None
    readiness: Probe | None = Probe()
    liveness: Probe | None = None
    termination_grace_period: Duration = 30.0
    pre_stop_sleep: Duration = 0.0

    @model_validator(mode="after")
    def _in_whole_seconds(self) -> Pod:
        found = _whole_seconds(self, "termination_grace_period", "pre_stop_sleep")
        if self.liveness is not None and self.liveness.success_threshold != 1:
            message = "a liveness probe that needs several successes"
            found.append(Misfit(("liveness", "success_threshold"), message, "1"))
        if self.pre_stop_sleep > self.termination_grace_period:
            message = f"pre_stop_sleep is {self.pre_stop_sleep:g}s"
            wanted = f"at most termination_grace_period = {self.termination_grace_period:g}s"
            found.append(Misfit(("pre_stop_sleep",), message, wanted))
        if found:
            raise MisfitError(found)
        return self


class IamPod(Pod):
    """The identity service. Probes: INDIGO documents a readiness probe, and no liveness probe."""

    readiness: IamReadiness | None = IamReadiness()


class SmallPod(Pod):
    """A proxy, a cache or a gateway: what it needs does not grow with its site.

    Attributes:
        cpu: its limit in cores.
    """

    cpu: float = Field(1.0, gt=0, le=1024)


class GatewayPod(SmallPod):
    """The gateway: nothing connects to it by a Service, so nobody asks whether it is ready."""

    readiness: Probe | None = None


class Workloads(Model):
    """The pods of each role.

    Attributes:
        iam: identity service (a Deployment per site).
        db: database member (a StatefulSet per site).
        redis: session store (a StatefulSet per site).
        sentinel: its watcher (a StatefulSet per site).
        nginx: reverse proxy (a Deployment per site).
        haproxy: front end (a Deployment per site).
        gateway: end of the WireGuard links (a Deployment of one pod per site, on the node that
            stands on the wide-area network).
    """

    iam: IamPod = IamPod()
    db: Pod = Pod()
    redis: SmallPod = SmallPod()
    sentinel: SmallPod = SmallPod()
    nginx: SmallPod = SmallPod()
    haproxy: SmallPod = SmallPod()
    gateway: GatewayPod = GatewayPod()


STATUS_UPDATES, STATUS_REPORTS = 10.0, 300.0
"""Seconds: a kubelet's own defaults of nodeStatusUpdateFrequency and nodeStatusReportFrequency."""


class Kubernetes(Model):
    """What the clusters are set to (facts/components.md section 6 and the files named here).

    Attributes:
        version: minor release; it decides defaults that changed.
        node_status_update_frequency: a kubelet looks at its node's state this often (KubeletConfiguration,
            10 s).
        node_status_report_frequency: it posts that state this often when nothing in it changes
            (nodeStatusReportFrequency): when not given, 5 min, or as often as it looks where that is set
            (pkg/kubelet/apis/config/v1beta1/defaults.go).
        node_lease_duration: of the node's lease, in whole seconds; the kubelet renews it every
            quarter of it (KubeletConfiguration nodeLeaseDurationSeconds 40;
            pkg/kubelet/kubelet.go, nodeLeaseRenewIntervalFraction).
        node_monitor_period: the controller manager looks at all nodes this often
            (--node-monitor-period 5 s).
        node_monitor_grace_period: without a sign of life a node counts as lost after this
            (--node-monitor-grace-period): 40 s up to 1.31 and 50 s since when not given.
        not_ready_toleration: a pod stays on a node that says it is not ready for this
            (--default-not-ready-toleration-seconds 300).
        unreachable_toleration: the same for a node that says nothing
            (--default-unreachable-toleration-seconds 300).
        crash_backoff_max: longest wait before a container that keeps failing is started again
            (KubeletConfiguration crashLoopBackOff.maxContainerRestartPeriod, 300 s; another value
            needs the gate KubeletCrashLoopBackOffMax).
        cpu_period: in which a CPU limit is counted (KubeletConfiguration cpuCFSQuotaPeriod 100 ms):
            who has used up its share stands still until the next one.
        proxy_min_sync_period: kube-proxy writes its rules at most this often
            (KubeProxyConfiguration iptables.minSyncPeriod 1 s).
        proxy_sync_period: it writes them all again at least this often (30 s).
        endpoints_batch_period: the EndpointSlice controller gathers changes of pods for this
            (--endpointslice-updates-batch-period 0).
        max_surge: of a Deployment: pods above its replicas while it rolls, rounded up.
        max_unavailable: of a Deployment: pods that may be missing while it rolls, rounded down.
        min_ready: a new pod counts as available after it was ready for this (minReadySeconds 0).
        disruption_budget: pods of one service at a site that a drain may take away at a time
            (maxUnavailable of its PodDisruptionBudget).
        pod_management: how a StatefulSet starts its pods: one after the other, or all at once.
        pods: per role: CPU limit, probes, grace period.
    """

    version: Annotated[str, BeforeValidator(_quoted), Field(pattern=r"^1\.[1-9][0-9]$")] = "1.34"
    node_status_update_frequency: Duration = Field(STATUS_UPDATES, ge=1e-3)
    node_status_report_frequency: Duration | None = Field(None, ge=1e-3)
    node_lease_duration: Duration = Field(40.0, ge=1)
    node_monitor_period: Duration = Field(5.0, ge=1e-3)
    node_monitor_grace_period: Duration | None = None
    not_ready_toleration: Duration = 300.0
    unreachable_toleration: Duration = 300.0
    crash_backoff_max: Duration = Field(300.0, ge=1)
    cpu_period: Duration = Field(0.1, ge=1e-3, le=1)
    proxy_min_sync_period: Duration = 1.0
    proxy_sync_period: Duration = Field(30.0, ge=1e-3)
    endpoints_batch_period: Duration = 0.0
    max_surge: Ratio = 0.25
    max_unavailable: Ratio = 0.25
    min_ready: Duration = 0.0
    disruption_budget: int = Field(1, ge=1)
    pod_management: Literal["OrderedReady", "Parallel"] = "OrderedReady"
    pods: Workloads = Workloads()

    @model_validator(mode="after")
    def _consistent(self) -> Kubernetes:
        found = _whole_seconds(
            self, "node_lease_duration", "not_ready_toleration", "unreachable_toleration", "min_ready"
        )
        if self.node_monitor_grace < 2 * self.lease_renewal:
            path: Path = ("node_lease_duration",)
            if self.node_monitor_grace_period is not None:
                path = ("node_monitor_grace_period",)
            found.append(
                Misfit(
                    path,
                    f"a node counts as lost after {self.node_monitor_grace:g}s, but gives a sign of life "
                    f"only every {self.lease_renewal:g}s",
                    f"node_monitor_grace_period >= node_lease_duration/2 = {2 * self.lease_renewal:g}s",
                )
            )
        if found:
            raise MisfitError(found)
        return self

    @property
    def minor(self) -> int:
        """The minor release: 34 for 1.34."""
        return int(self.version.partition(".")[2])

    @property
    def node_status_reports(self) -> float:
        """Seconds between two posts of a node's unchanged status."""
        if self.node_status_report_frequency is not None:
            return self.node_status_report_frequency
        return (
            STATUS_REPORTS
            if self.node_status_update_frequency == STATUS_UPDATES
            else self.node_status_update_frequency
        )

    @property
    def node_monitor_grace(self) -> float:
        """Seconds without a sign of life after which a node counts as lost, by release.

        40 s up to 1.31, 50 s since (kubernetes/kubernetes pull request 126287).
        """
        if self.node_monitor_grace_period is not None:
            return self.node_monitor_grace_period
        return GRACE_SINCE_1_32 if self.minor >= 32 else GRACE_BEFORE_1_32

    @property
    def lease_renewal(self) -> float:
        """Seconds between two renewals of a node's lease."""
        return self.node_lease_duration / 4

    def surge(self, replicas: int) -> tuple[int, int]:
        """Pods that a rolling Deployment of ``replicas`` may have (above them, less than them).

        Rounded as ResolveFenceposts does (pkg/controller/deployment/util/deployment_util.go): one of
        the two is at least 1.
        """
        above = math.ceil(self.max_surge * replicas - 1e-9)
        below = math.floor(self.max_unavailable * replicas + 1e-9)
        return (above, below) if above or below else (0, 1)

    def pod(self, role: Role) -> Pod:
        """Settings of the pods of ``role``."""
        found: Pod = getattr(self.pods, role)
        return found

    def cpu_limit(self, role: Role, site_cpu: float) -> float:
        """Cores that a pod of ``role`` may use at a site with ``site_cpu``."""
        limit = self.pod(role).cpu
        return site_cpu if limit is None else limit
