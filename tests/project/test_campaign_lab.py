"""The campaign's lab on real daemons: one lab is refitted for the next run instead of built anew."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.campaign.cells import Cell
from benchmarks.campaign.lab import TOKENS, StandingLab
from chaos.errors import LabError
from chaos.heal import heal
from chaos.lab.state import LabState
from chaos.services import mariadb
from chaos.toolkit.session import Session
from chaos.wan import control
from experiments.workload import Workload

pytestmark = pytest.mark.lab

NEAR = Cell("near", 2, 0.002, "all", 4, 0.2, "refresh")
FAR = Cell("far", 2, 0.100, "all", 4, 0.2, "refresh", forward=0.8)
OTHER = Cell("other", 2, 0.002, "one", 4, 0.2, "refresh")
LOAD = Workload(flow="refresh", users=4, ramp=40.0, think=0.2, warmup=1.0, duration=5.0, probes=())


@pytest.fixture(scope="module")
def lab() -> Iterator[StandingLab]:
    """A standing lab in a directory of its own."""
    directory = Path("/tmp/fl-test-campaign")
    heal(directory)
    standing = StandingLab(directory)
    yield standing
    standing.close()


def rows(state: LabState) -> dict[str, int]:
    """How many rows each table of tokens has, at the last member."""
    member = [one for one in state.daemons if one.role == "mariadb"][-1]
    found = {}
    with mariadb.connect(member.daemon(), mariadb.DATABASE) as connection, connection.cursor() as cursor:
        for table in TOKENS:
            cursor.execute(f"SELECT COUNT(*) FROM {table}")
            found[table] = int(cursor.fetchone()[0])
    return found


def test_the_next_run_finds_other_links_and_no_tokens(lab: StandingLab) -> None:
    """Delays per direction are those of the next cell, all members forget the tokens, the lab stays up."""
    with Session(lab, NEAR.topology, LOAD) as session:
        session.open()
        session.finish_load()
        assert len(session.observation().requests) > 10
    before = LabState.read(lab.directory)
    filled = {table for table, count in rows(before).items() if count}
    assert {"access_token", "refresh_token", "token_scope", "authentication_holder"} <= filled
    with Session(lab, FAR.topology, LOAD) as session:
        lab.up(FAR.topology)
        after = LabState.read(lab.directory)
        assert after.daemons == before.daemons
        assert set(rows(after).values()) == {0}
        quality = control.request(lab.directory / "wan" / "relay.sock", "stats", reset=False)["stats"][
            "quality"
        ]
        assert quality["ral>cam/vpn"]["delay"] == pytest.approx(0.080)
        assert quality["cam>ral/public"]["delay"] == pytest.approx(0.020)
        session.open()
        session.finish_load()
        seen = session.observation()
    assert seen.requests["latency"].median() > 0.2  # the grant's commit and the refresh's, a round trip each


def test_another_deployment_takes_another_lab(lab: StandingLab) -> None:
    """Only links can change while a lab is up."""
    lab.up(NEAR.topology)
    with pytest.raises(LabError, match="more than its links"):
        lab.up(OTHER.topology)
