"""A configuration as workers get it, and made whole again for the successor of a control process.

Law: no worker has a use for what is taken out here (secrets of the admin API, of databases, of collectors, of sources
and of what the gateway depends on), and workers are the processes that strangers talk to.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

from headgate.config.admin_settings import Admin, OwnHealth
from headgate.config.resolve import ResolvedConfig
from headgate.config.schema import Database
from headgate.control.sources import KeptSource
from headgate.telemetry.settings import Otlp


class Withheld(NamedTuple):
    """What workers do not get, besides the settings of sources, which are kept with what each source said."""

    admin: Admin
    export: Otlp | None = None
    database: Database = Database()
    health: OwnHealth = OwnHealth()


def withheld(config: ResolvedConfig) -> Withheld:
    """Return what of this configuration is taken out for workers."""
    return Withheld(config.admin, config.telemetry.tracing.export, config.database, config.health)


def for_workers(config: ResolvedConfig) -> ResolvedConfig:
    """Take it out, and the settings of sources; of the admin settings only the secrets."""
    bare = Withheld(replace(config.admin, token="", tokens=[]))
    services = (replace(each, discovery=None) if each.source else each for each in config.services)
    return _with(replace(config, services=tuple(services)), bare)


def whole(config: ResolvedConfig, kept: Withheld, sources: Iterable[KeptSource]) -> ResolvedConfig:
    """Put it back into a configuration that workers got."""
    settings = {each.source: each.settings for each in sources}
    services = (
        replace(each, discovery=settings[each.source]) if each.source in settings else each for each in config.services
    )
    return _with(replace(config, services=tuple(services)), kept)


def _with(config: ResolvedConfig, kept: Withheld) -> ResolvedConfig:
    tracing = replace(config.telemetry.tracing, export=kept.export)
    telemetry = replace(config.telemetry, tracing=tracing)
    return replace(config, telemetry=telemetry, admin=kept.admin, database=kept.database, health=kept.health)
