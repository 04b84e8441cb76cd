"""`distributed: torchrun` and `accelerate`: the rendezvous is set up around the command, on one node or on several."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from launcher.model.phase import Resources

PORT = 29500
"""torch's own default; the master's port when several nodes take part. On one node a free one is chosen by torch."""


@dataclass(frozen=True)
class Nodes:
    """How many nodes take part, which one this is, and where the first one listens (host or host:port)."""

    count: int = 1
    rank: int = 0
    master: str = ""


def nodes(environment: Mapping[str, str]) -> Nodes:
    """From LAUNCH_NODES, LAUNCH_NODE_RANK and LAUNCH_MASTER, which an executor sets; one node without them."""
    count, rank = environment.get("LAUNCH_NODES", "1"), environment.get("LAUNCH_NODE_RANK", "0")
    if not (count.isdecimal() and rank.isdecimal() and int(count) > 1 and environment.get("LAUNCH_MASTER")):
        return Nodes()
    return Nodes(int(count), int(rank), environment["LAUNCH_MASTER"])


def wrap(kind: str, argv: Sequence[str], resources: Resources, where: Nodes) -> tuple[str, ...]:
    """The command, started once per process. A command that is no Python is started as it is, once per process."""
    if kind not in ("torchrun", "accelerate"):
        return tuple(argv)
    interpreter, rest = _split(argv)
    per_node = resources.processes_per_node if resources.processes_per_node > 1 else max(resources.gpus, 1)
    if kind == "torchrun":
        return (interpreter, "-m", "torch.distributed.run", *_torchrun(per_node, where), *_program(rest, "--no-python"))
    options = _accelerate(per_node, resources.gpus > 0, where)
    return (interpreter, "-m", "accelerate.commands.launch", *options, *_program(rest, "--no_python"))


def _split(argv: Sequence[str]) -> tuple[str, list[str]]:
    """The interpreter, and the script or module with its arguments; `python` on PATH where the command is none."""
    if not os.path.basename(argv[0]).startswith("python"):
        return "python", ["", *argv]
    rest = list(argv[1:])
    while rest and rest[0] in ("-u", "-B", "-O"):
        rest.pop(0)
    return argv[0], rest


def _program(rest: Sequence[str], not_python: str) -> list[str]:
    if rest and rest[0] == "":
        return [not_python, *rest[1:]]
    return list(rest)  # both launchers take `-m MODULE` as Python does


def _torchrun(per_node: int, where: Nodes) -> list[str]:
    if where.count == 1:
        return ["--standalone", "--nproc-per-node", str(per_node)]
    host, _, port = where.master.partition(":")
    return [
        *("--nnodes", str(where.count), "--node-rank", str(where.rank), "--nproc-per-node", str(per_node)),
        *("--master-addr", host, "--master-port", port or str(PORT)),
    ]


def _accelerate(per_node: int, gpus: bool, where: Nodes) -> list[str]:
    total = per_node * where.count
    options = ["--num_processes", str(total), "--num_machines", str(where.count), "--mixed_precision", "no"]
    options += ["--dynamo_backend", "no"]
    if total > 1:
        options.append("--multi_gpu")  # starts one process each on CPUs too; `--cpu` would start a single one
    elif not gpus:
        options.append("--cpu")
    if where.count == 1:
        return [*options, "--main_process_port", "0"]  # a free one: other tasks of the node have their own
    host, _, port = where.master.partition(":")
    return [
        *options,
        *("--machine_rank", str(where.rank), "--main_process_ip", host, "--main_process_port", port or str(PORT)),
    ]


def variables(kind: str, resources: Resources) -> dict[str, str]:
    """What the launcher needs in its environment."""
    return {"ACCELERATE_USE_CPU": "true"} if kind == "accelerate" and not resources.gpus else {}
