"""The reports of a run, made from the run directory alone: HTML, Markdown and JUnit."""

from __future__ import annotations

from pathlib import Path

from faultline import __version__
from faultline.home import RunDirectory
from faultline.junit import junit_xml
from faultline.page import SIGNS, facts_of, headline_metrics, html, metrics_of, notices_of, row_of, verdict_of
from faultline.run_files import RunFiles
from faultline.wording import show

__all__ = ["RunFiles", "headline_metrics", "html", "markdown", "write_reports"]


def write_reports(run: RunDirectory) -> Path:
    """Write `report.html`, `report.md` and, once there is a verdict, `junit.xml`; return the first."""
    files = RunFiles.read(run)
    run.write_text("report.md", markdown(files))
    if files.result is not None:
        run.write_text("junit.xml", junit_xml(files.result, files.record.get("title", run.id)))
    return run.write_text("report.html", html(files))


def markdown(files: RunFiles) -> str:
    """A summary for a pull-request comment."""
    record = files.record
    verdict, reason = verdict_of(files)
    name = record.get("title") or files.prediction.get("title", record["run_id"])
    lines = [f"## {SIGNS[verdict]} {_plain(name)}: {verdict}", "", _plain(reason), ""]
    lines += [f"> {notice}\n" for notice in notices_of(files)]
    metrics = headline_metrics(metrics_of(files))
    lines += [
        "| metric | when | predicted [90 % interval] | measured | verdict |",
        "|---|---|---|---|---|",
    ]
    for m in metrics:
        row = row_of(m)
        label = f"{row.title}, {row.where}" if row.where else row.title
        lines.append(
            f"| {_plain(label)} | {row.window} | {row.point} [{row.range}] | {row.value} | {row.verdict} |"
        )
    if files.result is not None and files.result.hypotheses:
        lines += ["", "| hypothesis | measured | verdict |", "|---|---|---|"]
        lines += [
            f"| `{_plain(h.claim)}` | {show(h.value, h.unit)} | {h.verdict} |"
            for h in files.result.hypotheses
        ]
    facts = ", ".join(f"{label} {_plain(value)}" for label, value in facts_of(files))
    lines += ["", f"Run `{record['run_id']}`: {facts}; Faultline {__version__}."]
    return "\n".join(lines) + "\n"


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
