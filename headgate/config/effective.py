"""The configuration in force as a document that others may be shown, and what has changed from one to the next.

Defaults are written out. By the rules of config.secrecy secrets are masked, and what comes from a variable is shown by
the variable's name. Law: pure; a walk over two configurations goes only where they differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, is_dataclass
from typing import Any, Final, NamedTuple

from headgate.config.origins import Origins
from headgate.config.problems import Path, sounds_secret, without_url_secrets
from headgate.config.schema import Config
from headgate.config.secrecy import MASK
from headgate.config.shape import Shape, fields_of, root_shape
from headgate.config.yaml_nodes import Map, Node, Scalar, Seq

_ROOT: Final = root_shape(Config)
# What one configuration has and the other has not.
ABSENT: Final = None


class Difference(NamedTuple):
    """One place where two configurations differ: the values there as they may be shown, ABSENT for none."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Shown:
    """A configuration, and which of its values come from variables: their names by the path they stand at."""

    config: Config
    variables: Mapping[Path, str] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return all of it as plain data."""
        shown = self._value(self.config, _ROOT, (), False)
        assert isinstance(shown, dict)
        return shown

    def masks(self) -> list[str]:
        """List the secrets whose value is the mask: somebody has put back what he was shown."""
        return list(_masks(self.config, _ROOT, "", False))

    def _value(self, value: Any, shape: Shape | None, path: Path, secret: bool) -> Any:
        variable = self.variables.get(path)
        if is_dataclass(value) and not isinstance(value, type):
            return {
                each.name: variable
                if variable is not None and shape is not None and each.name == shape.short
                else self._value(getattr(value, each.attribute), each.shape, (*path, each.name), secret or each.secret)
                for each in fields_of(type(value)).values()
            }
        if isinstance(value, list | tuple):
            item = shape.item if shape is not None else None
            if variable is not None:
                return [variable]
            return [self._value(each, item, (*path, place), secret) for place, each in enumerate(value)]
        if isinstance(value, dict):
            item = shape.item if shape is not None else None
            return {
                str(key): self._value(each, item, (*path, str(key)), secret or _hides(shape, str(key)))
                for key, each in value.items()
            }
        if variable is not None:
            return variable
        return _scalar(value, secret)


def shown(config: Config, origins: Origins) -> Shown:
    """Take a configuration with where its values were written."""
    return Shown(config, dict(_variables(origins.root, ())))


def differences(before: Shown, after: Shown) -> Iterator[Difference]:
    """List where two configurations differ; items of lists are compared by their names where they have any."""
    yield from _differences(before, after, before.config, after.config, _ROOT, ((), ()), "", False)


def _differences(
    before: Shown,
    after: Shown,
    old: Any,
    new: Any,
    shape: Shape | None,
    paths: tuple[Path, Path],
    text: str,
    secret: bool,
) -> Iterator[Difference]:
    if old == new and type(old) is type(new):
        return
    if is_dataclass(old) and not isinstance(old, type) and type(old) is type(new):
        for each in fields_of(type(old)).values():
            values = getattr(old, each.attribute), getattr(new, each.attribute)
            below = (*paths[0], each.name), (*paths[1], each.name)
            place = f"{text}.{each.name}" if text else each.name
            yield from _differences(before, after, *values, each.shape, below, place, secret or each.secret)
        return
    if isinstance(old, dict) and isinstance(new, dict):
        items: list[tuple[str, Any, Any, Path, Path]] = [
            (f"{text}.{key}", old.get(key), new.get(key), (*paths[0], str(key)), (*paths[1], str(key)))
            for key in dict.fromkeys((*old, *new))
        ]
        hidden = {f"{text}.{key}": _hides(shape, str(key)) for key in (*old, *new)}
    elif isinstance(old, list) and isinstance(new, list) and (names := _names(old)) is not None:
        others = _names(new)
        if others is None:
            others = {}
        hidden = {}
        items = [
            (
                f"{text}[{name}]",
                old[names[name]] if name in names else None,
                new[others[name]] if name in others else None,
                (*paths[0], names.get(name, -1)),
                (*paths[1], others.get(name, -1)),
            )
            for name in dict.fromkeys((*names, *others))
        ]
    else:
        yield Difference(text, before._value(old, shape, paths[0], secret), after._value(new, shape, paths[1], secret))
        return
    item = shape.item if shape is not None else None
    for place, one, other, at, there in items:
        yield from _differences(before, after, one, other, item, (at, there), place, secret or hidden.get(place, False))


def _names(items: list[Any]) -> dict[str, int] | None:
    """Return the places of items by their names; None where they have none, or not each its own."""
    names = [getattr(each, "name", None) for each in items]
    if any(not isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return None
    return {str(name): place for place, name in enumerate(names)}


def _hides(shape: Shape | None, key: str) -> bool:
    """Tell whether what stands under a key of one's own is secret by what the key is called."""
    free = shape is None or shape.kind == "any" or (shape.item is not None and shape.item.kind in ("text", "any"))
    return free and sounds_secret(key)


def _scalar(value: Any, secret: bool) -> Any:
    if secret and value not in (None, "", False):
        return MASK
    if isinstance(value, str):
        return without_url_secrets(value)
    return value if isinstance(value, int | float) or value is None else str(value)


def _masks(value: Any, shape: Shape | None, text: str, secret: bool) -> Iterator[str]:
    if is_dataclass(value) and not isinstance(value, type):
        for each in fields_of(type(value)).values():
            place = f"{text}.{each.name}" if text else each.name
            yield from _masks(getattr(value, each.attribute), each.shape, place, secret or each.secret)
    elif isinstance(value, list | tuple | dict):
        item = shape.item if shape is not None else None
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            hidden = isinstance(key, str) and _hides(shape, key)
            yield from _masks(each, item, f"{text}[{key}]", secret or hidden)
    elif isinstance(value, str) and (value == MASK if secret else f"{MASK}@" in value):
        yield text


def _variables(node: Node, path: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(node, Scalar):
        if node.env:
            yield path, " and ".join(f"${{{name}}}" for name in node.env)
    elif isinstance(node, Map):
        for key, item in node.items.items():
            yield from _variables(item, (*path, key))
    elif isinstance(node, Seq):
        for place, item in enumerate(node.items):
            yield from _variables(item, (*path, place))
