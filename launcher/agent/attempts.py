"""One attempt as its agent sees it: a supervisor process, started again while it dies too early, and the pipe to it."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Optional

import launcher
from launcher.errors import LaunchError
from launcher.model.outcome import State
from launcher.model.records import Claim
from launcher.store import records
from launcher.store.folder import FolderStore

RESTARTS = 5
BACK_OFF_S = (0.0, 0.5, 1.0, 2.0, 4.0)
SHARE_FD = "LAUNCH_SHARE_FD"
_RUN = (
    "import sys; kit = sys.argv.pop(1); sys.path[:0] = [kit, kit + '/vendor']; "
    "from launcher.supervisor.main import main; sys.exit(main())"
)


@dataclass(frozen=True)
class Reaped:
    """A process that ended. `status` as from wait(2), `maxrss` in bytes, `cpu` in seconds."""

    pid: int
    status: int
    maxrss: Optional[int]
    cpu: Optional[float]

    @property
    def clean(self) -> bool:
        return os.WIFEXITED(self.status) and os.WEXITSTATUS(self.status) == 0

    def __str__(self) -> str:
        if os.WIFSIGNALED(self.status):
            return f"signal {os.WTERMSIG(self.status)}"
        return f"exit code {os.WEXITSTATUS(self.status)}"


@dataclass(frozen=True)
class Identity:
    """Which attempt of which allocation, in which store."""

    store: Path
    job: str
    allocation: str
    task: int
    attempt: int
    gpus: tuple[str, ...]

    @property
    def attempt_id(self) -> str:
        return f"{self.job}/{self.task}/{self.attempt}"


@dataclass
class Attempt:
    """An attempt that has not ended. `share` is the descriptor of its share's lock."""

    identity: Identity
    share: int
    started_at: float  # wall
    state: State = State.STARTING
    supervisor: Optional[int] = None  # pid; None while there is none
    deaths: int = 0
    restart_at: Optional[float] = None  # monotonic
    last_death: str = ""
    _pipe: Optional[int] = None
    _orphans: list[Reaped] = field(default_factory=list)
    _claim: Optional[Claim] = None

    def start(self) -> None:
        """Start a supervisor, which adopts the child when it is not the first. Raises OSError.

        It is told again of the orphans that ended: the one before it may have died before it read them.
        """
        reading, writing = os.pipe()
        try:
            os.set_inheritable(self.share, True)
            try:
                self.supervisor = os.posix_spawn(
                    sys.executable,
                    self._argv(),
                    {**os.environ, SHARE_FD: str(self.share)},
                    file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)],
                    # Out of the agent's group: a signal to the agent's group is the agent's to pass on, in order.
                    setpgroup=0,
                    # Blocked until it can hear: one that is told to end before that would die without a verdict.
                    setsigmask=(signal.SIGTERM,),
                    setsigdef=(signal.SIGPIPE, signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD),
                )
            finally:
                os.set_inheritable(self.share, False)
        except OSError:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        fcntl.fcntl(writing, fcntl.F_SETFL, fcntl.fcntl(writing, fcntl.F_GETFL) | os.O_NONBLOCK)
        self._pipe = writing
        self.restart_at = None
        for orphan in self._orphans:
            self._tell(orphan)

    def _argv(self) -> list[str]:
        who = self.identity
        kit = os.path.dirname(os.path.dirname(os.path.abspath(launcher.__file__)))
        argv = [sys.executable, "-I", "-S", "-c", _RUN, kit, "--store", os.fspath(who.store), "--job", who.job]
        argv += ["--task", str(who.task), "--attempt", str(who.attempt), "--allocation", who.allocation]
        argv += ["--gpus", ",".join(who.gpus)]
        return [*argv, "--adopt"] if self.deaths else argv

    def died(self, reaped: Reaped, now: float) -> bool:
        """The supervisor ended without a verdict; True: it is to be started again, at `restart_at`."""
        self.gone()
        self.deaths += 1
        self.last_death = str(reaped)
        if self.deaths > RESTARTS:
            return False
        self.restart_at = now + BACK_OFF_S[min(self.deaths, len(BACK_OFF_S)) - 1]
        return True

    def gone(self) -> None:
        """The supervisor has ended."""
        self.supervisor = None
        if self._pipe is not None:
            os.close(self._pipe)
            self._pipe = None

    def orphan_ended(self, reaped: Reaped) -> None:
        """A process that the agent inherited has ended and is our child's: its supervisor needs the status."""
        self._orphans.append(reaped)
        if self._pipe is not None:
            self._tell(reaped)

    def _tell(self, orphan: Reaped) -> None:
        message: dict[str, Any] = {
            "pid": orphan.pid,
            "status": orphan.status,
            "maxrss": orphan.maxrss,
            "cpu": orphan.cpu,
        }
        assert self._pipe is not None
        try:
            os.write(self._pipe, json.dumps({"exited": message}).encode() + b"\n")
        except OSError:
            pass  # it has died, or has not read for 64 kB; the next one is told again

    def claim(self, store: FolderStore) -> Optional[Claim]:
        """Who the child is; None before it is said, or where it cannot be read."""
        if self._claim is None:
            who = self.identity
            try:
                self._claim = records.read_claim(store, who.job, who.task, who.attempt)
            except LaunchError:
                return None
        return self._claim
