"""The files that workers share: that of the limits and that of cached answers, made by control where one is needed.

Laws: a file is made before a plan names it and removed after no plan does; reloads and restarts of control keep it, and
with it what it holds, as long as the settings of the store stay; nothing is made where nothing is limited or cached.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, NamedTuple

from headgate.config.resolve import ResolvedConfig
from headgate.control.runtime import Held, beside, spare_folders
from headgate.stores.cache.settings import MemoryCacheSettings
from headgate.stores.settings import RedisStoreSettings, SharedStoreSettings


class StoreFile(NamedTuple):
    """A file that was made: the settings it was made by, and its folder."""

    settings: SharedStoreSettings | RedisStoreSettings | MemoryCacheSettings
    folder: Path


class Kind(NamedTuple):
    """A store that may need a file: what it holds, in words and in the name of its folder, and who makes it."""

    what: str
    folder: str
    settings: tuple[type[Any], ...]
    is_used: Callable[[ResolvedConfig], bool]
    prepare: Callable[[Any, Sequence[Path]], Path]


def _is_limited(config: ResolvedConfig) -> bool:
    limited = config.limits or any(route.limits for route in config.routes)
    return bool(limited) or any(service.rate_limit is not None for service in config.services)


def _is_cached(config: ResolvedConfig) -> bool:
    return any(route.cache is not None for route in config.routes)


def _prepare_limits(settings: SharedStoreSettings | RedisStoreSettings, folders: Sequence[Path]) -> Path:
    # LMDB is for those who limit.
    from headgate.stores.shared import prepare

    return prepare(settings, folders)


def _prepare_cache(settings: MemoryCacheSettings, folders: Sequence[Path]) -> Path:
    from headgate.stores.cache.layout import prepare

    return prepare(settings, folders)


# By the field of the configuration that has the settings.
KINDS: Final = {
    "store": Kind("limits", "limits-", (SharedStoreSettings, RedisStoreSettings), _is_limited, _prepare_limits),
    "cache_store": Kind("cached answers", "cache-", (MemoryCacheSettings,), _is_cached, _prepare_cache),
}


class StoreFiles:
    """The files in force, and those of a plan on its way."""

    def __init__(self, runtime: Path, kept: Mapping[str, StoreFile | None]) -> None:
        """`kept` is what a predecessor made, by the field of KINDS."""
        self._runtime = runtime
        self._held: dict[Path, Held] = {}
        self._next: dict[str, StoreFile] = {}
        # One is gone if the predecessor died with another one taken and not yet kept.
        self.current = {field: file for field, file in kept.items() if file is not None and file.folder.is_dir()}
        for file in self.current.values():
            if file.folder.parent != runtime:
                self._beside(file.folder.parent.parent)

    def prepare(self, config: ResolvedConfig) -> dict[str, Any]:
        """Return the settings of the stores as workers get them, each with the folder of a file that is there.

        Raises:
            ValueError: with a sentence, when no file can be made.
        """
        self._next = {}
        found: dict[str, Any] = {}
        for field, kind in KINDS.items():
            settings: Any = getattr(config, field)
            found[field] = settings
            if not isinstance(settings, kind.settings) or not settings.size or not kind.is_used(config):
                continue
            file = self.current.get(field)
            if file is None or file.settings != settings:
                try:
                    file = StoreFile(settings, self._make(field, kind, settings))
                except ValueError:
                    self.conclude(taken=False)
                    raise
            self._next[field] = file
            found[field] = replace(settings, path=str(file.folder))
        return found

    def conclude(self, taken: bool) -> None:
        """Learn whether the plan that was prepared for is in force, and remove the files that no plan names now."""
        if taken:
            self.current = self._next
            wanted = {file.folder for file in self.current.values()}
            for parent in (self._runtime, *(held.path for held in self._held.values())):
                for kind in KINDS.values():
                    # Of a predecessor that died on the way to its plan there may be one more.
                    for folder in parent.glob(f"{kind.folder}*"):
                        if folder not in wanted:
                            shutil.rmtree(folder, ignore_errors=True)
        else:
            for field, file in self._next.items():
                if file is not self.current.get(field):
                    shutil.rmtree(file.folder, ignore_errors=True)
        self._next = {}

    def _make(self, field: str, kind: Kind, settings: Any) -> Path:
        if settings.path is not None:
            try:
                return kind.prepare(settings, [self._beside(Path(settings.path))])
            except OSError as error:
                reason = os.strerror(error.errno or 0)
                text = f"{field}.path: {settings.path} cannot hold the store of {kind.what}: {reason}"
                raise ValueError(text) from None
        try:
            return kind.prepare(settings, [self._runtime])
        except ValueError:
            spare = [self._beside(folder) for folder in spare_folders(self._runtime)]
            return kind.prepare(settings, [self._runtime, *spare])

    def _beside(self, parent: Path) -> Path:
        parent = parent.resolve(strict=True)
        held = self._held.get(parent)
        if held is None:
            held = self._held[parent] = beside(self._runtime, parent)
        return held.path
