"""Array expressions, job ids and the words of the command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from launcher.model.names import (
    JOB_ALPHABET,
    MAX_TASKS,
    NAME,
    ArrayExpression,
    TaskWord,
    job_id,
    parse_array,
    show_indices,
    show_tasks,
    split_task,
)

INDICES = st.sets(st.integers(0, 5000), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("text", "indices", "limit"),
    [
        ("0-5", (0, 1, 2, 3, 4, 5), None), ("0-10:2", (0, 2, 4, 6, 8, 10), None), ("1,4,7", (1, 4, 7), None),
        ("0-3%8", (0, 1, 2, 3), 8), ("7", (7,), None), (" 0 - 2 , 5 % 1 ", (0, 1, 2, 5), 1), ("3,1,3,0-1", (3, 1, 0), None),
        ("0-9:100", (0,), None), ("007", (7,), None),
    ],
)  # fmt: skip
def test_expressions(text: str, indices: tuple[int, ...], limit: int | None) -> None:
    assert parse_array(text) == ArrayExpression(indices, limit)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "1-",
        "-1",
        "5-2",
        "1--2",
        "0-5:0",
        "0-5%0",
        "0-5%",
        "0-5%x",
        "1,,2",
        "0-5%2%3",
        "1.5",
        "0-99999999",
        "٣-x",
        "0x1",
    ],
)
def test_what_is_no_expression(text: str) -> None:
    with pytest.raises(ValueError, match=r".{10}"):
        parse_array(text)


@given(st.text(alphabet="0123456789-,:% ax٣", max_size=14))
def test_any_text_is_an_expression_or_a_value_error(text: str) -> None:
    try:
        found = parse_array(text)
    except ValueError as error:
        assert str(error)
    else:
        assert 0 < len(set(found.indices)) == len(found.indices) <= MAX_TASKS
        assert found.limit is None or found.limit >= 1


def test_tasks_in_words() -> None:
    shown = [show_tasks(some) for some in ((), (3,), (0, 1, 2), [5, 3], {7})]
    assert shown == ["no task", "task 3", "tasks 0-2", "tasks 3,5", "task 7"]


@given(INDICES)
def test_shown_indices_are_read_as_they_were(indices: set[int]) -> None:
    shown = show_indices(indices)
    assert parse_array(shown).indices == tuple(sorted(indices))
    assert show_indices(parse_array(shown).indices) == shown


def test_no_indices() -> None:
    assert show_indices([]) == ""


@given(st.lists(st.integers(0, 10**9), min_size=4, max_size=6))
def test_a_job_id_reads_aloud_and_is_a_name(salt: list[int]) -> None:
    found = job_id("phase1_large", salt)
    name, _, end = found.rpartition("-")
    assert name == "phase1_large"
    assert len(end) == len(salt)
    assert set(end) <= set(JOB_ALPHABET)
    assert not set(JOB_ALPHABET) & set("0o1li")
    assert NAME.fullmatch(found)


@pytest.mark.parametrize(
    ("word", "readings"),
    [
        ("1707070", [("1707070", None)]),
        ("1707070_5", [("1707070_5", None), ("1707070", 5)]),
        ("phase1_large-k3f9:12", [("phase1_large-k3f9", 12)]),
        ("phase_1", [("phase_1", None), ("phase", 1)]),
        ("last", [("last", None)]),
        ("a_b_3", [("a_b_3", None), ("a_b", 3)]),
        (":3", [(":3", None)]),
        ("", [("", None)]),
    ],
)
def test_a_word_with_a_task(word: str, readings: list[tuple[str, int | None]]) -> None:
    assert split_task(word) == tuple(TaskWord(job, task) for job, task in readings)


@given(st.text(max_size=20))
def test_any_word_has_a_reading(word: str) -> None:
    assert split_task(word)
