"""The command line: parse, call one thing, say what happened. Data go to standard output, all else to standard error."""

from __future__ import annotations

import argparse
import json
import shlex
import signal
import sys
from pathlib import Path

from launcher.errors import LaunchError
from onehost import control, daemons, faults, folders, packages, reports, starting, supervising
from onehost.settings import Settings

DESCRIPTION = """A real SLURM on this host, in a folder of its own with ports of its own: several nodes, partitions cpu,
gpu (faked), preempt and short, accounting, and a login node with sshd. Nothing of /etc/slurm is read or changed."""
EPILOG = """Try it: slurm/cluster start && eval "$(slurm/cluster env)" && sinfo. More: docs/slurm-on-one-host.md"""


def parser() -> argparse.ArgumentParser:
    """Every command with its options. A Settings field that nobody named is absent from the result."""
    top = argparse.ArgumentParser(prog="cluster", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False)
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str, placed: bool = True) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
        if placed:
            text = "the cluster's folder (default: ~/.local/state/launch/slurm); each is a cluster of its own"
            added.add_argument("--dir", type=Path, default=None, metavar="FOLDER", help=text)
        return added

    command("install", "install the packages that are missing (Debian's; as root)", placed=False)
    start = command("start", "start the cluster; one that is up stays as it is")
    has = Settings()
    for option, text in {
        "nodes": "slurmd nodes n1, n2, ..., half of them with GPUs",
        "cpus": "CPUs that each node claims to have",
        "memory-mb": "memory that each node claims to have",
        "gpus": "faked GPUs of each node of the partition gpu",
        "preempt-grace-s": "seconds between a preempted job's signal and its end",
    }.items():
        default = getattr(has, option.replace("-", "_"))
        start.add_argument(f"--{option}", type=int, metavar="N", default=argparse.SUPPRESS, help=f"{text} ({default})")
    text = "no slurmdbd and no database: sacct fails, as on sites without one"
    start.add_argument("--no-accounting", dest="accounting", action="store_false", default=argparse.SUPPRESS, help=text)
    text = "a line of slurm.conf, instead of ours; may be repeated"
    start.add_argument(
        "--set", dest="lines", action="append", metavar="KEY=VALUE", default=argparse.SUPPRESS, help=text
    )
    start.add_argument("--owner", type=int, metavar="PID", help="stop the cluster when this process has ended")
    stop = command("stop", "end all daemons and jobs, and remove all but the logs")
    stop.add_argument("--keep", action="store_true", help="keep jobs and accounting for the next start")
    for name, text in {"env": 'print shell exports: eval "$(cluster env)"', "status": "daemons and nodes"}.items():
        command(name, text).add_argument("--json", action="store_true", help="JSON for programs")
    kill = command("kill-node", "SIGKILL to a node's slurmd; its jobs go on until somebody notices")
    kill.add_argument("node")
    kill.add_argument("--hard", action="store_true", help="its job steps and jobs die too, as when the power goes")
    kill.add_argument("--at-once", action="store_true", help="tell the controller, which else finds out after 11 s")
    command("resume-node", "start a node's slurmd again, and have the controller use it").add_argument("node")
    for name, what in {"controller": "slurmctld", "accounting": "slurmdbd"}.items():
        killing = command(f"kill-{name}", f"SIGKILL to {what}")
        killing.add_argument("--gently", action="store_true", help="SIGTERM, so that it keeps its state")
        command(f"start-{name}", f"start {what} again")
    inner = command("supervise", argparse.SUPPRESS)
    inner.add_argument("--tell", type=int, required=True)
    inner.add_argument("--kept", action="store_true")
    inner.add_argument("--owner")
    return top


def main() -> int:
    """The exit code: 0 fine, 1 an error, 2 usage. `status` of a cluster that is not up is 1."""
    asked = parser().parse_args()
    try:
        return carry_out(asked)
    except LaunchError as error:
        print(f"error: {error}", file=sys.stderr)
        if error.hint:
            print(f"hint: {error.hint}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 1


def carry_out(asked: argparse.Namespace) -> int:
    """One command. Raises LaunchError."""
    if asked.command == "install":
        names = packages.install()
        tell(f"installed {', '.join(names)}" if names else "everything is installed")
        return 0
    folder = Path(folders.default_folder() if asked.dir is None else asked.dir).absolute()
    if asked.command == "supervise":
        return supervise(folder, asked)
    if asked.command == "start":
        return start(folder, asked)
    if asked.command == "stop":
        return stop(folder, asked.keep)
    if asked.command == "status":
        return status(folder, asked.json)
    layout = control.up(folder)
    if asked.command == "env":
        print(json.dumps(reports.env_json(layout), indent=1) if asked.json else reports.exports(layout))
        return 0
    if asked.command == "kill-node":
        changed, done = faults.kill_node(layout, asked.node, asked.hard, asked.at_once), f"{asked.node} is dead"
    elif asked.command == "resume-node":
        changed, done = faults.resume_node(layout, asked.node), f"{asked.node} is up"
    else:
        verb, _, what = asked.command.partition("-")
        daemon = daemons.CONTROLLER if what == "controller" else daemons.ACCOUNTING
        kill = verb == "kill"
        changed = faults.kill_daemon(layout, daemon, asked.gently) if kill else faults.start_daemon(layout, daemon)
        done = f"{daemon} is {'dead' if kill else 'up'}"
    tell(done if changed else f"{done}, and was before")
    return 0


def start(folder: Path, asked: argparse.Namespace) -> int:
    """Bring the cluster up, or say that it is."""
    named = {name: value for name, value in vars(asked).items() if name in Settings.__dataclass_fields__}
    if "lines" in named:
        named["lines"] = tuple(named["lines"])
    for number in (signal.SIGTERM, signal.SIGHUP):  # as Ctrl-C: what was begun is taken back
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    layout, new = starting.start(folder, named, asked.owner)
    count = layout.settings.nodes
    tell(f"the cluster is up{'' if new else ' already'}: {count} node{'s' if count > 1 else ''}, {folder}")
    if new:
        place = "" if asked.dir is None else f" --dir {shlex.quote(str(folder))}"
        tell(f'next: eval "$({shlex.quote(sys.argv[0])} env{place})" && sinfo')
    return 0


def stop(folder: Path, keep: bool) -> int:
    """End the cluster in whatever state it is; there may be none."""
    if not folder.is_dir():
        tell(f"no cluster was up in {str(folder)!r}")
        return 0
    with folders.locked(folder):
        layout = folders.layout_of(folder)
        if layout is None:
            for private in folders.existing(folder):
                folders.remove(folder, private)
            tell(f"no cluster was up in {str(folder)!r}")
            return 0
        control.finish(folder, layout, keep)
        if keep:
            starting.kept_mark(layout.root).touch()
    tell(f"stopped; {'the data are kept' if keep else f'the logs are in {folder}/log'}")
    return 0


def status(folder: Path, as_json: bool) -> int:
    """A table, or JSON. The exit code is 1 where no cluster is up."""
    found = reports.status(folder)
    if as_json:
        print(json.dumps(found, indent=1))
        return 0 if found["up"] else 1
    if not found["up"]:
        left = found.get("left")
        tell(f"no cluster is up in {str(folder)!r}{f' ({left})' if left else ''}")
        return 1
    rows: list[dict[str, object]] = [*list_of(found["daemons"]), *list_of(found["nodes"])]
    for row in rows:
        name = row.get("daemon") or f"node {row['node']}"
        more = f"pid {row['pid']}" if row.get("pid") else f"{row['gpus']} GPUs" if row.get("gpus") else ""
        print(f"{name!s:<14} {row['state']!s:<10} {more}".rstrip())
    return 0


def list_of(value: object) -> list[dict[str, object]]:
    """`value`, where it is a list."""
    return value if isinstance(value, list) else []


def supervise(folder: Path, asked: argparse.Namespace) -> int:
    """Not for people: `start` starts it."""
    layout = folders.layout_of(folder)
    if layout is None:
        raise LaunchError(f"no cluster is prepared in {str(folder)!r}", hint="slurm/cluster start")
    owner = None
    if asked.owner is not None:
        pid, ticks = asked.owner.split(":")
        owner = (int(pid), int(ticks))
    return supervising.supervise(folder, layout, owner, asked.tell, asked.kept)


def tell(text: str) -> None:
    """One line for people."""
    print(text, file=sys.stderr)
