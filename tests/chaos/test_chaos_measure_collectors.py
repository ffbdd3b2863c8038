"""Events out of log lines that real daemons wrote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chaos.measure.collectors import (
    Follower,
    GaleraReader,
    GdnsdReader,
    HaproxyReader,
    Reader,
    Seen,
    SentinelReader,
)


def read(reader: Reader, lines: Sequence[str], now: float = 100.0) -> list[tuple[str, str, str]]:
    """(component, kind, detail) of what the reader makes of ``lines``."""
    return [(seen.component, seen.kind, seen.detail) for line in lines for seen in reader.feed(line, now)]


VIEW = (
    "2026-11-21 10:59:08 0 [Note] WSREP: "
    "New COMPONENT: primary = {}, bootstrap = no, my_idx = 0, memb_num = {}"
)


def test_a_member_that_is_cut_off_and_comes_back() -> None:
    """The first primary view is a view; leaving and coming back have events of their own, once each."""
    lines = [VIEW.format("yes", 3), VIEW.format("no", 1), VIEW.format("no", 1), VIEW.format("yes", 3)]
    assert read(GaleraReader("db@edi"), lines) == [
        ("db@edi", "galera.view", "3 members"),
        ("db@edi", "galera.non-primary", "alone with 1 members"),
        ("db@edi", "galera.primary", "3 members"),
        ("db@edi", "galera.view", "3 members"),
    ]


def test_a_member_that_starts_outside_has_not_lost_anything() -> None:
    """Before the members have met each is non-primary: no event tells of it as a loss."""
    lines = [VIEW.format("no", 1), VIEW.format("yes", 2)]
    kinds = [kind for _, kind, _ in read(GaleraReader("db@ral"), lines)]
    assert "galera.non-primary" not in kinds
    assert kinds[-1] == "galera.view"


SENTINEL_LINES = [
    "1380:X 21 Nov 2026 11:29:21.672 # +monitor master cache 198.19.1.1 6379 quorum 2",
    "1380:X 21 Nov 2026 11:30:26.096 # +sdown master cache 198.19.1.1 6379",
    "1380:X 21 Nov 2026 11:30:26.168 # +odown master cache 198.19.1.1 6379 #quorum 2/2",
    "1380:X 21 Nov 2026 11:30:26.169 # +new-epoch 1",
    "1380:X 21 Nov 2026 11:30:26.622 # +switch-master cache 198.19.1.1 6379 198.19.2.1 6379",
    "1380:X 21 Nov 2026 11:30:31.700 # +sdown slave 198.19.1.1:6379 198.19.1.1 6379 @ cache 198.19.2.1 6379",
    "1380:X 21 Nov 2026 11:30:40.700 # -sdown slave 198.19.1.1:6379 198.19.1.1 6379 @ cache 198.19.2.1 6379",
]


def test_a_failover_as_a_sentinel_tells_it() -> None:
    """Only what concerns the primary counts; a replica that is down is no step of a failover."""
    kinds = [kind for _, kind, _ in read(SentinelReader("cache-sentinel@ral"), SENTINEL_LINES)]
    assert kinds == ["redis.sdown", "redis.odown", "redis.switch-master"]


def test_a_sentinel_event_has_the_sentinels_own_time() -> None:
    """Redis writes milliseconds in local time: better than when the line was seen."""
    (seen,) = SentinelReader("cache-sentinel@ral").feed(SENTINEL_LINES[1], now=5.0)
    assert seen.time == pytest.approx(datetime(2026, 11, 21, 11, 30, 26, 96000).timestamp())


HAPROXY_LINES = [
    "[NOTICE]   (24844) : haproxy version is 2.6.12-1+deb12u4",
    "[WARNING]  (24844) : Backup Server service/edi is DOWN, reason: Layer4 timeout, check duration: 2001ms. "
    "1 active and 1 backup servers left. 0 sessions active, 0 requeued, 0 remaining in queue.",
    '[WARNING]  (24844) : Server service/ral is DOWN, reason: Layer7 wrong status, code: 503, info: "", '
    "check duration: 3ms. 0 active and 1 backup servers left. Running on backup. 0 sessions active.",
    "[WARNING]  (24844) : Backup Server service/edi is UP, reason: Layer7 check passed, code: 200, check "
    "duration: 33ms. 1 active and 2 backup servers online. 0 sessions requeued, 0 total in queue.",
    "[ALERT]    (24844) : backend 'service' has no server available!",
]


def test_server_states_of_a_front_end() -> None:
    """Backups count too, and the reason goes with it."""
    assert read(HaproxyReader("frontend@ral"), HAPROXY_LINES) == [
        ("frontend@ral", "haproxy.server-down", "edi: Layer4 timeout"),
        ("frontend@ral", "haproxy.server-down", "ral: Layer7 wrong status"),
        ("frontend@ral", "haproxy.server-up", "edi: Layer7 check passed"),
    ]


GDNSD_LINES = [
    "info: state of '198.18.2.1/front-end' initialized to UP/6",
    "info: state of '198.18.2.1/front-end' changed from UP/6 to UP/4",
    "info: state of '198.18.2.1/front-end' changed from UP/2 to DOWN/4",
    "info: state of '198.18.2.1/front-end' changed from DOWN/4 to UP/6",
]


def test_the_balancers_answers_change_with_the_state_not_with_its_time_to_live() -> None:
    """A shrinking lifetime while failures build up is no event; a change of state is, named by site."""
    reader = GdnsdReader("dns", {"198.18.2.1": "cam"})
    assert read(reader, GDNSD_LINES) == [
        ("dns@cam", "dns.down", "198.18.2.1"),
        ("dns@cam", "dns.up", "198.18.2.1"),
    ]


class Lines:
    """A reader that makes an event of every line."""

    def feed(self, line: str, now: float) -> Iterator[Seen]:
        """The line as an event."""
        yield Seen(now, "log", line)


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\n\r"))), st.data())
def test_lines_written_in_pieces_are_read_whole(lines: list[str], data: st.DataObject) -> None:
    """However a log grows, each line is read once, complete, in order; a half line waits."""
    import tempfile

    text = "".join(line + "\n" for line in lines) + "half"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=5)))
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "log")
        follower = Follower(path, Lines())
        assert follower.look(0.0) == []  # not there yet
        found = []
        with path.open("w") as file:
            for start, end in pairwise([0, *cuts, len(text)]):
                file.write(text[start:end])
                file.flush()
                found += follower.look(1.0)
        follower.close()
    assert [seen.kind for seen in found] == lines


@given(st.text(max_size=300))
def test_no_line_upsets_a_reader(line: str) -> None:
    """Whatever a daemon writes, reading it raises nothing."""
    for reader in (
        GaleraReader("db@a"),
        SentinelReader("cache@a"),
        HaproxyReader("frontend@a"),
        GdnsdReader("dns", {}),
    ):
        list(reader.feed(line, 0.0))
