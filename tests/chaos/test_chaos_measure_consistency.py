"""The audit's judgement, from what was acknowledged and what each server has."""

from __future__ import annotations

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from chaos.errors import LabError
from chaos.measure.consistency import Found, Holdings, Server, Writes, audit, judge, writes_of
from experiments.observation import Audit
from topologies.loader import load


def samples(*rows: tuple[str, str, str, str]) -> pd.DataFrame:
    """Requests as (request, outcome, token, request_id)."""
    return pd.DataFrame(rows, columns=["request", "outcome", "token", "request_id"])


def holdings(*tokens: str, requests: dict[str, int] | None = None, issued: tuple[str, ...] = ()) -> Holdings:
    """What one server has."""
    return Holdings(frozenset(tokens), requests or {}, frozenset(issued))


def test_writes_are_sorted_by_how_they_can_be_looked_up() -> None:
    """Tokens by their digest, password grants and failures by their request id; reads not at all."""
    found = writes_of(
        samples(
            ("access-token", "ok", "t1", "r1"),
            ("password", "ok", "t2", "r2"),
            ("refresh", "ok", "t3", "r3"),
            ("token-exchange", "timeout", "", "r4"),
            ("refresh", "gateway-timeout", "", "r5"),
            ("password", "conflict", "", "r6"),
            ("health", "timeout", "", ""),
            ("health", "ok", "", ""),
        )
    )
    assert found == Writes(tokens=("t1", "t3"), requests=("r2",), open=("r4", "r5", "r6"))


def test_answers_given_before_anything_is_written_are_not_in_doubt() -> None:
    """400, 401 and 503 leave nothing open."""
    found = writes_of(samples(("refresh", "stale", "", "r1"), ("access-token", "unavailable", "", "r2")))
    assert found.open == ()


def test_a_token_on_every_server_is_fine() -> None:
    """Nothing lost, nothing divergent, and the text says how much was looked up."""
    found = judge(Writes(("a",), (), ()), {"db@ral": holdings("a"), "db@cam": holdings("a", "b")})
    assert (found.audit.acknowledged, found.audit.lost, found.audit.divergent) == (1, 0, 0)
    assert found.audit.lookups == "1 acknowledged and 0 open writes on 2 servers"


def test_lost_is_nowhere_and_divergent_is_somewhere() -> None:
    """The two are told apart, and the servers that lack something are named."""
    found = judge(
        Writes(("gone", "half", "there"), (), ()),
        {"db@ral": holdings("half", "there"), "db@cam": holdings("there")},
    )
    assert (found.audit.lost, found.audit.divergent) == (1, 1)
    assert found.missing == {"db@ral": 1, "db@cam": 2}
    assert found.examples == ("token gone missing at db@ral, db@cam", "token half missing at db@cam")


def test_a_password_grant_is_found_by_its_holder_after_its_token_was_cleared() -> None:
    """A refresh deletes the token but keeps the holder: the write is not lost."""
    found = judge(Writes((), ("r1",), ()), {"db@ral": holdings(requests={"r1": 1})})
    assert found.audit.lost == 0


def test_an_unanswered_write_that_is_there_was_committed() -> None:
    """Found in a holder or in the claims of a token, on any server."""
    found = judge(
        Writes((), (), ("holder", "token", "nowhere")),
        {"db@ral": holdings(requests={"holder": 1}), "db@cam": holdings(issued=("token",))},
    )
    assert (found.audit.in_doubt, found.audit.in_doubt_committed) == (3, 2)


def test_a_request_carried_out_twice_is_a_duplicate() -> None:
    """Two holders with the same request id, as after a retry of something that had succeeded."""
    found = judge(Writes((), ("r1", "r2"), ()), {"db@ral": holdings(requests={"r1": 2, "r2": 1})})
    assert found.duplicated == 1


def test_without_any_server_nothing_is_claimed() -> None:
    """Nobody could be asked, so nothing is known, and the audit says who did not answer."""
    found = judge(Writes(("a",), (), ()), {}, ["db@ral"])
    assert found.audit == Audit()
    assert found.unasked == ("db@ral",)


def test_what_a_silent_server_may_have_is_not_called_lost() -> None:
    """A write that none of those asked has is lost only if all were asked; what one has is never lost."""
    writes = Writes(("a",), (), ())
    assert judge(writes, {"db@ral": holdings()}, ["db@cam"]).audit == Audit()
    assert judge(writes, {"db@ral": holdings()}).audit.lost == 1
    partial = judge(writes, {"db@ral": holdings("a")}, ["db@cam"]).audit
    assert (partial.acknowledged, partial.lost) == (1, 0)
    assert partial.lookups.endswith("on 1 servers; not asked: db@cam")


def test_servers_are_asked_by_the_way_that_their_lab_has() -> None:
    """One that has no way now is named, and its silence is not held against the writes."""

    class Answering:
        """A server of replication with one token."""

        def cursor(self, *_: object) -> Answering:
            return self

        def __enter__(self) -> Answering:
            return self

        def __exit__(self, *_: object) -> None:
            """Nothing to do."""

        def execute(self, text: str, *_: object) -> None:
            self.rows = [("0-1-7",)] if "gtid" in text else [("t1",)] if "token_value_hash" in text else []

        def fetchone(self) -> object:
            return self.rows[0] if self.rows else None

        def fetchall(self) -> object:
            return self.rows

        def close(self) -> None:
            """Nothing to do."""

    def none(timeout: float) -> object:
        raise LabError("the API server of cam does not answer")

    topology = load("iris-2site-replication")
    answering = Server("db@ral", "db", lambda timeout: Answering())
    frame = samples(("access-token", "ok", "t1", "r1"))
    found = audit(topology, [answering], frame)
    assert (found.audit.acknowledged, found.audit.lost, found.unasked) == (1, 0, ())
    found = audit(topology, [Server("db@cam", "db", none), answering], frame, patience=0.0)
    assert (found.audit.lost, found.unasked) == (0, ("db@cam",))
    assert found.silence == {"db@cam": "the API server of cam does not answer"}


KEYS = st.sampled_from("abcdefgh")


@given(st.sets(KEYS), st.lists(st.frozensets(KEYS), min_size=1, max_size=4))
def test_every_acknowledged_write_is_everywhere_or_counted_once(
    acknowledged: set[str], servers: list[frozenset[str]]
) -> None:
    """Lost, divergent and complete writes are a partition of the acknowledged ones."""
    held = {f"db@{number}": Holdings(tokens, {}) for number, tokens in enumerate(servers)}
    found: Found = judge(Writes(tuple(sorted(acknowledged)), (), ()), held)
    complete = sum(all(key in tokens for tokens in servers) for key in acknowledged)
    lost = sum(all(key not in tokens for tokens in servers) for key in acknowledged)
    assert found.audit.lost == lost
    assert found.audit.lost + found.audit.divergent + complete == len(acknowledged)
    absent = sum(key not in tokens for key in acknowledged for tokens in servers)
    assert sum(found.missing.values()) == absent
