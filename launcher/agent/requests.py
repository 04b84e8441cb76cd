"""Stop requests as an allocation hears them: each once, and none from before it was ordered."""

from __future__ import annotations

from typing import Optional

from launcher.agent.report import say
from launcher.errors import BadRecord, LaunchError
from launcher.model.records import Order, StopRequest
from launcher.store import keys, records
from launcher.store.folder import FolderStore


class Requests:
    """Looks into the job's one folder of stop requests, for those that are meant for what `order` ordered."""

    def __init__(self, store: FolderStore, job: str, order: Order) -> None:
        self._store = store
        self._folder = keys.stops(job)
        self._order = order
        self._seen: set[str] = set()
        self._all = False
        self._tasks: set[int] = set()

    def new(self) -> list[StopRequest]:
        """Those that came since the last look. A store that cannot be read has none yet."""
        found: list[StopRequest] = []
        try:
            names = self._store.names(self._folder)
        except LaunchError:
            return found
        for name in names:
            if name not in self._seen:
                request = self._read(name)
                if request is not None and self._order.is_stopped_by(name, request.at):
                    found.append(request)
                    self._all = self._all or request.tasks is None
                    self._tasks.update(request.tasks or ())
        return found

    def stopped(self, task: int) -> bool:
        """Whether a request that was seen covers a task."""
        return self._all or task in self._tasks

    def _read(self, name: str) -> Optional[StopRequest]:
        try:
            request = records.read(self._store, StopRequest, f"{self._folder}/{name}")
        except BadRecord as error:
            self._seen.add(name)
            say(f"a stop request is left out: {error}")
            return None
        except LaunchError:
            return None
        self._seen.add(name)
        return request
