"""Views as JSON: times in ISO 8601 UTC, durations in seconds, what is not known as null."""

from __future__ import annotations

from typing import Any

from launcher.cli.words import elapsed, iso
from launcher.model.codec import encode
from launcher.model.view import AllocationView, JobView, TaskView

SCHEMA = 1


def job_json(job: JobView) -> dict[str, Any]:
    """One job with all its tasks."""
    return {
        "schema": SCHEMA,
        "job": job.job,
        "phase": job.phase,
        "name": job.name,
        "profile": job.profile,
        "executor": job.executor,
        "submitted_at": iso(job.submitted_at) if job.submitted_at > 0 else None,
        "state": job.state.value,
        "outcome": job.outcome.value if job.outcome is not None else None,
        "counts": job.counts(),
        "cost": job.cost,
        "smoke": list(job.smoke),
        "problems": list(job.problems),
        "allocations": [allocation_json(one) for one in job.allocations],
        "tasks": [task_json(one) for one in job.tasks],
    }


def allocation_json(place: AllocationView) -> dict[str, Any]:
    """One allocation."""
    return {
        "allocation": place.allocation,
        "native_id": place.native_id,
        "state": place.state.value,
        "tasks": len(place.tasks),
        "why": place.why,
        "silent": place.silent,
        "lost": place.lost,
    }


def task_json(task: TaskView) -> dict[str, Any]:
    """One task at its newest attempt."""
    return {
        "task": task.index,
        "state": task.state.value,
        "outcome": task.outcome.value if task.outcome is not None else None,
        "attempt": task.attempt,
        "why": task.why,
        "started_at": iso(task.started_at),
        "ended_at": iso(task.ended_at),
        "seconds": elapsed(task),
        "stage": task.stage,
        "progress": encode(task.progress),
        "last_line": task.last_line,
        "log_size": task.log_size,
        "metrics": encode(task.metrics),
        "gpus": encode(task.gpus),
        "disk_used": task.disk_used,
        "findings": [{**encode(one), "since": iso(one.since)} for one in task.findings],
        "cost": task.cost,
        "checkpoint": task.checkpoint,
        "evidence": task.evidence,
        "kept": list(task.kept),
        "silent": task.silent,
        "seen": task.seen,
        "allocation": task.allocation,
        "host": task.host,
    }
