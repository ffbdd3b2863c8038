"""The studies' words: the library's topologies changed and asked, and the ledger that shows itself."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

import nbformat
import pytest

from faultline import study
from faultline.home import Home

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


@pytest.fixture(autouse=True)
def own_home(home: Home) -> Home:
    """A home of this test's own."""
    return home


QUIET = {"users": 2, "think": "1s", "duration": "8s", "warmup": "2s", "probes": []}


class TestStudy:
    """Short questions."""

    def test_predict_compare_and_sweep_agree(self) -> None:
        """The same question asked in three ways has the same answer: all share their random numbers."""
        base = study.topology("iris-1site")
        asked = study.workload(**QUIET)
        key = "throughput{flow=workflow}@whole"
        predicted = study.predict(base, asked, replications=2)
        compared = study.compare(base, base.with_("sites.ral.cpu=16"), asked, replications=2)
        swept = study.sweep([({"cpu": 8}, base)], asked, replications=2)
        assert compared.metrics[key].paired.first == pytest.approx(predicted.metrics[key].mean)
        assert swept.frame(key)["mean"].tolist() == pytest.approx([predicted.metrics[key].mean])

    def test_an_experiment_brings_its_faults_and_claims(self) -> None:
        """Load, timeline and hypotheses come from the file; changes apply."""
        asked = study.experiment("site-cut", "workload.users=7")
        assert asked.workload.users == 7
        assert [fault.name for fault in asked.timeline] == ["cut edi off"]
        assert asked.hypotheses

    def test_an_empty_ledger_shows_itself(self) -> None:
        """No runs yet: a table without rows, a picture without marks."""
        ledger = study.ledger()
        assert len(ledger.frame()) == 0
        assert "0 runs on record" in ledger._repr_html_()
        assert ET.fromstring(ledger.plot().svg).tag.endswith("svg")

    def test_a_ledger_with_runs(self) -> None:
        """Every scored metric is a row; coverage by backend is in the table and in the picture."""
        ledger = study.ledger()
        key = "recovery_time{flow=health}@whole"
        for number, (value, backend) in enumerate([(10.0, "local"), (20.0, "local"), (10.5, "simulated")]):
            name = f"run-{number}"
            ledger.append("prediction", name, {"intervals": {key: [9.0, 10.0, 11.0]}})
            metrics = {key: {"value": value, "n": 900, "resolution": 0.05, "censored": False}}
            ledger.append(
                "measurement",
                name,
                {"backend": backend, "disturbances": [], "first_injection": None, "metrics": metrics},
            )
        frame = ledger.frame()
        assert frame["inside"].tolist() == [True, False, True]
        assert frame["measured"].tolist() == [10.0, 20.0, 10.5]
        html = ledger._repr_html_()
        assert "3 runs on record" in html
        assert "1 of 2" in html
        assert "simulated (validates nothing)" in html
        # A dot for each backend's recovery time and for its total.
        assert len(ET.fromstring(ledger.plot().svg).findall("{*}circle")) == 4


@pytest.mark.parametrize("path", sorted(NOTEBOOKS.glob("*.ipynb")), ids=lambda path: path.stem)
def test_notebooks_are_clean_and_begin_with_the_library(path: Path) -> None:
    """No outputs are kept, the library's topologies are loaded, and changes are made with `with_`."""
    book = nbformat.read(path, as_version=4)
    nbformat.validate(book)
    code = [cell for cell in book.cells if cell.cell_type == "code"]
    assert all(not cell.outputs and cell.execution_count is None for cell in code)
    text = "\n".join(cell.source for cell in code)
    assert "study.topology(" in text
    assert ".with_(" in text
    assert ".yaml" not in text
