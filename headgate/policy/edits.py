"""What changes on a request or an answer that passes: its path, its header fields, its query.

Laws: everything that can be computed when the plan is built is computed then; a value that would carry a control
character into a header field is dropped with its field, never cut or passed on; framing and hop-by-hop fields belong
to the wire and cannot be edited; what no edit names keeps its bytes and its place.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from urllib.parse import quote

from headgate.core.field_names import CONTROLS, Direction, field_name_objection, read_as
from headgate.core.message import Field, Fields
from headgate.core.objection import Objection
from headgate.core.uri import BadTarget, is_under, parse_authority, rewritten
from headgate.policy.match import Match, PathMatch
from headgate.policy.pattern import Kind, PathPattern, decoded, escaped, normal_pattern
from headgate.policy.rewrite import FieldEdits, QueryEdits, Rewrite
from headgate.policy.template import Template, Values, unknown_names

# -- the path ------------------------------------------------------------------------------------------------


class PathRewriter:
    """Make the upstream's path from the client's, both in their normal form.

    strip_prefix and add_prefix replace whole segments and leave the end as it is, as ReplacePrefixMatch of the
    Kubernetes Gateway API does: with /foo stripped and /xyz added, /foo is /xyz, /foo/ is /xyz/, /foo/bar is /xyz/bar.
    A path that does not begin with strip_prefix keeps it. In `path`, a last name that is empty takes its slash with
    it, unless the client's path ended in one.
    """

    __slots__ = ("_add", "_strip", "_template", "_under", "rewrite")

    rewrite: Callable[[str, dict[str, str]], str]

    def __init__(self, rewrite: Rewrite) -> None:
        """Compile; names that the match does not give are empty.

        Raises:
            ValueError: if a prefix cannot be a path.
        """
        self._strip = _prefix(rewrite.strip_prefix)
        self._add = _prefix(rewrite.add_prefix)
        self._template = Template(escaped(rewrite.path), ()) if rewrite.path is not None else None
        self._under = "/"
        if self._template is not None:
            self._under = self._template.head.rpartition("/")[0] or "/"
            self.rewrite = self._fill
        elif self._strip or self._add:
            self.rewrite = self._replace_prefix
        else:
            self.rewrite = _unchanged

    def _replace_prefix(self, path: str, params: dict[str, str]) -> str:
        if is_under(path, self._strip):
            path = path[len(self._strip) :]
            # "//" can only be there where slashes are not merged; in front it would read as an authority.
            if path[:2] == "//":
                path = "/" + path.lstrip("/")
        return self._add + path or "/"

    def _fill(self, path: str, params: dict[str, str]) -> str:
        """Fill the template.

        Raises:
            BadTarget: if the parts make a path that climbs, or leaves the template's own beginning.
        """
        template = self._template
        if template is None:
            return path
        text = template.fill(lambda name: params.get(name, "")) or "/"
        if template.ends_in_name and not params.get(template.names[-1]) and path[-1] != "/":
            text = text[:-1] or "/"
        return rewritten(text, self._under, encoded_slashes=True)


def _unchanged(path: str, params: dict[str, str]) -> str:
    return path


def _prefix(text: str | None) -> str:
    return normal_pattern(text).rstrip("/") if text is not None else ""


def check_rewrite(rewrite: Rewrite, match: Match) -> Iterator[Objection]:
    """Yield what is wrong with a rewrite behind that match (whose own faults are not repeated).

    A strip_prefix that never applies is among it, although a PathRewriter can live with one.
    """
    for key, prefix in (("strip_prefix", rewrite.strip_prefix), ("add_prefix", rewrite.add_prefix)):
        try:
            _prefix(prefix)
        except ValueError as error:
            yield Objection((key,), str(error))
            return
    try:
        pattern = PathPattern(match.path)
    except ValueError:
        pattern = PathPattern(None)
    if rewrite.strip_prefix is not None and _never_begins(pattern, _prefix(rewrite.strip_prefix)):
        yield Objection(
            ("strip_prefix",), f"no path of this route begins with {rewrite.strip_prefix!r}; it takes {pattern.text}"
        )
    if rewrite.path is not None:
        if rewrite.strip_prefix is not None or rewrite.add_prefix is not None:
            yield Objection(("path",), "write either path alone, or strip_prefix and add_prefix")
        said = unknown_names(rewrite.path, pattern.names, ()) or _bad_path(rewrite.path)
        if said:
            yield Objection(("path",), said)
    if rewrite.host is not None and rewrite.host != "preserve":
        try:
            parse_authority(rewrite.host.encode(), 80)
        except BadTarget as error:
            yield Objection(("host",), f"write a host name, host:port, or preserve: {error}")


def _never_begins(pattern: PathPattern, prefix: str) -> bool:
    steps = zip(prefix.split("/")[1:], pattern.steps, strict=False)
    return any(kind is Kind.END or (kind is Kind.LITERAL and text != segment) for segment, (kind, text) in steps)


def _bad_path(template: str) -> str | None:
    sample = Template(template, ()).fill(lambda name: "x") or ""
    try:
        PathPattern(PathMatch(exact=sample))
    except ValueError as error:
        return str(error)
    return None


# -- header fields -------------------------------------------------------------------------------------------

_MOST_NAMES = 256


class HeaderEditor:
    """Edit the fields of one direction: remove, set, add. False when it has nothing to do.

    `block` holds what is put on every message alike, as lines, where that was asked for; `apply` leaves it out then.
    A field that is set is taken off first, also when its new value is missing or unsafe: a client must not keep a
    field in place that we meant to write. `touched` are the names of all fields it may change, in lower case; `numbers`
    tells whether some say which try it is.
    """

    __slots__ = (
        "_constants",
        "_gone",
        "_missing",
        "_numbered",
        "_replaced",
        "_staying",
        "_written",
        "block",
        "numbers",
        "touched",
    )

    def __init__(
        self,
        edits: FieldEdits,
        owned: Collection[str] = (),
        constants: Sequence[Field] = (),
        override: bool = True,
        in_block: bool = False,
    ) -> None:
        """Compile the operator's `edits` and what else goes in the same pass over the fields.

        Args:
            edits: what the operator wrote; it wins over the other two.
            owned: names that are taken off.
            constants: fields with the values they have, no templates.
            override: whether `constants` replace fields of their names; false: they are put on where there is none.
            in_block: whether what is the same on every message is to be a block of lines, if it can be.
        """
        written_off = frozenset(name.lower().encode() for name in (*edits.remove, *edits.set))
        left = [field for field in constants if field[0].lower() not in written_off]
        # What is put on only where it is missing, by its name in lower case.
        self._missing: dict[bytes, Field] = {} if override else {field[0].lower(): field for field in left}
        replaced = left if override else []
        gone = written_off | {name.lower().encode() for name in owned} | {name.lower() for name, _ in replaced}
        added = [name.lower().encode() for name in edits.add]
        self.touched = frozenset((*gone, *self._missing, *added))
        # What an upstream may take for a field that we write must not stay beside it.
        self._gone = frozenset(map(read_as, gone))
        # Names as they came that stay: most requests bring the same few.
        self._staying: set[bytes] = set()
        written = [(name.encode(), Template(text)) for name, text in (*edits.set.items(), *edits.add.items())]
        self._written = written
        self._numbered = [each for each in written[: len(edits.set)] if "attempt" in each[1].names]
        self.numbers = bool(self._numbered)
        self._replaced = replaced
        self._constants: Fields | None = None
        if all(template.constant is not None for _, template in written):
            self._constants = [*replaced, *_filled(written, lambda name: None)]
        self.block = b""
        if in_block and self._constants and not self._missing:
            self.block = b"\r\n".join(map(b": ".join, self._constants))
            self._constants = []

    def __bool__(self) -> bool:
        return bool(self.touched)

    def apply(self, fields: Fields, values: Values) -> Fields:
        """Return the edited fields; `values` gives the text of a placeholder (see Template), or None."""
        staying = self._staying
        kept = [field for field in fields if field[0] in staying or self._stays(field[0])]
        kept += self._constants if self._constants is not None else [*self._replaced, *_filled(self._written, values)]
        if self._missing:
            there = {name.lower() for name, _ in kept}
            kept += [field for name, field in self._missing.items() if name not in there]
        return kept

    def renumbered(self, fields: Fields, values: Values) -> Fields:
        """Return fields that `apply` has edited, with those anew that say which try it is."""
        names = {name for name, _ in self._numbered}
        return [field for field in fields if field[0] not in names] + _filled(self._numbered, values)

    def _stays(self, name: bytes) -> bool:
        if read_as(name) in self._gone:
            return False
        if len(self._staying) >= _MOST_NAMES:
            self._staying.clear()
        self._staying.add(name)
        return True


def _filled(written: list[tuple[bytes, Template]], values: Values) -> Fields:
    made: Fields = []
    for name, template in written:
        text = template.fill(values)
        if text is None:
            continue
        value = text.encode("utf-8", "replace").strip(b" \t")
        if CONTROLS.search(value) is None:
            made.append((name, value))
    return made


def check_edits(edits: FieldEdits, direction: Direction, parts: Collection[str] | None = None) -> Iterator[Objection]:
    """Yield what is wrong with header edits.

    Args:
        edits: what is checked.
        direction: whose fields they edit.
        parts: the named parts of the route's path, None where several routes share the edits.
    """
    for name in edits.remove:
        said = field_name_objection(name, direction)
        if said:
            yield Objection(("remove",), said)
    for key, pairs in (("set", edits.set), ("add", edits.add)):
        for name, text in pairs.items():
            said = field_name_objection(name, direction) or unknown_names(text, parts)
            if said is None and CONTROLS.search(text.encode()):
                said = "a value cannot hold line breaks or other control characters"
            if said:
                yield Objection((key, name), said)


# -- the query -----------------------------------------------------------------------------------------------


class QueryEditor:
    """Edit the query: remove, set, add. What is set takes the place of the first of its name, or the end.

    Names are compared decoded; all other parameters keep their order and their bytes.
    """

    __slots__ = ("_added", "_removed", "_set")

    def __init__(self, edits: QueryEdits) -> None:
        self._removed = frozenset(name.encode() for name in edits.remove)
        self._set = {name.encode(): _pair(name, value) for name, value in edits.set.items()}
        self._added = [_pair(name, value) for name, value in edits.add.items()]

    def apply(self, query: bytes | None) -> bytes | None:
        """Return the edited query; None (there is no question mark) when nothing is left."""
        if not self._removed and not self._set:
            return b"&".join([*([query] if query else ()), *self._added]) if self._added else query
        kept = []
        waiting = dict(self._set)
        for raw in query.split(b"&") if query else ():
            name = decoded(raw.partition(b"=")[0]) if raw else None
            if name in self._set:
                raw = waiting.pop(name, b"")
                if not raw:
                    continue
            elif name in self._removed:
                continue
            kept.append(raw)
        return b"&".join([*kept, *waiting.values(), *self._added]) or None


def _pair(name: str, value: str) -> bytes:
    return f"{quote(name, safe='')}={quote(value, safe='')}".encode()
