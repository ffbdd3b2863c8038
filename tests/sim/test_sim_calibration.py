"""The calibration: its file, its hash, its uncertainty, and how it is fitted."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sim.analytic import quota_elapsed
from sim.calibration import Calibration, Estimate, load
from sim.fitting import SITTINGS, RequestSample, Samples, estimate, fit
from sim.random import Stream
from sim.refill import Refill
from sim.steps import round_trips
from topologies.errors import InputError


class TestFile:
    """Reading and writing."""

    def test_round_trip(self, tmp_path: Path) -> None:
        """What is saved is read back, with the same hash."""
        path = tmp_path / "calibration.json"
        Calibration.default().save(path)
        assert Calibration.load(path) == Calibration.default()
        assert Calibration.load(path).hash == Calibration.default().hash

    def test_hash_follows_the_numbers(self) -> None:
        """Another number, another hash."""
        base = Calibration.default()
        other = base.model_copy(update={"proxy_cpu": Estimate(mean=0.001)})
        assert other.hash != base.hash

    @pytest.mark.parametrize(
        ("spoil", "line", "words"),
        [
            (lambda text: text[: len(text) // 2], None, "not JSON"),
            (lambda text: "", 1, "not JSON"),
            (lambda text: "[1]", 1, "dict"),
            (lambda text: "[" * 100_000, None, "nested too deeply"),
            (lambda text: text.replace('"schema_version": 1', '"schema_version": 9'), "schema_version", "9"),
            (lambda text: text.replace('"proxy_cpu"', '"proxy_cpus"'), "proxy_cpus", "proxy_cpu"),
            (
                lambda text: text.replace('"source": "', '"source": 5, "was": "'),
                "source",
                "valid string",
            ),
        ],
    )
    def test_unreadable_files_say_where_and_what_to_do(
        self,
        tmp_path: Path,
        spoil: Callable[[str], str],
        line: str | int | None,
        words: str,
    ) -> None:
        """File, line, what is wrong, and the command that writes a good one; never a traceback."""
        path = tmp_path / "calibration.json"
        Calibration.default().save(path)
        text = spoil(path.read_text())
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            load(path)
        error = caught.value
        assert error.file == str(path)
        assert "faultline calibrate" in str(error)
        assert words in str(error)
        if isinstance(line, str):
            line = next(n for n, row in enumerate(text.splitlines(), 1) if f'"{line}"' in row)
        if line is not None:
            assert error.line == line

    def test_missing_and_binary_files(self, tmp_path: Path) -> None:
        """Neither is a traceback."""
        binary = tmp_path / "binary.json"
        binary.write_bytes(b"\xff\xfe\x00\x80")
        for path in (tmp_path / "absent.json", tmp_path, binary):
            with pytest.raises(InputError, match="cannot read the calibration"):
                load(path)

    def test_negative_and_missing_numbers(self, tmp_path: Path) -> None:
        """A negative time and a missing request kind are refused, with the line of the number."""
        path = tmp_path / "calibration.json"
        data = Calibration.default().model_dump(mode="json")
        data["requests"]["refresh"]["db_cpu"]["mean"] = -1.0
        path.write_text(json.dumps(data, indent=1))
        with pytest.raises(InputError, match="greater than or equal to 0") as caught:
            load(path)
        assert caught.value.line is not None
        assert path.read_text().splitlines()[caught.value.line - 1].strip().startswith('"mean": -1.0')
        del data["requests"]["refresh"]
        path.write_text(json.dumps(data))
        with pytest.raises(InputError, match="refresh"):
            load(path)


class TestResample:
    """Draws from the uncertainty of the parameters."""

    def test_spread_is_that_of_the_standard_errors(self) -> None:
        """Means vary around the mean by the standard error; nothing else changes."""
        base = Calibration.default()
        drawn = [base.resample(Stream(1, "calibration", str(i))) for i in range(2000)]
        means = np.array([one.requests["refresh"].app_cpu.mean for one in drawn])
        expected = base.requests["refresh"].app_cpu
        assert means.mean() == pytest.approx(expected.mean, rel=0.03)
        assert means.std() == pytest.approx(expected.sem, rel=0.1)
        assert (means > 0).all()
        assert drawn[0].machine == base.machine

    def test_parameters_are_drawn_apart(self) -> None:
        """Two parameters do not move together."""
        base = Calibration.default()
        drawn = [base.resample(Stream(2, "calibration", str(i))) for i in range(1000)]
        one = [d.requests["refresh"].app_cpu.mean for d in drawn]
        other = [d.requests["refresh"].db_cpu.mean for d in drawn]
        assert abs(np.corrcoef(one, other)[0, 1]) < 0.1

    def test_same_stream_same_draw(self) -> None:
        """A draw is a function of its name."""
        base = Calibration.default()
        assert base.resample(Stream(1, "c", "0")) == base.resample(Stream(1, "c", "0"))


class TestFit:
    """From raw samples to a calibration."""

    def test_recovers_what_made_the_samples(self) -> None:
        """Samples under a quota, made of known parts, give the known waits back."""
        generator = np.random.default_rng(1)
        rtt, commit, proxy, wait = 60e-6, 0.003, 200e-6, 0.004
        rows = []
        for _ in range(50):
            app, db = generator.normal(0.007, 0.0005), generator.normal(0.006, 0.0004)
            stalls = quota_elapsed(app + db + 2 * proxy, 0.5, 0.05)
            rows.append(RequestSample(app, db, stalls + round_trips("access-token") * rtt + commit + wait))
        samples = Samples(
            requests={"access-token": rows},
            statement_rtt=[rtt] * 20,
            proxy_cpu=[proxy] * 20,
            local_commit=[commit] * 20,
            quota=0.5,
            start={"iam": [1.0, 1.2, 1.1]},
            source="made up",
        )
        found = fit(samples)
        token = found.requests["access-token"]
        assert token.app_cpu.mean == pytest.approx(0.007, rel=0.05)
        assert token.db_cpu.mean == pytest.approx(0.006, rel=0.05)
        assert token.wait.mean == pytest.approx(wait, rel=0.02)
        assert found.start.iam.mean == pytest.approx(1.1)
        base = Calibration.default()
        assert found.requests["refresh"] == base.requests["refresh"]
        assert found.start.redis == base.start.redis
        assert found.hash != base.hash

    def test_what_is_measured_after_a_pause_is_what_caches_cost(self) -> None:
        """The refill is the difference to the same requests without a pause; none when that is negative."""
        usual = [RequestSample(0.002, 0.003, 0.006)] * 5
        rested = [RequestSample(0.0027, 0.0028, 0.007)] * 5
        found = fit(Samples(requests={"access-token": usual}, rested=rested)).refill
        assert found is not None
        assert found.app.mean == pytest.approx(0.0007)
        assert found.app.sem == pytest.approx(0.00007)
        assert found.db == Estimate(mean=0.0)

    def test_a_neighbour_on_the_host_moves_no_demand(self) -> None:
        """Requests that fell into its moments take longer; the median leaves them out."""
        quiet = [RequestSample(0.002, 0.003, 0.006)] * 20
        stolen = [RequestSample(0.0032, 0.0048, 0.009)] * 10
        found = fit(Samples({"access-token": [*quiet, *stolen]})).requests["access-token"]
        assert (found.app_cpu.mean, found.db_cpu.mean) == (0.002, 0.003)

    def test_a_lone_commit_tells_what_handling_a_message_takes(self) -> None:
        """Three rounds, each with the messages of two others; VPN and flush are known."""
        usual = [RequestSample(0.002, 0.003, 0.006)] * 5
        took = [3 * 0.0002 + 0.0001 + 6 * 0.0003] * 5
        samples = Samples(
            {"access-token": usual}, vpn_extra=[0.0002] * 5, local_commit=[0.0001] * 5, ordering=took
        )
        found = fit(samples).group_message
        assert found is not None
        assert found.mean == pytest.approx(0.0003)

    def test_an_unsteady_machine_is_known_less_well(self) -> None:
        """What the pace of the host varied by is the least uncertainty of every demand."""
        usual = {"access-token": [RequestSample(0.002, 0.003, 0.006)] * 50}
        calm, unsteady = (fit(Samples(usual, pace=pace)) for pace in ([1e-3] * 9, [1e-3, 2e-3, 1e-3]))
        assert calm.requests["access-token"].app_cpu.sem == pytest.approx(SITTINGS * 0.002)
        assert unsteady.requests["access-token"].app_cpu.sem == pytest.approx(0.433 * 0.002, rel=0.01)
        assert unsteady.machine.pace == 1e-3

    def test_what_was_not_measured_leaves_no_trace(self) -> None:
        """Files and hashes of calibrations that know nothing of caches and groups stay as they are."""
        plain = Calibration.default()
        assert plain.refill is None and plain.group_message is None and plain.machine.pace is None
        for name in ("refill", "group_message", "pace"):
            assert name not in plain.canonical()
        known = plain.model_copy(update={"refill": Refill(app=Estimate(mean=0.001), db=Estimate(mean=0.001))})
        assert known.hash != plain.hash
        drawn, same = (one.resample(Stream(3, "c", "0")) for one in (known, plain))
        assert drawn.requests == same.requests and drawn.start == same.start

    def test_nothing_measured_is_no_calibration(self) -> None:
        """There is nothing to fit."""
        with pytest.raises(ValueError, match="no request was measured"):
            fit(Samples(requests={"refresh": []}))

    def test_one_sitting_is_never_certain(self) -> None:
        """Equal samples still leave the difference between sittings."""
        assert estimate([0.01] * 100).sem == pytest.approx(SITTINGS * 0.01)
        assert estimate([0.01]).sem == pytest.approx(0.005)
