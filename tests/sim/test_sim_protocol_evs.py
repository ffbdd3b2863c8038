"""EVS: order and latency come out of the messages."""

from __future__ import annotations

import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.analytic import order_time
from sim.protocols import evs
from sim.protocols.tables import as_arrays


def in_flight(state: evs.EvsState, survivors: list[int]) -> list[int]:
    """Payloads submitted in this view that no survivor holds: lost for the survivors when the view ends."""
    lost: list[int] = []
    for origin in state.members:
        if origin in survivors:
            continue
        reached = max((state.held[member * state.n + origin] for member in survivors), default=-1)
        for count in range(evs._first_needed(state, origin, reached + 1), state.submitted[origin]):
            lost.append(state.payload[origin * evs.PAYLOADS + count % evs.PAYLOADS])
    return lost


class Network:
    """Members joined by links with fixed one-way delays; FIFO per pair, like TCP."""

    def __init__(self, delay: list[list[float]], state: evs.EvsState | None = None) -> None:
        self.delay = delay
        self.state = state or evs.new_view(len(delay))
        self.now = 0.0
        self.queue: list[tuple[float, int, int, evs.Message | tuple[int, int]]] = []
        self.count = 0
        self.delivered: dict[int, list[tuple[float, int]]] = {m: [] for m in range(len(delay))}
        self.order: dict[int, list[tuple[int, int, int]]] = {m: [] for m in range(len(delay))}
        self.messages = 0

    def submit_at(self, at: float, member: int, payload: int, size: int = 4000) -> None:
        """Submit a payload at a time."""
        self._push(at, member, (payload, size))

    def _push(self, at: float, member: int, what: evs.Message | tuple[int, int]) -> None:
        heapq.heappush(self.queue, (at, self.count, member, what))
        self.count += 1

    def act(self, member: int, step: evs.Step) -> None:
        """Carry what a step sends, note what it delivers."""
        for message in step.sends:
            for other in self.state.members:
                if other != member:
                    self._push(self.now + self.delay[member][other], other, message)
        for delivery in step.deliveries:
            assert delivery.member == member
            self.delivered[member].append((self.now, delivery.payload))
            self.order[member].append((delivery.seq, delivery.origin, delivery.payload))

    def run(self, until: float = 1e9) -> None:
        """Handle events in time order."""
        while self.queue and self.queue[0][0] <= until:
            self.now, _, member, what = heapq.heappop(self.queue)
            if isinstance(what, evs.Message):
                self.messages += 1
                self.act(member, evs.receive(self.state, member, what))
            else:
                step = evs.submit(self.state, member, *what)
                assert step.accepted
                self.act(member, step)

    def latency(self, member: int, payload: int, since: float = 0.0) -> float:
        """When a payload was delivered, counted from ``since``."""
        return next(at for at, got in self.delivered[member] if got == payload) - since


def equidistant(n: int, one_way: float) -> list[list[float]]:
    """One-way delays of a full mesh."""
    return [[0.0 if a == b else one_way for b in range(n)] for a in range(n)]


class TestOrderTime:
    """Latency of a lone commit (components.md 1.2, measured to 2 ms)."""

    def test_two_members_need_one_rtt_at_the_origin_and_one_and_a_half_at_the_other(self) -> None:
        """Measured at RTT 100: 101.4 and 152.7 ms."""
        net = Network(equidistant(2, 50.0))
        net.submit_at(0.0, 0, 7)
        net.run()
        assert net.latency(0, 7) == pytest.approx(100.0)
        assert net.latency(1, 7) == pytest.approx(150.0)

    @pytest.mark.parametrize("n", [3, 4, 5])
    def test_three_and_more_equidistant_members_need_one_and_a_half_rtt_everywhere(self, n: int) -> None:
        """Measured at RTT 100: 152.2, 152.7, 152.8 ms for 3, 4, 5 members."""
        net = Network(equidistant(n, 50.0))
        net.submit_at(0.0, 0, 7)
        net.run()
        assert [net.latency(m, 7) for m in range(n)] == pytest.approx([150.0] * n)

    def test_a_well_placed_member_pays_for_the_slowest_pair(self) -> None:
        """One-way 15, 50, 100 gives 165, 200, 200 ms for the origin's own commit."""
        delay = [[0.0, 15.0, 50.0], [15.0, 0.0, 100.0], [50.0, 100.0, 0.0]]
        measured = []
        for origin in range(3):
            net = Network(delay)
            net.submit_at(0.0, origin, 1)
            net.run()
            measured.append(net.latency(origin, 1))
        assert measured == pytest.approx([165.0, 200.0, 200.0])

    def test_two_sites_with_two_members_each_need_one_rtt(self) -> None:
        """Measured 2+2 at RTT 100: 102.4 ms; the LAN adds its own delays only."""
        delay = [[0.0 if a == b else 0.1 if a // 2 == b // 2 else 50.0 for b in range(4)] for a in range(4)]
        net = Network(delay)
        net.submit_at(0.0, 0, 1)
        net.run()
        assert net.latency(0, 1) == pytest.approx(100.0, abs=1.0)

    @given(
        n=st.integers(2, 5),
        draws=st.lists(st.floats(0.5, 120.0), min_size=10, max_size=10),
        origin=st.integers(0, 4),
    )
    @settings(max_examples=60, deadline=None)
    def test_messages_agree_with_the_closed_form(self, n: int, draws: list[float], origin: int) -> None:
        """The message exchange of an idle group gives the formula, for any symmetric delays."""
        origin %= n
        values = iter(draws)
        delay = equidistant(n, 0.0)
        for a in range(n):
            for b in range(a):
                delay[a][b] = delay[b][a] = next(values)
        net = Network(delay)
        net.submit_at(0.0, origin, 1)
        net.run()
        for member in range(n):
            assert net.latency(member, 1) <= order_time(delay, origin, member) + 1e-9
        # Relayed knowledge may be earlier than the formula only where the triangle inequality fails.
        if all(
            delay[a][b] <= delay[a][c] + delay[c][b] for a in range(n) for b in range(n) for c in range(n)
        ):
            assert net.latency(origin, 1) == pytest.approx(order_time(delay, origin, origin))

    def test_a_lone_member_orders_at_once(self) -> None:
        """A view of one needs no messages."""
        view = evs.new_view(1)
        assert [d.payload for d in evs.submit(view, 0, 9, 100).deliveries] == [9]


class TestConcurrency:
    """Windows, aggregation and ties (components.md 1.2, 1.3)."""

    def test_ties_go_to_the_lower_member_even_if_it_started_later(self) -> None:
        """Within one one-way delay both get the same seq and the index decides."""
        net = Network(equidistant(3, 50.0))
        net.submit_at(0.0, 2, 22)
        net.submit_at(40.0, 0, 10)
        net.run()
        assert [payload for _, _, payload in net.order[1]] == [10, 22]

    def test_everybody_writing_at_once_gets_down_to_one_rtt(self) -> None:
        """Data messages of the same slot act as acknowledgements."""
        net = Network(equidistant(3, 50.0))
        for member in range(3):
            net.submit_at(0.0, member, member)
        net.run()
        assert net.latency(0, 0) == pytest.approx(100.0)

    def test_the_user_window_holds_back_the_fourth_message_and_the_queue_is_aggregated(self) -> None:
        """Seqs 0 and 1 are inside safe(-1) + 2; later ones wait and travel together."""
        view = evs.new_view(3)
        sent = [len(evs.submit(view, 0, p, 1000).sends) for p in range(10)]
        assert sent == [1, 1] + [0] * 8
        step = evs.flush(view, 0)
        assert len(step.sends) == 1
        assert step.sends[0].size == evs.HEADER_BYTES + 8 * (1000 + evs.AGGREGATE_BYTES)

    def test_without_aggregation_each_message_travels_alone(self) -> None:
        """evs.use_aggregate=false."""
        view = evs.new_view(3, aggregate=False)
        for payload in range(5):
            evs.submit(view, 0, payload, 1000)
        assert len(evs.flush(view, 0).sends) == 3

    def test_throughput_grows_with_concurrency_beyond_the_windows(self) -> None:
        """Aggregation lets 64 clients commit far more than 64 / 16 times what 16 in 16 packets could."""
        net = Network(equidistant(3, 50.0))
        for payload in range(64):
            net.submit_at(0.0, 0, payload)
        net.run()
        assert max(at for at, _ in net.delivered[0]) <= 500.0
        assert len(net.delivered[0]) == 64

    def test_a_full_outbound_queue_refuses(self) -> None:
        """More than 1 MB queued: EAGAIN."""
        view = evs.new_view(3)
        accepted = [evs.submit(view, 0, p, 100_000).accepted for p in range(20)]
        assert accepted.count(False) > 0
        assert sum(accepted) == 2 + 11

    def test_an_out_of_order_message_is_an_error(self) -> None:
        """A TCP stream cannot skip."""
        view = evs.new_view(2)
        evs.submit(view, 0, 1, 10)
        second = evs.submit(view, 0, 2, 10).sends[0]
        with pytest.raises(ValueError, match="expected 0"):
            evs.receive(view, 1, second)


submissions = st.lists(
    st.tuples(st.floats(0.0, 400.0), st.integers(0, 3), st.integers(1, 9000)), min_size=1, max_size=60
)


class TestTotalOrder:
    """What makes it a group communication system."""

    @given(
        n=st.integers(2, 4), plan=submissions, draws=st.lists(st.floats(0.1, 90.0), min_size=12, max_size=12)
    )
    @settings(max_examples=60, deadline=None)
    def test_all_members_deliver_everything_in_the_same_order(
        self, n: int, plan: list[tuple[float, int, int]], draws: list[float]
    ) -> None:
        """Same sequence everywhere, sorted by (seq, member), each sender's own order kept, nothing lost."""
        values = iter(draws)
        delay = [[0.0 if a == b else next(values) for b in range(n)] for a in range(n)]
        net = Network(delay)
        for payload, (at, member, size) in enumerate(plan):
            net.submit_at(at, member % n, payload, size)
        net.run()
        reference = net.order[0]
        assert all(net.order[m] == reference for m in range(n))
        assert sorted(p for _, _, p in reference) == list(range(len(plan)))
        assert [(s, o) for s, o, _ in reference] == sorted((s, o) for s, o, _ in reference)
        for member in range(n):
            own = [p for _, o, p in reference if o == member]
            expected = sorted((plan[p][0], p) for p in own)
            assert own == [p for _, p in expected]

    @given(n=st.integers(2, 4), plan=submissions, cut=st.floats(0.0, 500.0), survivors=st.integers(1, 3))
    @settings(max_examples=60, deadline=None)
    def test_when_a_view_ends_survivors_agree_and_keep_what_one_of_them_holds(
        self, n: int, plan: list[tuple[float, int, int]], cut: float, survivors: int
    ) -> None:
        """Virtual synchrony: same history at all survivors, superset of what anybody saw as safe."""
        net = Network(equidistant(n, 50.0))
        for payload, (at, member, size) in enumerate(plan):
            net.submit_at(at, member % n, payload, size)
        net.run(until=cut)
        keep = list(range(min(survivors, n - 1)))
        for member in keep:
            net.act(member, evs.flush(net.state, member))
        rest = evs.transitional(net.state, keep)
        history = {m: [p for _, _, p in net.order[m]] + [d.payload for d in rest[m]] for m in keep}
        assert all(history[m] == history[keep[0]] for m in keep)
        for member in range(n):
            for _, _, payload in net.order[member]:
                assert payload in history[keep[0]]
        lost = in_flight(net.state, keep)
        assert not set(lost) & set(history[keep[0]])
        given_to = {p for p, (at, _, _) in enumerate(plan) if at <= cut}
        assert given_to == set(lost) | set(history[keep[0]])

    def test_a_message_that_reached_nobody_is_lost_and_one_that_reached_one_member_is_kept(self) -> None:
        """The in-doubt rule of components.md 1.6."""
        delay = [[0.0, 10.0, 50.0], [10.0, 0.0, 50.0], [50.0, 50.0, 0.0]]
        net = Network(delay)
        net.submit_at(0.0, 2, 1)
        net.run(until=49.0)
        assert in_flight(net.state, [0, 1]) == [1]
        net.run(until=50.0)
        assert in_flight(net.state, [0, 1]) == []
        assert [d.payload for d in evs.transitional(net.state, [0, 1])[0]] == [1]

    def test_rings_wrap_without_losing_anything(self) -> None:
        """More payloads than the rings hold pass through in order."""
        net = Network(equidistant(2, 1.0))
        total = evs.PAYLOADS + 500
        for payload in range(total):
            net.submit_at(payload * 0.5, 0, payload, 100)
        net.run()
        assert [p for _, p in net.delivered[1]] == list(range(total))

    def test_arrays_and_lists_give_the_same_messages(self) -> None:
        """The compiled engine's numpy tables behave as the reference engine's lists."""
        nets = [Network(equidistant(3, 7.0)), Network(equidistant(3, 7.0), as_arrays(evs.new_view(3)))]
        for net in nets:
            for payload in range(40):
                net.submit_at(payload * 1.3, payload % 3, payload)
            net.run()
        assert nets[0].delivered == nets[1].delivered
        assert nets[0].messages == nets[1].messages


class TestCausalReads:
    """wsrep_sync_wait (components.md 1.8)."""

    def test_idle_reads_cost_a_round_once_per_second_only(self) -> None:
        """Measured at RTT 100, 2 sites, reads each 0.4 s: two at 0.5-0.8 ms, every third about 102 ms."""
        net = Network(equidistant(2, 50.0))
        waits = []
        for index in range(6):
            start = index * 400.0
            net.run(until=start)
            net.now = start
            step = evs.causal_read(net.state, 0, index, start / 1000.0)
            if step.causal:
                waits.append(0.0)
                continue
            net.act(0, step)
            while not step.causal:
                net.now, _, member, what = heapq.heappop(net.queue)
                assert isinstance(what, evs.Message)
                step = evs.receive(net.state, member, what)
                net.act(member, step)
            waits.append(net.now - start)
        assert waits == pytest.approx([100.0, 0.0, 0.0, 100.0, 0.0, 0.0])

    def test_keepalives_are_not_delivered(self) -> None:
        """They fill a slot and advance the others."""
        view = evs.new_view(2)
        message = evs.keepalive(view, 0).sends[0]
        assert message.kind == evs.KEEPALIVE
        step = evs.receive(view, 1, message)
        assert step.deliveries == []
        assert step.sends[0].kind == evs.COMPLETION
