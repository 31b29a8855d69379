"""What upstreams are told of who asks: header fields of the operator's choice, made of what was verified.

Laws: a value that is not known has no field, and so has one that a field cannot carry as it is: control characters,
what is no UTF-8, or an item that a reader of the joined list would take for another one. Clients' own fields of these
names are taken off by the wire before anybody reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from headgate.auth.claims import claim, text_of
from headgate.core.field_names import CONTROLS
from headgate.core.identity import Identity
from headgate.core.message import Fields

Source = Callable[[Identity], str | None]

CLAIM: Final = "claims."


class IdentityFields:
    """Make the fields for a caller. `names` are theirs in lower case; false when nothing is forwarded."""

    __slots__ = ("_sources", "names")

    def __init__(self, forward: Mapping[str, str]) -> None:
        """Compile the names of fields and what they say.

        Raises:
            ValueError: for a source that is none.
        """
        self.names = frozenset(name.lower().encode() for name in forward)
        self._sources = [(name.encode(), _source(text)) for name, text in forward.items()]

    def __bool__(self) -> bool:
        return bool(self._sources)

    def of(self, identity: Identity) -> Fields:
        """Return the fields that say who asks."""
        made: Fields = []
        for name, source in self._sources:
            text = source(identity)
            if not text:
                continue
            try:
                value = text.encode().strip(b" \t")
            except UnicodeEncodeError:
                continue
            if value and CONTROLS.search(value) is None:
                made.append((name, value))
        return made


def _joined(items: Iterable[str], by: str) -> str | None:
    each = list(items)
    return by.join(each) if all(item and by not in item and item == item.strip() for item in each) else None


def _of_claim(value: Any) -> str | None:
    if value is None:
        return None
    if isinstance(value, list) and not any(isinstance(item, list | Mapping) for item in value):
        return _joined(map(text_of, value), ",")
    return text_of(value)


def _source(text: str) -> Source:
    if text.startswith(CLAIM) and text != CLAIM:
        name = text.removeprefix(CLAIM)
        return lambda identity: _of_claim(claim(identity.claims, name))
    found = SOURCES.get(text)
    if found is None:
        raise ValueError(f"{text!r} is not known of a caller: write one of {', '.join(SOURCES)} or claims.NAME")
    return found


SOURCES: Final[dict[str, Source]] = {
    "id": lambda identity: identity.id,
    "kind": lambda identity: identity.kind,
    "tenant": lambda identity: identity.tenant,
    "roles": lambda identity: _joined(sorted(identity.roles), ","),
    "scopes": lambda identity: _joined(sorted(identity.scopes), " "),
    "tier": lambda identity: identity.tier,
    "method": lambda identity: identity.method,
}
