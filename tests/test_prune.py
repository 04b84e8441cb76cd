"""Checkpoints: which are complete, which may go, and that what must stay stays. Real files, written as the libraries do."""

from __future__ import annotations

import json
import os
import struct
import threading
import time
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from launcher.model.phase import Checkpoints
from launcher.supervisor.checkpointing import prune
from launcher.supervisor.checkpointing.checkpoints import PRUNING, CheckpointFolder, Entry, complete
from launcher.supervisor.checkpointing.keeping import CheckpointKeeper
from launcher.supervisor.checkpointing.prune import best_of, plan
from launcher.supervisor.readings.declared import Announced

RULES = Checkpoints(path="checkpoints", keep_last=2)
OLD = time.time() - 3600


def safetensors(path: Path, cut: int = 0) -> None:
    """As huggingface/safetensors writes them: length, header, tensors."""
    header = json.dumps(
        {"w": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}, "__metadata__": {"a": "b"}}
    ).encode()
    content = struct.pack("<Q", len(header)) + header + b"\0" * 16
    path.write_bytes(content[: len(content) - cut])


def folder_of(place: Path, name: str, *, cut: int = 0, age: float = 3600.0, metric: float | None = None) -> Path:
    path = place / name
    path.mkdir(parents=True)
    safetensors(path / "model.safetensors", cut)
    (path / "config.json").write_text("{}")
    stamp(path, age)
    return path


def stamp(path: Path, age: float) -> None:
    for one in [path, *path.rglob("*")]:
        os.utime(one, (time.time() - age,) * 2, follow_symlinks=False)


def names(paths: list[Path]) -> list[str]:
    return [path.name for path in paths]


def test_complete_ones_come_oldest_first_by_their_number(tmp_path: Path) -> None:
    for number, age in ((1000, 50), (900, 40), (10000, 60)):
        folder_of(tmp_path, f"checkpoint-{number}", age=age)
    assert names(complete(tmp_path, RULES, time.time())) == ["checkpoint-900", "checkpoint-1000", "checkpoint-10000"]
    assert complete(tmp_path / "not there", RULES, time.time()) == []


def test_half_of_one_is_none(tmp_path: Path) -> None:
    folder_of(tmp_path, "checkpoint-1")
    folder_of(tmp_path, "checkpoint-2", cut=5)
    folder_of(tmp_path, "checkpoint-3", age=0)  # still being written
    (tmp_path / "checkpoint-4").mkdir()
    stamp(tmp_path / "checkpoint-4", 3600)
    assert names(complete(tmp_path, RULES, time.time())) == ["checkpoint-1"]
    why = {entry.path.name: entry.why for entry in CheckpointFolder(tmp_path, RULES).look(time.time())}
    assert "says" in str(why["checkpoint-2"]) and "changed" in str(why["checkpoint-3"])
    assert why["checkpoint-4"] == "it holds nothing"
    assert "checkpoint-3" in names(complete(tmp_path, RULES, time.time() + 60))
    announced = [str(tmp_path / "checkpoint-3"), str(tmp_path / "checkpoint-2")]
    # What is announced need not wait, but must be readable all the same.
    assert names(complete(tmp_path, RULES, time.time(), announced=announced)) == ["checkpoint-1", "checkpoint-3"]


def test_a_marker_decides(tmp_path: Path) -> None:
    rules = Checkpoints(path="c", marker=".done")
    folder_of(tmp_path, "step1", age=0)
    folder_of(tmp_path, "step2", age=0)
    folder_of(tmp_path, "step3", age=9999)
    (tmp_path / "step1" / ".done").touch()
    (tmp_path / "step2.done").touch()
    assert names(complete(tmp_path, rules, time.time())) == ["step1", "step2"]


def test_files_of_torch_and_others(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    whole = tmp_path / "model-1.pt"
    torch.save({"w": torch.zeros(1000)}, whole)
    content = whole.read_bytes()
    (tmp_path / "model-2.pt").write_bytes(content[:-300])
    (tmp_path / "model-3.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "model-4.pt").write_bytes(b"")
    torch.save({"w": torch.zeros(10)}, tmp_path / "model-5.pt", _use_new_zipfile_serialization=False)
    (tmp_path / "model-6.json").write_text('{"a": ')
    with zipfile.ZipFile(tmp_path / "model-7.npz", "w") as archive:
        archive.writestr("a.npy", b"x" * 100)
    for path in tmp_path.iterdir():
        os.utime(path, (OLD, OLD))
    assert names(complete(tmp_path, RULES, time.time())) == ["model-1.pt", "model-5.pt", "model-7.npz"]


def test_a_sharded_model_needs_all_its_shards(tmp_path: Path) -> None:
    path = folder_of(tmp_path, "checkpoint-1")
    index = {"weight_map": {"w": "model.safetensors", "v": "model-00002.safetensors"}}
    (path / "model.safetensors.index.json").write_text(json.dumps(index))
    stamp(path, 3600)
    assert complete(tmp_path, RULES, time.time()) == []
    safetensors(path / "model-00002.safetensors")
    stamp(path, 3500)
    assert names(complete(tmp_path, RULES, time.time())) == ["checkpoint-1"]


def keeper(place: Path, rules: Checkpoints) -> CheckpointKeeper:
    return CheckpointKeeper(place, rules, beat=10.0)


def test_pruning_leaves_the_last_two_and_whatever_is_not_complete(tmp_path: Path) -> None:
    for number in range(1, 7):
        folder_of(tmp_path, f"checkpoint-{number}", cut=3 if number == 2 else 0, age=100 - number)
    folder_of(tmp_path, "checkpoint-7", age=0)
    keep = keeper(tmp_path, RULES)
    kept = keep.read()
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"checkpoint-{n}" for n in (2, 5, 6, 7)]
    assert names([Path(one) for one in kept.reading.complete]) == ["checkpoint-5", "checkpoint-6"]
    assert kept.reading.incomplete == 2
    events = keep.take_events()
    assert [event["kind"] for event in events] == ["pruned"] * 3
    assert all(event["bytes"] > 0 for event in events) and keep.take_events() == []


def test_the_best_stays_and_one_that_may_be_the_best_too(tmp_path: Path) -> None:
    rules = Checkpoints(path="c", keep_last=1, best="val_loss")
    for number in range(1, 6):
        folder_of(tmp_path, f"step-{number}", age=100 - number)
    keep = keeper(tmp_path, rules)
    assert keep.read().reading.unprunable == 4, "nothing is known of any"
    told = {1: 0.5, 2: 0.1, 3: 0.3, 5: 0.4}
    keep.tell([Announced(str(tmp_path / f"step-{n}"), n, {"val_loss": value}) for n, value in told.items()])
    keep.read()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-2", "step-4", "step-5"]


def test_the_best_of_the_trainer_stays(tmp_path: Path) -> None:
    for number in (500, 1000, 1500, 2000):
        path = folder_of(tmp_path, f"checkpoint-{number}")
        (path / "trainer_state.json").write_text(json.dumps({"best_model_checkpoint": "out/checkpoint-500"}))
        stamp(path, 3600 - number)
    keeper(tmp_path, RULES).read()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["checkpoint-1500", "checkpoint-2000", "checkpoint-500"]


def test_links_are_never_followed(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "thesis.txt").write_text("years of work")
    place = tmp_path / "checkpoints"
    for number in range(1, 5):
        path = folder_of(place, f"step-{number}")
        (path / "data").symlink_to(outside)
        (path / "file").symlink_to(outside / "thesis.txt")
        stamp(path, 3600 - number)
    (place / "step-0").symlink_to(outside)
    (place / "latest").symlink_to(place / "step-4")
    keeper(place, RULES).read()
    assert (outside / "thesis.txt").read_text() == "years of work"
    assert sorted(path.name for path in place.iterdir()) == ["latest", "step-0", "step-3", "step-4"]


def test_what_cannot_be_deleted_is_told_once_and_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 5):
        folder_of(tmp_path, f"step-{number}", age=100 - number)

    def refuse(path: Path) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(prune, "remove_tree", refuse)
    keep = keeper(tmp_path, RULES)
    keep.read()
    events = keep.take_events()
    assert {event["kind"] for event in events} == {"prune failed"} and "not permitted" in events[0]["why"]
    monkeypatch.undo()
    assert any(path.name.startswith(PRUNING) for path in tmp_path.iterdir())
    keeper(tmp_path, RULES).read()  # the next supervisor finishes it
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-3", "step-4"]


def test_names_without_a_number_beside_numbered_ones_stay(tmp_path: Path) -> None:
    for position, name in enumerate(["best", "final", "step-1", "step-2", "step-3", "epoch1", "epoch2", "epoch3"]):
        folder_of(tmp_path, name, age=1000 - position)
    keeper(tmp_path, RULES).read()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["best", "epoch2", "epoch3", "final", "step-2", "step-3"]


ENTRY = st.builds(
    Entry,
    path=st.integers(0, 40).map(lambda n: Path(f"/c/{'step' if n % 3 else 'epoch'}-{n}")),
    number=st.none() | st.integers(0, 40),
    stem=st.sampled_from(["step-", "epoch-", "best"]),
    newest=st.floats(0, 100),
    size=st.integers(1, 9),
    complete=st.booleans(),
    metrics=st.dictionaries(st.sampled_from(["val_loss", "acc"]), st.floats(), max_size=2),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(ENTRY, max_size=12, unique_by=lambda entry: entry.path),
    st.integers(-1, 4),
    st.none() | st.sampled_from(["val_loss", "acc"]),
    st.sampled_from(["lowest", "highest"]),
    st.sets(st.sampled_from(["step-1", "epoch-3"])),
)
def test_the_newest_the_best_and_the_incomplete_are_never_deleted(
    entries: list[Entry], keep: int, best: str | None, best_is: str, protected: set[str]
) -> None:
    rules = Checkpoints("c", keep_last=keep, best=best, best_is="lowest" if best_is == "lowest" else "highest")
    chosen = plan(entries, rules, protected=protected)
    deleted = {entry.path for entry in chosen.delete}
    assert all(entry.complete for entry in chosen.delete)
    if entries:
        assert max(entries, key=lambda entry: entry.newest).path not in deleted
    known = best_of(entries, rules)
    assert known is None or known.path not in deleted
    assert not protected & {entry.path.name for entry in chosen.delete}
    whole = [entry for entry in entries if entry.complete]
    assert len(whole) - len(deleted) >= min(len(whole), max(1, keep))
    if best is not None:
        assert all(best in entry.metrics for entry in chosen.delete)
    numbered = [entry for entry in whole if entry.number is not None]
    if numbered:
        assert all(entry.number is not None for entry in chosen.delete)
        for stem in {entry.stem for entry in numbered}:
            newest = max((e for e in numbered if e.stem == stem), key=lambda e: (e.number or 0, e.newest, e.path.name))
            assert newest.path not in deleted


def test_what_a_link_beside_them_names_stays(tmp_path: Path) -> None:
    for number in range(1, 6):
        folder_of(tmp_path, f"step-{number}", age=100 - number)
    (tmp_path / "best").symlink_to("step-1")
    keeper(tmp_path, RULES).read()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best", "step-1", "step-4", "step-5"]


def test_what_lay_there_before_the_attempt_is_not_its_to_prune(tmp_path: Path) -> None:
    """`code: here` writes into the project's own folder, where results of years may lie."""
    for number in range(1, 6):
        folder_of(tmp_path, f"step-{number}000", age=5000 - number)
    begun = time.time() - 1000
    for number in range(1, 5):
        folder_of(tmp_path, f"step-{number}", age=500 - number)
    CheckpointKeeper(tmp_path, RULES, beat=10.0, since=begun).read()
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["step-1000", "step-2000", "step-3", "step-3000", "step-4", "step-4000", "step-5000"]


def test_nothing_is_pruned_once_the_outputs_are_taken(tmp_path: Path) -> None:
    keep = keeper(tmp_path, RULES)
    for number in range(1, 5):
        folder_of(tmp_path, f"step-{number}", age=100 - number)
    keep.stop_pruning(10.0)
    assert len(keep.read().reading.complete) == 4
    assert len(list(tmp_path.iterdir())) == 4


def test_a_deletion_under_way_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(1, 4):
        folder_of(tmp_path, f"step-{number}", age=100 - number)
    begun, go_on = threading.Event(), threading.Event()
    remove = prune.remove_tree

    def slowly(path: Path) -> None:
        begun.set()
        assert go_on.wait(10)
        remove(path)

    monkeypatch.setattr(prune, "remove_tree", slowly)
    keep = keeper(tmp_path, RULES)
    reading = threading.Thread(target=keep.read)
    reading.start()
    assert begun.wait(10)
    assert not keep.stop_pruning(0.05), "it is still under way"
    go_on.set()
    assert keep.stop_pruning(10.0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-2", "step-3"]
    reading.join(10)
