"""What dies, and comes back: a node, the controller, the accounting."""

from __future__ import annotations

import os
from pathlib import Path

from launcher.store.processes import stat
from tests.slurm.clusters import JOB_S, Cluster
from tests.waiting import until


def job_with_pid(cluster: Cluster, place: Path, *options: str) -> tuple[str, int]:
    """A job on n1 that runs, and the number of its shell's process."""
    file = place / "pid"
    job = cluster.sbatch(
        f"echo $$ > '{file}.part'; mv '{file}.part' '{file}'; while :; do sleep 1; done", "-w", "n1", *options
    )
    until(file.exists, JOB_S, lambda: f"the start of job {job}: {cluster.queue(job, '%T:%r')}")
    return job, int(file.read_text())


def exists(pid: int) -> bool:
    found = stat(pid)
    return found is not None and not found.ended


def test_a_node_that_dies_fails_its_job_and_comes_back(cluster: Cluster, tmp_path: Path) -> None:
    job, pid = job_with_pid(cluster, tmp_path, "--no-requeue")
    cluster.tool("kill-node", "n1", "--hard")
    assert not exists(pid)
    cluster.wait_for(job, "NODE_FAIL")
    until(lambda: cluster.accounted(job) == ["NODE_FAIL"], JOB_S, lambda: f"{cluster.accounted(job)}")
    assert "n1 is up" in cluster.tool("resume-node", "n1").stderr
    assert "n1 is up, and was before" in cluster.tool("resume-node", "n1").stderr
    assert cluster.run("srun", "-w", "n1", "sh", "-c", "echo $SLURMD_NODENAME").stdout == "n1\n"


def test_a_slurmd_that_dies_alone_leaves_its_jobs_running(cluster: Cluster, tmp_path: Path) -> None:
    """The trap: the controller says NODE_FAIL, and the job goes on."""
    job, pid = job_with_pid(cluster, tmp_path, "--no-requeue")
    cluster.tool("kill-node", "n1", "--at-once")
    cluster.wait_for(job, "NODE_FAIL")
    assert exists(pid)
    cluster.tool("resume-node", "n1")
    assert cluster.run("srun", "-w", "n1", "true").returncode == 0


def test_a_requeued_job_starts_elsewhere_when_its_node_dies(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "nodes"
    script = 'echo "$SLURMD_NODENAME"; [ "$SLURM_RESTART_COUNT" ] || sleep 600'
    job = cluster.sbatch(script, "--requeue", "--open-mode=append", "-o", str(output), "-p", "gpu")
    until(lambda: output.exists() and output.read_text().split(), JOB_S, "its first start")
    (first,) = output.read_text().split()
    cluster.tool("kill-node", first, "--hard", "--at-once")
    cluster.wait_for(job, "COMPLETED")
    assert output.read_text().split()[-1] == ({"n3", "n4"} - {first}).pop()


def test_a_controller_that_dies_does_not_disturb_a_job(cluster: Cluster, tmp_path: Path) -> None:
    go = tmp_path / "go"
    job = cluster.sbatch(f"until [ -e '{go}' ]; do sleep 0.1; done; exit 3")
    cluster.wait_for(job, "RUNNING")
    # What it has not yet written down is lost with it. A later job that its files know tells that they know this one runs.
    cluster.sbatch("true", "--hold", "-J", "later-than-the-start")
    state = cluster.private / "state" / "job_state"
    until(
        lambda: state.exists() and b"later-than-the-start" in state.read_bytes(), JOB_S, "the controller's saved state"
    )
    assert "slurmctld is dead" in cluster.tool("kill-controller").stderr
    assert cluster.daemons()["slurmctld"]["state"] == "stopped"
    refused = cluster.run("squeue", check=False)
    assert refused.returncode != 0
    assert "Unable to contact slurm controller" in refused.stderr
    cluster.tool("start-controller")
    cluster.wait_for(job, "RUNNING")
    go.touch()
    cluster.wait_for(job, "FAILED")
    until(lambda: cluster.accounted(job, "ExitCode") == ["3:0"], JOB_S, lambda: f"{cluster.accounted(job)}")


def test_a_job_ends_while_the_controller_is_away(cluster: Cluster, tmp_path: Path) -> None:
    job, pid = job_with_pid(cluster, tmp_path)
    cluster.tool("kill-controller", "--gently")
    os.kill(pid, 9)
    until(lambda: not exists(pid), JOB_S, "the end of the job's process")
    cluster.tool("start-controller")
    cluster.wait_for(job, "FAILED")


def test_jobs_go_on_while_the_accounting_is_away(cluster: Cluster) -> None:
    cluster.tool("kill-accounting")
    refused = cluster.run("sacct", check=False)
    assert refused.returncode != 0
    assert "Connection refused" in refused.stderr
    job = cluster.sbatch("exit 5")
    cluster.wait_for(job, "FAILED")
    cluster.tool("start-accounting")
    until(lambda: cluster.accounted(job, "ExitCode") == ["5:0"], JOB_S, lambda: f"{cluster.accounted(job)}")


def test_a_node_that_does_not_exist_is_refused_in_one_line(cluster: Cluster) -> None:
    done = cluster.tool("kill-node", "n9", check=False)
    assert done.returncode == 1
    assert done.stderr == "error: this cluster has no node 'n9'\nhint: its nodes are n1, n2, n3, n4\n"
