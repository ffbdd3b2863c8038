"""docs/findings.md, written from results alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from benchmarks.findings import tables
from benchmarks.findings.cases import LOSSES, WHATIFS
from benchmarks.findings.charts import NAMES
from benchmarks.findings.checks import Finding
from benchmarks.findings.closed_forms import replica_reads_save, session_delay
from benchmarks.findings.setups import SETUPS
from benchmarks.findings.study import BUSY, CALM, FLOWS, Results
from benchmarks.findings.tables import number
from benchmarks.findings.where import Where
from benchmarks.findings.words import WORDS

_SAYS = WORDS["page"]
F6 = _SAYS["f6-claim"]


def page(results: Results, found: Sequence[Finding], looks: Sequence[Where]) -> str:
    """The whole page."""
    lines = [_SAYS["head"], "## The findings", ""]
    lines += [*_summary(results, found), ""]
    for one in found:
        if one.name == "F7":
            lines += _f6()
        lines += _finding(one, results)
    lines += _results(results)
    lines += _where(looks)
    lines += _everyday(results)
    lines += _whatifs(results)
    lines += _reproduce()
    return "\n".join(lines).rstrip() + "\n"


def _summary(results: Results, found: Sequence[Finding]) -> Iterator[str]:
    yield "| | finding | simulated | comparisons that agree |"
    yield "|---|---|---|---|"
    for one in found:
        if one.name == "F7":
            yield f"| F6 | {F6} | computed, not simulated | – |"
        outcomes = [effect.outcome(results) for effect in one.effects]
        share = f"{outcomes.count('agrees')} of {len(outcomes)}"
        if "open" in outcomes:
            share += f", {outcomes.count('open')} open"
        yield f"| {one.name} | {one.claim} | **{one.outcome(results)}** | {share} |"


def _finding(one: Finding, results: Results) -> Iterator[str]:
    yield f"### {one.name}: {one.claim}"
    yield ""
    yield f"**{one.outcome(results)}**"
    yield ""
    yield from tables.effects(one.effects, results)
    if one.name == "F7":
        yield ""
        yield from tables.losses(LOSSES, results)
    yield ""
    yield one.why.rstrip()
    yield ""
    if one.evidence:
        yield from tables.effects(one.evidence, results)
        yield ""


def _f6() -> Iterator[str]:
    yield f"### F6: {F6}"
    yield ""
    yield _SAYS["f6"]
    yield "| clusters | Redis primary | page that reads a session | page that saves it |"
    yield "|---|---|---|---|"
    for name in ("two-galera-5-0", "two-galera-5-30"):
        for primary in ("local", "remote"):
            read, save = (number(1e3 * seconds) for seconds in session_delay(SETUPS[name], primary))
            yield f"| {SETUPS[name].rtt:g} ms apart | {primary} cluster | +{read} ms | +{save} ms |"
    yield ""
    yield _SAYS["f6-end"]


def _results(results: Results) -> Iterator[str]:
    yield "## Results, set-up by set-up"
    yield ""
    for load in (BUSY, CALM):
        for flow in FLOWS:
            yield f"### {flow}, {load}"
            yield ""
            for name in NAMES:
                if (flow, load) == name[1:3]:
                    yield f"![{name[3]}, {flow}, {load}](findings/{name[0]}.svg)"
                    yield ""
            yield from tables.setups(results, flow, load)
            yield ""


def _where(looks: Sequence[Where]) -> Iterator[str]:
    yield "## Where the time goes"
    yield ""
    yield _SAYS["where"]
    yield "| set-up | load | mean s | most of it |"
    yield "|---|---|---|---|"
    for one in looks:
        parts = ", ".join(f"{name} {100 * share:.0f} %" for name, share in one.largest(4) if share >= 0.01)
        yield f"| {SETUPS[one.setup].title} | {one.flow}, {one.load} | {number(one.latency)} | {parts} |"
    yield ""


def _everyday(results: Results) -> Iterator[str]:
    yield "## An ordinary day"
    yield ""
    yield _SAYS["everyday"]
    yield from tables.days(results)
    yield ""
    yield _SAYS["everyday-end"]


def _whatifs(results: Results) -> Iterator[str]:
    yield "## What if"
    yield ""
    yield from tables.whatifs(WHATIFS, results)
    yield ""
    yield _SAYS["sentinel"]
    yield _SAYS["reads"]
    yield "| request | all at the primary | autocommitted SELECTs at a replica beside |"
    yield "|---|---|---|"
    for request in ("access-token", "password", "refresh", "token-exchange"):
        whole, apart = (number(seconds) for seconds in replica_reads_save(request, 0.03))
        yield f"| {request} | {whole} s | {apart} s |"
    yield ""


def _reproduce() -> Iterator[str]:
    yield "## Each set-up again"
    yield ""
    yield _SAYS["again"]
    yield "| set-up | options |"
    yield "|---|---|"
    for setup in SETUPS.values():
        options = " ".join(f"`{text}`" for text in setup.overrides)
        yield f"| {setup.title} | {options} |"
