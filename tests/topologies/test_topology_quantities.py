"""Human quantities: read, written, refused."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from topologies.quantities import (
    BANDWIDTH_UNITS,
    DURATION_UNITS,
    RATE_UNITS,
    RATIO_UNITS,
    SIZE_UNITS,
    Bandwidth,
    Duration,
    Rate,
    Ratio,
    Size,
    parse,
    spell,
    write,
)

UNITS = {
    "duration": DURATION_UNITS,
    "bandwidth": BANDWIDTH_UNITS,
    "size": SIZE_UNITS,
    "ratio": RATIO_UNITS,
    "rate": {"/s": 1.0},
}
values = st.floats(min_value=1e-12, max_value=1e18) | st.just(0.0)


class Everything(BaseModel):
    """One field of each quantity."""

    duration: Duration = 0.0
    bandwidth: Bandwidth = 0.0
    size: Size = 0.0
    ratio: Ratio = 0.0
    rate: Rate = 0.0


class TestParse:
    """Texts become floats in base units."""

    @pytest.mark.parametrize(
        ("text", "units", "value"),
        [
            ("30ms", DURATION_UNITS, 0.03),
            (" 1.5 s ", DURATION_UNITS, 1.5),
            ("250us", DURATION_UNITS, 250e-6),
            ("250µs", DURATION_UNITS, 250e-6),
            ("2min", DURATION_UNITS, 120.0),
            ("1h", DURATION_UNITS, 3600.0),
            ("250Mbit", BANDWIDTH_UNITS, 250e6),
            ("30GiB", SIZE_UNITS, 30 * 2.0**30),
            ("30GB", SIZE_UNITS, 30e9),
            ("0.1%", RATIO_UNITS, 0.001),
            ("10/s", RATE_UNITS, 10.0),
            ("90/min", RATE_UNITS, 1.5),
            ("1e3ms", DURATION_UNITS, 1.0),
            (".5s", DURATION_UNITS, 0.5),
        ],
    )
    def test_reads_numbers_with_units(self, text: str, units: dict[str, float], value: float) -> None:
        """A number and its unit give the value in the base unit, exactly where decimals allow."""
        assert parse(text, units, "") == pytest.approx(value, rel=1e-15)

    @pytest.mark.parametrize(
        "text", ["30", "ms", "30 parsec", "1,5s", "", "1s2s", "nan s", "1e999999s", "30MS", "0x10s", "--3s"]
    )
    def test_refuses_what_cannot_be_meant(self, text: str) -> None:
        """Numbers without a unit, unknown units and overflow are errors that name units and an example."""
        with pytest.raises(ValueError, match=r"cannot read .*(as in 30ms|too large)"):
            parse(text, DURATION_UNITS, "30ms")

    def test_percent_is_exact(self) -> None:
        """A percentage is the float one would write as a decimal fraction."""
        assert [parse(f"{n}%", RATIO_UNITS, "") for n in ("0.1", "7", "29", "57")] == [
            0.001,
            0.07,
            0.29,
            0.57,
        ]

    def test_minus_zero_is_zero(self) -> None:
        """No negative zero enters the model."""
        assert math.copysign(1.0, parse("-0ms", DURATION_UNITS, "")) == 1.0


class TestWrite:
    """Floats become texts."""

    @pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
    @given(value=values)
    def test_round_trip_is_exact(self, units: dict[str, float], value: float) -> None:
        """What `write` writes, `parse` reads back as the very same float."""
        assert parse(write(value, units), units, "") == value

    @pytest.mark.parametrize("units", UNITS.values(), ids=UNITS)
    @given(value=values)
    def test_spelling_parses_to_six_digits(self, units: dict[str, float], value: float) -> None:
        """What `spell` shows to people can be read, and differs by less than its six digits."""
        assert parse(spell(value, units), units, "") == pytest.approx(value, rel=5.1e-6)

    @pytest.mark.parametrize(
        ("value", "units", "text"),
        [
            (0.03, DURATION_UNITS, "30ms"),
            (0.0, DURATION_UNITS, "0s"),
            (100.0, DURATION_UNITS, "100s"),
            (90.0, DURATION_UNITS, "1.5min"),
            (1 / 3, DURATION_UNITS, "333.333ms"),
            (1e9, BANDWIDTH_UNITS, "1Gbit"),
            (30 * 2.0**30, SIZE_UNITS, "30GiB"),
            (0.001, RATIO_UNITS, "0.1%"),
            (math.inf, DURATION_UNITS, "inf"),
        ],
    )
    def test_spelling_is_what_a_person_would_write(
        self, value: float, units: dict[str, float], text: str
    ) -> None:
        """The largest unit in which six digits lose nothing is chosen."""
        assert spell(value, units) == text

    def test_infinity_is_not_written_to_files(self) -> None:
        """A value that no file can hold is refused."""
        with pytest.raises(ValueError, match="inf cannot be written"):
            write(math.inf, DURATION_UNITS)


class TestFields:
    """Quantities as fields of a model."""

    @given(
        duration=values,
        bandwidth=values,
        size=values,
        ratio=st.floats(min_value=0, max_value=1),
        rate=values,
    )
    def test_models_survive_json(
        self, duration: float, bandwidth: float, size: float, ratio: float, rate: float
    ) -> None:
        """A model written as JSON and read as a file, units required, is equal to itself."""
        model = Everything(duration=duration, bandwidth=bandwidth, size=size, ratio=ratio, rate=rate)
        text = model.model_dump_json()
        assert Everything.model_validate_json(text, context={"units": "required"}) == model

    @pytest.mark.parametrize(
        ("field", "value", "message"),
        [
            ("duration", "-1s", "must not be negative"),
            ("ratio", "101%", "must not exceed 100%"),
            ("duration", True, "expected a quantity as in 30ms"),
            ("duration", [1], "expected a quantity as in 30ms"),
            ("rate", math.inf, "expected a finite quantity"),
            ("bandwidth", "1Gbps", "one of bit, kbit, Mbit, Gbit, Tbit"),
        ],
    )
    def test_bad_values_say_what_is_expected(self, field: str, value: object, message: str) -> None:
        """Each refused value names the limit or the way to write it."""
        with pytest.raises(ValidationError, match=message):
            Everything.model_validate({field: value})

    def test_files_must_say_the_unit(self) -> None:
        """A bare number is accepted from code, refused from files; zero needs no unit anywhere."""
        assert Everything(duration=0.03).duration == 0.03
        with pytest.raises(ValidationError, match="has no unit: write it as in 30ms"):
            Everything.model_validate({"duration": 30}, context={"units": "required"})
        assert Everything.model_validate({"duration": 0}, context={"units": "required"}).duration == 0
