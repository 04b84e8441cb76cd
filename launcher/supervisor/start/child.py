"""Starting the child: forked, held at a gate until its claim is durable, then turned into the command."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Optional

from launcher.model.records import ProcessId
from launcher.store import processes

EXEC_DEADLINE_S = 60.0
"""How long an exec may take (a dead network disk) before the attempt goes on without having seen it done."""
KILLED_S = 1.0
"""How long a program of our own that was killed is waited for."""
_WAITID = {"x86_64": 247, "aarch64": 95, "ppc64le": 272, "riscv64": 95, "s390x": 281}
_PR_SET_CHILD_SUBREAPER, _PR_SET_PDEATHSIG = 36, 1


@dataclass(frozen=True)
class Ended:
    """A wait status as of wait(2); None: nobody saw it. `memory` is the peak of its largest process in bytes."""

    status: Optional[int]
    memory: Optional[int] = None
    cpu: Optional[float] = None

    @property
    def code(self) -> Optional[int]:
        return os.WEXITSTATUS(self.status) if self.status is not None and os.WIFEXITED(self.status) else None

    @property
    def signal(self) -> Optional[int]:
        return os.WTERMSIG(self.status) if self.status is not None and os.WIFSIGNALED(self.status) else None


class Gated:
    """A forked child that waits. `open` lets it become the command; `close` without that ends it."""

    def __init__(self, process: ProcessId, gate: int, errors: int) -> None:
        self.process = process
        self._gate = gate
        self._errors = errors

    def open(self) -> Optional[OSError]:
        """None once the command runs; what exec answered where it could not be started (the child has ended then)."""
        os.write(self._gate, b".")
        os.close(self._gate)
        with open(self._errors, "rb", buffering=0) as errors:
            ready, _, _ = select.select([errors], [], [], EXEC_DEADLINE_S)
            answer = errors.read(64) if ready else b""
        number = int(answer) if answer and answer.isdigit() else 0
        return OSError(number, os.strerror(number)) if number else None

    def close(self) -> None:
        os.close(self._gate)
        os.close(self._errors)


def fork(
    argv: Sequence[str], environment: Mapping[str, str], folder: Path, log: Path, share: Optional[int] = None
) -> Gated:
    """The child is a session and group leader, writes to `log` (appending), reads nothing, keeps umask and limits.

    `share` is a lock that the child's tree holds on to. Call it while this process has one thread. Raises OSError.
    """
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
    gate_in, gate_out = os.pipe()
    error_in, error_out = os.pipe()
    candidates = _candidates(argv[0], environment, folder)
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        pid = os.fork()
        if pid == 0:
            _become(candidates, argv, environment, folder, (descriptor, gate_in, gate_out, error_out), share)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
    for unused in (descriptor, gate_in, error_out):
        os.close(unused)
    process = processes.process_id(pid)
    if process is None:
        raise OSError(errno.ESRCH, "the child vanished before it began")
    return Gated(process, gate_out, error_in)


def _candidates(program: str, environment: Mapping[str, str], folder: Path) -> list[str]:
    if "/" in program:
        return [program]
    return [os.path.join(part or ".", program) for part in environment.get("PATH", os.defpath).split(os.pathsep)]


def _become(
    candidates: Sequence[str],
    argv: Sequence[str],
    environment: Mapping[str, str],
    folder: Path,
    descriptors: tuple[int, int, int, int],
    share: Optional[int],
) -> NoReturn:
    """In the child: never returns, never raises, touches no lock of the parent's."""
    log, gate_in, gate_out, errors = descriptors
    number = errno.EIO
    try:
        os.close(gate_out)
        signal.set_wakeup_fd(-1)
        for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGXFSZ):
            signal.signal(each, signal.SIG_DFL)
        os.setsid()
        if os.read(gate_in, 1) != b".":
            os._exit(127)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if share is not None:
            os.set_inheritable(share, True)
        os.chdir(folder)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        number = _exec(candidates, argv, environment)
    except OSError as error:
        number = error.errno or errno.EIO
    finally:
        os.write(errors, b"%d" % number)
        os._exit(127)


def _exec(candidates: Sequence[str], argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """Like execvpe: the first that can be executed; a refusal is worth more than an absence."""
    number = errno.ENOENT
    for path in candidates:
        try:
            os.execve(path, list(argv), dict(environment))
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                number = error.errno or errno.EIO
                if number != errno.EACCES:
                    break
    return number


def peek(pid: int) -> Optional[Ended]:
    """How a child of ours ended, None while it runs. It stays a zombie: its pid and group cannot become another's, and a
    successor of this process can still learn its status. Raises ChildProcessError for what is no child of ours."""
    found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if found is None:
        return None
    if found.si_code == os.CLD_EXITED:
        status = (found.si_status & 0xFF) << 8
    else:
        status = found.si_status | (0x80 if found.si_code == os.CLD_DUMPED else 0)
    memory, cpu = _usage(pid)
    return Ended(status, memory, cpu)


def _usage(pid: int) -> tuple[Optional[int], Optional[float]]:
    """Peak memory in bytes and CPU seconds of a zombie. The system call gives them without reaping, libc's does not."""
    number = _WAITID.get(os.uname().machine)
    if number is None:
        return None, None
    usage = (ctypes.c_long * 18)()
    information = ctypes.create_string_buffer(256)
    answer = ctypes.CDLL(None, use_errno=True).syscall(
        ctypes.c_long(number),
        ctypes.c_long(os.P_PID),
        ctypes.c_long(pid),
        information,
        ctypes.c_long(os.WEXITED | os.WNOHANG | os.WNOWAIT),
        usage,
    )
    if answer != 0:
        return None, None
    return usage[4] * 1024, usage[0] + usage[1] / 1e6 + usage[2] + usage[3] / 1e6


def reap(pid: int, within: float = 0.0) -> bool:
    """Let a zombie of ours go; what is gone or another's is fine. False: it has not ended `within` so many seconds. SIGKILL
    does not end what waits in the kernel for a dead disk or a lost GPU, and nobody may wait for that without a deadline."""
    limit = time.monotonic() + within
    while True:
        try:
            if os.waitpid(pid, os.WNOHANG)[0] != 0:
                return True
        except ChildProcessError:
            return True
        if time.monotonic() >= limit:
            return False
        time.sleep(0.01)


def become_subreaper() -> None:
    """Descendants whose parent dies become our children, so that they can be found."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def die_with_parent() -> None:
    """Be killed when the process that forked this one dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def inherited_share(environment: Mapping[str, str]) -> Optional[int]:
    """The descriptor of the machine share's lock that the agent has passed on, kept from other programs that we start."""
    text = environment.get("LAUNCH_SHARE_FD", "")
    if not text.isdecimal():
        return None
    try:
        flags = fcntl.fcntl(int(text), fcntl.F_GETFD)
        fcntl.fcntl(int(text), fcntl.F_SETFD, flags | fcntl.FD_CLOEXEC)
    except OSError:
        return None
    return int(text)
