"""The snapshot of the code: what is taken, what never is, and what happens to files that do not hold still."""

from __future__ import annotations

import io
import json
import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from launcher.archives import digests, listing, snapshot
from launcher.errors import BadRecord, LaunchError, Refused

KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def _git(root: Path, *words: str) -> None:
    subprocess.run(["git", "-C", str(root), *words], check=True, capture_output=True, timeout=30)


def _write(root: Path, **files: str) -> None:
    for name, text in files.items():
        (root / name).write_text(text)


@pytest.fixture(params=["git", "no git"])
def project(request: pytest.FixtureRequest, odd_path: Path) -> Path:
    if request.param == "git":
        _git(odd_path, "init", "-q")
    return odd_path


def _taken(root: Path) -> set[str]:
    return set(snapshot.take(root).entries)


def _unpack(content: bytes, folder: Path) -> Path:
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz", errors="surrogateescape") as tar:
        tar.extractall(folder)
    return folder


def test_ignored_files_stay_behind_and_untracked_ones_come_along(project: Path) -> None:
    _write(project, **{"train.py": "x", ".gitignore": "*.log\ndata/\n!keep.log\n", "out.log": "", "keep.log": ""})
    (project / "data").mkdir()
    (project / "data" / "big.bin").write_text("x")
    (project / "pkg").mkdir()
    (project / "pkg" / ".gitignore").write_text("local.py\n")
    _write(project / "pkg", **{"local.py": "", "mod.py": ""})
    assert _taken(project) == {"train.py", ".gitignore", "keep.log", "pkg/mod.py", "pkg/.gitignore"}


def test_launchignore_leaves_out_what_git_needs(project: Path) -> None:
    _write(project, **{"train.py": "x", "weights.bin": "w", ".launchignore": "*.bin\n"})
    assert _taken(project) == {"train.py", ".launchignore"}


def test_secrets_and_keys_are_left_out_and_said(project: Path) -> None:
    secret = {".env": "HF_TOKEN=x", "server.pem": "x", "id_ed25519": "x", "notes": KEY, ".env.local": "x"}
    _write(project, **secret, **{"train.py": f"KEY = '''{KEY}'''", ".env.example": "HF_TOKEN=", "environment": "x"})
    (project / ".launch").mkdir()
    (project / ".launch" / "state").write_text("x")
    found = snapshot.take(project)
    assert set(found.entries) == {"train.py", ".env.example", "environment"}
    assert {path for path, _ in found.left_out} == set(secret)
    assert snapshot.take(project) == found  # from the cache too
    _, content = snapshot.archive(project, found)
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as tar:
        assert set(tar.getnames()) == set(found.entries)


def test_names_with_any_bytes_links_and_modes_survive(project: Path, tmp_path: Path) -> None:
    odd = os.fsdecode(b"\xff odd\nname \"' $x")
    for name, text in (("run.sh", "#!/bin/sh\n"), (odd, "odd"), ("ü", "u")):
        (project / name).write_text(text)
    (project / "run.sh").chmod(0o700)
    (project / "link").symlink_to("run.sh")
    (project / "dangling").symlink_to("../no where")
    (project / "folder").mkdir()
    (project / "folder" / "f").write_text("f")
    (project / "to folder").symlink_to("folder")
    found, content = snapshot.archive(project, snapshot.take(project))
    assert set(found.entries) == {"run.sh", odd, "ü", "link", "dangling", "folder/f", "to folder"}
    out = _unpack(content, tmp_path / "out")
    assert (out / "run.sh").stat().st_mode & 0o777 == 0o755 and (out / "ü").stat().st_mode & 0o777 == 0o644
    assert os.readlink(out / "link") == "run.sh" and os.readlink(out / "dangling") == "../no where"
    assert os.readlink(out / "to folder") == "folder"
    assert (out / odd).read_text() == "odd"
    entries = snapshot.read_index(snapshot.index(found, content), "here")
    assert entries == found.entries


def _reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of the files whose content is read from now on."""
    read: list[str] = []
    real = snapshot._read

    def noted(file: Path, path: str) -> object:
        read.append(path)
        return real(file, path)

    monkeypatch.setattr(snapshot, "_read", noted)
    return read


def test_the_same_tree_has_the_same_hash_and_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        _write(tmp_path / name, a="1", b="2")
    os.utime(tmp_path / "two" / "a", (1, 1))
    one, two = (snapshot.archive(tmp_path / n, snapshot.take(tmp_path / n)) for n in ("one", "two"))
    assert one[0].hash == two[0].hash and one[1] == two[1]
    (tmp_path / "two" / "b").chmod(0o755)
    assert snapshot.take(tmp_path / "two").hash != one[0].hash


def test_a_change_is_seen_though_size_and_time_are_the_same(tmp_path: Path) -> None:
    _write(tmp_path, a="1111")
    before = snapshot.take(tmp_path)
    state = (tmp_path / "a").stat()
    _write(tmp_path, a="2222")
    os.utime(tmp_path / "a", ns=(state.st_atime_ns, state.st_mtime_ns))
    after = snapshot.take(tmp_path)
    assert snapshot.changed(before.entries, after.entries) == ("a",)


def test_unchanged_files_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "AT_REST_S", 0.0)
    _write(tmp_path, a="1", b="2")
    before = snapshot.take(tmp_path)
    read = _reads(monkeypatch)
    assert snapshot.take(tmp_path) == before
    assert read == []
    _write(tmp_path, b="3")
    assert snapshot.take(tmp_path).hash != before.hash
    assert read == ["b"]


def test_a_file_that_was_just_written_is_not_believed_to_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _write(tmp_path, a="1")
    snapshot.take(tmp_path)
    read = _reads(monkeypatch)
    snapshot.take(tmp_path)
    assert read == ["a"]


def test_a_garbage_cache_is_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digests, "AT_REST_S", 0.0)
    root = tmp_path / "p"
    root.mkdir()
    _write(root, a="1")
    before = snapshot.take(root)
    (file,) = (Path(os.environ["HOME"]) / ".cache/launch/digests").iterdir()
    for garbage in (b"", b"[1]", b'{"a": 3}', b'{"a": [1, 2]}', b"\xff", b"[" * 100_000):
        file.write_bytes(garbage)
        assert snapshot.take(root) == before


def test_files_that_change_or_vanish_while_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = tmp_path / "p"
    root.mkdir()
    _write(root, gone="x", grows="0", still="s")
    real = snapshot._content

    def restless(file: Path) -> bytes:
        content = real(file)
        if file.name == "grows":
            with open(file, "a") as opened:
                opened.write("1")
        return content

    taken = snapshot.take(root)
    (root / "gone").unlink()
    monkeypatch.setattr(snapshot, "_content", restless)
    found, content = snapshot.archive(root, taken)
    assert set(found.entries) == {"grows", "still"}
    assert found.hash != taken.hash and found.hash == snapshot.content_hash(found.entries)
    monkeypatch.setattr(snapshot, "_content", real)
    out = _unpack(content, tmp_path / "out")
    assert snapshot.take(out).hash == found.hash  # the archive is what its hash says, whatever the file did


def test_deleted_but_tracked_files_are_skipped(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    _write(tmp_path, a="1", b="2")
    _git(tmp_path, "add", ".")
    (tmp_path / "a").unlink()
    assert _taken(tmp_path) == {"b"}


def test_submodules_and_repositories_inside(tmp_path: Path) -> None:
    lib, root = tmp_path / "lib", tmp_path / "root"
    for folder in (lib, root):
        folder.mkdir()
        _git(folder, "init", "-q")
    _write(lib, **{"lib.py": "1", ".gitignore": "*.tmp\n", "x.tmp": ""})
    _git(lib, "add", ".")
    _git(lib, "commit", "-q", "-m", "lib")
    _git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(lib), "sub")
    (root / "sub" / "new.py").write_text("new")
    (root / "sub" / "y.tmp").write_text("ignored")
    subprocess.run(["cp", "-r", str(lib), str(root / "loose")], check=True)
    assert {"sub/lib.py", "sub/new.py", "loose/lib.py", ".gitmodules"} <= _taken(root)
    assert not any(path.endswith(".tmp") for path in _taken(root))


def test_a_folder_that_git_ignores_as_a_whole_is_walked(tmp_path: Path) -> None:
    _git(tmp_path, "init", "-q")
    (tmp_path / ".gitignore").write_text("scratch/\n")
    inner = tmp_path / "scratch"
    inner.mkdir()
    _write(inner, **{"train.py": "x"})
    assert _taken(inner) == {"train.py"}


def test_pipes_and_sockets_do_not_block(tmp_path: Path) -> None:
    _write(tmp_path, a="1")
    os.mkfifo(tmp_path / "pipe")
    found = snapshot.take(tmp_path)
    assert set(found.entries) == {"a"} and found.left_out == (("pipe", "neither a file nor a link"),)


def test_above_the_limit_the_largest_are_named(tmp_path: Path) -> None:
    with open(tmp_path / "huge.bin", "wb") as file:
        file.truncate(snapshot.LIMIT)
    _write(tmp_path, a="1")
    with pytest.raises(Refused) as refused:
        snapshot.take(tmp_path)
    assert "huge.bin 200MB" in str(refused.value)
    assert refused.value.hint is not None and ".launchignore" in refused.value.hint
    (tmp_path / listing.LAUNCHIGNORE).write_text("*.bin\n")
    assert set(snapshot.take(tmp_path).entries) == {"a", listing.LAUNCHIGNORE}


def test_data_inside_the_project_is_no_code(tmp_path: Path) -> None:
    (tmp_path / "results" / "0").mkdir(parents=True)
    (tmp_path / "results" / "0" / "m.pt").write_text("w")
    _write(tmp_path, **{"a.py": "1"})
    assert set(snapshot.take(tmp_path, without={"results/0", "."}).entries) == {"a.py"}


def test_shipped_code_is_one_folder(tmp_path: Path) -> None:
    (tmp_path / "jobs" / "p" / "__pycache__").mkdir(parents=True)
    (tmp_path / "jobs" / "p" / "main.py").write_text("1")
    (tmp_path / "jobs" / "p" / "__pycache__" / "main.pyc").write_text("1")
    _write(tmp_path, other="1")
    assert set(snapshot.take(tmp_path, only="jobs").entries) == {"jobs/p/main.py"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    _write(tmp_path, secret="x")
    (tmp_path / "secret").chmod(0)
    with pytest.raises(Refused, match="secret"):
        snapshot.take(tmp_path)


def test_a_git_that_does_not_answer_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _git(tmp_path, "init", "-q")
    program = tmp_path / "bin" / "git"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 60\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(listing, "_GIT_TIMEOUT_S", 0.2)
    with pytest.raises(LaunchError, match=r"no answer within 0\.2 s"):
        snapshot.take(tmp_path)


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b'{"files": 3}', b'{"files": {"a": {}}}', b"\xff", b"[" * 99_999]
)
def test_a_garbage_index_is_a_bad_record(content: bytes) -> None:
    with pytest.raises(BadRecord):
        snapshot.read_index(content, "the index")


def test_an_index_names_the_archive(tmp_path: Path) -> None:
    import hashlib

    _write(tmp_path, a="1")
    found, content = snapshot.archive(tmp_path, snapshot.take(tmp_path))
    head = json.loads(snapshot.index(found, content))
    assert head["hash"] == found.hash and head["archive"] == hashlib.sha256(content).hexdigest()


def test_a_virtual_environment_of_any_name_stays_behind(project: Path) -> None:
    """It works in its own place only; as code it would make every submit slow, and every `pip install` a change of code."""
    for folder in ("env311/lib", "deep/er"):
        (project / folder).mkdir(parents=True)
    _write(
        project,
        **{"env311/pyvenv.cfg": "home = /usr", "env311/lib/six.py": "x", "deep/er/pyvenv.cfg": "", "env.py": ""},
    )
    taken = _taken(project)
    assert "env.py" in taken and not {path for path in taken if path.startswith(("env311/", "deep/"))}
