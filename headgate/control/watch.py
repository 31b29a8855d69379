"""Which files changed, and whether they are whole yet.

A file's fingerprint is (real path, mtime in ns, size, inode) of what its path leads to now. Polling with it needs
no dependency and sees what inotify misses: network file systems, bind mounts, and the way Kubernetes replaces a
ConfigMap, where only a symlink far up the path (`..data`) is swapped and the real path changes. A folder counts by
its members.

A change is reported when two polls in a row saw the same new state: an editor that truncates first and writes
then, or a copy in progress, is waited for. No clock in here; who polls each second waits at least one.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from headgate.config.loader import LoadResult

Fingerprint = tuple[object, ...]

# What nothing on a disk has.
_UNKNOWN: Fingerprint = ()


class Watch:
    """Files and folders, and the state in which they were last acted upon."""

    __slots__ = ("_candidate", "_known")

    def __init__(self, paths: Iterable[Path] = ()) -> None:
        self._known: dict[Path, Fingerprint] = {}
        self._candidate: dict[Path, Fingerprint] | None = None
        self.follow(paths)

    @property
    def paths(self) -> list[Path]:
        """Return what is watched."""
        return list(self._known)

    def follow(self, paths: Iterable[Path], since: float = math.inf) -> None:
        """Watch `paths` from now on. What was watched already keeps its state: no change in between is lost.

        Others may have been read from `since` on, in seconds since 1970: what was written then counts as changed.
        """
        known = self._known
        self._known = {path: known[path] if path in known else _first_seen(path, since) for path in paths}
        self._candidate = None

    def mark(self) -> None:
        """Take the present state as acted upon; for a reload that somebody asked for."""
        self._known = {path: fingerprint(path) for path in self._known}
        self._candidate = None

    def poll(self) -> list[Path]:
        """Return the paths that changed since they were acted upon and are stable now; mostly none."""
        now = {path: fingerprint(path) for path in self._known}
        if now == self._known:
            self._candidate = None
            return []
        if now != self._candidate:
            self._candidate = now
            return []
        changed = [path for path in now if now[path] != self._known[path]]
        self._known = now
        self._candidate = None
        return changed

    def __repr__(self) -> str:
        return f"<Watch {len(self._known)} paths{', settling' if self._candidate else ''}>"


def fingerprint(path: Path) -> Fingerprint:
    """Return what tells one state of a file or folder from another; a missing one has a fingerprint too."""
    try:
        real = path.resolve(strict=True)
        if not real.is_dir():
            return _of_file(real)
        return real, *((member.name, *_of_file(member.resolve(strict=True))) for member in _members(real))
    except OSError as error:
        return (error.errno,)


def _first_seen(path: Path, since: float) -> Fingerprint:
    found = fingerprint(path)
    try:
        read = _members(path) if path.is_dir() else [path]
        return _UNKNOWN if any(each.stat().st_mtime >= since for each in read) else found
    except OSError:
        return found


def _members(folder: Path) -> list[Path]:
    """List what counts of a folder: hidden ones are swap files of editors, and what links of a ConfigMap lead to."""
    return sorted(member for member in folder.iterdir() if not member.name.startswith("."))


def _of_file(real: Path) -> Fingerprint:
    found = real.stat()
    return real, found.st_mtime_ns, found.st_size, found.st_ino


def watched(loaded: LoadResult) -> list[Path]:
    """List the files the configuration was read from, and those it names: certificates, keys, authorities."""
    named: list[str | None] = []
    if loaded.config is not None:
        for listener in loaded.config.listeners:
            if listener.tls is not None:
                named += [listener.tls.cert, listener.tls.key, listener.tls.client_ca]
                for certificate in listener.tls.certificates:
                    named += [certificate.cert, certificate.key]
        for service in loaded.config.services:
            named += [service.tls.ca, service.tls.cert, service.tls.key]
        for issuer in loaded.config.identity.jwt:
            named += [issuer.public_key, *(each.ca for each in (issuer.key_set, issuer.discovery) if each is not None)]
        named += [each.ca for each in loaded.config.identity.introspection]
        named += [route.auth.external.ca for route in loaded.config.routes if route.auth.external is not None]
    return list(dict.fromkeys([*loaded.files, *(Path(name) for name in named if name)]))
