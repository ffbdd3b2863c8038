"""Connections between Galera members: reconnecting, relaying, what a state transfer takes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sim.protocols import membership as gm
from sim.protocols.tables import mask_of, members_of


class TestConnections:
    """Reconnecting, relaying, state transfer."""

    def test_reconnect_follows_gmcasts_own_retries(self) -> None:
        """Connects 4 s after the cut and every 4 s from then on; SYNs 0 and 1 s, linear also 2 s later.

        Measured on the local lab (linear): connects at 4.42, 8.42, 12.43 s after a cut; healed at 11.0 s the
        connection stood 3 RTT of 30 ms after the last of these.
        """
        assert gm.reconnect_at(0.0, 18.0, 6.0, 0.0, 0.0) == pytest.approx(20.0)
        assert gm.reconnect_at(0.0, 16.5, 6.0, 0.0, 0.0) == pytest.approx(17.0)
        assert gm.reconnect_at(0.0, 17.5, 6.0, 0.0, 0.0, syn_linear=4) == pytest.approx(18.0)
        assert gm.reconnect_at(0.0, 18.5, 6.0, 0.0, 0.0, syn_linear=4) == pytest.approx(20.0)
        assert gm.reconnect_at(0.0, 11.0, 6.1, 0.0, 0.84, syn_linear=4) == pytest.approx(12.43, abs=0.02)

    def test_reconnect_waits_for_the_ban(self) -> None:
        """Hung up on until 2.5 s after the exclusion, retried every second."""
        assert gm.reconnect_at(0.0, 7.0, 6.5, 0.0, 0.0) == pytest.approx(9.0)
        assert gm.reconnect_at(0.0, 7.0, 6.5, 0.0, 0.0, left=True) == pytest.approx(12.0)

    def test_a_blip_keeps_the_connection(self) -> None:
        """Shorter than peer_timeout: nothing to reconnect."""
        assert gm.reconnect_at(10.0, 12.0, 99.0, 0.5, 0.3) == 12.0

    @given(
        cut=st.floats(3.0, 500.0),
        age=st.floats(0.0, 1.0),
        draw=st.floats(0.0, 0.999),
        linear=st.integers(0, 4),
    )
    def test_reconnect_is_after_the_heal(self, cut: float, age: float, draw: float, linear: int) -> None:
        """Never before packets pass, and never later than the next retry, or the ban and one more."""
        at = gm.reconnect_at(0.0, cut, 6.0, age, draw, syn_linear=linear)
        assert cut <= at <= max(cut + 4.0, 6.0 + 2.5 + 1.0) + 0.5

    def test_relaying_takes_the_best_detour(self) -> None:
        """A and B cut, C reaches both: the delay is the sum; without C there is none."""
        delay = [[0.0, 1.0, 2.0], [1.0, 0.0, 3.0], [2.0, 3.0, 0.0]]
        up = [[True, False, True], [False, True, True], [True, True, True]]
        paths = gm.relayed(delay, up)
        assert paths[0][1] == 5.0
        assert paths[0][2] == 2.0
        alone = [[True, False, False], [False, True, True], [False, True, True]]
        assert gm.relayed(delay, alone)[0][1] == float("inf")

    def test_state_transfer_is_incremental_when_the_donor_still_has_it(self) -> None:
        """Known position and gcache horizon decide; 200 MB by rsync at 100 Mbit/s takes 16 s."""
        ist = gm.state_transfer(1e6, 2e8, 1e9, 0.1, position_known=True)
        assert ist.kind == "ist"
        assert ist.seconds < 1.0
        unknown = gm.state_transfer(1e6, 2e8, 1e8, 0.1, position_known=False)
        assert unknown.kind == "sst"
        assert unknown.donor_blocked
        assert unknown.seconds == pytest.approx(16.4, abs=0.2)
        assert gm.state_transfer(2e8, 2e8, 1e8, 0.1, position_known=True).kind == "sst"

    def test_masks_round_trip(self) -> None:
        """members_of and mask_of are inverse."""
        assert mask_of(members_of(0b10110)) == 0b10110
