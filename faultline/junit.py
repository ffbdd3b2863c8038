"""JUnit XML: one test case per hypothesis and per scored metric, so that CI shows each by name."""

from __future__ import annotations

from xml.etree import ElementTree

from faultline.results import RunResult
from faultline.verdict import Verdict
from faultline.wording import show, show_interval


def junit_xml(result: RunResult, name: str) -> str:
    """Write ``result`` as JUnit XML.

    Deviated is a failure and inconclusive is skipped with its reason, because it is neither. Single
    metrics may deviate in a run that held (docs/decisions/0003-run-verdict.md), so the verdict on the
    prediction as a whole is the test case that fails the suite, and a metric that deviated tells so in
    its output.
    """
    suites = ElementTree.Element("testsuites", name="faultline")
    claims = ElementTree.SubElement(suites, "testsuite", name=f"{name}: hypotheses")
    for claim in result.hypotheses:
        case = ElementTree.SubElement(claims, "testcase", classname="hypothesis", name=claim.claim, time="0")
        _tell(case, claim.verdict, f"measured {show(claim.value, claim.unit)}: {claim.reason}")
    whole = ElementTree.SubElement(suites, "testsuite", name=f"{name}: prediction")
    case = ElementTree.SubElement(
        whole, "testcase", classname="prediction", name="the prediction as a whole", time="0"
    )
    _tell(case, result.prediction.verdict, result.prediction.reason)
    for metric in result.metrics:
        case = ElementTree.SubElement(whole, "testcase", classname="metric", name=metric.key, time="0")
        told = (
            f"predicted {show_interval(metric.low, metric.point, metric.high, metric.unit)}, "
            f"measured {show(metric.value, metric.unit)}: {metric.verdict}, {metric.reason}"
        )
        if metric.verdict is Verdict.INCONCLUSIVE:
            _tell(case, metric.verdict, told)
        else:
            ElementTree.SubElement(case, "system-out").text = told
    for suite in (claims, whole):
        for attribute, tag in (("failures", "failure"), ("skipped", "skipped")):
            suite.set(attribute, str(len(suite.findall(f"testcase/{tag}"))))
        suite.set("tests", str(len(suite.findall("testcase"))))
        suite.set("errors", "0")
    ElementTree.indent(suites)
    return ElementTree.tostring(suites, encoding="unicode", xml_declaration=True) + "\n"


def _tell(case: ElementTree.Element, verdict: Verdict, reason: str) -> None:
    if verdict is Verdict.DEVIATED:
        ElementTree.SubElement(case, "failure", message=reason, type="deviated").text = reason
    elif verdict is Verdict.INCONCLUSIVE:
        ElementTree.SubElement(case, "skipped", message=f"inconclusive: {reason}")
    else:
        ElementTree.SubElement(case, "system-out").text = reason
