"""M/M/1 at 80 % and M/M/4 at 80 %, a million customers: ours, our SimPy reference, the others, theory."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import measured, peers
from benchmarks.timing import Run, timed, within
from sim.analytic import mmc_wait
from sim.queueing import Open, Station, reference, simulate

CUSTOMERS = 1_000_000
FASTER_THAN_REFERENCE, FASTER_THAN_PEERS = 30.0, 20.0
"""What is promised."""


def run(quick: bool, servers: int = 1) -> dict[str, Any]:
    """One record: rates, ratios, and how far the mean is from theory in standard errors."""
    customers = CUSTOMERS // 50 if quick else CUSTOMERS
    budget = 0.5 if quick else 20.0
    rate, service = 0.8 * servers, 1.0
    network = Open((Station("station", service, servers),), rate)
    ours = timed(lambda count: simulate(network, count, seed=1, warmup=0), customers)
    slow = within(lambda count: reference.simulate(network, count, seed=1, warmup=0), customers, budget)
    others = {peer.NAME: measured(peer, rate, service, servers, customers, budget) for peer in peers()}
    expected = service + mmc_wait(rate, service, servers)
    counted = simulate(network, customers, seed=1)
    return compared(ours, slow, others) | {
        "theory": {
            "expected": expected,
            "found": counted.response.mean,
            "standard_error": counted.response.standard_error,
            "errors_off": (counted.response.mean - expected) / counted.response.standard_error,
        },
        "held": {
            "theory within 3 standard errors": abs(counted.response.mean - expected)
            <= 3 * counted.response.standard_error,
        }
        | promises(ours, slow, others),
    }


def many_servers(quick: bool) -> dict[str, Any]:
    """M/M/4."""
    return run(quick, servers=4)


def compared(ours: Run, slow: Run, others: dict[str, Run | str]) -> dict[str, Any]:
    """Rates and ratios; a peer that could not run says why."""
    return {
        "ours": ours.data(),
        "reference": slow.data() | {"ratio": round(ours.rate / slow.rate, 1)},
        "peers": {
            name: {"not run": found}
            if isinstance(found, str)
            else found.data() | {"ratio": round(ours.rate / found.rate, 1)}
            for name, found in others.items()
        },
    }


def promises(ours: Run, slow: Run, others: dict[str, Run | str]) -> dict[str, bool]:
    """Whether the ratios are what is promised."""
    fastest = max(found.rate for found in others.values() if isinstance(found, Run))
    return {
        f">= {FASTER_THAN_REFERENCE:g}x our SimPy reference": ours.rate >= FASTER_THAN_REFERENCE * slow.rate,
        f">= {FASTER_THAN_PEERS:g}x the fastest other": ours.rate >= FASTER_THAN_PEERS * fastest,
    }
