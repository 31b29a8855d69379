"""From an entry of the configuration to a plugin at work, or to everything that is wrong with the entry.

Modules are looked for in what is installed, in PYTHONPATH, and at last in the folder that headgate is started in: there
last, so that no file in it can take the place of a library's. Python keeps what it has imported: a changed source is
taken at the next start.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from headgate.core.plugin_settings import PluginSetting
from headgate.core.trace import kind_of
from headgate.plugin.base import Plugin
from headgate.plugin.typed import UnknownType, Wrong, read

MOST_BODY = 64 << 20
HOOKS = {"on_request": "(self, request)", "on_response": "(self, request, response)"}
# What a module or a constructor may raise that says nothing of this process: SystemExit is no Exception.
_FAULTS = (Exception, SystemExit)


class Unusable(ValueError):
    """A plugin that cannot be made; `wrong` says why, by the keys of its entry."""

    def __init__(self, name: str, wrong: list[Wrong]) -> None:
        places = [".".join(map(str, each.at)) for each in wrong]
        super().__init__(
            f"plugin {name}: " + "; ".join(f"{at}: {each.message}" for at, each in zip(places, wrong, strict=True))
        )
        self.wrong = wrong


def name_of(setting: PluginSetting) -> str:
    """Return what a plugin is called in logs and metrics."""
    return setting.name or setting.class_


def key_of(setting: PluginSetting) -> str:
    """Return text that is the same for entries that say the same; it may hold secrets.

    Neither the entry nor its repr will do: to Python 1 equals true, and the repr leaves out what may be secret.
    """
    return f"{setting!r} {setting.config!r}"


def load(setting: PluginSetting) -> Plugin:
    """Import, check and make one.

    Raises:
        Unusable: with everything that is wrong.
    """
    wrong: list[Wrong] = []
    found = _find(setting, wrong)
    made = _make(found, setting.config, wrong) if found is not None else None
    if wrong or made is None:
        raise Unusable(name_of(setting), wrong)
    return made


def hooks_of(plugin: Plugin) -> frozenset[str]:
    """Return the names of the hooks that a plugin has written."""
    return frozenset(name for name in HOOKS if getattr(type(plugin), name) is not getattr(Plugin, name))


def make(cls: type[Plugin], config: Any = None) -> Plugin:
    """Make a plugin of a class, as the gateway does for an entry with this `config`.

    Raises:
        Unusable: with everything that is wrong with the class or the configuration.
    """
    wrong = list(_check_class(cls))
    made = _make(cls, {} if config is None else config, wrong)
    if wrong or made is None:
        raise Unusable(cls.__name__, wrong)
    return made


# -- the class ----------------------------------------------------------------------------------------------------


def _find(setting: PluginSetting, wrong: list[Wrong]) -> type[Plugin] | None:
    if not all(part.isidentifier() for part in setting.module.split(".")):
        wrong.append(Wrong(("module",), "expected the name of a module, such as my_company.gateway"))
        return None
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.append("")
    try:
        # A folder may have got a file since Python last looked into it.
        importlib.invalidate_caches()
        module = importlib.import_module(setting.module)
    except _FAULTS as error:
        wrong.append(Wrong(("module",), _why_not_imported(setting.module, error)))
        return None
    found = getattr(module, setting.class_, None)
    if found is None:
        classes = tuple(name for name, each in vars(module).items() if _is_plugin(each) and each is not Plugin)
        wrong.append(Wrong(("class",), f"the module {setting.module} has no such class", classes))
        return None
    if not _is_plugin(found):
        wrong.append(Wrong(("class",), "expected a class that is derived from headgate.plugin.Plugin"))
        return None
    wrong += _check_class(found)
    return found  # type: ignore[no-any-return]


def _is_plugin(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, Plugin)


def _why_not_imported(module: str, error: BaseException) -> str:
    if isinstance(error, ModuleNotFoundError) and error.name and f"{module}.".startswith(f"{error.name}."):
        return f"there is no module {error.name}, neither installed nor in PYTHONPATH or the current folder"
    return f"importing it failed: {_told(error)}"


def _check_class(cls: type[Plugin]) -> Iterator[Wrong]:
    written = [name for name in HOOKS if getattr(cls, name) is not getattr(Plugin, name)]
    for name in written:
        objection = _hook_objection(getattr(cls, name), name)
        if objection:
            yield Wrong(("class",), objection)
    for name in dir(cls):
        if name.startswith("on_") and name not in HOOKS and callable(getattr(cls, name)):
            yield Wrong(("class",), f"there is no hook {name}; hooks are {' and '.join(HOOKS)}")
            return
    if not written:
        yield Wrong(("class",), f"it has no hook: write {' or '.join(HOOKS)}")


def _hook_objection(hook: Any, name: str) -> str | None:
    if not callable(hook):
        return f"{name} must be a method"
    if inspect.iscoroutinefunction(hook) or inspect.isgeneratorfunction(hook) or inspect.isasyncgenfunction(hook):
        return f"{name} must be a plain method: hooks are called, never awaited, and return their verdict"
    try:
        inspect.signature(hook).bind(*HOOKS[name].split(","))
    except TypeError:
        return f"{name} must take {HOOKS[name]}"
    except ValueError:
        # A compiled one does not say what it takes.
        return None
    return None


# -- the object ---------------------------------------------------------------------------------------------------


def _make(cls: type[Plugin], config: Any, wrong: list[Wrong]) -> Plugin | None:
    given: Any = config
    declared = getattr(cls, "Config", None)
    before = len(wrong)
    if declared is not None:
        if not dataclasses.is_dataclass(declared) or not isinstance(declared, type):
            wrong.append(Wrong(("class",), "its Config must be a dataclass"))
            return None
        try:
            given = read(declared, config, ("config",), wrong)
        except UnknownType as error:
            wrong.append(Wrong(("class",), str(error)))
        if len(wrong) > before:
            return None
    elif isinstance(config, dict):
        given = dict(config)
    try:
        made = cls(given)
    except ValueError as error:
        wrong.append(Wrong(("config",), str(error) or "is refused"))
        return None
    except _FAULTS as error:
        # Not in its words: it was made with what may be secret.
        wrong.append(Wrong(("class",), f"making it failed: {kind_of(error)}{_place_of(error)}"))
        return None
    wrong += _check_needs(made)
    return made


def _check_needs(plugin: Plugin) -> Iterator[Wrong]:
    needs = plugin.needs_body
    if isinstance(needs, bool) or not isinstance(needs, int) or not 0 <= needs <= MOST_BODY:
        yield Wrong(("class",), f"needs_body must be a number of bytes from 0 to {MOST_BODY}")
    if plugin.body_overflow not in ("refuse", "none"):
        yield Wrong(("class",), 'body_overflow must be "refuse" or "none"')


def _told(error: BaseException) -> str:
    """Say what was raised by a module, which has not seen anything secret of ours, and where."""
    said = f"{kind_of(error)}: {error}" if str(error) else kind_of(error)
    return " ".join(f"{said}{_place_of(error)}".split())


def _place_of(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    return f" ({last.filename}:{last.lineno})" if last is not None and "importlib" not in last.filename else ""
