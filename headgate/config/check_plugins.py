"""Checks of plugins: each is imported and made, once for all entries that are equal.

Law: what a plugin's own code does wrong is a finding like any other. Values of `config` are never part of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from headgate.config.check_values import Finding
from headgate.config.problems import Path, did_you_mean
from headgate.config.schema import Config
from headgate.core.plugin_settings import PluginSetting
from headgate.plugin.loading import Unusable, key_of, load
from headgate.plugin.typed import Wrong


def check_plugins(config: Config) -> Iterator[Finding]:
    """Check the plugins of every level."""
    known: dict[str, list[Wrong]] = {}
    yield from _check(config.plugins, ("plugins",), known)
    for place, service in enumerate(config.services):
        at: Path = ("services", place)
        yield from _check(service.plugins, (*at, "plugins"), known)
        for number, route in enumerate(service.routes):
            yield from _check(route.plugins, (*at, "routes", number, "plugins"), known)


def _check(plugins: Sequence[PluginSetting], path: Path, known: dict[str, list[Wrong]]) -> Iterator[Finding]:
    for place, setting in enumerate(plugins):
        key = key_of(setting)
        if key not in known:
            known[key] = _wrong_with(setting)
        for each in known[key]:
            hint = did_you_mean(str(each.at[-1]), each.known) if each.message == "unknown key" else ""
            if each.at == ("class",) and each.known:
                hint = did_you_mean(setting.class_, each.known)
            yield Finding((*path, place, *each.at), each.message, hint)


def _wrong_with(setting: PluginSetting) -> list[Wrong]:
    try:
        load(setting)
    except Unusable as unusable:
        return unusable.wrong
    return []
