"""What a user does with the cluster: jobs, arrays, GPUs, requeue, preemption, accounting, the login node."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.slurm.clusters import JOB_S, START_S, TOOL, Cluster, Person, plain_environment
from tests.waiting import until


def test_a_job_is_carried_out_and_accounted_for(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "its output"
    job = cluster.sbatch('echo "on $SLURMD_NODENAME"; exit 7', "-o", str(output))
    cluster.wait_for(job, "FAILED")
    assert output.read_text() in ("on n1\n", "on n2\n")
    until(
        lambda: cluster.accounted(job, "State,ExitCode") == ["FAILED|7:0"], JOB_S, lambda: f"{cluster.accounted(job)}"
    )


def test_an_array_is_one_job_of_many_tasks(cluster: Cluster, tmp_path: Path) -> None:
    job = cluster.sbatch("echo $SLURM_ARRAY_TASK_ID", "--array=0-5%3", "-o", f"{tmp_path}/%a")
    cluster.wait_for(job, "COMPLETED")
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == [f"{index}\n" for index in range(6)]
    expected = [f"{job}_{index}|COMPLETED" for index in range(6)]
    until(lambda: cluster.accounted(job, "JobID,State") == expected, JOB_S, lambda: f"{cluster.accounted(job)}")


def test_a_job_gets_the_gpus_that_it_asks_for(cluster: Cluster) -> None:
    done = cluster.run(
        "srun", "-p", "gpu", "--gres=gpu:a100:3", "sh", "-c", "echo $CUDA_VISIBLE_DEVICES $SLURMD_NODENAME"
    )
    assert done.stdout.split() in (["0,1,2", "n3"], ["0,1,2", "n4"])
    refused = cluster.run("srun", "-p", "cpu", "--gres=gpu:1", "true", check=False)
    assert refused.returncode != 0


def test_a_requeued_job_starts_again(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "output"
    script = 'echo "restarts ${SLURM_RESTART_COUNT-0}"; [ "$SLURM_RESTART_COUNT" ] || sleep 600'
    job = cluster.sbatch(script, "--requeue", "--open-mode=append", "-o", str(output))
    until(lambda: output.exists() and output.read_text() == "restarts 0\n", JOB_S, "its first start")
    cluster.run("scontrol", "requeue", job)
    cluster.wait_for(job, "COMPLETED")
    assert output.read_text().splitlines()[0] == "restarts 0"
    assert output.read_text().splitlines()[-1] == "restarts 1"


def test_a_job_of_the_preemptible_partition_makes_room(cluster: Cluster, tmp_path: Path) -> None:
    output = tmp_path / "output"
    script = 'echo "restarts ${SLURM_RESTART_COUNT-0}"; [ "$SLURM_RESTART_COUNT" ] || sleep 600'
    options = ("--requeue", "--open-mode=append", "-w", "n1", "-c", "8")
    low = cluster.sbatch(script, "-p", "preempt", *options, "-o", str(output))
    cluster.wait_for(low, "RUNNING")
    high = cluster.sbatch("sleep 1", "-p", "cpu", "-w", "n1", "-c", "8")
    cluster.wait_for(high, "RUNNING", "COMPLETING", "COMPLETED")
    assert "RUNNING" not in cluster.queue(low)
    cluster.wait_for(low, "COMPLETED")
    assert output.read_text().splitlines()[-1] == "restarts 1"

    def states() -> list[str]:
        command = ("sacct", "-n", "-X", "-P", "-D", "-j", low, "-o", "State")
        return sorted(cluster.run(*command, check=False).stdout.split())

    until(lambda: states() == ["COMPLETED", "PREEMPTED"], JOB_S, lambda: f"{states()}")


def test_an_ordinary_user_submits_to_it(cluster: Cluster, person: Person) -> None:
    environment = cluster.variables
    done = person.run(["srun", "sh", "-c", "id -un; id -u"], SLURM_CONF=environment["SLURM_CONF"])
    assert done.stdout.split()[0] == person.name, done.stderr


def test_the_login_node_lets_in_who_has_the_key(cluster: Cluster) -> None:
    job = cluster.sbatch("sleep 600")
    of = cluster.variables
    asked = ["ssh", "-F", of["ONEHOST_SSH_CONFIG"], "-o", "BatchMode=yes", of["ONEHOST_SSH_ALIAS"], "squeue -h -o %i"]
    done = subprocess.run(asked, env=plain_environment(), capture_output=True, text=True, timeout=START_S)
    assert done.stdout.split() == [job], done.stderr


def test_the_login_node_by_its_parts_and_refusing_without_the_key(cluster: Cluster, tmp_path: Path) -> None:
    of = cluster.variables
    options = ["-F", "/dev/null", "-o", "BatchMode=yes", "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"]
    options += ["-o", f"UserKnownHostsFile={of['ONEHOST_SSH_KNOWN_HOSTS']}", "-p", of["ONEHOST_SSH_PORT"]]
    command = [
        "ssh",
        *options,
        "-i",
        of["ONEHOST_SSH_KEY"],
        f"{of['ONEHOST_SSH_USER']}@{of['ONEHOST_SSH_HOST']}",
        "sinfo",
    ]
    done = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, timeout=START_S)
    assert "preempt" in done.stdout, done.stderr
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(other)], check=True)
    command[command.index("-i") + 1] = str(other)
    done = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, timeout=START_S)
    assert done.returncode == 255
    assert "Permission denied" in done.stderr


def test_what_env_prints_is_for_eval(cluster: Cluster) -> None:
    script = 'eval "$("$1" "$2" env --dir "$3")" && sinfo -h -o %R'
    command = ["sh", "-c", script, "sh", sys.executable, str(TOOL), str(cluster.folder)]
    done = subprocess.run(command, env=plain_environment(), capture_output=True, text=True, timeout=START_S)
    assert sorted(done.stdout.split()) == ["cpu", "gpu", "preempt", "short"], done.stderr
