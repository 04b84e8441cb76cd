"""The one process that starts the daemons, is their parent and their orphans' parent, and ends them all.

It must be a subreaper: PID 1 of a container often reaps late or never, and only wait() tells that slurmctld has ended.
"""

from __future__ import annotations

import json
import os
import selectors
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass

from launcher.errors import LaunchError
from launcher.store.processes import descendants
from onehost import belonging, daemons
from onehost.daemons import Daemon
from onehost.readiness import failure, install_database, wait_for_nodes
from onehost.settings import Layout

LOOK_S = 0.5
"""Between two looks at the owner."""
PATIENCE_S = 12.0
"""For a daemon that was asked to end: slurmctld waits up to 10 s for a node that has died."""
POLL_S = 0.02


@dataclass
class Started:
    """A daemon that was started: its process, and how that ended once it has."""

    popen: subprocess.Popen[bytes]
    asked: bool = False
    """Whether its end is our doing."""

    @property
    def ending(self) -> str | None:
        code = self.popen.returncode
        if code is None:
            return None
        return f"killed by signal {-code}" if code < 0 else f"exit code {code}"


class Supervisor:
    """The daemons of one cluster. `owner`: a process whose end ends the cluster, with its start in clock ticks."""

    def __init__(self, layout: Layout, owner: tuple[int, int] | None = None) -> None:
        self.layout = layout
        self.owner = owner
        self.daemons = daemons.all_of(layout)
        self.started: dict[str, Started] = {}
        self.stopping: str | None = None
        """None, or "keep" or "remove": what is to become of the data."""

    # --- starting and ending daemons ------------------------------------------------------------------------------------

    def launch(self, daemon: Daemon) -> None:
        """Start a daemon in the foreground, in a session of its own. Its output goes to its log as well."""
        with open(daemon.log.with_suffix(".out"), "ab") as output:
            popen = subprocess.Popen(
                daemon.command,
                env=self.layout.environment(os.environ),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        self.started[daemon.name] = Started(popen)
        self.record()

    def record(self) -> None:
        """Keep who is who: sshd overwrites its environment, so that after our own end its mark would not find it."""
        pids = {name: started.popen.pid for name, started in self.started.items()}
        belonging.record(self.layout, {"supervisor": os.getpid(), **pids})

    def running(self, name: str) -> bool:
        """Whether a daemon was started and has not ended."""
        started = self.started.get(name)
        return started is not None and started.popen.returncode is None

    def reap(self) -> None:
        """Wait for every child that has ended: daemons, and the orphans that came to us."""
        own = {started.popen.pid: started.popen for started in self.started.values()}
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if pid in own:
                own[pid].returncode = os.waitstatus_to_exitcode(status)

    def wait_ready(self, *names: str) -> None:
        """Until each of these is ready. Raises LaunchError when one ends or is late."""
        begun = time.monotonic()
        waiting = [self.daemons[name] for name in names]
        while waiting:
            self.check(*names)
            for daemon in waiting:
                if time.monotonic() - begun > daemon.within_s:
                    raise failure(daemon, f"{daemon.name} is not ready after {daemon.within_s:.0f} s")
            waiting = [daemon for daemon in waiting if not daemon.ready()]
            time.sleep(POLL_S)

    def check(self, *names: str) -> None:
        """Between two looks. Raises LaunchError where one of these has ended, or somebody has asked for the end."""
        self.reap()
        for name in names:
            ended = self.started[name].ending
            if ended is not None:
                raise failure(self.daemons[name], f"{name} ended at once ({ended})")
        if self.stopping is not None or self.owner_has_gone():
            raise LaunchError("the start was interrupted")

    def end(self, name: str, how: int, patience_s: float = PATIENCE_S) -> bool:
        """Send a daemon a signal and wait for its end, with SIGKILL when it takes too long; False: it did not run."""
        self.reap()
        if not self.running(name):
            return False
        started = self.started[name]
        started.asked = True
        started.popen.send_signal(how)
        deadline = time.monotonic() + patience_s
        while started.popen.returncode is None:
            if time.monotonic() > deadline:
                started.popen.kill()
            time.sleep(POLL_S)
            self.reap()
        return True

    # --- the cluster ----------------------------------------------------------------------------------------------------

    def bring_up(self) -> None:
        """Everything, in the order that each can bear. Raises LaunchError with what the logs say."""
        self.launch(self.daemons[daemons.MUNGE])
        if self.layout.settings.accounting:
            install_database(self.layout)
            self.launch(self.daemons[daemons.DATABASE])
            self.wait_ready(daemons.MUNGE, daemons.DATABASE)
            self.launch(self.daemons[daemons.ACCOUNTING])
            self.wait_ready(daemons.ACCOUNTING)
        else:
            self.wait_ready(daemons.MUNGE)
        self.launch(self.daemons[daemons.CONTROLLER])
        self.wait_ready(daemons.CONTROLLER)
        rest = [name for name in self.daemons if name not in self.started]
        for name in rest:
            self.launch(self.daemons[name])
        self.wait_ready(*rest)
        # A foreign program on a daemon's port accepts too: only that all still run says that they are ours.
        wait_for_nodes(self.layout, self.layout.node_names, 30, lambda: self.check(*self.daemons))

    def take_down(self) -> None:
        """End everything: nodes, jobs and logins at once, then the rest, in order where the data are kept."""
        gently = signal.SIGTERM if self.stopping == "keep" else signal.SIGKILL
        last = (daemons.CONTROLLER, daemons.ACCOUNTING, daemons.DATABASE, daemons.MUNGE)
        spared = {self.started[name].popen.pid for name in last if name in self.started}

        def first() -> set[int]:
            return belonging.of_cluster(self.layout) - set(descendants(spared))

        try:
            belonging.end_all(first, PATIENCE_S, self.reap)
        finally:
            for name in last:
                self.end(name, gently)
            belonging.end_all(lambda: belonging.of_cluster(self.layout), PATIENCE_S, self.reap)

    def answer(self, request: dict[str, object]) -> dict[str, object]:
        """One request from the control socket. Raises LaunchError, KeyError or ValueError."""
        do, name = request.get("do"), str(request.get("daemon", ""))
        if do == "stop":
            self.stopping = "keep" if request.get("keep") else "remove"
            return {"supervisor": os.getpid()}
        if do == "status":
            return {"supervisor": os.getpid(), "daemons": self.report()}
        if name not in self.daemons:
            raise LaunchError(f"this cluster has no {name}", hint="slurm/cluster status")
        if do == "kill":
            done = self.end(name, int(str(request.get("signal", int(signal.SIGKILL)))))
            killed = []
            if request.get("hard"):
                node = name.removeprefix(daemons.NODE)
                killed = sorted(belonging.of_node(self.layout, node))
                belonging.end_all(lambda: belonging.of_node(self.layout, node), PATIENCE_S, self.reap)
            return {"changed": done, "killed": killed}
        if do == "start":
            if self.running(name):
                return {"changed": False}
            self.launch(self.daemons[name])
            self.wait_ready(name)
            return {"changed": True}
        raise ValueError(f"no request {do!r}")

    def report(self) -> list[dict[str, object]]:
        """Each daemon with its process and state: running, stopped (by a command), or how it ended by itself."""
        found: list[dict[str, object]] = []
        for name in self.daemons:
            started = self.started.get(name)
            state = "not started"
            if started is not None:
                state = "running" if started.ending is None else "stopped" if started.asked else started.ending
            pid = started.popen.pid if started is not None and state == "running" else None
            found.append({"daemon": name, "pid": pid, "state": state})
        return found

    def owner_has_gone(self) -> bool:
        if self.owner is None:
            return False
        return not belonging.runs_since(*self.owner)

    def serve(self, ready: Callable[[], None]) -> None:
        """Bring the cluster up, answer requests until one says stop or the owner has gone, take it down."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener, selectors.DefaultSelector() as selector:
            path = self.layout.control_socket
            path.unlink(missing_ok=True)
            listener.bind(str(path))
            path.chmod(0o600)
            listener.listen(16)
            selector.register(listener, selectors.EVENT_READ)
            self.bring_up()
            ready()
            while self.stopping is None:
                if selector.select(LOOK_S):
                    connection, _ = listener.accept()
                    with connection:
                        self.converse(connection)
                self.reap()
                if self.owner_has_gone():
                    self.stopping = "remove"

    def converse(self, connection: socket.socket) -> None:
        """One line in, one line out; a caller that says nothing or has gone costs two seconds and no more."""
        connection.settimeout(2)
        try:
            with connection.makefile("rwb") as stream:
                try:
                    answer = self.answer(json.loads(stream.readline(65536)))
                except LaunchError as error:
                    answer = {"error": error.as_json()}
                except (ValueError, KeyError, AttributeError) as error:
                    answer = {"error": {"message": f"the supervisor does not understand: {error}"}}
                stream.write(json.dumps(answer).encode() + b"\n")
        except OSError:
            pass
