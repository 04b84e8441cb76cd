"""What a JOBID means, and that ids resolve from any folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from launcher.archives import caches
from launcher.errors import NotFound, UsageError
from launcher.model import codec, records
from launcher.model.job import Code, JobSpec, Place, TaskSpec
from launcher.model.phase import Resources
from launcher.operations import stores
from launcher.operations.stores import resolve
from launcher.store import keys
from launcher.store.folder import FolderStore


def _job(root: Path, job: str, *, at: int, tasks: int = 2, native: dict[str, str] | None = None) -> FolderStore:
    store = FolderStore(root)
    spec = JobSpec(
        schema=1, job=job, phase=job.rpartition("-")[0], name="n", submitted_at=float(at), submitted_by="me@here",
        version="0", place=Place("local", "local", {}, str(root), str(root)), code=Code("snapshot", "c"), kit="k",
        command=("true",), shell=False, params={}, tasks=tuple(TaskSpec(i) for i in range(tasks)),
        resources=(Resources(),),
    )  # fmt: skip
    store.create(keys.spec(job), codec.dump(spec))
    os.utime(store.path(keys.spec(job)), (at, at))
    for number, allocation in enumerate(native or {}):
        order = records.Order(1, allocation, job, (number,), 1.0, "me@here")
        store.create(keys.order(job, allocation), codec.dump(order))
    if native:
        event = records.Event(1, "allocated", 1.0, "me@here", {"native_ids": native})
        store.create(keys.event(job, 1.0, "e"), codec.dump(event))
    return store


@pytest.fixture
def project(odd_path: Path) -> Path:
    (odd_path / "jobs").mkdir()
    store = odd_path / ".launch" / "store"
    _job(store, "train-k3f9", at=100)
    _job(store, "train-k3x2", at=200, native={"a0": "1707070_0", "a1": "1707070_1"})
    _job(store, "train_50-aaaa", at=150)
    _job(store, "infer-zzzz", at=50, native={"a0": "pod/xyz"})
    return odd_path


@pytest.mark.parametrize(
    ("word", "job", "task"),
    [
        ("train-k3f9", "train-k3f9", None),
        ("train-k3f9_1", "train-k3f9", 1),
        ("train-k3f9:0", "train-k3f9", 0),
        ("train-k3f", "train-k3f9", None),
        ("train-k3f:1", "train-k3f9", 1),
        ("train", "train-k3x2", None),
        ("train:1", "train-k3x2", 1),
        ("train_1", "train-k3x2", 1),
        ("train_50", "train_50-aaaa", None),
        ("last", "train-k3x2", None),
        ("last_1", "train-k3x2", 1),
        ("1707070", "train-k3x2", None),
        ("1707070_1", "train-k3x2", 1),
        ("pod/xyz", "infer-zzzz", 0),
        ("infer-", "infer-zzzz", None),
    ],
)
def test_the_ways_to_name_a_job(project: Path, word: str, job: str, task: int | None) -> None:
    found = resolve(word, project)
    assert (found.job, found.task) == (job, task)


def test_an_ambiguous_prefix_lists_the_candidates(project: Path) -> None:
    with pytest.raises(UsageError) as error:
        resolve("train-", project)
    assert "train-k3f9" in str(error.value) and "train-k3x2" in str(error.value) and "train_50" not in str(error.value)


def test_a_task_beside_a_longer_phase_is_ambiguous(project: Path) -> None:
    _job(project / ".launch" / "store", "train_12-bbbb", at=1)
    with pytest.raises(UsageError) as error:
        resolve("train_1", project)
    assert "train-k3x2:1" in str(error.value) and "train_12-bbbb" in str(error.value)


@pytest.mark.parametrize(
    "word", ["nothing", "", "..", "../jobs", "a/b", "\0", "train-k3f9/../infer-zzzz", "_5", ":5", "é"]
)
def test_what_names_no_job_is_not_found(project: Path, word: str) -> None:
    with pytest.raises(NotFound):
        resolve(word, project)


def test_a_task_that_the_job_does_not_have(project: Path) -> None:
    with pytest.raises(NotFound, match="no task 7") as error:
        resolve("train-k3f9:7", project)
    assert "0-1" in str(error.value)


def test_ids_resolve_from_any_folder_once_the_store_is_known(project: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    with pytest.raises(NotFound):
        resolve("train-k3f9", elsewhere)
    root = project / ".launch" / "store"
    stores.remember(root)
    stores.remember(root)
    assert resolve("train-k3f9", elsewhere).store.root == root
    assert len(stores.cache_file().read_bytes().splitlines()) == 1


def test_the_projects_own_store_goes_first(project: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / ".launch" / "store"
    _job(other, "train-zzz2", at=999)
    stores.remember(other)
    assert resolve("train", project).job == "train-k3x2"
    assert resolve("last", tmp_path / "other").job == "train-zzz2"
    assert resolve("train-zzz2", project).store.root == other


def test_a_garbage_cache_and_garbage_events_are_stepped_over(project: Path) -> None:
    caches.write(stores.cache_file(), b'\xff\n{"store": 3}\n{"store": "relative"}\n[]\n' + b"[" * 99_999 + b"\n")
    store = FolderStore(project / ".launch" / "store")
    store.create(keys.event("infer-zzzz", 2.0, "bad"), b"garbage")
    assert resolve("1707070", project).job == "train-k3x2"


def test_a_job_without_a_spec_comes_last(project: Path) -> None:
    store = FolderStore(project / ".launch" / "store")
    store.claim(keys.job("train-9999"))
    assert stores.newest(store, ["train-9999", "train-k3f9"]) == ["train-k3f9", "train-9999"]


def test_elsewhere_the_newest_job_of_all_stores_is_meant(project: Path, tmp_path: Path) -> None:
    """Not the newest of whichever store was used first: `cancel last` would stop another job than `status` shows on top."""
    for name, job, at in (("one", "train-aaaa", 500), ("two", "train-bbbb", 900), ("three", "eval-cccc", 700)):
        _job(tmp_path / name / ".launch" / "store", job, at=at)
        stores.remember(tmp_path / name / ".launch" / "store")
    elsewhere = tmp_path / "else where"
    elsewhere.mkdir()
    assert resolve("last", elsewhere).job == resolve("train", elsewhere).job == "train-bbbb"
    assert resolve("eval", elsewhere).job == "eval-cccc"
    with pytest.raises(UsageError, match="any of 2"):
        resolve("train-", elsewhere)
