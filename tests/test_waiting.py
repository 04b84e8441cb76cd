"""The tests' own tools: waiting with a deadline, and finding what a test has left running."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import end_all, left_running
from tests.waiting import until


def test_the_answer_of_the_condition_is_returned() -> None:
    answers = iter([None, "", "here"])
    assert until(lambda: next(answers), 5, "an answer") == "here"


def test_at_the_deadline_it_says_what_was_waited_for_and_what_came_back() -> None:
    with pytest.raises(AssertionError, match=r"for: the record of task 5; the last answer was None"):
        until(lambda: None, 0.05, lambda: "the record of task 5")


def test_the_condition_is_asked_even_when_there_is_no_time() -> None:
    assert until(lambda: True, 0, "nothing")


def test_a_process_that_is_left_behind_is_found_and_ended(own_environment: str, odd_path: Path) -> None:
    script = "import subprocess, sys; subprocess.Popen(['sleep', '600'], start_new_session=True)"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=odd_path)
    (orphan,) = until(lambda: left_running(own_environment), 5, "the orphan")
    assert Path("/proc", str(orphan)).exists()
    end_all(own_environment)
    assert left_running(own_environment) == []
