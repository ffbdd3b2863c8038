"""Closed forms that the simulator must agree with where they hold.

All times in seconds, rates per second. Where a form is exact its docstring says under which
assumptions; the tests put the simulator into that regime and compare.
"""

from sim.analytic.conflicts import (
    certification_failure,
    eager_deadlocks,
    lazy_group_reconciliations,
    lazy_master_deadlocks,
    local_deadlocks,
    wait_probability,
)
from sim.analytic.networks import ClassResult, closed_multiserver, mva, mva_classes, saturation
from sim.analytic.ordering import commit_latency, member_delays, order_time, ordering_times, visibility
from sim.analytic.queues import (
    erlang_b,
    erlang_c,
    lindley,
    mg1_wait,
    mmc_jobs,
    mmc_wait,
    mmc_wait_quantile,
    ps_sojourn,
    ps_sojourn_given,
)
from sim.analytic.timers import dns_down, haproxy_down, quota_elapsed, stall

__all__ = [
    "ClassResult",
    "certification_failure",
    "closed_multiserver",
    "commit_latency",
    "dns_down",
    "eager_deadlocks",
    "erlang_b",
    "erlang_c",
    "haproxy_down",
    "lazy_group_reconciliations",
    "lazy_master_deadlocks",
    "lindley",
    "local_deadlocks",
    "member_delays",
    "mg1_wait",
    "mmc_jobs",
    "mmc_wait",
    "mmc_wait_quantile",
    "mva",
    "mva_classes",
    "order_time",
    "ordering_times",
    "ps_sojourn",
    "ps_sojourn_given",
    "quota_elapsed",
    "saturation",
    "stall",
    "visibility",
    "wait_probability",
]
