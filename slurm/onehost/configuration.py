"""The text of every configuration file. Pure: a layout in, text out. Why each line is: docs/slurm-on-one-host.md."""

from __future__ import annotations

from collections.abc import Iterable

from onehost.network import LOOPBACK
from onehost.settings import MARK, Layout

CLUSTER = "onehost"
LOGIN_HOST = "onehost"
"""The name of the login node in the ssh configuration."""
GPU_TYPE = "a100"


def slurm_conf(layout: Layout) -> str:
    """slurm.conf, with the lines that were asked for in place of ours."""
    asked = dict(line.split("=", 1) for line in layout.settings.lines)
    lines = {**general(layout), **scheduling(layout), **accounting(layout)}
    kept = {key: value for key, value in lines.items() if key.lower() not in {name.lower() for name in asked}}
    return "\n".join(
        [*(f"{key}={value}" for key, value in {**kept, **asked}.items()), *nodes(layout), *partitions(layout), ""]
    )


def general(layout: Layout) -> dict[str, str]:
    """Who is who, and where everything lies."""
    root = layout.root
    lines = {
        "ClusterName": CLUSTER,
        "SlurmctldHost": f"localhost({LOOPBACK})",
        "SlurmUser": layout.user,
        "SlurmdUser": layout.user,
        "SlurmctldPort": str(layout.controller_port),
        "AuthType": "auth/munge",
        "CredType": "cred/munge",
        # A requeued job waits cred_expire + 1 s; SLURM takes no value below 5.
        "AuthInfo": f"socket={layout.munge_socket},cred_expire=5",
        "StateSaveLocation": f"{root}/state",
        "SlurmdSpoolDir": f"{root}/spool/%n",
        "SlurmctldPidFile": f"{root}/run/slurmctld.pid",
        "SlurmdPidFile": f"{root}/run/slurmd.%n.pid",
        "SlurmctldLogFile": f"{root}/log/slurmctld.log",
        "SlurmdLogFile": f"{root}/log/slurmd.%n.log",
        "MailProg": "/bin/true",
        "MpiDefault": "none",
        "ProctrackType": "proctrack/linuxproc",
        "TaskPlugin": "task/none",
        # Nodes may claim more than the host has.
        "SlurmdParameters": "config_overrides",
        "ReturnToService": "2",
    }
    if layout.loopback_only:
        lines["CommunicationParameters"] = "NoCtldInAddrAny,NoInAddrAny"
    return lines


def scheduling(layout: Layout) -> dict[str, str]:
    """Made for short waits: what a site counts in minutes takes seconds here."""
    lines = {
        "SelectType": "select/cons_tres",
        "SelectTypeParameters": "CR_CPU_Memory",
        # Without it a job takes all of a node's memory.
        "DefMemPerCPU": "100",
        "SchedulerType": "sched/backfill",
        # A batch job starts within a tick of one second; with the default delay it was 2.8 s.
        "SchedulerParameters": "batch_sched_delay=0,sched_interval=2,bf_interval=2,max_array_tasks=10000",
        "PreemptType": "preempt/partition_prio",
        "PreemptMode": "REQUEUE",
        "SlurmctldParameters": "preempt_send_user_signal",
        "MaxArraySize": "10001",
        "MaxJobCount": "20000",
        "MinJobAge": "300",
        "KillWait": "3",
        # Together: NODE_FAIL about 11 s after a node died.
        "SlurmdTimeout": "5",
        "MessageTimeout": "3",
        "JobAcctGatherType": "jobacct_gather/linux",
        "JobAcctGatherFrequency": "task=1",
    }
    if layout.settings.gpus:
        lines["GresTypes"] = "gpu"
    return lines


def accounting(layout: Layout) -> dict[str, str]:
    """With slurmdbd, or without any."""
    if not layout.settings.accounting:
        return {"AccountingStorageType": "accounting_storage/none"}
    lines = {
        "AccountingStorageType": "accounting_storage/slurmdbd",
        "AccountingStorageHost": LOOPBACK,
        "AccountingStoragePort": str(layout.accounting_port),
        # Towards slurmdbd AuthInfo is not used: without this line the system's own munge socket is looked for.
        "AccountingStoragePass": str(layout.munge_socket),
        "AccountingStoreFlags": "job_comment,job_script,job_env",
    }
    if layout.settings.gpus:
        lines["AccountingStorageTRES"] = "gres/gpu"
    return lines


def nodes(layout: Layout) -> Iterable[str]:
    """Each node is a slurmd with a port of its own on the same address."""
    asked = layout.settings
    for name, port in zip(layout.node_names, layout.node_ports, strict=True):
        gpus = f" Gres=gpu:{GPU_TYPE}:{asked.gpus}" if asked.gpus and name in layout.gpu_nodes else ""
        yield (
            f"NodeName={name} NodeHostname=localhost NodeAddr={LOOPBACK} Port={port}"
            f" CPUs={asked.cpus} RealMemory={asked.memory_mb}{gpus} State=UNKNOWN"
        )


def partitions(layout: Layout) -> Iterable[str]:
    """What a site has, in small: preempt lies below the others on every node."""
    cpu, gpu, every = (",".join(names) for names in (layout.cpu_nodes, layout.gpu_nodes, layout.node_names))
    first = "PriorityTier=10 PreemptMode=OFF"
    grace = layout.settings.preempt_grace_s
    yield f"PartitionName=cpu Nodes={cpu} Default=YES {first} MaxTime=UNLIMITED DefaultTime=60"
    yield f"PartitionName=gpu Nodes={gpu} {first} MaxTime=UNLIMITED DefaultTime=60"
    yield f"PartitionName=preempt Nodes={every} PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace} DefaultTime=60"
    yield f"PartitionName=short Nodes={cpu} {first} MaxTime=10 DefaultTime=1"


def gres_conf(layout: Layout) -> str:
    """One line per faked GPU. Count without File gives none in Debian's build, and the node is drained."""
    lines = [
        f"NodeName={name} Name=gpu Type={GPU_TYPE} File={device}\n"
        for name in layout.gpu_nodes
        for device in layout.gpu_devices[: layout.settings.gpus]
    ]
    return "".join(lines)


def slurmdbd_conf(layout: Layout) -> str:
    """Where the database listens is not said here: the client library takes it from MYSQL_UNIX_PORT."""
    root = layout.root
    lines = {
        "DbdHost": "localhost",
        "DbdAddr": LOOPBACK,
        "DbdPort": str(layout.accounting_port),
        "SlurmUser": layout.user,
        "AuthType": "auth/munge",
        "AuthInfo": f"socket={layout.munge_socket}",
        "PidFile": f"{root}/run/slurmdbd.pid",
        "LogFile": f"{root}/log/slurmdbd.log",
        "StorageType": "accounting_storage/mysql",
        "StorageHost": "localhost",
        "StorageUser": "root",
        "StorageLoc": "slurm_acct_db",
    }
    return "".join(f"{key}={value}\n" for key, value in lines.items())


def sshd_config(layout: Layout) -> str:
    """The login node: keys only, on its own port, and every command finds the cluster."""
    root = layout.root
    return f"""Port {layout.login_port}
ListenAddress {LOOPBACK}
HostKey {root}/ssh/host_key
PidFile {root}/run/sshd.pid
AuthorizedKeysFile {root}/ssh/authorized_keys
# The folder is ours, but lies in one that everybody may write to.
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
# The defaults, 10:30:100 and 10, refuse connections at random when many come at once.
MaxStartups 200:30:400
MaxSessions 100
Subsystem sftp internal-sftp
SetEnv SLURM_CONF={layout.conf} {MARK}={root}
"""


def ssh_config(layout: Layout) -> str:
    """For `ssh -F`, and for an Include line of the user's own configuration."""
    root = layout.root
    return f"""Host {LOGIN_HOST}
    HostName {LOOPBACK}
    Port {layout.login_port}
    User {layout.user}
    IdentityFile {root}/ssh/key
    IdentitiesOnly yes
    UserKnownHostsFile {root}/ssh/known_hosts
    GlobalKnownHostsFile /dev/null
    StrictHostKeyChecking yes
"""
