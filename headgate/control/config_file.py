"""The one file that a whole configuration can be written to over the admin API.

Laws: the file has all of its new bytes or all of its old ones, at every moment; what was there before stays beside it
as NAME.bak; nothing is written that does not load, and nothing over a file that is not the one in force.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.config.loader import LoadResult


class Changed(Exception):
    """The file is not what is in force: somebody has changed it since."""


class ConfigFile:
    """The file, and how it is loaded with the options that the gateway was started with."""

    def __init__(self, path: Path, load: Callable[[Mapping[Path, str]], LoadResult]) -> None:
        self.path = path
        self._load = load

    def load(self) -> LoadResult:
        """Load what the file holds."""
        return self._load({})

    def draft(self, text: str) -> LoadResult:
        """Load as if the file held this text."""
        return self._load({self.path: text})

    def put(self, text: str, in_force: bytes) -> LoadResult:
        """Write the file if its new text loads; `in_force` is the digest of what was loaded last.

        Raises:
            Changed: the file has changed since then.
            OSError: it cannot be written.
        """
        if self._load({}).digest != in_force:
            raise Changed
        loaded = self.draft(text)
        if loaded.config is not None:
            real = self.path.resolve(strict=True)
            self._replace(real.with_name(f"{real.name}.bak"), real.read_bytes(), real)
            self._replace(real, text.encode(), real)
        return loaded

    def restore(self) -> None:
        """Put back what was there before; it stays the new text when that cannot be done.

        Raises:
            OSError: it cannot be written.
        """
        real = self.path.resolve(strict=True)
        self._replace(real, real.with_name(f"{real.name}.bak").read_bytes(), real)

    @staticmethod
    def _replace(file: Path, content: bytes, like: Path) -> None:
        """Give a file this content, and the mode and owner of `like`."""
        found = like.stat()
        fresh = file.with_name(f".{file.name}-{os.getpid()}-{os.urandom(4).hex()}")
        opened = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(opened, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fchmod(opened, found.st_mode & 0o777)
                # Only root may give files away; whoever wrote the file so far can go on doing so then.
                with contextlib.suppress(PermissionError):
                    os.fchown(opened, found.st_uid, found.st_gid)
                os.fsync(opened)
            fresh.replace(file)
        finally:
            fresh.unlink(missing_ok=True)
