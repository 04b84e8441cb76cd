"""What the inputs were when they were used: hashed beside the child, so that a success can say what it was made from."""

from __future__ import annotations

import os
from typing import Optional

from launcher.errors import LaunchError
from launcher.model.records import Fingerprint, Manifest
from launcher.store import fingerprints, keys, records
from launcher.supervisor.aside import Aside
from launcher.supervisor.places import Places

WAIT_S = 600.0


class Fingerprints:
    """Begins at construction, in a thread. An input whose manifest describes what lies there is not read again."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._work = Aside(self._all, "inputs")

    def wait(self) -> tuple[Fingerprint, ...]:
        """Those that could be taken. Not for the loop's thread: inputs may be large."""
        self._work.join(WAIT_S)
        return self._work.result() if self._work.done() else ()

    def _all(self) -> tuple[Fingerprint, ...]:
        found = []
        for path in self._places.inputs.values():
            fingerprint = self._one(path)
            if fingerprint is not None:
                found.append(fingerprint)
        return tuple(found)

    def _one(self, path: str) -> Optional[Fingerprint]:
        place = self._places.workspace.root / path
        try:
            manifest = None
            if not path.startswith("/"):
                manifest = records.read(self._places.workspace, Manifest, keys.workspace_manifest(path))
            if manifest is not None and self._still(path, manifest):
                return Fingerprint(path, manifest.hash, manifest.job)
            if not os.path.exists(place):
                return None
            return Fingerprint(path, fingerprints.combine(fingerprints.describe(place)))
        except (OSError, LaunchError):
            return None

    def _still(self, path: str, manifest: Manifest) -> bool:
        """Whether the same files lie there with the same sizes, none changed after the manifest was written."""
        place = self._places.workspace.root / path
        lying = dict(fingerprints.files_under(place))
        if set(lying) != {file.path for file in manifest.files}:
            return False
        for file in manifest.files:
            found = os.stat(lying[file.path])
            if found.st_size != file.size or found.st_mtime > manifest.at:
                return False
        return True
