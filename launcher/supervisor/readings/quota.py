"""What a user's or group's quota leaves, where the kernel keeps one: a disk may have room that is not ours.

NFS and Lustre keep quotas on their servers, where this call does not reach; there the ballast meets them first (EDQUOT).
"""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path
from typing import NamedTuple, Optional

_QUOTACTL_FD = 443  # the same number on every architecture; Linux 5.14, quotactl(2)
_GET = 0x800007 << 8
_KINDS = ((0, os.getuid), (1, os.getgid))  # USRQUOTA, GRPQUOTA
_RECORD = struct.Struct("=8QI")  # struct if_dqblk of linux/quota.h
_BLOCK = 1024  # QIF_DQBLKSIZE: limits are in blocks, usage is in bytes


class Quota(NamedTuple):
    """Bytes and inodes: used, and the limit; None is no limit."""

    used: int
    limit: Optional[int]
    inodes_used: int
    inodes_limit: Optional[int]


def tightest(path: Path) -> Optional[Quota]:
    """The quota that leaves least on the disk of an existing path; None where there is none, or none that can be read."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        found = [quota for kind, who in _KINDS if (quota := _ask(descriptor, kind, who())) is not None]
    finally:
        os.close(descriptor)
    limited = [quota for quota in found if quota.limit is not None]
    return min(limited, key=lambda quota: (quota.limit or 0) - quota.used, default=found[0] if found else None)


def parse(record: bytes) -> Quota:
    """A record of the kernel. The hard limit is where writing fails; a soft one counts where it is the only one."""
    hard, soft, space, inodes_hard, inodes_soft, inodes, _, _, _ = _RECORD.unpack_from(record)
    limit, inodes_limit = hard or soft, inodes_hard or inodes_soft
    return Quota(space, limit * _BLOCK if limit else None, inodes, inodes_limit or None)


def _ask(descriptor: int, kind: int, owner: int) -> Optional[Quota]:
    """No quota, a kernel without the call, a file system without quotas: all answer with an error, and mean none."""
    record = ctypes.create_string_buffer(_RECORD.size + 8)
    answer = ctypes.CDLL(None).syscall(
        ctypes.c_long(_QUOTACTL_FD), ctypes.c_uint(descriptor), ctypes.c_uint(_GET | kind), ctypes.c_int(owner), record
    )
    return parse(record.raw) if answer == 0 else None
