"""Every key of a store, in one file. Keys are relative, with `/`, the same in a folder and in a bucket.

Who writes what: docs/architecture.md, "Where state lives". Every key has one writer.
"""

from __future__ import annotations

JOBS = "jobs"
KITS = "kits"
SNAPSHOTS = "snapshots"


def job(job_id: str) -> str:
    return f"{JOBS}/{job_id}"


def spec(job_id: str) -> str:
    return f"{JOBS}/{job_id}/spec.json"


def submission(job_id: str) -> str:
    """The exact text or requests that were sent to the executor."""
    return f"{JOBS}/{job_id}/submission.txt"


def events(job_id: str) -> str:
    return f"{JOBS}/{job_id}/events"


def event(job_id: str, at: float, event_id: str) -> str:
    """Names sort by time: milliseconds since 1970, 15 digits."""
    return f"{JOBS}/{job_id}/events/{int(at * 1000):015d}-{event_id}.json"


def stops(job_id: str) -> str:
    """One folder for all stop requests of a job, so that a node polls one name whatever the number of tasks."""
    return f"{JOBS}/{job_id}/stops"


def stop(job_id: str, at: float, stop_id: str) -> str:
    return f"{JOBS}/{job_id}/stops/{int(at * 1000):015d}-{stop_id}.json"


def agents(job_id: str) -> str:
    return f"{JOBS}/{job_id}/agents"


def order(job_id: str, allocation: str) -> str:
    return f"{JOBS}/{job_id}/agents/{allocation}.order.json"


def agent_view(job_id: str, allocation: str) -> str:
    return f"{JOBS}/{job_id}/agents/{allocation}.json"


def ended_segment(job_id: str, allocation: str) -> str:
    return f"{JOBS}/{job_id}/agents/{allocation}.ended.jsonl"


def agent_log(job_id: str, allocation: str) -> str:
    """What the agent and its supervisors print: only what goes wrong with themselves."""
    return f"{JOBS}/{job_id}/agents/{allocation}.log"


def released(job_id: str, allocation: str) -> str:
    return f"{JOBS}/{job_id}/agents/{allocation}.released.json"


def tasks(job_id: str) -> str:
    return f"{JOBS}/{job_id}/tasks"


def task(job_id: str, index: int) -> str:
    return f"{JOBS}/{job_id}/tasks/{index:04d}"


def attempt(job_id: str, index: int, number: int) -> str:
    """The attempt's folder; making it, exclusively, is the claim."""
    return f"{JOBS}/{job_id}/tasks/{index:04d}/{number:02d}"


CLAIM = "claim.json"
HEARTBEAT = "heartbeat.json"
TELEMETRY = "telemetry.jsonl"
EVENTS = "events.jsonl"
EXIT = "exit.json"
MANIFEST = "manifest.json"
EVIDENCE = "evidence"
LOG = "log.txt"
PROGRESS = "progress.jsonl"
METRICS = "metrics.jsonl"
STOP = "stop"  # made by the supervisor: what `task.stop_requested()` looks at
STACKS = "evidence/stacks.txt"


def of_attempt(job_id: str, index: int, number: int, name: str) -> str:
    return f"{attempt(job_id, index, number)}/{name}"


def kit(content_hash: str) -> str:
    return f"{KITS}/{content_hash}.tar.gz"


def snapshot(content_hash: str) -> str:
    return f"{SNAPSHOTS}/{content_hash}.tar.gz"


def snapshot_index(content_hash: str) -> str:
    """The files of a snapshot with their hashes, so that what changed can be named without unpacking."""
    return f"{SNAPSHOTS}/{content_hash}.json"


# Within a workspace: what `launch` keeps beside the project's own files.
WORKSPACE = ".launch"


def attempt_data(job_id: str, index: int, number: int) -> str:
    """Outputs and checkpoints of one attempt before they are committed, relative to the workspace."""
    return f"{WORKSPACE}/attempts/{job_id}/{index:04d}/{number:02d}"


def workspace_manifest(path: str) -> str:
    """The manifest of a committed artifact, relative to the workspace. `path` is the artifact's, relative to the workspace."""
    return f"{WORKSPACE}/manifests/{path}.manifest.json"


def set_aside(path: str, stamp: str) -> str:
    """Where an artifact goes that a re-run supersedes; never deleted by `launch`."""
    return f"{WORKSPACE}/superseded/{stamp}/{path}"


EXPERIMENT_LOG = f"{WORKSPACE}/experiments.jsonl"
