"""Sizes, times and prices: the forms that people write, and nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.model.units import parse_price, parse_size, parse_time, show_size, show_time

ANYTHING = st.one_of(
    st.text(), st.integers(), st.floats(), st.booleans(), st.none(), st.lists(st.integers()), st.binary()
)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("40GB", 40 * 10**9), ("200GiB", 200 * 2**30), ("512mb", 512 * 10**6), ("1.5 TiB", 3 * 2**39), ("7", 7), (7, 7),
        ("2k", 2000), ("2Ki", 2048), (" 1 PB ", 10**15), (1.5, 2), (2**60 + 1, 2**60 + 1), ("0", 0), ("80G", 80 * 10**9),
    ],
)  # fmt: skip
def test_sizes(text: object, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90), ("90m", 5400), ("6h", 21600), ("2h30m", 9000), ("1d", 86400), ("6:00:00", 21600), ("500ms", 0.5),
        ("1-12:00:00", 129600), ("1-12:30", 131400), (60, 60), ("60", 60), ("1.5h", 5400), ("1h 30min", 5400), ("0", 0),
        ("30sec", 30), ("1d2h3m4s5ms", 93784.005),
    ],
)  # fmt: skip
def test_times(text: object, seconds: float) -> None:
    assert parse_time(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "price"), [("0.89/h", 0.89), ("$2/hr", 2.0), ("$ 1.5 / hour", 1.5), (3, 3.0), ("4", 4.0)]
)
def test_prices(text: object, price: float) -> None:
    assert parse_price(text) == price


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_size, "40 gigs"), (parse_size, "-3GB"), (parse_size, ""), (parse_size, "GB"), (parse_size, "1e9"),
        (parse_size, True), (parse_size, None), (parse_size, -1), (parse_size, math.nan), (parse_size, math.inf),
        (parse_size, "9" * 400 + "PB"), (parse_size, 10**400), (parse_size, "1,5GB"),
        (parse_time, "90:00"), (parse_time, "soon"), (parse_time, "6h soon"), (parse_time, "-5m"), (parse_time, ""),
        (parse_time, False), (parse_time, "nan"), (parse_time, "inf"), (parse_time, "1:2:3:4"), (parse_time, 10**400),
        (parse_time, "9" * 5000 + ":00:00"), (parse_time, [1]),
        (parse_price, "cheap"), (parse_price, -0.1), (parse_price, True), (parse_price, math.nan), (parse_price, "2/d"),
        (parse_price, "9" * 400), (parse_price, None),
    ],
)  # fmt: skip
def test_what_is_refused(parse: Callable[[object], object], text: object) -> None:
    with pytest.raises(ValueError, match=r"expected|cannot be|could be"):
        parse(text)


@given(ANYTHING)
def test_nothing_but_a_value_or_a_value_error(text: object) -> None:
    for parse in (parse_size, parse_time, parse_price):
        try:
            found = parse(text)
        except ValueError as error:
            assert str(error)
        else:
            assert 0 <= found < math.inf


@given(st.integers(0, 10**18), st.sampled_from(["", "B"]))
def test_a_number_of_bytes_is_itself(size: int, unit: str) -> None:
    if size < 2**53:
        assert parse_size(f"{size}{unit}") == size
    assert parse_size(size) == size


@given(st.integers(0, 10**6), st.integers(0, 23), st.integers(0, 59), st.integers(0, 59))
def test_both_forms_of_a_time_agree(days: int, hours: int, minutes: int, seconds: int) -> None:
    written = parse_time(f"{days}-{hours}:{minutes:02d}:{seconds:02d}")
    assert written == parse_time(f"{days}d{hours}h{minutes}m{seconds}s")
    assert written == days * 86400 + hours * 3600 + minutes * 60 + seconds


@given(st.integers(0, 10**16))
def test_a_size_that_is_shown_can_be_read(size: int) -> None:
    shown = show_size(size)
    assert len(shown) <= 8
    assert parse_size(shown) == pytest.approx(size, rel=0.006, abs=0.5)


@given(st.floats(0, 10**8))
def test_a_time_that_is_shown_can_be_read(seconds: float) -> None:
    """Rounded down to its last unit."""
    found = parse_time(show_time(seconds))
    lost = 1 if seconds < 120 else 60 if seconds < 86400 else 3600
    assert found <= seconds < found + lost


def test_shown_words() -> None:
    assert [show_size(size) for size in (None, 0, 999, 1000, 41.2e9, 999.6e6, 5e15)] == [
        "?", "0B", "999B", "1kB", "41.2GB", "1GB", "5000TB",
    ]  # fmt: skip
    assert [show_time(seconds) for seconds in (None, 0, 119, 120, 11100, 187200, -90)] == [
        "?", "0s", "119s", "2m", "3h05m", "2d04h", "-90s",
    ]  # fmt: skip
