"""What docs/findings.md says beside its numbers: `words.yaml`."""

from __future__ import annotations

from pathlib import Path

import yaml

WORDS: dict[str, dict[str, str]] = yaml.safe_load(Path(__file__).with_name("words.yaml").read_text("utf-8"))
"""By section: F1 to F7 (`claim`, `why`), and the parts of the page."""
