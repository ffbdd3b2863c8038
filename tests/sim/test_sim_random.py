"""Random draws are named: order, process and hash seed have no part in them."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sim.random import BLOCK, Stream, Streams, lognormal


class TestStream:
    """Draws by index."""

    @given(st.permutations(list(range(0, 3 * BLOCK, 17))))
    def test_order_does_not_matter(self, order: list[int]) -> None:
        """A draw depends on its index alone."""
        forwards = Stream(1, "a", "b")
        straight = {index: forwards.uniform(index) for index in sorted(order)}
        shuffled = Stream(1, "a", "b")
        assert {index: shuffled.uniform(index) for index in order} == straight

    def test_known_value(self) -> None:
        """Philox4x64 keyed by the blake2b hash of the name: the written-down draw holds on every machine."""
        key = np.frombuffer(hashlib.blake2b(b"1\x1fa\x1fb", digest_size=16).digest(), dtype="<u8")
        words = np.random.Philox(key=key.astype(np.uint64)).random_raw(600)
        stream = Stream(1, "a", "b")
        for index in (3, 255, 256, 599):
            assert stream.uniform(index) == (int(words[index]) >> 11) * 2.0**-53 + 2.0**-54
        assert stream.uniform(3) == pytest.approx(0.2208608584792508, abs=1e-15)

    def test_names_and_seeds_are_apart(self) -> None:
        """Another seed, stream or entity gives other draws; gluing names together cannot collide."""
        firsts = {
            Stream(seed, stream, entity).uniform(0)
            for seed, stream, entity in (
                (1, "a", "b"),
                (2, "a", "b"),
                (1, "b", "b"),
                (1, "a", "c"),
                (1, "ab", ""),
            )
        }
        assert len(firsts) == 5

    def test_distributions(self) -> None:
        """Uniform, normal and exponential pass Kolmogorov-Smirnov tests; no draw is 0 or 1."""
        stream = Stream(11, "test")
        uniforms = [stream.uniform(index) for index in range(20_000)]
        assert 0 < min(uniforms) < max(uniforms) < 1
        assert stats.kstest(uniforms, "uniform").pvalue > 1e-3
        assert stats.kstest([stream.normal(i) for i in range(20_000)], "norm").pvalue > 1e-3
        assert stats.kstest([stream.exponential(i) for i in range(20_000)], "expon").pvalue > 1e-3
        assert abs(np.corrcoef(uniforms[:-1], uniforms[1:])[0, 1]) < 0.02

    def test_next_counts_up(self) -> None:
        """An entity with an order of its own takes index after index."""
        stream = Streams(1).get("a")
        assert [stream.next() for _ in range(3)] == [0, 1, 2]

    def test_the_same_name_is_the_same_stream(self) -> None:
        """So two users of it do not repeat each other's draws."""
        streams = Streams(1)
        assert streams.get("a", "b") is streams.get("a", "b")


def test_lognormal_has_the_asked_mean_and_variation() -> None:
    """A factor of mean one; without variation it is one."""
    stream = Stream(5, "factor")
    factors = np.array([lognormal(stream.normal(i), 0.4) for i in range(50_000)])
    assert factors.mean() == pytest.approx(1.0, abs=0.01)
    assert factors.std() == pytest.approx(0.4, abs=0.01)
    assert lognormal(1.7, 0.0) == 1.0
