"""Which process is which, durably: an identity that survives pid reuse and reboots, and who belongs to a tree.

Reads /proc only. Every process may vanish between two reads, so every reading has an answer for that. Travels to the
node: standard library, Python 3.9.
"""

from __future__ import annotations

import functools
import os
import time
import zlib
from collections.abc import Iterable
from typing import NamedTuple, Optional

from launcher.model.records import ProcessId

PROC = "/proc"
MACHINE_ID = "/etc/machine-id"
ATTEMPT_VARIABLE = "LAUNCH_ATTEMPT_ID"
BOOT = b"launch-boot"
"""What the boot script is called in its argument vector."""
_STOP_FILE = b"LAUNCH_STOP_FILE="


class Stat(NamedTuple):
    """What /proc/PID/stat says. Times in clock ticks, `start` since boot; `rss` in pages."""

    pid: int
    state: str
    parent: int
    group: int
    session: int
    user: int
    system: int
    waited: int  # of children that have ended and been waited for, user and system
    threads: int
    start: int
    rss: int

    @property
    def ended(self) -> bool:
        """A zombie waits for its parent only. One whose first thread left before the others still runs."""
        return self.state in "ZXx" and self.threads <= 1


def stat(pid: int) -> Optional[Stat]:
    """None where there is no such process, or it may not be read."""
    try:
        descriptor = os.open(f"{PROC}/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return parse_stat(os.read(descriptor, 4096))
    except OSError:  # ESRCH: it ended after the file was opened
        return None
    finally:
        os.close(descriptor)


def parse_stat(content: bytes) -> Optional[Stat]:
    """None for what is no line of /proc/PID/stat. The name, in brackets, may hold brackets, spaces and newlines."""
    opening, closing = content.find(b"("), content.rfind(b")")
    fields = content[closing + 1 :].split()
    if opening < 1 or closing < opening or len(fields) < 22:
        return None
    try:
        numbers = [int(field) for field in fields[1:22]]
        return Stat(
            pid=int(content[:opening]),
            state=fields[0].decode("ascii"),
            parent=numbers[0],
            group=numbers[1],
            session=numbers[2],
            user=numbers[10],
            system=numbers[11],
            waited=numbers[12] + numbers[13],
            threads=numbers[16],
            start=numbers[18],
            rss=numbers[20],
        )
    except ValueError:
        return None


@functools.lru_cache(maxsize=1)
def boot_id() -> str:
    """The kernel's name for the time since it booted; empty where it has none (no Linux, a sealed container)."""
    try:
        with open(f"{PROC}/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return ""


def host() -> str:
    """The node's name, as the kernel has it now."""
    return os.uname().nodename


@functools.lru_cache(maxsize=1)
def machine() -> Optional[str]:
    """Eight digits that stand for this installation, the same after a boot; None where there is no id (most containers).

    The id itself is not for publication (machine-id(5)).
    """
    try:
        with open(MACHINE_ID, "rb") as file:
            known = file.read(64).strip()
    except OSError:
        return None
    return f"{zlib.crc32(b'launch ' + known):08x}" if len(known) == 32 else None


def another_machine(name: Optional[str], boot: str) -> bool:
    """Whether `name`, as `machine` gave it, is not ours, though the host is called as ours is.

    Without an id on either side that is certain within one boot only: then it is a container on this very kernel, which
    has processes of its own, or we are.
    """
    if name is None or machine() is None:
        return name != machine() and bool(boot) and boot_id().startswith(boot)
    return name != machine()


def process_id(pid: int) -> Optional[ProcessId]:
    """None where no such process runs (a zombie is still named: its pid cannot be another's yet)."""
    found = stat(pid)
    return None if found is None else ProcessId(pid, found.start, boot_id(), host(), machine())


def age(process: ProcessId) -> Optional[float]:
    """Seconds since a process of this boot began, by the kernel's own clock, which nobody sets; None for another boot's."""
    if not process.boot or process.boot != boot_id():
        return None
    return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - process.start / os.sysconf("SC_CLK_TCK"))


def alive(process: ProcessId) -> Optional[bool]:
    """Whether it still runs. A zombie does not. None: cannot be known from here (another host, an unreadable /proc)."""
    if process.host != host() or another_machine(process.machine, process.boot):
        return None
    if process.boot and boot_id() and process.boot != boot_id():
        return False  # the host has booted since
    found = stat(process.pid)
    if found is None:
        return _exists(process.pid)
    if found.start != process.start or found.ended:
        return False
    return True if process.boot == boot_id() != "" else None


def _exists(pid: int) -> Optional[bool]:
    """For a pid that /proc does not show: proof of absence, or None (hidepid hides other users' processes)."""
    if pid <= 0:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return None
    # It exists and was hidden, or came between two looks; where /proc shows it now, it is another look's business.
    return None


def all_pids() -> list[int]:
    """Every process that /proc shows; none where there is no /proc."""
    try:
        return [int(name) for name in os.listdir(PROC) if name.isdecimal()]
    except OSError:
        return []


def descendants(roots: Iterable[int]) -> list[int]:
    """Those of `roots` that run and everything that runs beneath them, ascending. Zombies are left out."""
    return sorted(found.pid for found in tree(roots) if not found.ended)


def tree(roots: Iterable[int]) -> list[Stat]:
    """The roots and all beneath them as one look found them, zombies too."""
    stats = {found.pid: found for found in (stat(pid) for pid in all_pids()) if found is not None}
    children: dict[int, list[int]] = {}
    for found in stats.values():
        children.setdefault(found.parent, []).append(found.pid)
    members: dict[int, Stat] = {}
    waiting = [pid for pid in roots if pid in stats]
    while waiting:
        pid = waiting.pop()
        if pid not in members:
            members[pid] = stats[pid]
            waiting.extend(children.get(pid, ()))
    return list(members.values())


def marked(attempt_id: str, store: Optional[str] = None) -> list[int]:
    """Processes, ascending, whose environment at their start named this attempt, wherever they have got to in the tree.

    `store`, the store's folder as the attempt was given it, leaves out those of a job that has the same id in another
    store. A process that overwrote its environment (to set its title) is not found. Zombies have none.
    """
    return sorted(pid for pid in all_pids() if names(environment(pid), attempt_id, store))


def names(variables: list[bytes], attempt_id: str, store: Optional[str] = None) -> bool:
    """Whether the assignments that a process was started with are those of an attempt (of a job in `store`)."""
    if f"{ATTEMPT_VARIABLE}={attempt_id}".encode() not in variables:
        return False
    return store is None or any(
        variable.startswith(_STOP_FILE) and _within(os.fsdecode(variable[len(_STOP_FILE) :]), store)
        for variable in variables
    )


def of_another(pid: int, attempt_id: str, store: str) -> bool:
    """Whether a process is one of our programs on a node (an agent, its boot, a supervisor), or is marked as another
    attempt's: a job that a task submits is nobody's child, wherever it stands in the tree."""
    if is_ours(command_line(pid)):
        return True
    variables = environment(pid)
    marked_at_all = any(variable.startswith(f"{ATTEMPT_VARIABLE}=".encode()) for variable in variables)
    return marked_at_all and not names(variables, attempt_id, store)


def is_ours(words: list[bytes]) -> bool:
    """Whether an argument vector starts one of our programs on a node."""
    if len(words) > 3 and words[3] == BOOT:
        return True
    return b"--store" in words and any(b"from launcher." in word for word in words[:5])


def command_line(pid: int) -> list[bytes]:
    """The argument vector of a process of this user's; empty where there is none to be read."""
    try:
        if os.stat(f"{PROC}/{pid}").st_uid != os.getuid():
            return []
        with open(f"{PROC}/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []


def _within(path: str, folder: str) -> bool:
    if path.startswith(f"{folder}/"):
        return True
    return os.path.realpath(path).startswith(f"{os.path.realpath(folder)}/")


def environment(pid: int) -> list[bytes]:
    """The assignments that a process was started with; none where they may not be read."""
    try:
        with open(f"{PROC}/{pid}/environ", "rb") as file:
            return file.read().split(b"\0")
    except OSError:
        return []
