"""This machine: an allocation is one detached agent, which takes its shares of the machine in turn with others."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional

from launcher.errors import SubmitError
from launcher.executors.contract import Capabilities, Executor, Granted, Inventory, Observation, Part, Submission
from launcher.model.job import JobSpec, Packing, Place
from launcher.model.names import show_indices
from launcher.model.outcome import State
from launcher.model.phase import STRICT
from launcher.model.records import ProcessId
from launcher.model.units import Size, show_size
from launcher.store import processes
from launcher.store.machine import capacity

_NATIVE = re.compile(
    r"(?P<host>[^/]+)/(?P<pid>[0-9]+)@(?P<start>[0-9]+)\.(?P<boot>[0-9a-f]*)(?:\.(?P<machine>[0-9a-f]{8}))?"
)
_BOOT = b"launch-boot"
# A submit from within a task is not part of that task's attempt: its mark would have it ended with the attempt.
_OF_AN_ATTEMPT = {processes.ATTEMPT_VARIABLE, "LAUNCH_SHARE_FD"}
_CONSOLE = 64 * 1024  # bytes of the end of a log
_LOOK_S = 0.05


@dataclass(frozen=True)
class Options:
    """What a profile for this machine may set: of `gpus`, `cpus` and `memory`, what may be used; None: all that is found."""

    __pydantic_config__ = STRICT
    python: Optional[str] = None  # what `python` means in a phase's command
    gpus: Optional[tuple[int, ...]] = None  # indices
    cpus: Optional[int] = None
    memory: Optional[Size] = None


def create(place: Place) -> Executor:
    """The executor of a resolved place."""
    known = {name: place.options[name] for name in ("python", "gpus", "cpus", "memory") if name in place.options}
    return LocalExecutor(Options(**known))


class LocalExecutor:
    """`patience` is how long `cancel` gives an agent to stop its tasks in order before it kills, in seconds."""

    capabilities = Capabilities(arrays=True, shares_machine=True, rents=False)

    def __init__(self, options: Options, *, patience: float = 75.0) -> None:
        self._options = options
        self._patience = patience
        self._logs: dict[str, str] = {}  # of what this object started

    def inventory(self) -> Inventory:
        """What this shell may use of the machine; GPU memory as nvidia-smi says it."""
        found = capacity(gpus=self._options.gpus, cpus=self._options.cpus, memory=self._options.memory)
        return Inventory(len(found.gpus), _gpu_memory(found.gpus), found.cpus, found.memory, nodes=1)

    def render(self, spec: JobSpec, packing: Packing, parts: Sequence[Part]) -> Submission:
        """Words for people, and for each allocation the exact command, quoted for a shell."""
        limit = f", at most {packing.limit} tasks at once" if packing.limit is not None else ""
        lines = [f"# {spec.job} on this machine: {_count(len(spec.tasks), 'task')}, started as it has room{limit}"]
        for number, share in enumerate(packing.shares, start=1):
            asked = share.resources
            memory = f", {show_size(asked.memory)} of memory" if asked.memory else ""
            gpus = f"{_count(asked.gpus, 'GPU')}, " if asked.gpus else ""
            tasks = f"task{'s' if len(share.tasks) > 1 else ''} {show_indices(share.tasks)}"
            slots = f", {share.slots} at once" if share.slots > 1 else ""
            lines.append(f"# share {number}: {tasks}{slots}: {gpus}{_count(asked.cpus, 'cpu')}{memory}")
        for part in parts:
            lines += [
                "",
                f"# allocation {part.allocation}: tasks {show_indices(part.tasks)}, detached from the terminal",
            ]
            lines.append(f"cd / && setsid {shlex.join(part.boot)} </dev/null >>{shlex.quote(part.log)} 2>&1 &")
        return Submission(spec.job, tuple(parts), "\n".join(lines) + "\n")

    def submit(self, submission: Submission) -> tuple[Granted, ...]:
        """Start every part, or none that is left. Raises SubmitError."""
        granted: list[Granted] = []
        for part in submission.parts:
            try:
                granted.append(Granted(part.allocation, _start(part)))
                self._logs[granted[-1].native_id] = part.log
            except OSError as error:
                self.cancel([one.native_id for one in granted])
                raise SubmitError(
                    f"starting the agent of allocation {part.allocation} on this machine",
                    came_back=f"{error.strerror or error}: {error.filename}" if error.filename else str(error),
                    transient=True,
                ) from error
        return tuple(granted)

    def observe(self, native_ids: Sequence[str]) -> dict[str, Observation]:
        """By the kernel's word, for ids of this host; of another host's nothing is known from here."""
        return {native_id: _observe(native_id) for native_id in native_ids}

    def find(self, job_id: str) -> tuple[Granted, ...]:
        """Agents of the job, and boots that have yet to become one, among this user's processes of this host."""
        found = []
        for pid in processes.all_pids():
            allocation = _allocation(_argv(pid), job_id)
            process = processes.process_id(pid) if allocation is not None else None
            if allocation is not None and process is not None and processes.alive(process):
                found.append(Granted(allocation, native_id(process)))
        return tuple(sorted(found, key=lambda granted: (granted.allocation, granted.native_id)))

    def cancel(self, native_ids: Sequence[str]) -> None:
        """Ask each agent to stop its tasks in order; kill those that do not, and then what their attempts left."""
        agents = [process for process in map(_parse, native_ids) if process is not None and processes.alive(process)]
        attempts = {attempt for agent in agents for attempt in _attempts_below(agent)}
        for agent in agents:
            _signal(agent, signal.SIGTERM)
        until = time.monotonic() + self._patience
        while agents and time.monotonic() < until:
            time.sleep(_LOOK_S)
            agents = [agent for agent in agents if processes.alive(agent)]
        for agent in agents:
            tree = [processes.process_id(pid) for pid in processes.descendants([agent.pid])]
            attempts.update(_attempts_below(agent))
            _signal(agent, signal.SIGKILL)  # first, so that nothing is started again
            for process in tree:
                if process is not None:
                    _signal(process, signal.SIGKILL)
        if agents:
            _kill_marked(attempts)

    def console(self, native_id: str) -> Optional[str]:
        """The end of what boot and agent printed: of one that runs, or that this object started. None: the store has the log."""
        process = _parse(native_id)
        path = self._logs.get(native_id)
        if path is None and process is not None and processes.alive(process):
            path = f"/proc/{process.pid}/fd/2"
        try:
            with open(path or "", "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - _CONSOLE))
                return file.read(_CONSOLE).decode("utf-8", "replace")
        except OSError:
            return None


def native_id(process: ProcessId) -> str:
    """`HOST/PID@START.BOOT.MACHINE`: what names this process and no other, on any host, after any boot. The last is left out
    where the machine has no id."""
    machine = f".{process.machine}" if process.machine else ""
    return f"{process.host}/{process.pid}@{process.start}.{process.boot[:8]}{machine}"


def _parse(native: str) -> Optional[ProcessId]:
    """The process of an id, if it can be one of this host and this boot."""
    match = _NATIVE.fullmatch(native)
    if match is None or match["host"] != processes.host() or match["boot"] != processes.boot_id()[:8]:
        return None
    if processes.another_machine(match["machine"], match["boot"]):
        return None
    return ProcessId(int(match["pid"]), int(match["start"]), processes.boot_id(), match["host"], match["machine"])


def _observe(native: str) -> Observation:
    match = _NATIVE.fullmatch(native)
    if match is None:
        return Observation(native, State.UNKNOWN, f"{native!r} is no id of an agent on a machine")
    if match["host"] != processes.host():
        return Observation(
            native, State.UNKNOWN, f"it runs on {match['host']}, which cannot be seen from {processes.host()}"
        )
    if processes.another_machine(match["machine"], match["boot"]):
        return Observation(native, State.UNKNOWN, f"it runs on another machine that is called {match['host']}, too")
    process = _parse(native)
    if process is None:
        text = f"{match['host']} was rebooted since"
        return Observation(native, State.ENDED, text, evidence=text)
    lives = processes.alive(process)
    if lives is None:
        return Observation(native, State.UNKNOWN, "the processes of this machine cannot be seen")
    if lives:
        return Observation(native, State.RUNNING)
    text = f"process {process.pid} of {process.host} has ended"
    return Observation(native, State.ENDED, text, evidence=text)


def _start(part: Part) -> str:
    """A process of a session of its own, with no terminal; its native id. Raises OSError."""
    log = Path(part.log)
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    environment = {name: value for name, value in os.environ.items() if name not in _OF_AN_ATTEMPT}
    # The client's own Python suits the agent; the boot script tries it first.
    environment.setdefault("LAUNCH_PYTHON", os.path.realpath(sys.executable))
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        process = subprocess.Popen(
            part.boot, stdin=subprocess.DEVNULL, stdout=descriptor, stderr=descriptor, cwd="/", env=environment,
            start_new_session=True,
        )  # fmt: skip
    finally:
        os.close(descriptor)
    named = processes.process_id(process.pid)
    # It is our child while we live: somebody has to reap it, should it end before us.
    threading.Thread(target=process.wait, name=f"reaper of {part.allocation}", daemon=True).start()
    if named is None:
        raise OSError(f"process {process.pid} was started and /proc does not show it")
    return native_id(named)


def _argv(pid: int) -> list[bytes]:
    """The argument vector of a process of ours; empty where it may not be read."""
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.getuid():
            return []
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _allocation(argv: Sequence[bytes], job: str) -> Optional[str]:
    """The allocation that an agent, or its boot, of this job works on."""
    if len(argv) > 7 and argv[3] == _BOOT and argv[6] == os.fsencode(job):
        return os.fsdecode(argv[7])
    given = _given(argv)
    if given.get(b"--job") == os.fsencode(job) and b"--task" not in given and b"--allocation" in given:
        return os.fsdecode(given[b"--allocation"])
    return None


def _given(argv: Sequence[bytes]) -> Mapping[bytes, bytes]:
    """Options and values of one of our programs on a node; empty for any other program."""
    if b"--store" not in argv or not any(b"from launcher." in word for word in argv[:5]):
        return {}
    words = argv[argv.index(b"--store") :]
    return dict(zip(words[::2], words[1::2], strict=False))


def _attempts_below(agent: ProcessId) -> set[bytes]:
    """The marks of the attempts whose supervisors run beneath an agent."""
    found = set()
    for pid in processes.descendants([agent.pid]):
        given = _given(_argv(pid))
        if b"--attempt" in given and b"--task" in given:
            found.add(b"/".join((given[b"--job"], given[b"--task"], given[b"--attempt"])))
        for assignment in processes.environment(pid):
            name, _, value = assignment.partition(b"=")
            if name == processes.ATTEMPT_VARIABLE.encode():
                found.add(value)
    return found


def _kill_marked(attempts: set[bytes]) -> None:
    """SIGKILL to all that carries the mark of one of these attempts, until none is left."""
    for _ in range(100):
        left = [pid for attempt in attempts for pid in processes.marked(os.fsdecode(attempt))]
        for pid in left:
            process = processes.process_id(pid)
            if process is not None:
                _signal(process, signal.SIGKILL)
        if not left:
            return
        time.sleep(_LOOK_S)


def _signal(process: ProcessId, number: int) -> None:
    if processes.alive(process):
        try:
            os.kill(process.pid, number)
        except OSError:
            pass  # it ended, or is another user's


def _gpu_memory(gpus: Sequence[str]) -> Optional[int]:
    """Bytes of the smallest of these GPUs; None where nvidia-smi cannot say."""
    program = shutil.which("nvidia-smi")
    if program is None or not gpus:
        return None
    command: list[Any] = [program, "--query-gpu=index,memory.total", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True, stdin=subprocess.DEVNULL)
    except (OSError, subprocess.SubprocessError):
        return None
    rows = (line.split(",") for line in done.stdout.splitlines() if line.count(",") == 1)
    sizes = {index.strip(): int(size) << 20 for index, size in rows if size.strip().isdecimal()}
    asked = [sizes[gpu] for gpu in gpus if gpu in sizes]
    return min(asked) if asked and len(asked) == len(gpus) else None


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"
