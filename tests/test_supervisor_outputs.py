"""Every usual way of writing an output reaches the workspace, and a death at any step of the commit loses nothing."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from launcher.model.outcome import Outcome
from launcher.model.phase import Output
from launcher.store import fingerprints, folder, keys, records
from launcher.supervisor import places
from launcher.supervisor.faults import CommitFailed
from launcher.supervisor.outputs import commit, leftovers, moving
from tests.supervising import ALLOCATION, JOB, REPOSITORY, Stage

WAYS = {
    "through the path": "open('results/0/answers.jsonl', 'w').write('new')",
    "append": "open('results/0/answers.jsonl', 'a').write('new')",
    "renamed over": """
open('results/0/tmp', 'w').write('new'); os.replace('results/0/tmp', 'results/0/answers.jsonl')""",
    "made twice": """
open('results/0/answers.jsonl', 'w').write('old'); os.remove('results/0/answers.jsonl')
open('results/0/answers.jsonl', 'w').write('new')""",
    "parents made": """
os.makedirs('results/0', exist_ok=True); open('results/0/answers.jsonl', 'w').write('new')""",
    "parents removed first": """
shutil.rmtree('results'); os.makedirs('results/0'); open('results/0/answers.jsonl', 'w').write('new')""",
    "a link to another file of the tree": """
open('real', 'w').write('new'); os.symlink(os.path.abspath('real'), 'results/0/answers.jsonl')""",
    "by the name of the environment": """
import json; open(json.loads(os.environ['LAUNCH_OUTPUTS'])['out'], 'w').write('new')""",
    "by launcher.task": """
from launcher import task; task.output('out').write_text('new')""",
}
FOLDER_WAYS = {
    "makedirs": """
os.makedirs('model', exist_ok=True); open('model/a', 'w').write('a')
os.mkdir('model/sub'); open('model/sub/b', 'w').write('b')""",
    "pathlib": """
p = pathlib.Path('model/sub'); p.mkdir(parents=True, exist_ok=True)
(p / 'b').write_text('b'); (p.parent / 'a').write_text('a')""",
    "removed and made": """
os.makedirs('model/old'); shutil.rmtree('model'); os.makedirs('model/sub')
open('model/a', 'w').write('a'); open('model/sub/b', 'w').write('b')""",
    "renamed as a whole": """
os.makedirs('model.tmp/sub'); open('model.tmp/a', 'w').write('a'); open('model.tmp/sub/b', 'w').write('b')
os.rename('model.tmp', 'model')""",
    "a link inside": """
os.makedirs('model/sub'); open('model/sub/b', 'w').write('b'); open('model/z', 'w').write('a')
os.symlink('z', 'model/a')""",
}
HEAD = "import os, pathlib, shutil\n"


@pytest.fixture
def stage(odd_path: Path) -> Stage:
    return Stage(odd_path)


@pytest.mark.parametrize("way", WAYS)
def test_a_file(stage: Stage, way: str) -> None:
    stage.job(HEAD + WAYS[way], outputs={"out": "results/{task.index}/answers.jsonl"})
    record = stage.run()
    assert record.outcome is Outcome.SUCCEEDED, record
    target = stage.workspace / "results" / "0" / "answers.jsonl"
    assert target.read_text() == "new" and not target.is_symlink()
    manifests = stage.manifests()
    assert manifests is not None
    (manifest,) = manifests.artifacts
    assert manifest.hash == fingerprints.combine(fingerprints.describe(target))
    assert (
        records.read(folder.FolderStore(stage.workspace), type(manifest), keys.workspace_manifest(manifest.path))
        == manifest
    )


@pytest.mark.parametrize("way", FOLDER_WAYS)
def test_a_folder(stage: Stage, way: str) -> None:
    stage.job(HEAD + FOLDER_WAYS[way], outputs={"model": "model"})
    record = stage.run()
    assert record.outcome is Outcome.SUCCEEDED, record
    assert (stage.workspace / "model" / "a").read_text() == "a"
    assert (stage.workspace / "model" / "sub" / "b").read_text() == "b"
    assert not (stage.workspace / "model" / "old").exists()
    manifests = stage.manifests()
    assert manifests is not None
    (manifest,) = manifests.artifacts
    assert {"a", "sub/b"} <= {file.path for file in manifest.files}
    assert record.kept == ()
    assert not stage.data().exists()


@pytest.mark.parametrize("way", ["makedirs", "removed and made"])
def test_checkpoints_are_found_under_one_path_during_and_after(stage: Stage, way: str) -> None:
    from launcher.model.phase import Checkpoints

    body = FOLDER_WAYS[way].replace("model", "runs/ckpt")
    here = stage.data() / "checkpoints" / "runs" / "ckpt"
    stage.job(f"{HEAD}{body}\nprint(open({str(here / 'a')!r}).read())", checkpoints=Checkpoints("runs/ckpt", "*"))
    assert stage.run().outcome is Outcome.SUCCEEDED
    assert stage.output() == "a\n"
    assert (here / "sub" / "b").read_text() == "b" and not here.is_symlink()
    assert not (stage.data() / "work").exists()


def test_what_the_code_holds_at_an_outputs_path_is_no_output(stage: Stage) -> None:
    (stage.project / "model.json").write_text("of last year")
    stage.job("pass", outputs={"model": "model.json"})
    record = stage.run()
    assert record.outcome is Outcome.FAILED and "model (model.json)" in record.reason


def test_an_input_that_is_also_an_output_is_not_written_through(stage: Stage) -> None:
    (stage.workspace / "state.txt").write_text("one")
    stage.job(
        "open('state.txt', 'a').write(' two'); import sys; sys.exit(int(sys.argv[1]))",
        command=("python", "main.py", "{code}"),
        params={"code": 1},
        inputs={"state": "state.txt"},
        outputs={"state": "state.txt"},
    )
    assert stage.run().outcome is Outcome.FAILED
    assert (stage.workspace / "state.txt").read_text() == "one"
    stage.job("open('state.txt', 'a').write(' two')", inputs={"state": "state.txt"}, outputs={"state": "state.txt"})
    assert stage.run(2).outcome is Outcome.SUCCEEDED
    assert (stage.workspace / "state.txt").read_text() == "one two"
    manifests = stage.manifests(2)
    assert manifests is not None and manifests.artifacts[0].inputs[0].path == "state.txt"
    aside = stage.workspace / str(manifests.artifacts[0].set_aside)
    assert aside.read_text() == "one", "what it was made from is set aside"


def test_the_previous_artifact_is_set_aside_and_optional_ones_may_be_absent(stage: Stage) -> None:
    outputs: dict[str, Any] = {"model": "model", "plot": Output("plot.png", optional=True)}
    for attempt in (1, 2):
        stage.job(f"import os; os.mkdir('model'); open('model/f{attempt}', 'w').write('{attempt}')", outputs=outputs)
        assert stage.run(attempt).outcome is Outcome.SUCCEEDED
    assert os.listdir(stage.workspace / "model") == ["f2"]
    manifests = stage.manifests(2)
    assert manifests is not None
    (manifest,) = manifests.artifacts
    assert manifest.set_aside is not None
    aside = stage.workspace / manifest.set_aside
    assert (aside / "f1").read_text() == "1"
    old = stage.workspace / keys.set_aside(keys.workspace_manifest("model"), aside.parent.name)
    assert b'"attempt":1' in old.read_bytes()
    lines = (stage.workspace / keys.EXPERIMENT_LOG).read_text().splitlines()
    assert len(lines) == 2


# --- death at every step ---------------------------------------------------------------------------------------------


class Died(BaseException):
    """The process ended here."""


STEPS = ("rename", "link", "mkdir", "fsync", "open", "unlink", "symlink")


def _where(stage: Stage) -> places.Places:
    spec = records.read_spec(stage.store, JOB)
    assert spec is not None
    return places.of(stage.store.root, spec, spec.tasks[0], 2, ALLOCATION)


def _prepared(root: Path) -> tuple[Stage, places.Places]:
    """A workspace with an older artifact, and an attempt 2 whose child has just succeeded."""
    root.mkdir()
    stage = Stage(root)
    stage.job("", outputs={"model": "out/model", "log": "out/log.txt"})
    where = _where(stage)
    older = stage.workspace / "out" / "model"
    older.mkdir(parents=True)
    (older / "weights").write_text("old")
    manifest = stage.workspace / keys.workspace_manifest("out/model")
    manifest.parent.mkdir(parents=True)
    manifest.write_text('{"old": true}')
    stage.store.claim(keys.attempt(JOB, 0, 2))
    (where.work / "out" / "model" / "deep").mkdir(parents=True)
    for name, text in (("model/weights", "new"), ("model/deep/config", "c"), ("log.txt", "l")):
        (where.work / "out" / name).write_text(text)
    os.symlink("weights", where.work / "out" / "model" / "latest")
    return stage, where


FACTS = commit.Facts(("true",), (), {"loss": 0.5}, {}, 1.0, None)


def _commit(where: places.Places) -> None:
    leftovers.collect(where)
    assert commit.missing(where) == ()
    commit.commit(where, FACTS, 1_700_000_000.0)


def _check(stage: Stage, where: places.Places) -> None:
    model = stage.workspace / "out" / "model"
    assert (model / "weights").read_text() == "new" and (model / "deep" / "config").read_text() == "c"
    assert (model / "latest").read_text() == "new" and sorted(os.listdir(model)) == ["deep", "latest", "weights"]
    assert (stage.workspace / "out" / "log.txt").read_text() == "l"
    found = records.read_manifests(stage.store, JOB, 0, 2)
    assert found is not None and [m.name for m in found.artifacts] == ["model", "log"]
    for manifest in found.artifacts:
        assert manifest.hash == fingerprints.combine(fingerprints.describe(stage.workspace / manifest.path))
    aside = stage.workspace / str(found.artifacts[0].set_aside)
    assert (aside / "weights").read_text() == "old" and os.listdir(aside) == ["weights"]
    old = stage.workspace / keys.set_aside(keys.workspace_manifest("out/model"), aside.parents[1].name)
    assert old.read_text() == '{"old": true}'
    assert len((stage.workspace / keys.EXPERIMENT_LOG).read_bytes().splitlines()) == 2
    assert not leftovers.holds_files(where.data / "outputs")


@pytest.fixture
def trap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int, BaseException], bool]]:
    """Arms the n-th change of the disk from now on: it raises instead. Says whether the one armed before did."""
    state: dict[str, Any] = {"left": -1, "error": None}

    def arm(number: int, error: BaseException) -> bool:
        sprung = state["left"] <= 0
        state.update(left=number, error=error)
        return bool(sprung)

    def wrap(name: str) -> None:
        real = getattr(os, name)

        def step(*args: Any, **options: Any) -> Any:
            if name == "open" and not (len(args) > 1 and isinstance(args[1], int) and args[1] & os.O_CREAT):
                return real(*args, **options)
            state["left"] -= 1
            if state["left"] == 0:
                raise state["error"]
            return real(*args, **options)

        monkeypatch.setattr(os, name, step)

    for name in STEPS:
        wrap(name)
    yield arm
    arm(-1, Died())


def test_a_death_at_any_step_is_made_good_by_the_next_supervisor(
    tmp_path: Path, trap: Callable[[int, BaseException], bool]
) -> None:
    number = 0
    while True:
        number += 1
        stage, where = _prepared(tmp_path / f"death-{number}")
        trap(number, Died())
        try:
            _commit(where)
            died = False
        except Died:
            died = True
        trap(-10, Died())
        if not died:
            break
        _commit(where)
        _check(stage, where)
    assert number > 25, "the steps were not counted"


def test_a_disk_that_is_full_at_any_step_loses_nothing(
    tmp_path: Path, trap: Callable[[int, BaseException], bool]
) -> None:
    number, refused = 0, 0
    while True:
        number += 1
        stage, where = _prepared(tmp_path / f"full-{number}")
        leftovers.collect(where)
        trap(number, OSError(errno.ENOSPC, "No space left on device"))
        try:
            commit.commit(where, FACTS, 1_700_000_000.0)
            failed = None
        except CommitFailed as error:
            failed = error
        if not trap(-10, Died()):
            break
        if failed is None:
            continue  # nothing needed that step
        refused += 1
        assert failed.outcome is Outcome.OUT_OF_DISK and str(where.data / "outputs") in str(failed.left)
        everything = {p.read_text() for p in stage.workspace.rglob("*") if p.is_file()}
        assert {"new", "old", "c", "l", '{"old": true}'} <= everything, failed
        commit.commit(where, FACTS, 1_700_000_000.0)  # there is room again
        _check(stage, where)
    assert refused > 10


def test_full_disk_puts_the_earlier_artifact_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage, where = _prepared(tmp_path / "stage")
    leftovers.collect(where)

    real = moving.move_files

    def move_and_refuse(*args: Any) -> None:
        real(*args)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(moving, "move_files", move_and_refuse)
    with pytest.raises(CommitFailed):
        commit.commit(where, FACTS, 1_700_000_000.0)
    assert (stage.workspace / "out" / "model" / "weights").read_text() == "old"
    assert (stage.workspace / keys.workspace_manifest("out/model")).read_text() == '{"old": true}'
    assert (where.data / "outputs" / "out" / "model" / "weights").read_text() == "new"


def test_only_the_newest_attempt_commits(tmp_path: Path) -> None:
    stage, where = _prepared(tmp_path / "stage")
    stage.store.claim(keys.attempt(JOB, 0, 3))
    leftovers.collect(where)
    with pytest.raises(CommitFailed, match="attempt 3"):
        commit.commit(where, FACTS, 1_700_000_000.0)
    assert (stage.workspace / "out" / "model" / "weights").read_text() == "old"


FULL = """
mount -t tmpfs -o size=24m tmpfs "$1" || exit 77
mkdir "$1/data" "$1/workspace"
exec "$2" -c "$3" "$4" "$1" "$5"
"""
ON_FULL = """
import os, sys
sys.path[:0] = [sys.argv[1]]
from pathlib import Path
from tests.supervising import Stage
from launcher.model.phase import Watches, Watch
stage = Stage(Path(sys.argv[2]) / 'data')
stage.log = Path(sys.argv[3])
stage.job('''
import os
open('out', 'wb').write(b'x' * 200_000)
try:
    with open('filler', 'wb', buffering=0) as f:
        while True:
            f.write(b'y' * 4096)
except OSError:
    pass
''', outputs={'out': 'out'}, watch=Watches(disk=Watch.WARN))
record = stage.run()
print(record.outcome.value, '|', record.reason, '|', sum(p.stat().st_size for p in stage.root.rglob('out') if p.is_file()))
"""


def test_a_disk_that_is_really_full_has_room_for_the_last_words(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The child fills the disk that store and workspace share, to the last byte, and succeeds."""
    argv = ["unshare", "-Urm", "sh", "-c", FULL, "full", str(tmp_path), sys.executable, ON_FULL, str(REPOSITORY)]
    argv.append(str(tmp_path_factory.mktemp("log") / "supervisor.log"))
    try:
        done = subprocess.run(
            argv, capture_output=True, text=True, timeout=120, env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
        )
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if done.returncode in (1, 77) and ("unshare" in done.stderr or "mount" in done.stderr):
        pytest.skip(f"no mounts for users here: {done.stderr}")
    assert done.returncode == 0, done.stderr
    outcome, _, size = done.stdout.strip().split(" | ")
    assert int(size) == 200_000, "the output is still there"
    assert outcome in ("succeeded", "out of disk"), done.stdout
