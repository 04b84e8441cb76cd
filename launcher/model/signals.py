"""The signal by which a supervisor asks a child for the stacks of all its threads."""

from __future__ import annotations

import signal

# A real-time signal: NCCL and MPI use USR1 and USR2, Python's own tools the rest. 32 and 33 belong to glibc's threads. Where
# there are no real-time signals (macOS) there is no asking. Sent only to a process whose SigCgt holds it: others it would end.
_FIRST = getattr(signal, "SIGRTMIN", None)
STACKS_SIGNAL = None if _FIRST is None else int(_FIRST) + 9
