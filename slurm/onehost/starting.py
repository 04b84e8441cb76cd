"""`cluster start`: the places, the files, the supervisor."""

from __future__ import annotations

import json
import os
import pwd
import stat as modes
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from launcher.errors import LaunchError, UsageError
from launcher.store.processes import stat
from onehost import belonging, configuration, control, folders, network, packages
from onehost.settings import Layout, Settings, differing

EXISTING_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty", "/dev/ptmx")
"""Character devices that every system has: they stand for GPUs where no device may be made."""
NULL_DEVICE = os.makedev(1, 3)
PRIVILEGE_SEPARATION = Path("/run/sshd")
"""sshd does not start as root without it; Debian's service makes it, which does not run here."""
TRIES = 3
"""A port may be taken between its choice and its use."""


def start(folder: Path, asked: Mapping[str, object], owner: int | None) -> tuple[Layout, bool]:
    """The cluster of `folder`, up; False when it was up before. `asked`: fields of Settings that somebody named.

    Raises LaunchError, and leaves nothing behind but logs.
    """
    with folders.locked(folder):
        layout = control.running(folder)
        if layout is not None:
            other = differing(asked, layout.settings)
            if other:
                tried = f"the cluster in {str(folder)!r} is up, with {', '.join(other)}"
                raise UsageError(tried, hint="slurm/cluster stop, then start; or --dir for a second one")
            return layout, False
        settings = Settings(**asked)  # type: ignore[arg-type]  # checked there
        packages.check(settings.accounting)
        keep = recover(folder)
        for tries_left in reversed(range(TRIES)):
            private = folders.make_private(folder)
            try:
                layout = prepare(folder, private, settings)
                bring_up(folder, layout, owner, keep)
            except LaunchError as error:
                if not keep:
                    folders.remove(folder, private)
                if tries_left and "Address already in use" in (error.came_back or ""):
                    continue
                raise
            except OSError as error:
                folders.remove(folder, private)
                raise LaunchError("the cluster's files could not be written", came_back=str(error)) from error
            return layout, True
        raise LaunchError("no port stayed free")


def recover(folder: Path) -> bool:
    """End what a cluster without a supervisor left running; whether data were kept on purpose."""
    layout = folders.layout_of(folder)
    if layout is None:
        for private in folders.existing(folder):
            folders.remove(folder, private)
        return False
    kept = kept_mark(layout.root).exists()
    control.finish(folder, layout, keep=kept)
    return kept


def kept_mark(private: Path) -> Path:
    """It exists where `stop --keep` closed the data in order."""
    return private / "kept"


def prepare(folder: Path, private: Path, settings: Settings) -> Layout:
    """Choose ports and write every file. Raises LaunchError and OSError."""
    ports = network.free_ports(settings.nodes + 3)
    layout = Layout(
        folder=str(folder),
        private=str(private),
        user=pwd.getpwuid(os.geteuid()).pw_name,
        uid=os.geteuid(),
        loopback_only=network.listens_on_loopback_only(),
        controller_port=ports[0],
        accounting_port=ports[1],
        login_port=ports[2],
        node_ports=tuple(ports[3:]),
        gpu_devices=gpu_devices(private, settings.gpus),
        settings=settings,
    )
    for node in layout.node_names:
        (private / "spool" / node).mkdir(exist_ok=True)
        (private / "spool" / node).chmod(0o755)  # a job's script is read there by its own user
    kept_mark(private).unlink(missing_ok=True)
    folders.write(private / "etc" / "slurm.conf", configuration.slurm_conf(layout))
    folders.write(private / "etc" / "gres.conf", configuration.gres_conf(layout))
    folders.write(private / "etc" / "cgroup.conf", "")
    # slurmdbd refuses one that others may read.
    folders.write(private / "etc" / "slurmdbd.conf", configuration.slurmdbd_conf(layout), mode=0o600)
    write_munge_key(private / "munge" / "munge.key")
    write_login(layout)
    folders.write(private / folders.LAYOUT, layout.as_json())
    return layout


def write_munge_key(path: Path) -> None:
    """128 random bytes, for the owner alone; one that was kept stays."""
    if path.exists():
        return
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(os.urandom(128))


def write_login(layout: Layout) -> None:
    """Keys and configuration of the login node's sshd."""
    place = layout.root / "ssh"
    for name in ("host_key", "key"):
        if not (place / name).exists():
            command = [packages.located("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-C", f"onehost {name}"]
            done = subprocess.run([*command, "-f", str(place / name)], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise LaunchError("ssh-keygen made no key", came_back=done.stderr.strip())
    public = (place / "key.pub").read_text(encoding="ascii")
    host = (place / "host_key.pub").read_text(encoding="ascii").rsplit(" ", 2)[0]
    folders.write(place / "authorized_keys", public)
    folders.write(place / "known_hosts", f"[{network.LOOPBACK}]:{layout.login_port} {host}\n")
    folders.write(place / "sshd_config", configuration.sshd_config(layout))
    folders.write(place / "config", configuration.ssh_config(layout))
    if os.geteuid() == 0:
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)


def gpu_devices(private: Path, count: int) -> tuple[str, ...]:
    """`count` character devices. Only root may make them; others take what every system has, and fewer GPUs."""
    made = []
    for number in range(count):
        path = private / "dev" / f"gpu{number}"
        try:
            if not path.exists():
                os.mknod(path, modes.S_IFCHR | 0o666, NULL_DEVICE)
            path.chmod(0o666)
        except OSError:
            break
        made.append(str(path))
    if len(made) == count:
        return tuple(made)
    there = [name for name in EXISTING_DEVICES if os.path.exists(name)]
    if len(there) < count:
        tried = f"without being root a cluster has at most {len(there)} faked GPUs per node, not {count}"
        raise UsageError(tried, hint=f"--gpus {len(there)}")
    return tuple(there[:count])


def bring_up(folder: Path, layout: Layout, owner: int | None, keep: bool) -> None:
    """Start the supervisor and wait until it says that the cluster is up. Raises LaunchError."""
    read_end, write_end = os.pipe()
    command = [sys.executable, "-B", str(Path(sys.argv[0]).resolve()), "supervise", "--dir", str(folder)]
    command += ["--tell", str(write_end), *(["--kept"] if keep else []), *owner_arguments(owner)]
    with open(layout.log("supervisor"), "ab") as log, open(read_end, "rb") as answer:
        try:
            supervisor = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                pass_fds=(write_end,),
                start_new_session=True,
            )
        finally:
            os.close(write_end)
        try:
            line = answer.readline()
        except BaseException:  # Ctrl-C: what was begun is taken back
            supervisor.terminate()
            supervisor.wait()
            control.finish(folder, layout, keep)
            raise
    told = json.loads(line) if line else {"error": {"message": "the cluster's supervisor ended at once"}}
    if told.get("up"):
        supervisor.returncode = 0  # it goes on without us: nothing to wait for
        return
    supervisor.wait()
    error = told["error"]
    if not line:
        error["came_back"] = layout.log("supervisor").read_text(encoding="utf-8", errors="replace")[-2000:]
        control.finish(folder, layout, keep)
    raise LaunchError(
        error["message"], came_back=error.get("came_back"), hint=error.get("hint"), left=f"the logs are in {folder}/log"
    )


def owner_arguments(owner: int | None) -> list[str]:
    """The owner's number and start, so that another process with its number is not taken for it."""
    if owner is None:
        return []
    found = stat(owner)
    if found is None or not belonging.runs_since(owner, found.start):
        raise UsageError(f"--owner {owner}: there is no such process")
    return ["--owner", f"{owner}:{found.start}"]
