"""The table of who is believed over whom, row by row."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from launcher.model.outcome import Outcome
from launcher.model.records import Declared
from launcher.supervisor.verdict import Facts, Sign, Verdict, judge, may_commit

CANCEL = Verdict(Outcome.CANCELLED, "cancelled by me")
CUDA = Sign("cuda_out_of_memory", "torch.cuda.OutOfMemoryError: CUDA out of memory")
HOST = Sign("out_of_memory", "MemoryError")
DISK = Sign("disk_full", "OSError: [Errno 28] No space left on device")
OTHER = Sign("exception", "ValueError: 3")
STALLED = Declared(Outcome.STALLED, "no step")
FULL = Verdict(Outcome.OUT_OF_DISK, "out of disk while committing")

ROWS: list[tuple[dict[str, Any], Outcome, str]] = [
    ({"code": 0}, Outcome.SUCCEEDED, "exit code 0"),
    ({"code": 0, "signs": (CUDA, DISK)}, Outcome.SUCCEEDED, "exit code 0"),
    ({"code": 0, "oom_kills": 1}, Outcome.SUCCEEDED, "exit code 0"),
    ({"code": 0, "missing": ("model (m)",)}, Outcome.FAILED, "model (m)"),
    ({"code": 0, "missing": ("model (m)",), "signs": (DISK,)}, Outcome.OUT_OF_DISK, "model (m)"),
    ({"code": 0, "commit": FULL}, Outcome.OUT_OF_DISK, "while committing"),
    ({"code": 0, "declared": STALLED}, Outcome.STALLED, "no step"),
    ({"code": 1, "declared": STALLED}, Outcome.STALLED, "no step"),
    ({"code": 1, "declared": STALLED, "signs": (CUDA,)}, Outcome.STALLED, "no step"),
    ({"signal": 9, "declared": STALLED, "oom_kills": 1}, Outcome.STALLED, "no step"),
    ({"declared": STALLED}, Outcome.STALLED, "no step"),
    ({"code": 1, "declared": STALLED, "stop": CANCEL}, Outcome.CANCELLED, "cancelled by me"),
    ({"code": 1, "declared": STALLED, "stop": CANCEL, "declared_first": True}, Outcome.STALLED, "no step"),
    ({"code": 3}, Outcome.FAILED, "exit code 3"),
    ({"code": 3, "signs": (OTHER,)}, Outcome.FAILED, "exit code 3: ValueError: 3"),
    ({"code": 1, "signs": (CUDA,)}, Outcome.OUT_OF_MEMORY, "GPU"),
    ({"code": 1, "signs": (HOST,)}, Outcome.OUT_OF_MEMORY, "MemoryError"),
    ({"code": 1, "signs": (DISK,)}, Outcome.OUT_OF_DISK, "No space left"),
    ({"code": 1, "signs": (DISK, CUDA)}, Outcome.OUT_OF_MEMORY, "GPU"),
    ({"code": 1, "signs": (CUDA, DISK, OTHER)}, Outcome.OUT_OF_DISK, "No space left"),
    ({"signal": 6, "signs": (CUDA,)}, Outcome.OUT_OF_MEMORY, "SIGABRT"),
    ({"signal": 9, "oom_kills": 1}, Outcome.OUT_OF_MEMORY, "kernel"),
    ({"code": 137, "oom_kills": 2}, Outcome.OUT_OF_MEMORY, "kernel"),
    ({"code": 1, "oom_kills": 1, "signs": (HOST,)}, Outcome.OUT_OF_MEMORY, "kernel"),
    ({"code": 1, "oom_kills": 1}, Outcome.FAILED, "exit code 1"),
    ({"signal": 9, "oom_kills": 0}, Outcome.FAILED, "killed by signal 9 (SIGKILL) from outside"),
    ({"signal": 9}, Outcome.FAILED, "is not known"),
    ({"signal": 9, "oom_kills": 1, "stop": CANCEL}, Outcome.CANCELLED, "cancelled by me"),
    ({"signal": 15, "oom_kills": 0}, Outcome.FAILED, "killed by signal 15 (SIGTERM) from outside"),
    ({"signal": 11}, Outcome.FAILED, "crashed: signal 11 (SIGSEGV)"),
    ({"signal": 7, "disk_free": 0}, Outcome.OUT_OF_DISK, "SIGBUS"),
    ({"signal": 7, "disk_free": 5}, Outcome.FAILED, "crashed"),
    ({"signal": 24}, Outcome.FAILED, "ulimit -t"),
    ({"signal": 25}, Outcome.FAILED, "ulimit -f"),
    ({"signal": 40}, Outcome.FAILED, "signal 40"),
    ({"code": 75}, Outcome.FAILED, "though nobody asked"),
    ({"code": 75, "stop": CANCEL}, Outcome.CANCELLED, "it stopped as asked"),
    ({"code": 75, "stop": Verdict(Outcome.PREEMPTED, "preempted")}, Outcome.PREEMPTED, "it stopped as asked"),
    ({"code": 0, "stop": CANCEL}, Outcome.CANCELLED, "without saying that its work was complete"),
    ({"code": 0, "stop": CANCEL, "complete": True}, Outcome.SUCCEEDED, "exit code 0"),
    ({"code": 0, "stop": CANCEL, "complete": True, "missing": ("x",)}, Outcome.CANCELLED, "cancelled by me"),
    ({"signal": 15, "stop": Verdict(Outcome.TIMED_OUT, "limit")}, Outcome.TIMED_OUT, "limit"),
    ({}, Outcome.UNKNOWN, "nobody watched"),
    ({"oom_kills": 1}, Outcome.UNKNOWN, "memory"),
    ({"signs": (CUDA,)}, Outcome.UNKNOWN, "nobody watched"),
    ({"stop": CANCEL}, Outcome.CANCELLED, "cancelled by me"),
    ({"start": "no such program"}, Outcome.START_FAILED, "no such program"),
    ({"start": "stopped before", "stop": CANCEL}, Outcome.CANCELLED, "cancelled by me"),
]


@pytest.mark.parametrize(("facts", "outcome", "words"), ROWS, ids=[str(row[0]) for row in ROWS])
def test_row(facts: dict[str, Any], outcome: Outcome, words: str) -> None:
    verdict = judge(Facts(**facts))
    assert verdict.outcome is outcome and words in verdict.reason, verdict


def test_success_needs_exit_code_zero_whatever_else_is_true() -> None:
    values: dict[str, tuple[Any, ...]] = {
        "code": (None, 0, 1, 75, 137),
        "signal": (None, 9, 15),
        "start": (None, "x"),
        "stop": (None, CANCEL),
        "declared": (None, STALLED),
        "declared_first": (False, True),
        "oom_kills": (None, 0, 1),
        "signs": ((), (CUDA,), (DISK,)),
        "missing": ((), ("x",)),
        "complete": (False, True),
        "commit": (None, FULL),
    }
    for combination in itertools.product(*values.values()):
        facts = Facts(**dict(zip(values, combination, strict=True)))
        if facts.code is not None and facts.signal is not None:
            continue
        verdict = judge(facts)
        assert verdict.reason
        if verdict.outcome is Outcome.SUCCEEDED:
            assert facts.code == 0 and not facts.missing and facts.commit is None and facts.declared is None
            assert may_commit(facts)
