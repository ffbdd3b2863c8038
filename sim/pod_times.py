"""What a Kubernetes cluster takes time for without any timer: part of a calibration."""

from __future__ import annotations

from sim.estimates import Estimate, Plain


class PodTimes(Plain):
    """Seconds that a Kubernetes cluster takes for what no timer rules.

    The shipped values are what was seen on kind 0.30 with Kubernetes 1.34 on two cores, with wide
    uncertainty: `schedule`, `sandbox`, `container`, `stop` and `stop_db` were measured by
    `faultline calibrate --backend kind`, the others are orders of magnitude that fit what was seen from
    outside (a deleted pod of a Deployment was ready again after 1.4 to 2.6 s).

    Attributes:
        reaction: of a controller to a change: watch, queue, write.
        schedule: from a pod's creation until it is bound to a node.
        sandbox: from there until its containers are made: sandbox, network, volumes.
        container: to make and start a container in a sandbox that stands.
        proxy: for kube-proxy to write its rules.
        stop: from SIGTERM until a small process has ended.
        stop_db: the same for a database server.
        gateway: from the start of the gateway's container until its links are configured.
        node: from the start of a stopped node until its kubelet runs.
        kubelet: from the start of a stopped kubelet until it looks after its pods.
        api: from the start of the API server until it answers and the controllers follow.
    """

    reaction: Estimate = Estimate(mean=0.03, cv=0.5, sem=0.01)
    schedule: Estimate = Estimate(mean=0.08, cv=0.5, sem=0.03)
    sandbox: Estimate = Estimate(mean=0.4, cv=0.3, sem=0.12)
    container: Estimate = Estimate(mean=0.25, cv=0.3, sem=0.08)
    proxy: Estimate = Estimate(mean=0.1, cv=0.5, sem=0.03)
    stop: Estimate = Estimate(mean=0.15, cv=0.8, sem=0.06)
    stop_db: Estimate = Estimate(mean=0.6, cv=0.5, sem=0.3)
    gateway: Estimate = Estimate(mean=0.8, cv=0.3, sem=0.3)
    node: Estimate = Estimate(mean=12.0, cv=0.2, sem=3.0)
    kubelet: Estimate = Estimate(mean=2.0, cv=0.3, sem=0.7)
    api: Estimate = Estimate(mean=12.0, cv=0.4, sem=3.0)
