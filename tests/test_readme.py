"""The README is run as a newcomer would type it, in a project of its own: what it shows is what one sees.

A block ```console holds commands after `$ ` and what they print, both streams as on a terminal that is a pipe. Each line that
is shown must be there, and where no line is a mere `…` nothing else may be. Ids, times, sizes, percentages and folders
differ from machine to machine; `…` inside a line stands for anything. A command ends with exit code 0, or with the one
in `# exit code N`. A block of another language that begins with `# path/of/a/file` is written to that file. A comment
before a block keeps it from being run (`<!-- not run: why -->`), or has it wait (`<!-- when: step N -->`) until the newest
job has told that it is so far; as that job goes on meanwhile, numbers in such a block stand for any number.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from launcher.cli.main import VERBS
from tests.waiting import until

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PROJECT = "/home/you/study"
"""The folder of the README's examples; their first commands make it."""
DEADLINE_S = 120.0

_BLOCK = re.compile(
    r"(?:^<!-- (?P<note>[^\n]*?) -->\n+)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_EXIT = re.compile(r"\s+# exit code (\d+)$")
_FILE = re.compile(r"# ([\w./-]+\.(?:yaml|py|sh))\n")
_TIME = r"(?:\d+s|\d+m|\d+h\d\dm|\d+d\d\dh)"
_SIZE = r"\d+(?:\.\d+)?(?:B|kB|MB|GB|TB)"
_TOKENS = (
    (r"…", r".*"),
    (r"\$\d+\.\d\d", r"\$\d+\.\d\d"),
    (r"\b[\w-]+@[\w-]+\b", r"\S+@\S+"),
    (r"\b[a-z][a-z0-9_]*-[2-9a-hjkmnp-z]{4}\b", None),
    (rf"\b{_TIME}\b", _TIME),
    (rf"\b{_SIZE}\b", _SIZE),
    (r"\b\d+%", r"\d+%"),
    (r"\b[0-9a-f]{12}\b", r"[0-9a-f]{12}"),
    (r"\b\d+\.\d{3,}(?:e-\d+)?\b", r"\d+(?:\.\d+)?(?:e-\d+)?"),
    (r"\bprocess \d+", r"process \d+"),
    (r"\s+", r"\s+"),
)
_NUMBER = (r"\b\d+\b", r"\d+")


@dataclass(frozen=True)
class Command:
    """One command of the README, what it shows of its output, and with what it ends. `step`: see the module."""

    line: int
    text: str
    shown: tuple[str, ...]
    code: int
    step: int | None = None
    moving: bool = False


@dataclass(frozen=True)
class File:
    """A file that the README has one write."""

    line: int
    path: str
    content: str


def parts(document: str) -> Iterator[Command | File]:
    """What a reader does, in order."""
    for block in _BLOCK.finditer(document):
        note = block["note"] or ""
        line = document[: block.start("text")].count("\n") + 1
        if note.startswith("not run"):
            continue
        if block["kind"] == "console":
            step = re.fullmatch(r"when: step (\d+)", note)
            yield from commands(block["text"], line, int(step.group(1)) if step else None)
        else:
            file = _FILE.match(block["text"])
            if file is not None:
                yield File(line, file.group(1), block["text"][file.end() :])


def commands(text: str, first: int, step: int | None) -> Iterator[Command]:
    pieces = re.split(r"^\$ ", text, flags=re.MULTILINE)
    assert not pieces[0].strip(), f"README:{first}: a console block begins with a command"
    line, moving = first, step is not None
    for piece in pieces[1:]:
        command, _, output = piece.partition("\n")
        end = _EXIT.search(command)
        yield Command(
            line,
            _EXIT.sub("", command).split("   # ")[0].strip(),
            tuple(one for one in output.splitlines() if one.strip()),
            int(end.group(1)) if end else 0,
            step,
            moving,
        )
        line += piece.count("\n")
        step = None


def pattern(shown: str, root: Path, moving: bool = False) -> re.Pattern[str]:
    """What a line of the README stands for."""
    tokens = (*_TOKENS, _NUMBER) if moving else _TOKENS
    found, at = "", 0
    shown = shown.strip().replace(PROJECT, str(root))
    for token in re.finditer("|".join(f"({one})" for one, _ in tokens), shown):
        found += re.escape(shown[at : token.start()])
        found += next(_meant(token.group(), then) for one, then in tokens if re.fullmatch(one, token.group()))
        at = token.end()
    return re.compile(found + re.escape(shown[at:]))


def _meant(text: str, then: str | None) -> str:
    return then if then is not None else re.escape(text.rpartition("-")[0]) + "-[2-9a-z]{4}"


def mismatch(command: Command, output: str, root: Path) -> str | None:
    """In words, where the README is wrong about an output."""
    real = [line.strip() for line in output.splitlines() if line.strip()]
    expected = [pattern(line, root, command.moving) for line in command.shown if line.strip() != "…"]
    absent = [one.pattern for one in expected if not any(one.fullmatch(line) for line in real)]
    if absent:
        return f"shows lines that are not there: {absent}"
    unsaid = [line for line in real if not any(one.fullmatch(line) for one in expected)]
    if unsaid and not any(line.strip() == "…" for line in command.shown):
        return f"says nothing of: {unsaid}"
    return None


class Reader:
    """Somebody who does what the README says."""

    def __init__(self, home: Path) -> None:
        self.folder = home
        self.root = home / "study"
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = {**os.environ, "PATH": path, "COLUMNS": "200"}
        self.environment.pop("VIRTUAL_ENV", None)

    def follow(self, part: Command | File) -> None:
        if isinstance(part, File):
            target = self.folder / part.path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(part.content, encoding="utf-8")
            return
        if part.step is not None:
            self.wait_for(part.step)
        if part.text.startswith("cd "):
            self.folder = self.folder / part.text.removeprefix("cd ")
            assert self.folder.is_dir(), part
            return
        done = self.run(part.text)
        where = f"README.md:{part.line}: $ {part.text}\n"
        assert done.returncode == part.code, f"{where}exit code {done.returncode}, not {part.code}\n{done.stdout}"
        wrong = mismatch(part, done.stdout, self.root)
        assert wrong is None, f"{where}{wrong}\nreal output:\n{done.stdout}"

    def run(self, command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )

    def wait_for(self, step: int) -> None:
        seen = ""

        def so_far() -> bool:
            nonlocal seen
            seen = self.run("launch status last --json").stdout
            told = [task["progress"] for task in json.loads(seen)["tasks"]]
            return any(one is not None and one["step"] is not None and one["step"] >= step for one in told)

        until(so_far, DEADLINE_S, lambda: f"step {step}: {seen}")


@pytest.mark.slow
def test_everything_that_the_readme_has_one_type_does_what_it_says(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    for part in parts(README.read_text(encoding="utf-8")):
        reader.follow(part)


def test_the_readme_shows_every_verb_at_work() -> None:
    typed = [part.text for part in parts(README.read_text(encoding="utf-8")) if isinstance(part, Command)]
    for verb in VERBS:
        assert any(f"launch {verb.name}" in text for text in typed), verb.name


def test_targets_of_the_readme_exist() -> None:
    text = README.read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make ([a-z]+)`", text) + re.findall(r"^\$ make (\w+)", text, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


TINY = """
import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments
torch.manual_seed(0)
model = LlamaForCausalLM(LlamaConfig(vocab_size=16, hidden_size=8, intermediate_size=8, num_hidden_layers=1,
                                     num_attention_heads=2, num_key_value_heads=2))
data = [{"input_ids": torch.arange(4), "labels": torch.arange(4)} for _ in range(8)]
args = TrainingArguments(output_dir="trained", max_steps=4, save_steps=2, per_device_train_batch_size=2, report_to=[],
                         use_cpu=True, disable_tqdm=True)
"""


@pytest.mark.slow
def test_the_lines_for_transformers_train_and_resume(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    pytest.importorskip("torch")
    blocks = [block["text"] for block in _BLOCK.finditer(README.read_text(encoding="utf-8"))]
    shown = next(text for text in blocks if "[LaunchCallback(" in text)
    assert shown in (ROOT / "docs/task-api.md").read_text(encoding="utf-8")
    (tmp_path / "train.py").write_text(f"{TINY}{shown}print('at', trainer.state.global_step)\n", encoding="utf-8")
    progress = tmp_path / "progress.jsonl"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "LAUNCH_PROGRESS": str(progress), "OMP_NUM_THREADS": "1"}
    for resumed in ({}, {"LAUNCH_RESUME_FROM": str(tmp_path / "trained/checkpoint-2")}):
        done = subprocess.run(
            [sys.executable, "train.py"],
            cwd=tmp_path,
            env={**environment, **resumed},
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert "at 4" in done.stdout
    told = [json.loads(line) for line in progress.read_text(encoding="utf-8").splitlines()]
    saved = [one["step"] for one in told if "checkpoint" in one]
    assert saved == [2, 4, 4], "the second time it went on after step 2"


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ("hello-k3f9  on local", "hello-k3f9 on local and more"),
        ("wrote jobs/hello.yaml", "wrote jobs/hallo.yaml"),
        ("✔ succeeded   2 succeeded", "✘ failed   2 failed"),
        ("[0] step 1: hello world", "[1] step 1: hello world"),
        (f"log in {PROJECT}/.launch", "log in /elsewhere/.launch"),
    ],
)
def test_a_readme_that_lies_is_found_out(shown: str, real: str, tmp_path: Path) -> None:
    assert mismatch(Command(1, "x", (shown,), 0), real, tmp_path) is not None


@pytest.mark.parametrize(
    ("shown", "real"),
    [
        ("hello-k3f9  on local, submitted 7s ago", "hello-zz22 on local, submitted 1h05m ago"),
        (
            f"{PROJECT}/a: 13B, 2s old, by hello-k3f9, loss 4.42911e-08",
            "{root}/a: 1.2kB, 0s old, by hello-2345, loss 0.1",
        ),
        (
            "allocation a0 (vm/1@2.…) is lost: process 77 has ended",
            "allocation a0 (vm/1@2.abc) is lost: process 8 has ended",
        ),
    ],
)
def test_what_differs_from_machine_to_machine_is_no_lie(shown: str, real: str, tmp_path: Path) -> None:
    assert mismatch(Command(1, "x", (shown,), 0), real.replace("{root}", str(tmp_path)), tmp_path) is None


def test_an_output_that_is_cut_short_without_a_word_is_found_out(tmp_path: Path) -> None:
    assert mismatch(Command(1, "x", ("one",), 0), "one\ntwo\n", tmp_path) is not None
    assert mismatch(Command(1, "x", ("one", "…"), 0), "one\ntwo\n", tmp_path) is None
