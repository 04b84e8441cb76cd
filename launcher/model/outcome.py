"""An attempt's state (where it stands) and its outcome (how it ended) are two types."""

from __future__ import annotations

from enum import Enum


class State(str, Enum):
    """States only move forward, in this order."""

    PENDING = "pending"
    SUBMITTED = "submitted"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    ENDED = "ended"
    UNKNOWN = "unknown"  # the observer could not tell; says nothing about the job


class Outcome(str, Enum):
    """How an attempt ended."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    TIMED_OUT = "timed out"
    PREEMPTED = "preempted"
    OUT_OF_MEMORY = "out of memory"
    OUT_OF_DISK = "out of disk"
    STALLED = "stalled"
    OVER_BUDGET = "over budget"
    NODE_LOST = "node lost"
    START_FAILED = "start failed"
    UNKNOWN = "unknown"  # ended for certain, how is not known: no exit record, and nothing else says it


ORDER = tuple(State)[:-1]


def forward(now: State, then: State) -> bool:
    """Whether a record may go from `now` to `then`."""
    if State.UNKNOWN in (now, then):
        return True
    return ORDER.index(then) >= ORDER.index(now)
