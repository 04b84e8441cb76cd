"""Several that want one path of a workspace, and a disk that does not answer: nothing is taken for what it is not."""

from __future__ import annotations

import errno
import fcntl
import os
import threading
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import StoreError
from launcher.model import codec
from launcher.store import keys, records
from launcher.supervisor import places
from launcher.supervisor.faults import CommitFailed
from launcher.supervisor.outputs import commit, exclusive, moving
from tests.supervising import ALLOCATION, JOB, Stage
from tests.waiting import until

FACTS = commit.Facts(("true",), (), {}, {}, 1.0, None)


def prepared(root: Path) -> tuple[Stage, places.Places]:
    """An attempt whose output `model` lies ready, in a workspace that has none yet."""
    stage = Stage(root)
    spec = stage.job("", outputs={"model": "model"})
    stage.store.claim(keys.attempt(JOB, 0, 1))
    where = places.of(stage.store.root, spec, spec.tasks[0], 1, ALLOCATION)
    ready = where.collected("model")
    ready.mkdir(parents=True)
    (ready / "weights").write_text("new")
    return stage, where


def test_what_appears_while_the_outputs_are_hashed_is_set_aside(tmp_path: Path) -> None:
    stage, where = prepared(tmp_path)
    lock = stage.workspace / keys.WORKSPACE / exclusive.NAME
    lock.parent.mkdir(exist_ok=True)
    with open(lock, "w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        committing = threading.Thread(target=commit.commit, args=(where, FACTS, 1_700_000_000.0))
        committing.start()
        # It has begun to wait, or has written down what it is going to do.
        until(committing.is_alive, 10, "the commit to begin")
        committing.join(0.5)
        theirs = stage.workspace / "model"
        theirs.mkdir()
        (theirs / "weights").write_text("somebody's only copy")
    committing.join(20)
    assert not committing.is_alive()
    assert (stage.workspace / "model" / "weights").read_text() == "new"
    everything = {path.read_text() for path in stage.workspace.rglob("weights")}
    assert "somebody's only copy" in everything
    found = records.read_manifests(stage.store, JOB, 0, 1)
    assert found is not None and found.artifacts[0].set_aside is not None


def test_what_another_committed_between_a_death_and_its_repair_is_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Died(BaseException):
        pass

    def die(*unused: Any) -> None:
        raise Died

    stage, where = prepared(tmp_path)
    with monkeypatch.context() as until_death:
        until_death.setattr(moving, "move_files", die)
        with pytest.raises(Died):
            commit.commit(where, FACTS, 1_700_000_000.0)
    assert commit.begun(where)
    manifest = codec.load(commit.Intent, (where.data / commit.INTENT).read_bytes(), "").parts[0].manifest
    theirs = stage.workspace / "model"
    theirs.mkdir()
    (theirs / "weights").write_text("another job's")
    another = codec.encode(manifest) | {"job": "other-k3f9"}
    stage.store.__class__(stage.workspace).replace(keys.workspace_manifest("model"), codec.dump(another))
    commit.commit(where, FACTS, 1_700_000_000.0)
    assert (stage.workspace / "model" / "weights").read_text() == "new"
    assert "another job's" in {path.read_text() for path in stage.workspace.rglob("weights")}


def test_a_lock_that_somebody_keeps_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with (
        exclusive.alone(tmp_path),
        pytest.raises(OSError, match="another commit has held"),
        exclusive.alone(tmp_path, 0.2),
    ):
        pass


@pytest.mark.parametrize("number", [errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_disk_without_locks_is_no_reason_to_fail_after_hours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*unused: Any) -> None:
        raise OSError(number, os.strerror(number))

    stage, where = prepared(tmp_path)
    monkeypatch.setattr(fcntl, "flock", refuse)
    commit.commit(where, FACTS, 1_700_000_000.0)
    assert (stage.workspace / "model" / "weights").read_text() == "new"


def test_an_output_that_cannot_be_seen_is_not_called_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A lost mount answers ESTALE to everything."""
    _, where = prepared(tmp_path)
    real = os.stat

    def stale(path: Any, *more: Any, **options: Any) -> os.stat_result:
        if os.fspath(path) == str(where.collected("model")):
            raise OSError(errno.ESTALE, "Stale file handle")
        return real(path, *more, **options)

    monkeypatch.setattr(os, "stat", stale)
    with pytest.raises(OSError, match="Stale"):
        commit.missing(where)
    with pytest.raises(CommitFailed, match="Stale"):
        commit.commit(where, FACTS, 1_700_000_000.0)


def test_a_store_that_does_not_answer_has_not_said_that_no_commit_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, where = prepared(tmp_path)

    def stale(*unused: Any) -> None:
        raise OSError(errno.ESTALE, "Stale file handle")

    monkeypatch.setattr(Path, "read_bytes", stale)
    with pytest.raises(StoreError):
        commit.begun(where)
    monkeypatch.undo()
    (where.data / commit.INTENT).write_text("{")
    assert commit.begun(where)
