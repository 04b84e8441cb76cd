"""Several that want one path of a workspace, and a disk that does not answer: nothing is taken for what it is not."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

from launcher.errors import StoreError
from launcher.model import codec
from launcher.store import keys, records
from launcher.supervisor import places
from launcher.supervisor.faults import CommitFailed
from launcher.supervisor.outputs import commit, exclusive, leftovers, moving
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


def test_links_of_an_output_come_along(tmp_path: Path) -> None:
    """A link to a file becomes that file; one to a folder stays a link, and leads where it led."""
    stage, where = prepared(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "data").write_text("far")
    ready = where.collected("model")
    (ready / "step-2" / "deep").mkdir(parents=True)
    (ready / "step-2" / "deep" / "w").write_text("best")
    (ready / "best").symlink_to("step-2")
    (ready / "step-2" / "up").symlink_to("../step-2/deep")
    (ready / "out").symlink_to(os.path.relpath(elsewhere, ready))
    (ready / "weights-too").symlink_to("weights")
    commit.commit(where, FACTS, 1_700_000_000.0)
    made = stage.workspace / "model"
    assert (made / "best" / "deep" / "w").read_text() == "best" and os.readlink(made / "best") == "step-2"
    assert (made / "step-2" / "up" / "w").read_text() == "best"
    assert (made / "out" / "data").read_text() == "far"
    assert (made / "weights-too").read_text() == "new" and not (made / "weights-too").is_symlink()
    assert not leftovers.holds_files(where.data / "outputs")


def test_an_output_that_is_a_link_takes_nothing_from_where_it_leads(tmp_path: Path) -> None:
    """As Hugging Face's cache is built: a folder of links into another one, which is not the attempt's to change."""
    stage, where = prepared(tmp_path)
    cache = tmp_path / "cache"
    (cache / "blobs").mkdir(parents=True)
    (cache / "blobs" / "abc").write_text("a model")
    (cache / "snapshot").mkdir()
    (cache / "snapshot" / "weights").symlink_to("../blobs/abc")
    shutil.rmtree(where.collected("model"))
    where.collected("model").symlink_to(cache / "snapshot")
    commit.commit(where, FACTS, 1_700_000_000.0)
    assert (stage.workspace / "model" / "weights").read_text() == "a model"
    assert os.readlink(cache / "snapshot" / "weights") == "../blobs/abc"


def test_links_that_name_the_working_tree_lead_on_after_it_has_gone(tmp_path: Path) -> None:
    stage, where = prepared(tmp_path)
    shutil.rmtree(where.data / "outputs")
    made = where.work / "model"
    (made / "step-2").mkdir(parents=True)
    (made / "step-2" / "w").write_text("best")
    (made / "best").symlink_to(made / "step-2")
    (made / "step-2" / "same").symlink_to(made / "step-2" / "w")
    leftovers.collect(where)
    commit.commit(where, FACTS, 1_700_000_000.0)
    assert (stage.workspace / "model" / "best" / "w").read_text() == "best"
    assert (stage.workspace / "model" / "step-2" / "same").read_text() == "best"
