"""The cluster's own life: starting, stopping, dying, two at once, without root, and what is left behind."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.slurm.clusters import (
    JOB_S,
    START_S,
    TOOL,
    Cluster,
    Person,
    mentions,
    plain_environment,
    sockets_below,
    tool,
)
from tests.waiting import until

SMALL = ("--nodes", "1", "--gpus", "2")


def started(folder: Path, *options: str) -> Cluster:
    done = tool("start", "--dir", str(folder), "--owner", str(os.getpid()), *options)
    assert done.returncode == 0, done.stderr
    return Cluster(folder)


def supervisor(cluster: Cluster) -> int:
    return int(json.loads(cluster.tool("status", "--json").stdout)["supervisor"])


def nothing_left(cluster: Cluster) -> None:
    assert mentions(str(cluster.private)) == []
    assert not cluster.private.exists()
    assert not (cluster.folder / "private").is_symlink()
    assert sockets_below(cluster.folder) == []


def test_stop_leaves_neither_process_nor_socket(own_folder: Path) -> None:
    cluster = started(own_folder, *SMALL)
    job = cluster.sbatch("(setsid sleep 600 &) ; sleep 600")
    cluster.wait_for(job, "RUNNING")
    assert mentions(str(cluster.private))
    assert sockets_below(cluster.private)
    done = cluster.tool("stop")
    assert done.stdout == ""
    nothing_left(cluster)
    assert "slurmctld.log" in {path.name for path in (own_folder / "log").iterdir()}
    assert "no cluster was up" in cluster.tool("stop").stderr
    assert cluster.tool("status", check=False).returncode == 1
    assert "hint: slurm/cluster start" in cluster.tool("env", check=False).stderr


def test_start_again_changes_nothing_and_says_so(cluster: Cluster) -> None:
    before = cluster.daemons()
    done = cluster.tool("start")
    assert "up already: 4 nodes" in done.stderr
    assert cluster.daemons() == before
    other = cluster.tool("start", "--nodes", "6", check=False)
    assert other.returncode == 2
    assert "is up, with nodes 4, not 6" in other.stderr
    assert cluster.daemons() == before


@pytest.mark.parametrize("then", ["stop", "start"])
def test_a_cluster_that_lost_its_supervisor_is_tidied_up(own_folder: Path, then: str) -> None:
    cluster = started(own_folder, *SMALL, "--no-accounting")
    job = cluster.sbatch("sleep 600")
    cluster.wait_for(job, "RUNNING")
    killed = supervisor(cluster)
    os.kill(killed, signal.SIGKILL)
    until(lambda: cluster.tool("status", check=False).returncode == 1, JOB_S, "status that has seen it")
    assert "unclean: stop tidies up" in cluster.tool("status", check=False).stderr
    old = mentions(str(cluster.private))
    assert len(old) > 3
    if then == "start":
        cluster = started(own_folder, *SMALL, "--no-accounting")
        assert cluster.run("squeue", "-h").stdout == ""
        assert supervisor(cluster) != killed
        assert not set(old) & set(mentions(str(cluster.private)))
    cluster.tool("stop")
    nothing_left(cluster)


def test_a_cluster_ends_with_its_owner(own_folder: Path) -> None:
    owner = subprocess.Popen(["sleep", "600"])
    try:
        done = tool("start", "--dir", str(own_folder), *SMALL, "--no-accounting", "--owner", str(owner.pid))
        assert done.returncode == 0, done.stderr
        cluster = Cluster(own_folder)
    finally:
        owner.kill()
        owner.wait()
    until(lambda: not mentions(str(cluster.private)) and not cluster.private.exists(), JOB_S, "the cluster's end")
    nothing_left(cluster)


def test_two_clusters_at_once_know_nothing_of_each_other(own_folder: Path, cluster: Cluster) -> None:
    """Also when two are started in the same moment."""
    folders = [own_folder, own_folder.with_name("another")]
    command = [sys.executable, str(TOOL), "start", *SMALL, "--no-accounting", "--owner", str(os.getpid()), "--dir"]
    starts = [
        subprocess.Popen([*command, str(folder)], env=plain_environment(), stderr=subprocess.PIPE, text=True)
        for folder in folders
    ]
    try:
        for start in starts:
            _, said = start.communicate(timeout=START_S)
            assert start.returncode == 0, said
        pair = [Cluster(folder) for folder in folders]
        jobs = [one.sbatch("sleep 600", "-J", f"job{number}") for number, one in enumerate(pair)]
        assert jobs[0] == jobs[1]  # each counts for itself
        for number, one in enumerate(pair):
            one.wait_for(jobs[number], "RUNNING")
            assert one.run("squeue", "-h", "-o", "%j").stdout == f"job{number}\n"
        pair[0].tool("stop")
        nothing_left(pair[0])
        assert pair[1].queue(jobs[1]) == ["RUNNING"]
        assert all(row["state"] == "running" for row in cluster.daemons().values())
    finally:
        for folder in folders:
            tool("stop", "--dir", str(folder))


def test_data_that_are_kept_are_there_after_the_next_start(own_folder: Path) -> None:
    cluster = started(own_folder, *SMALL)
    job = cluster.sbatch("exit 4")
    cluster.wait_for(job, "FAILED")
    until(lambda: cluster.accounted(job) == ["FAILED"], JOB_S, "its accounting")
    assert "the data are kept" in cluster.tool("stop", "--keep").stderr
    assert mentions(str(cluster.private)) == []
    assert sockets_below(cluster.private) == []
    assert "start goes on with them" in cluster.tool("status", check=False).stderr
    cluster = started(own_folder, *SMALL)
    assert cluster.accounted(job, "ExitCode") == ["4:0"]
    assert int(cluster.sbatch("true")) > int(job)


def test_a_start_that_fails_says_why_and_leaves_only_logs(own_folder: Path) -> None:
    done = tool("start", "--dir", str(own_folder), *SMALL, "--no-accounting", "--set", "NoSuchOption=1")
    assert done.returncode == 1
    assert "error: slurmctld ended at once" in done.stderr
    assert "NoSuchOption" in done.stderr
    assert "hint: an option given with --set is not one of this version of SLURM" in done.stderr
    assert "Traceback" not in done.stderr
    assert {path.name for path in own_folder.iterdir()} == {"lock", "log"}
    assert "no cluster was up" in tool("stop", "--dir", str(own_folder)).stderr


DRAWN_FIRST = """
import sys
taken, tool, *rest = sys.argv[1:]
sys.path[:0] = [tool.rpartition("/")[0], tool.rpartition("/")[0] + "/.."]
from onehost import commands, network
draw, first = network.free_ports, [int(taken)]
network.free_ports = lambda count: [first.pop(), *draw(count - 1)] if first else draw(count)
sys.argv = [tool, *rest]
sys.exit(commands.main())
"""
"""Start a cluster whose first port, the controller's, is drawn as it was foreseen; the next time it is drawn at random."""


def test_a_port_that_somebody_took_meanwhile_is_replaced(own_folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        command = [sys.executable, "-c", DRAWN_FIRST, str(taken), str(TOOL), "start", "--dir", str(own_folder), *SMALL]
        command += ["--no-accounting", "--owner", str(os.getpid())]
        done = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, timeout=START_S)
    assert done.returncode == 0, done.stderr
    cluster = Cluster(own_folder)
    assert cluster.about["controller_port"] != taken
    assert cluster.run("srun", "true").returncode == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_start_that_is_interrupted_leaves_nothing(own_folder: Path, how: signal.Signals) -> None:
    """Ctrl-C takes back what was begun. A start that is killed cannot, and the next `stop` does."""
    command = [sys.executable, str(TOOL), "start", "--dir", str(own_folder), *SMALL]
    start = subprocess.Popen(command, env=plain_environment(), stderr=subprocess.PIPE, text=True)
    until((own_folder / "private" / "log" / "munged.out").exists, JOB_S, "the first daemon")
    private = os.readlink(own_folder / "private")
    start.send_signal(how)
    start.communicate(timeout=START_S)
    assert start.returncode != 0
    if how == signal.SIGKILL:
        assert tool("stop", "--dir", str(own_folder)).returncode == 0
    assert mentions(private) == []
    assert {path.name for path in own_folder.iterdir()} == {"lock", "log"}


def test_a_supervisor_that_is_killed_while_it_starts_is_an_error(own_folder: Path) -> None:
    command = [sys.executable, str(TOOL), "start", "--dir", str(own_folder), *SMALL]
    start = subprocess.Popen(command, env=plain_environment(), stderr=subprocess.PIPE, text=True)
    record = own_folder / "private" / "run" / "processes.json"
    until(record.exists, JOB_S, "the supervisor")
    private = os.readlink(own_folder / "private")
    os.kill(json.loads(record.read_text())["supervisor"][0], signal.SIGKILL)
    _, said = start.communicate(timeout=START_S)
    assert start.returncode == 1
    assert said.startswith("error: the cluster's supervisor ended at once")
    assert mentions(private) == []
    assert {path.name for path in own_folder.iterdir()} == {"lock", "log"}


def test_a_login_session_ends_with_a_cluster_without_supervisor(own_folder: Path) -> None:
    """sshd overwrites its environment, and a session that does nothing has no command that could be found."""
    cluster = started(own_folder, *SMALL, "--no-accounting")
    of = cluster.variables
    command = ["ssh", "-F", of["ONEHOST_SSH_CONFIG"], of["ONEHOST_SSH_ALIAS"], "echo in; cat"]
    with subprocess.Popen(
        command, env=plain_environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == b"in\n"
        os.kill(supervisor(cluster), signal.SIGKILL)
        cluster.tool("stop")
        session.stdout.read()
        assert session.wait(JOB_S) == 255
    nothing_left(cluster)


@pytest.mark.parametrize("options", [("--nodes", "0"), ("--set", "nonsense"), ("--owner", "4194305")])
def test_an_option_that_makes_no_sense_is_refused_before_anything_starts(
    own_folder: Path, options: tuple[str, str]
) -> None:
    done = tool("start", "--dir", str(own_folder), "--no-accounting", *options)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_a_line_of_the_configuration_can_be_another(own_folder: Path) -> None:
    cluster = started(own_folder, *SMALL, "--no-accounting", "--set", "MinJobAge=17", "--set", "KillWait=9")
    shown = cluster.run("scontrol", "show", "config").stdout
    assert "17 sec" in next(line for line in shown.splitlines() if line.startswith("MinJobAge"))
    assert cluster.run("sacct", check=False).returncode == 1
    assert cluster.run("srun", "-p", "gpu", "--gres=gpu:2", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES").stdout == "0,1\n"


def test_it_needs_no_root(person: Person) -> None:
    folder = person.home / 'it\'s a "cluster"'
    command = [person.python, str(person.tool)]
    place = ["--dir", str(folder)]
    assert "everything is installed" in person.run([*command, "install"]).stderr
    done = person.run([*command, "start", *place, "--nodes", "2", "--gpus", "7", "--owner", str(os.getpid())])
    assert done.returncode == 0, done.stderr
    try:
        about = json.loads(person.run([*command, "env", "--json", *place]).stdout)
        of = about["variables"]
        conf = of["SLURM_CONF"]
        shown = person.run(
            ["srun", "-p", "gpu", "--gres=gpu:7", "sh", "-c", "id -un; echo $CUDA_VISIBLE_DEVICES"], SLURM_CONF=conf
        )
        assert shown.stdout.split() == [person.name, "0,1,2,3,4,5,6"], shown.stderr
        asked = [
            "ssh",
            "-F",
            of["ONEHOST_SSH_CONFIG"],
            of["ONEHOST_SSH_ALIAS"],
            "id -un; sbatch --parsable --wrap 'exit 6' -o /dev/null",
        ]
        done = person.run(asked)
        name, job = done.stdout.split()
        assert name == person.name

        def accounted() -> str:
            return person.run(["sacct", "-n", "-X", "-P", "-j", job, "-o", "State,ExitCode"], SLURM_CONF=conf).stdout

        until(lambda: accounted() == "FAILED|6:0\n", JOB_S, accounted)
        owners = {Path(f"/proc/{line.split()[0]}").stat().st_uid for line in mentions(about["private"])}
        assert owners == {(person.home).stat().st_uid}
    finally:
        done = person.run([*command, "stop", *place])
    assert done.returncode == 0, done.stderr
    assert mentions(about["private"]) == []
    assert not Path(about["private"]).exists()
