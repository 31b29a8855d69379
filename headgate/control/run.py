"""`headgate run`: put the processes together.

Law: this module is imported by the process that becomes the master, so at its top it imports nothing that the master
does not need. Each child imports its own world after the fork, inside the function that is its life.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.control.children import Seat
from headgate.control.master import Master

if TYPE_CHECKING:
    from headgate.control.companion import Server

_DEFAULT_HOST = "0.0.0.0"
_DEFAULT_PORT = 8080


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """What the command line says.

    `overrides` are KEY=VALUE texts of --set; `layers` are (name, YAML text) of presets, which lie below the files;
    `dotenv` are the names of the variables that `.env` sets.
    `host` and `port` replace the address of the first listener, `workers` and `admin` the setting of that name. `watch`
    reloads when a file changes. `guests`: the workers are the processes of that server.
    """

    paths: tuple[Path, ...]
    overrides: tuple[str, ...] = ()
    layers: tuple[tuple[str, str], ...] = ()
    dotenv: frozenset[str] = frozenset()
    host: str | None = None
    port: int | None = None
    workers: str | None = None
    admin: str | None = None
    watch: bool = True
    guests: Server | None = None

    def settings(self) -> list[tuple[str, str, str]]:
        """Return (key, YAML value, option) for each setting that has an option of its own."""
        found: list[tuple[str, str, str]] = []
        if self.host is not None or self.port is not None:
            host = _DEFAULT_HOST if self.host is None else self.host
            host = f"[{host}]" if ":" in host and not host.startswith("[") else host
            port = _DEFAULT_PORT if self.port is None else self.port
            option = "--port" if self.host is None else "--host"
            found.append(("listen[0].address", json.dumps(f"{host}:{port}"), option))
        if self.workers is not None:
            found.append(("workers", self.workers, "--workers"))
        if self.admin is not None:
            found.append(("admin.address", json.dumps(self.admin), "--admin"))
        return found


def run(options: RunOptions) -> int:
    """Run the gateway in the foreground until it is stopped; return the exit status."""

    def control(seat: Seat) -> int:
        return _control(seat, options)

    if options.guests is not None:
        from headgate.control.companion import Companion

        return Companion(control, options.guests).run()
    return Master(control, _worker).run()


def _control(seat: Seat, options: RunOptions) -> int:
    from headgate.config.declarations import Layer
    from headgate.config.loader import LoadResult, load
    from headgate.config.merge import Override
    from headgate.control.config_file import ConfigFile
    from headgate.control.control import Control, run_control
    from headgate.control.guests import GuestControl, without_listeners

    overrides: list[str | Override] = [*options.overrides, *(Override(*setting) for setting in options.settings())]
    layers = [Layer(*layer, own=False) for layer in options.layers]

    def load_all(texts: Mapping[Path, str] = {}) -> LoadResult:
        result = load(
            options.paths,
            overrides=overrides,
            environ=os.environ,
            layers=layers,
            texts=texts,
            dotenv=options.dotenv,
        )
        if options.guests is not None:
            result = without_listeners(result)
        # A folder is watched as such too, so that a file added to it counts.
        return replace(result, files=[*options.paths, *result.files])

    # Of several, or of a folder, nobody could say which one a setting belongs in.
    only = options.paths[0] if len(options.paths) == 1 and options.paths[0].is_file() else None
    file = ConfigFile(only, load_all) if only is not None else None
    kind = Control if options.guests is None else GuestControl
    return run_control(seat, load_all, poll=1.0 if options.watch else None, file=file, kind=kind)


def _worker(seat: Seat) -> int:
    from headgate.control.log import Log
    from headgate.control.worker import run_worker
    from headgate.proxy.gateway import Gateway

    say = Log(f"worker-{seat.number}")
    return run_worker(seat, lambda loop, slot, number: Gateway(loop, slot, worker=number, board=seat.board, say=say))
