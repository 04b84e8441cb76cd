"""kill -9 of the supervisor, the child, the agent and the command line at random moments.

After each round: no log byte is lost, every attempt has a true outcome or an honest unknown, no folder was shared by two
attempts, and no process is left after `cancel`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.waiting import until

LAUNCH = (sys.executable, "-c", "import sys; from launcher.cli.main import main; sys.exit(main())")
TASKS = 3
LINES = 60

CHILD = """
import os, sys, time
from launcher import task
side = open(os.environ["SIDE"] + f".{task.index()}.{os.environ['LAUNCH_ATTEMPT']}", "ab", buffering=0)
with open(os.environ["SIDE"] + ".starts", "a") as starts:
    starts.write(os.environ["LAUNCH_ATTEMPT_ID"] + "\\n")
done = 0
if task.resume_from():
    done = int((task.resume_from() / "step.txt").read_text())
os.makedirs("out", exist_ok=True)
for line in range(done, LINES):
    text = f"task {task.index()} line {line}\\n".encode()
    os.write(1, text)
    side.write(text)  # after the log: what stands here must stand there
    if line % 10 == 9:
        folder = f"ckpt/step-{line + 1}"
        os.makedirs(folder + ".tmp")
        with open(folder + ".tmp/step.txt", "w") as state:
            state.write(str(line + 1))
        os.rename(folder + ".tmp", folder)
        task.checkpoint_saved(folder, step=line + 1)
        task.progress(step=line + 1, total=LINES)
    time.sleep(0.02)
with open(f"out/{task.index()}.txt", "w") as out:
    out.write("whole")
with open(os.environ["SIDE"] + ".finished", "a") as finished:
    finished.write(os.environ["LAUNCH_ATTEMPT_ID"] + "\\n")
""".replace("LINES", str(LINES))

PHASE = """
description: a child that can prove what it wrote
command: [python, child.py]
beat: 1s
grace: 2s
outputs:
  out: out/{task.index}.txt
checkpoints: {path: ckpt, pattern: "step-*", keep_last: 2}
"""

VICTIMS = ("supervisor", "child", "agent", "cli", "agent and supervisor", "everything")


@dataclass
class Round:
    """One job in a folder of its own, with a name that shell code would trip over."""

    seed: int
    folder: Path = field(init=False)
    env: dict[str, str] = field(init=False)

    def __enter__(self) -> Round:
        top = Path(tempfile.mkdtemp(prefix="launch soak ' "))
        self.folder = top
        (top / "jobs").mkdir()
        (top / "home").mkdir()
        (top / "jobs" / "prove.yaml").write_text(PHASE)
        (top / "child.py").write_text(CHILD)
        self.env = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("LAUNCH_", "XDG_"))},
            "HOME": str(top / "home"),
            "SIDE": str(top / "home" / "side"),
            "NO_COLOR": "1",
        }
        return self

    def __exit__(self, *_: object) -> None:
        for pid in self.processes():
            _kill(pid)
        shutil.rmtree(self.folder, ignore_errors=True)

    def launch(self, *words: str, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*LAUNCH, *words],
            cwd=self.folder,
            env=self.env,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def processes(self, kind: str | None = None) -> list[int]:
        """Everything of this round that lives, by its home folder in the environment; or only one kind."""
        mark = f"HOME={self.folder / 'home'}".encode()
        found = []
        for name in os.listdir("/proc"):
            if not name.isdigit() or int(name) == os.getpid():
                continue
            try:
                if mark not in Path(f"/proc/{name}/environ").read_bytes().split(b"\0"):
                    continue
                command = Path(f"/proc/{name}/cmdline").read_bytes()
            except OSError:
                continue
            if command and (kind is None or kind_of(command) == kind):
                found.append(int(name))
        return found

    def jobs(self) -> list[str]:
        folder = self.folder / ".launch" / "store" / "jobs"
        return sorted(os.listdir(folder)) if folder.exists() else []

    def status(self, job: str) -> dict[str, Any]:
        shown = self.launch("status", job, "--json")
        assert shown.returncode in (0, 100, 101, 103), (
            f"seed {self.seed}: status says {shown.returncode}: {shown.stderr}"
        )
        found: dict[str, Any] = json.loads(shown.stdout)
        return found


def kind_of(command: bytes) -> str:
    if b"launcher.supervisor" in command:
        return "supervisor"
    if b"launcher.agent" in command or b"launch-boot" in command:
        return "agent"
    if b"child.py" in command:
        return "child"
    return "cli"


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def play(seed: int) -> str:
    """One round. Raises AssertionError with the seed; returns a line for the log."""
    dice = random.Random(seed)
    victim = VICTIMS[seed % len(VICTIMS)]
    with Round(seed) as round_:
        submit = subprocess.Popen(
            [*LAUNCH, "submit", "prove", "--array", f"0-{TASKS - 1}"],
            cwd=round_.folder,
            env=round_.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        if victim == "cli":
            time.sleep(dice.uniform(0.0, 1.2))
            submit.kill()
        submit.wait(60)
        if not round_.jobs():
            assert victim == "cli", f"seed {seed}: submit left no job"
            assert not round_.processes(), f"seed {seed}: no job, but processes"
            return f"seed {seed}: {victim}: killed before the job existed"
        job = round_.jobs()[0]
        if victim != "cli":
            time.sleep(dice.uniform(0.0, 2.5))
            _shoot(round_, victim, dice)
        while dice.random() < 0.4:  # while the first death is being mended
            time.sleep(dice.uniform(0.0, 1.0))
            _shoot(round_, dice.choice(("supervisor", "child", "agent")), dice)
        settle(round_, job)
        check(round_, job, seed)
        outcome = finish(round_, job, dice)
        check(round_, job, seed)
        return f"seed {seed}: {victim}: {outcome}"


def _shoot(round_: Round, victim: str, dice: random.Random) -> None:
    kinds = {"agent and supervisor": ("agent", "supervisor"), "everything": ("agent", "supervisor", "child")}.get(
        victim, (victim,)
    )
    for kind in kinds:
        pids = round_.processes(kind)
        for pid in pids if len(kinds) > 1 else pids and [dice.choice(pids)]:
            _kill(pid)


def settle(round_: Round, job: str) -> None:
    """Until nothing of the job runs any more, or only what an agent still holds to its end."""
    until(lambda: not round_.processes(), 60, f"the processes of {job} end by themselves")
    round_.launch("reconcile", job)


def finish(round_: Round, job: str, dice: random.Random) -> str:
    """Retry what did not succeed, and either let it end or cancel it."""
    if all(task["outcome"] == "succeeded" for task in round_.status(job)["tasks"]):
        return "all succeeded by themselves"
    _interrupted(round_, dice, "reconcile", job)
    _interrupted(round_, dice, "retry", job, "--failed")
    settle(round_, job)
    if all(task["outcome"] == "succeeded" for task in round_.status(job)["tasks"]):
        return "all succeeded after a retry that was killed"
    retried = round_.launch("retry", job, "--failed")
    assert retried.returncode == 0, f"seed {round_.seed}: retry: {retried.stderr}"
    if dice.random() < 0.5:
        time.sleep(dice.uniform(0.0, 1.0))
        cancelled = round_.launch("cancel", job, "--yes")
        assert cancelled.returncode == 0, f"seed {round_.seed}: cancel: {cancelled.stderr}"
        until(lambda: not round_.processes(), 30, f"seed {round_.seed}: nothing is left after cancel")
        return "retried and cancelled"
    until(lambda: not round_.processes(), 60, f"seed {round_.seed}: the retried tasks end")
    states = {task["task"]: task["outcome"] for task in round_.status(job)["tasks"]}
    assert set(states.values()) == {"succeeded"}, f"seed {round_.seed}: after retry {states}"
    return "retried, all succeeded"


def _interrupted(round_: Round, dice: random.Random, *words: str) -> None:
    """A verb that is killed on its way; what it left must not be in the way of the next one."""
    if dice.random() < 0.5:
        return
    verb = subprocess.Popen(
        [*LAUNCH, *words], cwd=round_.folder, env=round_.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    time.sleep(dice.uniform(0.0, 0.6))
    verb.kill()
    verb.wait(30)


def check(round_: Round, job: str, seed: int) -> None:
    home = round_.folder / "home"
    starts = (home / "side.starts").read_text().split() if (home / "side.starts").exists() else []
    finished = set((home / "side.finished").read_text().split()) if (home / "side.finished").exists() else set()
    assert len(starts) == len(set(starts)), f"seed {seed}: an attempt's folder was run twice: {starts}"
    tasks_folder = round_.folder / ".launch" / "store" / "jobs" / job / "tasks"
    for start in starts:
        _, task, attempt = start.rsplit("/", 2)
        log = tasks_folder / f"{int(task):04d}" / f"{int(attempt):02d}" / "log.txt"
        side = home / f"side.{int(task)}.{int(attempt)}"
        written, kept = side.read_bytes(), log.read_bytes()
        assert kept.startswith(written), f"seed {seed}: log bytes of {start} lost"
        exit_file = log.parent / "exit.json"
        if exit_file.exists():
            outcome = json.loads(exit_file.read_text())["outcome"]
            assert outcome != "succeeded" or start in finished, f"seed {seed}: {start} did not finish, but {outcome}"
    shown = round_.status(job)
    for task_shown in shown["tasks"]:
        assert task_shown["state"] in ("ended", "pending", "unknown"), f"seed {seed}: nothing runs, yet {task_shown}"
        if task_shown["outcome"] == "succeeded":
            start = f"{job}/{task_shown['task']}/{task_shown['attempt']}"
            assert start in finished, f"seed {seed}: {start} is said to have succeeded"
            assert (round_.folder / "out" / f"{task_shown['task']}.txt").read_text() == "whole"
    whole = round_.launch("tail", f"{job}:0", "-n", "all", "--no-follow")
    logs = (
        b"".join(p.read_bytes() for p in sorted((tasks_folder / "0000").glob("*/log.txt")))
        if (tasks_folder / "0000").exists()
        else b""
    )
    assert whole.stdout.encode() == logs, f"seed {seed}: tail is not the log"
