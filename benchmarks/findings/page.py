"""docs/findings.md, written from results alone."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.findings.checks import Effect, Finding
from benchmarks.findings.setups import SETUPS
from benchmarks.findings.study import CODES, FLOWS, THINK, Estimated, Results


def number(value: float, digits: int = 3) -> str:
    """Three significant digits, without an exponent."""
    if value == 0 or value != value:
        return "0" if value == 0 else "–"
    text = f"{value:.{digits}g}"
    return f"{float(text):g}" if "e" in text else text


def interval(found: Estimated, scale: float = 1.0, unit: str = "") -> str:
    """Value and interval."""
    ends = f"{number(scale * found.low)}, {number(scale * found.high)}"
    return f"{number(scale * found.value)}{unit} [{ends}]"


def table(results: Results, flow: str, pause: str) -> Iterator[str]:
    """Every set-up under one load, in the study's order."""
    yield (
        "| set-up | answers/s | p50 s | p80 s | p95 s | failed % | "
        + " | ".join(f"{code} %" for code in CODES)
        + " |"
    )
    yield "|---" * (6 + len(CODES)) + "|"
    for name, setup in SETUPS.items():
        case = name, flow, pause
        if case not in results.values:
            continue
        cells = [interval(results.estimate(case, "throughput"))]
        cells += [interval(results.estimate(case, f"latency_p{percent}")) for percent in (50, 80, 95)]
        cells.append(interval(results.estimate(case, "failed"), 100))
        cells += [number(100 * results.estimate(case, code).value) for code in CODES]
        yield f"| {setup.title} | " + " | ".join(cells) + " |"


def effects(rows: tuple[Effect, ...], results: Results) -> Iterator[str]:
    """Comparisons with what was expected and what came out."""
    yield "| compared | expected | simulated | |"
    yield "|---|---|---|---|"
    for effect in rows:
        unit = " points" if effect.points else " times"
        found = interval(effect.measured(results))
        yield f"| {effect.what} | {effect.expected} | {found}{unit} | {effect.outcome(results)} |"


def finding(one: Finding, results: Results) -> Iterator[str]:
    """One finding with its comparisons."""
    yield f"### {one.name}: {one.claim}"
    yield ""
    yield f"**{one.outcome(results)}**"
    yield ""
    yield from effects(one.effects, results)
    if one.why:
        yield ""
        yield one.why
    if one.evidence:
        yield ""
        yield from effects(one.evidence, results)
    yield ""


def page(results: Results, findings: tuple[Finding, ...]) -> str:
    """The whole page."""
    lines = ["# The findings of a load-test study, simulated", ""]
    for one in findings:
        lines += finding(one, results)
    for pause in THINK:
        for flow in FLOWS:
            lines += [f"### {flow}, {pause}", "", *table(results, flow, pause), ""]
    return "\n".join(lines).rstrip() + "\n"
