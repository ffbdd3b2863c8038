"""Several database members at one site, on nodes of their own: sizes, loss of one, isolation of one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pymysql
import pytest

from chaos.faults.context import Component
from chaos.heal import heal
from chaos.lab.kind import KindLab
from chaos.services import mariadb
from experiments.kubernetes_faults import NetworkIsolation, PodDelete
from topologies.loader import load

pytestmark = pytest.mark.kind

TOPOLOGY = load("iris-2site-kubernetes", size="lab")
SECOND = Component("db", "ral", 1)


@pytest.fixture(scope="module")
def lab() -> Iterator[KindLab]:
    """Two nodes at ral, one at cam; three members, two of them at ral."""
    lab = KindLab()
    try:
        lab.up(TOPOLOGY)
        yield lab
    finally:
        lab.down()
        heal(keep_clusters=False)


def until(holds: Callable[[], object], what: str, patience: float = 90.0) -> None:
    """Wait until something holds."""
    deadline = time.monotonic() + patience
    while not holds():
        assert time.monotonic() < deadline, f"after {patience:g} s still not: {what}"
        time.sleep(0.5)


def views(lab: KindLab) -> dict[str, tuple[str, str]]:
    """Member -> size and status of the cluster as it sees it; members that do not answer are left out."""
    found = {}
    for server in lab._components().databases():
        try:
            status = mariadb.variables(server, "wsrep_cluster_%")
        except (pymysql.err.MySQLError, OSError):
            continue
        found[server.component] = (status["wsrep_cluster_size"], status["wsrep_cluster_status"])
    return found


WHOLE = dict.fromkeys(("db@ral/0", "db@ral/1", "db@cam"), ("3", "Primary"))


def nodes(lab: KindLab, service: str) -> list[str]:
    """Nodes on which the pods of a service at ral run."""
    found = lab._targets().actions("ral").pods("faultline", f"app.kubernetes.io/name={service}")
    return sorted(pod.node for pod in found if not pod.deleting)


def test_members_and_replicas_of_a_site_run_on_different_nodes(lab: KindLab) -> None:
    """All three members see one another, and the loss of a node takes one pod of each service only."""
    assert views(lab) == WHOLE
    for service in ("db", "iam"):
        found = nodes(lab, service)
        assert len(found) == len(set(found)) == 2, service


def test_a_deleted_member_comes_back_under_its_name(lab: KindLab) -> None:
    """The two others go on as a majority; the new pod has the volume of the old one and joins."""
    (before,) = lab._targets().pods(SECOND)
    injected = lab.inject(PodDelete(target="db@ral/1", grace=0.0))
    until(lambda: ("2", "Primary") in views(lab).values(), "a cluster of two")
    until(lambda: views(lab) == WHOLE, "a cluster of three")
    (after,) = lab._targets().pods(SECOND)
    assert after.name == before.name and after.uid != before.uid
    lab.undo(injected)
    until(lambda: {one.state for one in lab.status()} == {"up"}, "everything up")


def test_an_isolated_member_is_alone_until_it_is_let_out(lab: KindLab) -> None:
    """The policy cuts connections that stand: the member loses the others, they go on without it."""
    injected = lab.inject(NetworkIsolation(target="db@ral/1"))
    until(lambda: views(lab).get("db@ral/1", ("", ""))[1] == "non-Primary", "the member without others")
    until(lambda: views(lab).get("db@cam") == ("2", "Primary"), "a cluster of two")
    states = {one.component: one.state for one in lab.status()}
    assert (states["db@ral/1"], states["db@ral/0"], states["db@cam"]) == ("down", "up", "up")
    lab.undo(injected)
    until(lambda: views(lab) == WHOLE, "a cluster of three")
    until(lambda: {one.state for one in lab.status()} == {"up"}, "everything up")
