"""The report as one HTML page: a run put into words and pictures, and poured into the template."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from experiments.catalogue import CATALOGUE, WINDOWS
from experiments.observation import Event
from faultline import __version__
from faultline.plots import Band, Course, course, interval_bar, timeline
from faultline.predicting import intervals_of
from faultline.results import HypothesisResult, MetricResult
from faultline.run_files import RunFiles
from faultline.verdict import LEVEL, Verdict, is_headline, metric_name
from faultline.wording import (
    DASH,
    likelihood,
    reading_order,
    show,
    show_interval,
    show_range,
    shown_value,
    title,
    unit_of,
    where,
    window,
)
from topologies.model import Topology

SIGNS = {"held": "✓", "deviated": "✗", "inconclusive": "?", "predicted": "→", "unfinished": "!"}
PREDICTED = "predicted"
UNFINISHED = "unfinished"


@dataclass(frozen=True)
class Row:
    """A line of a table, in words."""

    title: str
    where: str
    window: str
    point: str
    range: str
    value: str
    bar: Markup
    verdict: str
    reason: str


@dataclass(frozen=True)
class Group:
    """A folded table."""

    title: str
    summary: str
    metrics: list[Row]


@dataclass
class View:
    """Everything the template shows."""

    title: str
    description: str
    headline: str
    verdict: str
    sign: str
    reason: str
    notices: list[str]
    facts: list[tuple[str, str]]
    measured: bool
    headlines: list[Row]
    breakdown: list[Group]
    hypotheses: list[dict[str, str]]
    timeline: Markup
    events: list[dict[str, str]]
    picture: Markup
    health: list[tuple[str, str]]
    health_summary: str
    used: list[tuple[str, list[tuple[str, str]]]]
    definitions: list[tuple[str, str, str]]
    version: str
    run_id: str
    windows: list[tuple[str, str]] = field(default_factory=lambda: list(WINDOWS.items()))


def html(files: RunFiles) -> str:
    """One self-contained page: no script, no request to anywhere."""
    room = Path(__file__).parent
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((room / "report_html.j2").read_text())
    return template.render(r=view(files), style=Markup((room / "report.css").read_text()))


def view(files: RunFiles) -> View:
    """Put a run into words."""
    record, prediction = files.record, files.prediction
    metrics = metrics_of(files)
    verdict, reason = verdict_of(files)
    names = list(dict.fromkeys(metric_name(m.key) for m in metrics))
    health = (files.measurement or {}).get("health", {})
    troubles = (files.measurement or {}).get("disturbances", [])
    return View(
        title=record.get("title") or prediction.get("title", "Run"),
        description=record.get("description") or prediction.get("description", ""),
        headline={"predicted": "Predicted, not measured", "unfinished": "Ended early"}.get(
            verdict, verdict.capitalize()
        ),
        verdict=verdict,
        sign=SIGNS[verdict],
        reason=reason,
        notices=list(notices_of(files)),
        facts=facts_of(files),
        measured=files.result is not None,
        headlines=[row_of(m) for m in headline_metrics(metrics)],
        breakdown=list(_breakdown(metrics)),
        hypotheses=_claims(files),
        timeline=Markup(_timeline(files)),
        events=[
            {"at": f"{e.at:.2f}", "component": e.component, "kind": e.kind, "detail": e.detail}
            for e in files.events
        ],
        picture=Markup(_picture(record)),
        health=list(health_pairs(health)),
        health_summary=_health_summary(files, troubles),
        used=list(_used(files)),
        definitions=[
            (name, _sentence(CATALOGUE[name].meaning), _sentence(CATALOGUE[name].definition))
            for name in names
            if name in CATALOGUE
        ],
        version=__version__,
        run_id=record["run_id"],
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:].rstrip(".")


def verdict_of(files: RunFiles) -> tuple[str, str]:
    """The word for the whole run, and the reason."""
    if files.result is not None:
        return str(files.result.verdict), files.result.reason
    error = files.record.get("error")
    if error:
        return (
            UNFINISHED,
            f"The run ended at the stage “{error.get('stage', '?')}”: {error.get('message', '')}",
        )
    stage = files.record.get("stage")
    if stage is not None:
        return UNFINISHED, f"The run is still at the stage “{stage}”, or was killed there."
    return PREDICTED, "Nothing has been broken or measured yet."


def _health_summary(files: RunFiles, troubles: Sequence[str]) -> str:
    if troubles:
        return f"No: {'; '.join(troubles)}. So nothing that was measured proves anything."
    return "Yes: every figure is within its limit."


def notices_of(files: RunFiles) -> Iterator[str]:
    """What a reader must know before the numbers."""
    if files.measurement and files.measurement.get("disturbances"):
        yield (
            "The lab was disturbed, so its numbers say as much about the machine as about the service. They "
            "are shown, but nothing is concluded from them and they do not count in the score. Run it again "
            "on a quieter machine."
        )
    if files.measurement and not files.measurement.get("validation", True):
        yield (
            "The lab was the simulator itself: this shows that the experiment runs, not that the prediction "
            "is right, and it does not count in the score."
        )


def metrics_of(files: RunFiles) -> list[MetricResult]:
    """All metrics; those of a run without a verdict have a prediction only."""
    if files.result is not None:
        return list(files.result.metrics)
    faulted = bool(files.prediction.get("timeline"))
    return [
        MetricResult(
            key=key,
            unit=unit_of(key),
            low=interval.low,
            point=interval.point,
            high=interval.high,
            never=interval.censored >= LEVEL,
            value=None,
            n=0,
            resolution=0.0,
            censored=False,
            verdict=Verdict.INCONCLUSIVE,
            reason=PREDICTED,
            headline=is_headline(key, faulted),
            counted=False,
        )
        for key, interval in intervals_of(files.prediction).items()
    ]


def headline_metrics(metrics: Sequence[MetricResult]) -> list[MetricResult]:
    """Headline metrics in the catalogue's order, without reactions that neither came nor were expected."""
    shown = [m for m in metrics if m.headline and not (m.never and m.censored)]
    return sorted(shown, key=lambda m: reading_order(m.key))


def row_of(m: MetricResult) -> Row:
    """One metric in words."""
    verdict = PREDICTED if m.reason == PREDICTED else str(m.verdict)
    value = shown_value(m.key, m.value, m.unit, m.censored, like=m.high)
    return Row(
        title=title(m.key),
        where=where(m.key),
        window=window(m.key),
        point=DASH if m.never else show(m.point, m.unit, like=m.high),
        range=f"not in {show(m.high, m.unit)}" if m.never else show_range(m.low, m.high, m.unit),
        value=value,
        bar=Markup(interval_bar(m.low, m.point, m.high, m.value, str(m.verdict))),
        verdict=verdict,
        reason=m.reason,
    )


def _breakdown(metrics: Sequence[MetricResult]) -> Iterator[Group]:
    rest = [m for m in metrics if not m.headline]
    for name in dict.fromkeys(metric_name(m.key) for m in rest):
        mine = [m for m in rest if metric_name(m.key) == name]
        if all(m.low == m.high == 0 and m.value in (0, None) for m in mine):
            continue
        shown = [m for m in mine if not (m.low == m.high == 0 and m.value in (0, None))]
        counts = {v: sum(m.verdict is v for m in shown if m.reason != PREDICTED) for v in Verdict}
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items() if count)
        omitted = len(mine) - len(shown)
        if omitted:
            told += f"{'; ' if told else ''}{omitted} that are zero as predicted are left out"
        yield Group(title(f"{name}@whole"), told, [row_of(m) for m in shown])


def _claims(files: RunFiles) -> list[dict[str, str]]:
    likely = {claim["claim"]: likelihood(claim) for claim in files.prediction.get("hypotheses", [])}
    if files.result is not None:
        return [_claim(h) | {"likely": likely.get(h.claim, "")} for h in files.result.hypotheses]
    intervals = intervals_of(files.prediction)
    rows = []
    for claim in files.prediction.get("hypotheses", []):
        found = intervals.get(claim["key"])
        unit = unit_of(claim["key"])
        rows.append(
            {
                "claim": claim["claim"],
                "predicted": show_interval(found.low, found.point, found.high, unit) if found else DASH,
                "likely": likely[claim["claim"]],
                "value": DASH,
                "verdict": PREDICTED,
                "reason": "",
            }
        )
    return rows


def _claim(h: HypothesisResult) -> dict[str, str]:
    return {
        "claim": h.claim,
        "predicted": show_interval(h.low, h.point, h.high, h.unit) if h.low is not None else DASH,
        "value": show(h.value, h.unit),
        "verdict": str(h.verdict),
        "reason": h.reason,
    }


def _timeline(files: RunFiles) -> str:
    source = files.measurement or files.prediction
    duration, warmup = float(source["duration"]), float(source["warmup"])
    measured: Course | None = None
    if files.requests is not None:
        measured = course(files.requests, duration)
    bands = {name: _band(band) for name, band in files.prediction.get("course", {}).items()}
    windows = [(float(a), float(b)) for a, b in source.get("windows", [])]
    events = files.events or tuple(
        Event(**event) for event in files.prediction.get("events", []) if isinstance(event, Mapping)
    )
    return timeline(measured, bands, events, windows, warmup, duration)


def _band(data: Mapping[str, Sequence[float | None]]) -> Band:
    def numbers(name: str) -> Any:
        return np.array([np.nan if v is None else v for v in data[name]], dtype=np.float64)

    return Band(numbers("t"), numbers("low"), numbers("point"), numbers("high"))


def _picture(record: Mapping[str, Any]) -> str:
    if "topology" not in record:
        return ""
    from topologies.picture import picture

    cut = [(str(one), str(other)) for one, other in record.get("cut", [])]
    return picture(Topology.model_validate(record["topology"]), cut=cut)


def facts_of(files: RunFiles) -> list[tuple[str, str]]:
    """The few facts that stand under the verdict."""
    record = files.record
    facts = [
        ("topology", record.get("topology", {}).get("topology", "")),
        ("size", record.get("size", "")),
        ("lab", record.get("backend", "")),
        ("seed", str(record.get("seed", ""))),
        (
            "started",
            str(record.get("started", ""))[:19].replace("T", " ") + " UTC" if record.get("started") else "",
        ),
        ("ledger row", _ledger_row(record)),
    ]
    return [(name, value) for name, value in facts if value]


def _ledger_row(record: Mapping[str, Any]) -> str:
    row = record.get("ledger", {}).get("prediction")
    return f"{row['n']} · {row['hash'][:12]}…" if row else ""


def _used(files: RunFiles) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    record, prediction = files.record, files.prediction
    predicted = {
        name: prediction.get(name)
        for name in ("seed", "replications", "engine", "program_hash", "calibration")
        if prediction.get(name) is not None
    }
    groups: dict[str, Mapping[str, Any]] = {
        "Files": record.get("files", {}),
        "Changed on the command line": {"--set": ", ".join(record.get("overrides", []))}
        if record.get("overrides")
        else {},
        "Prediction": predicted,
        "Machine": record.get("machine", {}),
        "Python packages": record.get("versions", {}),
        "Ledger": record.get("ledger", {}),
    }
    lab = record.get("lab", {})
    groups["Lab"] = {name: value for name, value in lab.items() if not isinstance(value, Mapping)}
    groups |= {
        f"Lab: {name.replace('_', ' ')}": value for name, value in lab.items() if isinstance(value, Mapping)
    }
    for name, content in groups.items():
        pairs = list(_flat(content))
        if pairs:
            yield name, pairs


SHARES = ("busy", "steal", "load_share", "throttled", "busy_worst")
SECONDS = ("relay_late", "relay_worst", "prober_late", "prober_worst")


def health_pairs(health: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The lab's health in words: shares in percent, lateness in time, CPU in cores."""
    for name, value in health.items():
        label = name.replace("_", " ")
        if isinstance(value, Mapping):
            told = [f"{part} {_health(name, number)}" for part, number in value.items()]
            if told:
                yield (
                    {"cpu": "cores used", "throttled": "held back by its quota"}.get(name, label),
                    ", ".join(told),
                )
        elif value is not None:
            yield {"seconds": "seconds watched"}.get(name, label), _health(name, value)


def _health(name: str, value: Any) -> str:
    if name in SHARES:
        return f"{value:.1%}"
    if name in SECONDS:
        return show(float(value), "s")
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def _flat(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, inner in value.items():
        label = f"{prefix}{name}".replace("_", " ")
        if isinstance(inner, Mapping):
            yield from _flat(inner, f"{prefix}{name} ")
        elif isinstance(inner, float):
            yield label, f"{inner:.4g}"
        elif isinstance(inner, bool):
            yield label, "yes" if inner else "no"
        elif isinstance(inner, list | tuple):
            if inner:
                yield label, ", ".join(json.dumps(v) if isinstance(v, dict) else str(v) for v in inner)
        elif inner is not None and inner != "":
            yield label, str(inner)
