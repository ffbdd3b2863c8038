"""Galera flow control (components.md 1.10)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import flowcontrol as fc


class TestFlowControl:
    """Limits and messages."""

    @pytest.mark.parametrize(("members", "upper"), [(2, 23), (3, 28), (4, 32), (5, 36)])
    def test_limits_grow_with_the_root_of_the_members(self, members: int, upper: int) -> None:
        """The server logs "Flow-control interval: [28, 28]" for three."""
        assert fc.limits(members) == (upper, upper)

    def test_single_primary_has_no_root(self) -> None:
        """And fc_factor lowers the resume point."""
        assert fc.limits(3, single_primary=True) == (16, 16)
        assert fc.limits(3, fc_factor=0.5) == (14, 28)

    def test_stop_and_continue(self) -> None:
        """Above the upper limit once, at the lower limit once."""
        flow = fc.new_flow(3, fc_factor=0.5)
        lengths = [27, 28, 29, 40, 15, 14, 3]
        assert [fc.queue_changed(flow, 1, length) for length in lengths] == [0, 0, 1, 0, 0, -1, 0]

    def test_all_members_pause_until_everybody_continues(self) -> None:
        """Two slow appliers: one CONTINUE is not enough."""
        flow = fc.new_flow(3)
        fc.ordered(flow, 0, 1, True)
        fc.ordered(flow, 0, 2, True)
        fc.ordered(flow, 0, 1, False)
        assert fc.is_paused(flow, 0)
        fc.ordered(flow, 0, 2, False)
        assert not fc.is_paused(flow, 0)

    def test_a_desynced_member_does_not_stop_the_others(self) -> None:
        """Measured: 44 write sets queued on a donor, writers unaffected; becoming one lifts its STOP."""
        flow = fc.new_flow(3)
        flow.desynced[2] = 1
        assert fc.queue_changed(flow, 2, 44) == fc.NOTHING
        flow = fc.new_flow(3)
        assert fc.queue_changed(flow, 2, 44) == fc.STOP
        flow.desynced[2] = 1
        assert fc.queue_changed(flow, 2, 44) == fc.CONTINUE

    def test_a_member_that_catches_up_compares_with_where_it_began(self) -> None:
        """fc_offset."""
        flow = fc.new_flow(3)
        flow.offset[2] = 1000
        assert fc.queue_changed(flow, 2, 1028) == fc.NOTHING
        assert fc.queue_changed(flow, 2, 1029) == fc.STOP

    def test_the_offset_shrinks_with_the_queue(self) -> None:
        """What waited when the transfer ended stops nobody, what comes on top does; at SYNC it is over."""
        flow = fc.new_flow(3)
        flow.desynced[2] = 1
        assert fc.queue_changed(flow, 2, 200) == fc.NOTHING
        fc.joined(flow, 2, 200)
        lengths = [228, 150, 178, 179, 151, 149, 28, 29]
        expected = [0, 0, 0, fc.STOP, 0, fc.CONTINUE, 0, fc.STOP]
        assert [fc.queue_changed(flow, 2, length) for length in lengths] == expected

    def test_a_view_begins_without_stops_and_with_its_own_limits(self) -> None:
        """gcs_handle_act_conf; other members' flow control stays as it is until they enter a view."""
        flow = fc.new_flow(3)
        fc.queue_changed(flow, 0, 29)
        for member in (0, 1):
            fc.ordered(flow, member, 0, True)
        fc.entered(flow, 0, *fc.limits(2))
        assert not fc.is_paused(flow, 0)
        assert fc.is_paused(flow, 1)
        assert fc.queue_changed(flow, 0, 24) == fc.STOP
        assert fc.queue_changed(flow, 1, 28) == fc.NOTHING

    @given(st.lists(st.integers(0, 100), max_size=60), st.floats(0.1, 1.0))
    def test_stop_and_continue_alternate(self, lengths: list[int], factor: float) -> None:
        """Never two of the same in a row, and the last one says where the queue was."""
        flow = fc.new_flow(3, fc_factor=factor)
        sent = [m for m in (fc.queue_changed(flow, 0, length) for length in lengths) if m]
        assert sent == [fc.STOP if i % 2 == 0 else fc.CONTINUE for i in range(len(sent))]
