"""F1 to F7: which set-ups each finding compares, and what it expects."""

from __future__ import annotations

from benchmarks.findings.checks import Effect, Finding
from benchmarks.findings.study import FLOWS

BUSY, CALM = "no pause", "3 s pause"


def _throughput(first: str, second: str, flow: str, pause: str, what: str) -> Effect:
    return Effect(f"{what}, {flow}", "throughput", (first, flow, pause), (second, flow, pause), "above")


def f1() -> Finding:
    """More front ends are better."""
    chain = [("docker-external", "one-external", "1 to 3"), ("one-external", "two-external-0", "3 to 5")]
    effects = [
        _throughput(a, b, flow, BUSY, f"requests/s, external Galera, {step} front ends")
        for a, b, step in chain
        for flow in FLOWS
    ]
    own = [("docker-own", "one-galera-3", "1 to 3"), ("one-galera-3", "two-galera-5-0", "3 to 5")]
    effects += [
        _throughput(a, b, flow, BUSY, f"requests/s, a database member each, {step} front ends")
        for a, b, step in own
        for flow in FLOWS
    ]
    return Finding("F1", "more containers, better: Docker < one cluster < two clusters", tuple(effects))


FINDINGS = (f1(),)
