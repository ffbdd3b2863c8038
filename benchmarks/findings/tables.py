"""The tables of docs/findings.md."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from benchmarks.findings.cases import DAILY, DAY_SETUPS, WhatIf
from benchmarks.findings.checks import Effect
from benchmarks.findings.setups import SETUPS
from benchmarks.findings.study import CODES, Estimated, Key, Loss, Results

FIGURES = (
    ("throughput", "answers/s", 1.0),
    ("latency_p50", "p50 s", 1.0),
    ("latency_p80", "p80 s", 1.0),
    ("latency_p95", "p95 s", 1.0),
    ("failed", "failed %", 100.0),
)


def number(value: float, digits: int = 3) -> str:
    """Three significant digits, without an exponent; a dash for what there is no value of."""
    if math.isnan(value):
        return "–"
    if value == 0 or abs(value) < 1e-6:
        return "0"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{round(value, digits - 1 - math.floor(math.log10(abs(value)))):.{places}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def interval(found: Estimated, scale: float = 1.0, bound: float | None = None) -> str:
    """Value and interval, with the digits (up to six) that show on which side of ``bound`` an end lies."""
    if math.isnan(found.value) or (found.low == found.high == found.value == 0):
        return number(found.value)
    ends = [scale * found.low, scale * found.high]
    digits = 3
    while bound is not None and digits < 6 and number(bound, digits) in [number(end, digits) for end in ends]:
        digits += 1
    value, low, high = (number(one, digits) for one in (scale * found.value, *ends))
    return f"{value} ({low} – {high})"


def codes(results: Results, case: Key) -> str:
    """Shares of the HTTP codes that occurred, in percent."""
    shares = {code: results.estimate(case, code).value for code in CODES}
    named = [f"{code}: {number(100 * share)}" for code, share in shares.items() if share > 5e-6]
    return ", ".join(named) or "–"


def setups(results: Results, flow: str, load: str) -> Iterator[str]:
    """Every set-up under one load, in the study's order."""
    yield "| set-up | " + " | ".join(title for _, title, _ in FIGURES) + " | by HTTP code, % |"
    yield "|---" * (len(FIGURES) + 2) + "|"
    for name, setup in SETUPS.items():
        case = name, flow, load
        if case in results.values:
            cells = [interval(results.estimate(case, figure), scale) for figure, _, scale in FIGURES]
            yield f"| {setup.title} | " + " | ".join(cells) + f" | {codes(results, case)} |"


def effects(rows: Sequence[Effect], results: Results) -> Iterator[str]:
    """Comparisons: what was expected, what came out."""
    yield "| compared | expected | simulated | |"
    yield "|---|---|---|---|"
    for effect in rows:
        if not effect.is_known(results):
            yield f"| {effect.what} | {effect.expected} | not simulated | **open** |"
            continue
        unit = " points" if effect.points else " ×"
        outcome = effect.outcome(results)
        said = outcome if outcome == "agrees" else f"**{outcome}**"
        found = interval(effect.measured(results), bound=effect.bound)
        yield f"| {effect.what} | {effect.expected} | {found}{unit} | {said} |"


def losses(rows: Sequence[tuple[str, str, Loss]], results: Results) -> Iterator[str]:
    """What is lost, and how many requests fail while it is."""
    yield "| set-up | loses for 90 s | requests that fail meanwhile, % | because |"
    yield "|---|---|---|---|"
    for what, why, case in rows:
        if case.key not in results.values:
            continue
        failed = interval(results.estimate(case.key, "failed"), 100)
        yield f"| {case.setup.title} | {what} | {failed} | {why} |"


def days(results: Results) -> Iterator[str]:
    """Failures per day and latencies of ordinary load."""
    yield "| load | set-up | what | requests a day | fail a day | by HTTP code, % | p50 s | p95 s |"
    yield "|---" * 8 + "|"
    for service in DAILY:
        for name in DAY_SETUPS:
            for flow, what in (("access-token", "token"), ("userinfo", "login"), ("refresh", "session")):
                case = name, flow, f"{service} day"
                if case not in results.values:
                    continue
                rate = per_day(results, case)
                failed = Estimated.of(
                    [a * b for a, b in zip(rate, results.trials(case, "failed"), strict=True)]
                )
                failures = interval(Estimated(failed.value, max(0.0, failed.low), failed.high))
                cells = [service, SETUPS[name].title, what, number(sum(rate) / len(rate)), failures]
                cells += [codes(results, case)]
                cells += [interval(results.estimate(case, f"latency_p{percent}")) for percent in (50, 95)]
                yield f"| {' | '.join(cells)} |"


def per_day(results: Results, case: Key) -> list[float]:
    """Requests of a day, per trial: answered ones and failed ones."""
    pairs = zip(results.trials(case, "throughput"), results.trials(case, "failed"), strict=True)
    return [86_400 * answered / (1 - failed) if failed < 1 else math.nan for answered, failed in pairs]


def whatifs(rows: Sequence[WhatIf], results: Results) -> Iterator[str]:
    """Before and after, with the paired change."""
    yield "| what if | set-up | load | answers/s | p50 s | p95 s | HTTP 500, % | HTTP 401, % | other, % |"
    yield "|---" * 9 + "|"
    for row in rows:
        for flow, load in row.loads:
            before, after = (row.base, flow, load), (row.name, flow, load)
            if not {before, after} <= set(results.values):
                continue
            cells = [
                _change(results, before, after, name, scale)
                for name, scale in (
                    ("throughput", 1),
                    ("latency_p50", 1),
                    ("latency_p95", 1),
                    ("500", 100),
                    ("401", 100),
                )
            ]
            others = (
                sum(results.estimate(case, code).value for code in CODES if code not in ("500", "401"))
                for case in (before, after)
            )
            cells.append(" → ".join(number(100 * share) for share in others))
            yield (
                f"| {row.question} | {SETUPS[row.base].title} | {flow}, {load} | " + " | ".join(cells) + " |"
            )
    yield ""
    for row in {row.question: row for row in rows if row.remark}.values():
        yield f"- *{row.question}*: {row.remark}"


def _change(results: Results, before: Key, after: Key, name: str, scale: float) -> str:
    """`a → b`, in bold when the paired difference is clear of zero."""
    first, second = results.trials(before, name), results.trials(after, name)
    difference = Estimated.of([b - a for a, b in zip(first, second, strict=True)])
    text = f"{number(scale * sum(first) / len(first))} → {number(scale * sum(second) / len(second))}"
    return f"**{text}**" if difference.low > 0 or difference.high < 0 else text
