"""The file that the workers count limits in: made by control, once for each store that the configuration names.

Laws: it is made before a plan names it and removed after no plan does; reloads and restarts of control keep it, and
with it what was counted, as long as the settings of the store stay; nothing is made where nothing is limited.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from headgate.config.resolve import ResolvedConfig
from headgate.control.runtime import Held, beside, spare_folders
from headgate.stores.settings import SharedStoreSettings


class StoreFile(NamedTuple):
    """A file that was made: the settings it was made by, and its folder."""

    settings: SharedStoreSettings
    folder: Path


class StoreFiles:
    """The file in force, and the one of a plan on its way."""

    def __init__(self, runtime: Path, kept: StoreFile | None) -> None:
        """`kept` is what a predecessor made."""
        self._runtime = runtime
        self._held: dict[Path, Held] = {}
        self._next: StoreFile | None = None
        # It is gone if the predecessor died with another one taken and not yet kept.
        self.current = kept if kept is not None and kept.folder.is_dir() else None
        if self.current is not None and self.current.folder.parent != runtime:
            self._beside(self.current.folder.parent.parent)

    def prepare(self, config: ResolvedConfig) -> Any:
        """Return the settings of the store as workers get them, with the folder of a file that is there.

        Raises:
            ValueError: with a sentence, when no file can be made.
        """
        settings = config.store
        self._next = None
        limited = config.limits or any(route.limits for route in config.routes)
        limited = limited or any(service.rate_limit is not None for service in config.services)
        if not limited or not isinstance(settings, SharedStoreSettings):
            return settings
        if self.current is not None and self.current.settings == settings:
            self._next = self.current
        else:
            self._next = StoreFile(settings, self._make(settings))
        return replace(settings, path=str(self._next.folder))

    def conclude(self, taken: bool) -> None:
        """Learn whether the plan that was prepared for is in force, and remove the files that no plan names now."""
        if taken:
            self.current = self._next
            for parent in (self._runtime, *(held.path for held in self._held.values())):
                # Of a predecessor that died on the way to its plan there may be one more.
                for folder in parent.glob("limits-*"):
                    if self.current is None or folder != self.current.folder:
                        shutil.rmtree(folder, ignore_errors=True)
        elif self._next is not None and self._next is not self.current:
            shutil.rmtree(self._next.folder, ignore_errors=True)
        self._next = None

    def _make(self, settings: SharedStoreSettings) -> Path:
        # LMDB is for those who limit.
        from headgate.stores.shared import prepare

        if settings.path is not None:
            try:
                return prepare(settings, [self._beside(Path(settings.path))])
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                raise ValueError(f"store.path: {settings.path} cannot hold the store of limits: {reason}") from None
        try:
            return prepare(settings, [self._runtime])
        except ValueError:
            spare = [self._beside(folder) for folder in spare_folders(self._runtime)]
            return prepare(settings, [self._runtime, *spare])

    def _beside(self, parent: Path) -> Path:
        parent = parent.resolve(strict=True)
        held = self._held.get(parent)
        if held is None:
            held = self._held[parent] = beside(self._runtime, parent)
        return held.path
