"""Which Python and which packages the child has: asked of the child's own interpreter while the child runs."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Optional

from launcher.supervisor.redaction import redacted_json
from launcher.supervisor.start import child

DEADLINE_S = 30.0
_MOST = 4_000_000  # bytes of answer

# What `pip freeze` says, from the metadata on disk: environments made by uv hold no pip, and nothing is imported.
_QUESTION = r"""
import json, platform, sys
said = {"python": platform.python_version(), "implementation": platform.python_implementation(), "executable": sys.executable}
try:
    from importlib import metadata
    found = {}
    for each in metadata.distributions():
        name = each.metadata["Name"]
        if not name:
            continue
        line = "%s==%s" % (name, each.version)
        try:
            origin = json.loads(each.read_text("direct_url.json") or "null")
        except ValueError:
            origin = None
        if origin:
            vcs = origin.get("vcs_info") or {}
            url = (vcs["vcs"] + "+" if vcs.get("vcs") else "") + str(origin.get("url"))
            commit = "@" + vcs["commit_id"] if vcs.get("commit_id") else ""
            line = "%s @ %s%s" % (name, url, commit)
        if name.lower() not in found:
            found[name.lower()] = line
        if name.lower() == "torch":
            said["torch"] = each.version
    said["packages"] = [found[key] for key in sorted(found)]
except Exception as error:
    said["error"] = "%s: %s" % (type(error).__name__, error)
print(json.dumps(said))
"""


class Query:
    """Started at construction, `poll` says when it is over. Whatever goes wrong, the answer is not available."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], answer: Path, mono: float) -> None:
        self.answer: dict[str, Any] = {}
        self._file = answer
        self._deadline = mono + DEADLINE_S
        self._pid: Optional[int] = None
        clean = {name: value for name, value in environment.items() if not name.startswith("LAUNCH_")}
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            out = os.open(answer, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError:
            os.close(null)
            return
        try:
            actions = [(os.POSIX_SPAWN_DUP2, each, to) for each, to in ((null, 0), (out, 1), (null, 2))]
            # A group of its own, our session: it can be ended as a whole, and is no stray of the attempt.
            self._pid = os.posix_spawnp(
                argv[0],
                [*argv, "-c", _QUESTION],
                clean,
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=(signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGPIPE),
            )
        except OSError:
            self._remove()
        finally:
            os.close(out)
            os.close(null)

    def poll(self, mono: float) -> bool:
        """True once there is nothing more to come."""
        if self._pid is None:
            return True
        pid, status = os.waitpid(self._pid, os.WNOHANG)
        if pid == 0:
            if mono < self._deadline:
                return False
            self.end()
            return True
        self._pid = None
        if status == 0:
            self.answer = self._read()
        self._remove()
        return True

    def end(self) -> None:
        """Wait no longer."""
        if self._pid is not None:
            try:
                os.killpg(self._pid, signal.SIGKILL)
            except (ProcessLookupError, PermissionError):
                pass
            child.reap(self._pid, child.KILLED_S)
            self._pid = None
            self._remove()

    def _read(self) -> dict[str, Any]:
        try:
            with open(self._file, "rb") as file:
                said = redacted_json(json.loads(file.read(_MOST)))
        except (OSError, ValueError):
            return {}
        return said if isinstance(said, dict) else {}

    def _remove(self) -> None:
        try:
            self._file.unlink()
        except OSError:
            pass
