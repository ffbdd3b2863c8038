"""The reference page of the metrics, written from the catalogue itself.

python -m experiments.reference            write docs/metrics.md
python -m experiments.reference --check    exit 1 when the page is not current
"""

from __future__ import annotations

import sys
from pathlib import Path

from experiments.catalogue import CATALOGUE, EVENTS, SUSTAINED, WINDOWS
from experiments.observation import OUTCOMES

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"


def text() -> str:
    """The page as Markdown."""
    lines = [
        "# Metrics",
        "",
        "Predicted and measured by the same code (`experiments.metrics.reduce`), so a difference is never",
        "one of definition. Written by `python -m experiments.reference` from the catalogue.",
        "",
        "A metric is addressed as `name{scope}@window`, as in `latency_p95{flow=workflow,site=ral}@before`.",
        "",
        "| metric | unit | better | meaning | computed as | scopes | windows |",
        "|---|---|---|---|---|---|---|",
    ]
    for metric in CATALOGUE.values():
        scopes = "; ".join(", ".join(scope) or "all" for scope in metric.scopes)
        lines.append(
            f"| `{metric.name}` | {metric.unit} | {metric.better} | {metric.meaning} | {metric.definition} "
            f"| {scopes} | {', '.join(metric.windows)} |"
        )
    lines += ["", "## Windows", "", "| window | from, to |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in WINDOWS.items()]
    lines += [
        "",
        "## Words",
        "",
        f"- Outcomes of a request (`kind` of `error_ratio`): {', '.join(f'`{name}`' for name in OUTCOMES)}.",
        f"- Events (`event` of `time_to`): {', '.join(f'`{name}`' for name in EVENTS)}.",
        f"- An outage ends with the first success after which every probe succeeds for {SUSTAINED:g} s.",
        "",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        sys.exit(
            0 if PAGE.exists() and PAGE.read_text() == text() else f"{PAGE}: not current; run `make docs`"
        )
    PAGE.write_text(text())
