"""F1 to F7: what each finding compares, what it expects, and the mechanism behind what comes out."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.findings.checks import Effect, Expect, Finding
from benchmarks.findings.study import BUSY, CALM, FLOWS
from benchmarks.findings.words import WORDS

NO_RTT, RTT = "0", "30"


def _between(
    first: str,
    second: str,
    what: str,
    figure: str,
    expect: Expect,
    bound: float = 1.0,
    *,
    flows: tuple[str, ...] = FLOWS,
    loads: tuple[str, ...] = (BUSY,),
) -> Iterator[Effect]:
    """The same comparison of two set-ups for several flows and loads."""
    points = figure not in ("throughput", "latency_p50", "latency_p80", "latency_p95")
    for load in loads:
        for flow in flows:
            named = f"{what}, {flow}, {load}"
            yield Effect(named, figure, (first, flow, load), (second, flow, load), expect, bound, points)


def f1() -> Finding:
    """More front ends are better."""
    steps = (
        ("docker-external", "one-external", "external Galera, 1 → 3 front ends"),
        ("one-external", "two-external-0", "external Galera, 3 → 5 front ends"),
        ("docker-own", "one-galera-3", "a member per node, 1 → 3 front ends"),
        ("one-galera-3", "two-galera-5-0", "a member per node, 3 → 5 front ends"),
    )
    effects = [
        effect
        for first, second, what in steps
        for effect in _between(first, second, f"answers/s, {what}", "throughput", "above")
    ]
    return Finding(
        "F1",
        WORDS["F1"]["claim"],
        tuple(effects),
        why=WORDS["F1"]["why"],
        evidence=(
            *_between(
                "docker-external+no-clear",
                "one-external+no-clear",
                "answers/s, external Galera, access tokens not cleared, 1 → 3 front ends",
                "throughput",
                "above",
                flows=("workflow",),
            ),
            *_between(
                "one-external+no-clear",
                "two-external-0+no-clear",
                "answers/s, external Galera, access tokens not cleared, 3 → 5 front ends",
                "throughput",
                "above",
                flows=("workflow",),
            ),
            *_between(
                "one-galera-3+appliers",
                "two-galera-5-0+appliers",
                "answers/s, a member per node, 8 applier threads, 3 → 5 front ends",
                "throughput",
                "above",
                flows=("access-token",),
            ),
        ),
    )


def f2() -> Finding:
    """The tunnel costs little."""
    effects: list[Effect] = []
    for base, what in (
        ("two-galera-5-0", "Galera, 0 ms"),
        ("two-galera-5-30", "Galera, 30 ms"),
        ("two-replication-local-30", "replication, 30 ms"),
    ):
        for figure, name in (("throughput", "answers/s"), ("latency_p50", "p50"), ("latency_p95", "p95")):
            effects += _between(
                f"{base}+bare",
                base,
                f"{name} with a tunnel against none, {what}",
                figure,
                "near",
                1.1,
                flows=("access-token", "workflow"),
                loads=(CALM,),
            )
    return Finding(
        "F2",
        WORDS["F2"]["claim"],
        tuple(effects),
        why=WORDS["F2"]["why"],
        evidence=(
            *_between(
                "two-replication-local-0+bare",
                "two-replication-local-0",
                "p95 with a tunnel against none, replication, 0 ms",
                "latency_p95",
                "near",
                1.1,
                flows=("access-token", "workflow"),
                loads=(CALM,),
            ),
        ),
    )


def f3() -> Finding:
    """Galera against replication."""
    effects: list[Effect] = []
    for rtt in (NO_RTT, RTT):
        for primary in ("local", "remote"):
            first, second = f"two-replication-{primary}-{rtt}", f"two-galera-5-{rtt}"
            what = f"Galera (5) against replication (primary {primary}), {rtt} ms"
            effects += _between(first, second, f"answers/s, {what}", "throughput", "above")
            effects += _between(first, second, f"p80, {what}", "latency_p80", "below")
    more = "Galera's gain in answers/s for access-token against that for workflow, 30 ms, no pause"
    effects.append(
        Effect(
            more,
            "throughput",
            ("two-replication-local-30", "access-token", BUSY),
            ("two-galera-5-30", "access-token", BUSY),
            "above",
            against=(("two-replication-local-30", "workflow", BUSY), ("two-galera-5-30", "workflow", BUSY)),
        )
    )
    return Finding(
        "F3",
        WORDS["F3"]["claim"],
        tuple(effects),
        why=WORDS["F3"]["why"],
        evidence=(
            Effect(
                "answers/s, Galera (5) with 8 applier threads against replication (primary local), 0 ms, "
                "access-token, no pause",
                "throughput",
                ("two-replication-local-0", "access-token", BUSY),
                ("two-galera-5-0+appliers", "access-token", BUSY),
                "above",
            ),
        ),
    )


def f4() -> Finding:
    """Latency between service and database."""
    effects: list[Effect] = []
    for name, what in (
        ("two-external", "external Galera"),
        ("two-replication-local", "replication, primary local"),
        ("two-replication-remote", "replication, primary remote"),
    ):
        effects += _between(
            f"{name}-0", f"{name}-30", f"answers/s, 30 ms against 0, {what}", "throughput", "below", 0.5
        )
        effects += _between(
            f"{name}-0", f"{name}-30", f"p80, 30 ms against 0, {what}", "latency_p80", "above", 2.0
        )
    effects += _between(
        "two-galera-5-0",
        "two-galera-5-30",
        "answers/s, 30 ms against 0, Galera in both clusters",
        "throughput",
        "above",
        0.5,
    )
    against = "replication (primary local) against Galera (5)"
    cases: tuple[tuple[str, str, Expect], ...] = (
        ("latency_p50", NO_RTT, "near"),
        ("latency_p80", NO_RTT, "near"),
        ("latency_p80", RTT, "above"),
    )
    for figure, rtt, expect in cases:
        effects += _between(
            f"two-galera-5-{rtt}",
            f"two-replication-local-{rtt}",
            f"{figure[-3:]}, {against}, {rtt} ms",
            figure,
            expect,
            2.0,
            flows=("access-token",),
            loads=(CALM,),
        )
    return Finding(
        "F4",
        WORDS["F4"]["claim"],
        tuple(effects),
        why=WORDS["F4"]["why"],
        evidence=(
            *_between(
                "two-galera-5-0+bare",
                "two-replication-local-0+bare",
                f"p80, {against}, 0 ms, no tunnel",
                "latency_p80",
                "near",
                2.0,
                flows=("access-token",),
                loads=(CALM,),
            ),
        ),
    )


def f5() -> Finding:
    """Failures grow with members and front ends."""
    effects: list[Effect] = []
    for rtt in (NO_RTT, RTT):
        for few, many in ((2, 3), (3, 5)):
            effects += _between(
                f"two-galera-{few}-{rtt}",
                f"two-galera-{many}-{rtt}",
                f"failed, {few} → {many} members, 5 front ends, {rtt} ms",
                "failed",
                "above",
                0.0,
                flows=("refresh", "workflow"),
                loads=(BUSY, CALM),
            )
    effects += _between(
        "one-galera-3",
        "two-galera-3-0",
        "failed, 3 → 5 front ends, 3 members",
        "failed",
        "above",
        0.0,
        flows=("refresh", "workflow"),
    )
    for name, code in (("HTTP 500", "500"), ("HTTP 401", "401")):
        effects += _between(
            "docker-own",
            "two-galera-5-30",
            f"{name}, one member → 5 members, 30 ms",
            code,
            "above",
            0.0,
            flows=("refresh", "workflow"),
            loads=(BUSY, CALM),
        )
    for load in (BUSY, CALM):
        effects.append(
            Effect(
                f"failed, access-token → workflow, 5 members, 30 ms, {load}",
                "failed",
                ("two-galera-5-30", "access-token", load),
                ("two-galera-5-30", "workflow", load),
                "above",
                0.0,
                points=True,
            )
        )
    return Finding(
        "F5",
        WORDS["F5"]["claim"],
        tuple(effects),
        why=WORDS["F5"]["why"],
        evidence=(
            *_between(
                "two-galera-5-30",
                "two-galera-5-30+read-committed",
                "HTTP 500, READ COMMITTED",
                "500",
                "below",
                0.0,
                flows=("workflow",),
                loads=(BUSY, CALM),
            ),
            *_between(
                "two-galera-5-30",
                "two-galera-5-30+no-clear",
                "HTTP 500, clear-access-tokens off",
                "500",
                "below",
                0.0,
                flows=("workflow",),
                loads=(BUSY, CALM),
            ),
            *_between(
                "two-galera-5-30",
                "two-galera-5-30+sync-wait",
                "HTTP 401, causal reads",
                "401",
                "below",
                0.0,
                flows=("workflow",),
                loads=(BUSY, CALM),
            ),
            *_between(
                "two-galera-5-30",
                "two-galera-5-30+sticky",
                "HTTP 401, a user stays with one node",
                "401",
                "below",
                0.0,
                flows=("workflow",),
                loads=(BUSY, CALM),
            ),
        ),
    )


def f7() -> Finding:
    """No loss against the baseline."""
    effects: list[Effect] = []
    for members in (3, 5):
        name = f"two-galera-{members}-30"
        what = f"two clusters, 30 ms, {members} members, against Docker"
        effects += _between("docker-external", name, f"answers/s, {what}", "throughput", "above", 0.95)
        effects += _between("docker-external", name, f"p50, {what}", "latency_p50", "below", 1.05)
    effects += _between(
        "docker-external",
        "two-galera-5-30",
        "p50, two clusters, 30 ms, 5 members, against Docker",
        "latency_p50",
        "below",
        1.05,
        loads=(CALM,),
    )
    return Finding(
        "F7",
        WORDS["F7"]["claim"],
        tuple(effects),
        why=WORDS["F7"]["why"],
    )


def findings() -> tuple[Finding, ...]:
    """Those that are comparisons of simulations; F6 is computed (`closed_forms`)."""
    return f1(), f2(), f3(), f4(), f5(), f7()
