"""A tar.gz whose bytes follow from its content alone: sorted names, no times, no owners."""

from __future__ import annotations

import gzip
import io
import tarfile
from typing import Literal

Mode = Literal["644", "755", "link"]


class Tarball:
    """Members are added in the order of their names; a link's content is its target.

    The form is GNU's, which stores a name's bytes as they are: a name need not be text in any encoding.
    """

    def __init__(self, *, level: int) -> None:
        self._buffer = io.BytesIO()
        self._gzip = gzip.GzipFile(filename="", fileobj=self._buffer, mode="wb", compresslevel=level, mtime=0)
        self._tar = tarfile.open(  # noqa: SIM115 - closed by finish
            fileobj=self._gzip, mode="w", format=tarfile.GNU_FORMAT, encoding="utf-8", errors="surrogateescape"
        )

    def add(self, path: str, mode: Mode, content: bytes) -> None:
        """One file or link. `path` is relative, with surrogates where its bytes are not UTF-8."""
        member = tarfile.TarInfo(path)
        if mode == "link":
            member.type = tarfile.SYMTYPE
            member.mode = 0o777
            member.linkname = content.decode("utf-8", "surrogateescape")
            self._tar.addfile(member)
            return
        member.mode = int(mode, 8)
        member.size = len(content)
        self._tar.addfile(member, io.BytesIO(content))

    def finish(self) -> bytes:
        """The archive's bytes; nothing can be added afterwards."""
        self._tar.close()
        self._gzip.close()
        return self._buffer.getvalue()
