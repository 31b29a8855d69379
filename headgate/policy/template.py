"""Text with placeholders: `{request_id}`, `{params.name}` for a named part of the path, `{name}` short for it.

Laws: a built-in name wins over a part of the same name (write `{params.path}` for the part); anything in braces that
is no name is plain text, so JSON can be written as it is, and `{{name}}` writes `{name}`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

Values = Callable[[str], str | None]

PARAMS = "params."

# What the exchange knows of every request.
BUILT_IN = frozenset(
    (
        *("client", "host", "method", "path", "query", "request_id", "route", "service", "trace_id"),
        *("attempt", "attempts", "duration", "duration_ms", "services", "upstream_ms", "version"),
    )
)

_PLACEHOLDER = re.compile(r"\{(\{[A-Za-z_][\w.]*\})\}|\{([A-Za-z_][\w.]*)\}", re.ASCII)


class Template:
    """A text taken apart once and filled often.

    `names` are what `fill` asks for: built-in names as they are, parts as `params.name`. With `built_in` empty there
    are only parts, asked for by their bare names. `constant` is the text itself if nothing is to be filled in.
    """

    __slots__ = ("_last", "_pieces", "constant", "names")

    def __init__(self, text: str, built_in: Collection[str] = BUILT_IN) -> None:
        pieces: list[tuple[str, str]] = []
        literal, end = "", 0
        for found in _PLACEHOLDER.finditer(text):
            literal += text[end : found.start()]
            end = found.end()
            if found[1] is not None:
                literal += found[1]
                continue
            name = found[2]
            if name not in built_in:
                name = (PARAMS if built_in else "") + name.removeprefix(PARAMS)
            pieces.append((literal, name))
            literal = ""
        self._pieces = tuple(pieces)
        self._last = literal + text[end:]
        self.names = tuple(name for _, name in pieces)
        self.constant = None if pieces else self._last

    @property
    def head(self) -> str:
        """Return what stands before the first placeholder."""
        return self._pieces[0][0] if self._pieces else self._last

    @property
    def ends_in_name(self) -> bool:
        """Tell whether the text ends in a placeholder that is a whole segment of a path."""
        return bool(self._pieces) and not self._last and self._pieces[-1][0].endswith("/")

    def fill(self, values: Values) -> str | None:
        """Return the text with each name replaced by its value, None if one has none."""
        filled = []
        for literal, name in self._pieces:
            value = values(name)
            if value is None:
                return None
            filled.append(literal)
            filled.append(value)
        filled.append(self._last)
        return "".join(filled)


def unknown_names(text: str, parts: Collection[str] | None, built_in: Collection[str] = BUILT_IN) -> str | None:
    """Return a sentence on names in `text` that nothing can fill, None if there are none.

    Args:
        text: the template.
        parts: the named parts of the route's path; None if they are not known here.
        built_in: the names that are always known.
    """
    if parts is None:
        return None
    unknown = [
        name
        for name in Template(text, built_in).names
        if name not in built_in and name.removeprefix(PARAMS) not in parts
    ]
    if not unknown:
        return None
    known = [*sorted(built_in), *(PARAMS * bool(built_in) + part for part in parts)]
    listed = f"known here: {', '.join(known)}" if known else "the match has no named parts"
    return f"nothing fills {', '.join(f'{{{name}}}' for name in unknown)}; {listed}"
