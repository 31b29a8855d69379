"""What a `match` asks, compiled: hosts, the path as steps, methods, conditions on header fields and query.

Laws: a pattern is brought to the same normal form as a request's host and path, so both spellings of one path
match; expressions are RE2's, whose time is linear in the text; a broken pattern is a ValueError whose message
says what to write instead, and `check_match` collects all of them at once.

Decisions, with their precedents:
- A prefix counts whole segments, and its trailing slash counts for nothing: `/api/` is `/api` and matches /api,
  /api/ and /api/x, not /apiary (Kubernetes Gateway API, PathPrefix). With a `$` behind it nothing may follow, and it is
  an exact path; without `segments` it is the beginning of a text, as an expression is.
- A name in a template takes one segment, never an empty one; as the last segment it takes the rest, which may be
  empty: `/v1/{service}/{path}` matches /v1/chat and /v1/chat/ with path "".
- Methods are compared to the letter (RFC 9110 section 9.1); HEAD is matched where HEAD is listed (Envoy, Traefik).
- Repeated header fields are one value, joined with ", " (RFC 9110 section 5.3); Cookie with "; " (RFC 9113
  section 8.2.3). Of a repeated query parameter the first counts (Gateway API); "+" is a space.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import IntEnum
from itertools import takewhile
from typing import Any, NamedTuple
from urllib.parse import quote, unquote_to_bytes

from headgate.core.field_names import TOKEN as TOKEN
from headgate.core.objection import Objection
from headgate.core.uri import BadTarget, normalize_host, normalize_path
from headgate.policy.match import Match, PathMatch, ValueMatch

MAX_REGEX = 1000

Fields = Sequence[tuple[bytes, bytes]]

_NAME = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")


class Kind(IntEnum):
    """One step of a path pattern. The smaller number is the more specific."""

    LITERAL = 0
    END = 1
    REGEX = 2
    NAME = 3
    REST = 4


Steps = tuple[tuple[Kind, str], ...]

END = (Kind.END, "")
NAME = (Kind.NAME, "")
REST = (Kind.REST, "")


# -- the path ------------------------------------------------------------------------------------------------


class PathPattern:
    """A path, as the steps it takes from segment to segment.

    `steps` ends in END, REST or (REGEX, text); `regex` is the compiled expression, if it is one; `names` are
    those of the parts that `params` returns; `cut` is where the rest behind a prefix begins; `text` is for people.
    """

    __slots__ = ("_places", "_rest", "cut", "names", "regex", "steps", "text")

    def __init__(self, path: PathMatch | None) -> None:
        """Compile.

        Raises:
            ValueError: if not exactly one form is given, or the pattern is malformed.
        """
        given = _one_form(path) if path is not None else ("prefix", "/")
        self.regex: Any = None
        self.names: tuple[str, ...] = ()
        self.cut = 0
        self._rest: tuple[str, int] | None = None
        self._places: tuple[tuple[str, int], ...] = ()
        form, text = given
        self.text = f"{form} {text}"
        if form == "prefix" and path is not None and not path.segments and text.strip("/"):
            self.text = f"prefix {text}*"
            form, text = "regex", f"{re.escape(normal_pattern(text))}(?P<path>.*)"
        if form == "regex":
            self.regex = compile_regex(text)
            self._places = tuple(self.regex.groupindex.items())
            self.names = tuple(name for name, _ in self._places)
            self.steps: Steps = (*_literals(_literal_head(self.regex)), (Kind.REGEX, text))
        elif form == "template":
            self._read_template(text)
        else:
            normal = normal_pattern(text)
            if form == "exact":
                self.steps = (*_literals(normal[1:].split("/")), END)
                return
            normal = normal.rstrip("/")
            self.steps = (*_literals(normal.split("/")[1:]), REST)
            self.names = ("path",)
            self.cut = len(normal) + 1

    def find(self, path: str) -> dict[str, str] | None:
        """Match the expression; return its named groups (empty where one took no part), None if it does not match."""
        # Bytes spare the library the way from byte offsets back to characters; a normal path is ASCII.
        found = self.regex.fullmatch(path.encode())
        if found is None:
            return None
        return {name: path[slice(*found.span(group))] for name, group in self._places}

    def params(self, path: str, segments: Sequence[str]) -> dict[str, str]:
        """Return the named parts of a path that led here; `segments` is the path split at "/"."""
        if self.cut:
            return {"path": path[self.cut :]}
        params = {name: segments[place] for name, place in self._places}
        if self._rest is not None:
            name, place = self._rest
            params[name] = "/".join(segments[place:])
        return params

    def _read_template(self, text: str) -> None:
        if not text.startswith("/"):
            raise ValueError("a template must begin with a slash, such as /v1/{service}/{path}")
        parts = text[1:].split("/")
        steps: list[tuple[Kind, str]] = []
        names: list[str] = []
        places: list[tuple[str, int]] = []
        for place, part in enumerate(parts, 1):
            name = _NAME.fullmatch(part)
            if name is None:
                if "{" in part or "}" in part:
                    raise ValueError(
                        f"{part!r} mixes a name with other text; a name takes a whole segment, such as /files/{{name}}"
                        " (use regex for parts of a segment)"
                    )
                if part in (".", "..") or (not part and place < len(parts)):
                    raise ValueError(f"{text!r} has an empty or a dot segment, which no request's path keeps")
                steps.extend(_literals([normal_pattern("/" + part)[1:]]))
                continue
            if name[1] in names:
                raise ValueError(f"the name {{{name[1]}}} stands twice; give each part its own name")
            names.append(name[1])
            if place == len(parts):
                self._rest = (name[1], place)
            else:
                places.append((name[1], place))
                steps.append(NAME)
        self.steps = (*steps, END if self._rest is None else REST)
        self.names = tuple(names)
        self._places = tuple(places)


def _one_form(path: PathMatch) -> tuple[str, str]:
    forms = {"prefix": path.prefix, "exact": path.exact, "template": path.template, "regex": path.regex}
    given = [(form, text) for form, text in forms.items() if text is not None]
    if len(given) != 1:
        raise ValueError(f"write exactly one of prefix, exact, template, regex; here are {len(given)}")
    if not path.segments and path.prefix is None:
        raise ValueError("segments: false says how a prefix is read, and here is none")
    form, text = given[0]
    return ("exact", text[:-1]) if form == "prefix" and text.endswith("$") else given[0]


def pattern_text(path: PathMatch | None) -> str:
    """Return what a route asks of a path as it was configured, whatever its form; / for every path."""
    return _one_form(path)[1] if path is not None else "/"


def _literals(segments: Sequence[str]) -> list[tuple[Kind, str]]:
    return [(Kind.LITERAL, segment) for segment in segments]


def normal_pattern(text: str) -> str:
    """Bring a configured path to the normal form of requests; spaces and all beyond ASCII may be written plainly.

    Raises:
        ValueError: if no request could have that path.
    """
    try:
        return normalize_path(escaped(text).encode(), encoded_slashes=True)
    except BadTarget as error:
        raise ValueError(f"{text!r} cannot be a path: {error}") from None


def escaped(text: str) -> str:
    """Escape spaces, and everything beyond ASCII as UTF-8; all else stays."""
    return "".join(char if char.isascii() and char != " " else quote(char) for char in text)


def compile_regex(text: str) -> Any:
    """Compile an expression of at most MAX_REGEX characters with RE2.

    Raises:
        ValueError: if it is too long, or RE2 refuses it (it has no look-around and no back references).
    """
    if len(text) > MAX_REGEX:
        raise ValueError(f"a regular expression may have {MAX_REGEX} characters, this one has {len(text)}")
    # Imported here, so that a gateway without expressions does not pay for the library.
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text, options)
    except re2.error as error:
        said = error.args[0] if error.args else error
        said = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
        hint = "; RE2 has neither look-around nor back references" if "perl operator: (?" in said else ""
        raise ValueError(f"not a valid RE2 expression: {said}{hint}") from None


def _literal_head(regex: Any) -> list[str]:
    """List the whole segments that every path matched by `regex` begins with."""
    import re2

    try:
        lowest, highest = regex.possiblematchrange(256)
    except re2.error:
        return []
    # All matches lie between the two, so they share what the two share.
    pairs = zip(lowest, highest, strict=False)
    head = bytes(low for low, _ in takewhile(lambda pair: pair[0] == pair[1], pairs)).decode("ascii", "ignore")
    return head[1:].split("/")[:-1] if head.startswith("/") else []


# -- the host ------------------------------------------------------------------------------------------------


def host_pattern(text: str) -> str:
    """Return the normal form of a host pattern: "" for any, ".example.com" for all names below, or a host.

    Raises:
        ValueError: if it is neither a host without port nor `*.` and a name.
    """
    if text == "*":
        return ""
    wildcard = text.startswith("*.")
    name = text.removeprefix("*.")
    if "*" in name:
        raise ValueError(f"{text!r}: a wildcard stands alone in front, such as *.example.com")
    try:
        normal = normalize_host(name)
    except BadTarget as error:
        hint = "; write it without a port" if re.search(r":[0-9]*\Z", name) and name[:1] != "[" else ""
        hint = "; write the name alone, without http://" if "://" in name else hint
        raise ValueError(f"{text!r}: {error}{hint}") from None
    return f".{normal}" if wildcard else normal


def methods_of(match: Match) -> frozenset[str] | None:
    """Return the methods in upper case, None for all.

    Raises:
        ValueError: if one is not a token.
    """
    for method in match.method:
        if not TOKEN.fullmatch(method):
            raise ValueError(f"{method!r} is not a method; write a word such as GET")
    return frozenset(method.upper() for method in match.method) or None


# -- conditions ----------------------------------------------------------------------------------------------


class Condition(NamedTuple):
    """What one header field or one query parameter must be; `present` decides if neither value is given."""

    source: str
    name: bytes
    exact: bytes | None
    regex: Any
    present: bool
    text: str

    def holds(self, fields: Fields, query: bytes | None) -> bool:
        """Tell whether the request meets it."""
        value = field_value(fields, self.name) if self.source == "header" else query_value(query, self.name)
        if value is None:
            return not self.present
        if self.exact is not None:
            return value == self.exact
        if self.regex is not None:
            return self.regex.fullmatch(value) is not None
        return self.present


def field_value(fields: Fields, name: bytes) -> bytes | None:
    """Return the value of a field (`name` in lower case), repeated ones joined, None when it is absent."""
    values = [value for key, value in fields if key.lower() == name]
    if not values:
        return None
    return (b"; " if name == b"cookie" else b", ").join(values)


def query_value(query: bytes | None, name: bytes) -> bytes | None:
    """Return the decoded value of the first parameter of that (decoded) name, None when it is absent."""
    if not query:
        return None
    for pair in query.split(b"&"):
        key, _, value = pair.partition(b"=")
        if pair and decoded(key) == name:
            return decoded(value)
    return None


def decoded(text: bytes) -> bytes:
    """Decode a name or a value of a query as forms encode it: "+" is a space (WHATWG URL, section 5.1)."""
    if b"%" not in text and b"+" not in text:
        return text
    return unquote_to_bytes(text.replace(b"+", b" "))


def conditions_of(match: Match) -> tuple[Condition, ...]:
    """Compile the conditions on header fields and query.

    Raises:
        ValueError: if one is malformed.
    """
    headers = [_condition("header", name, value) for name, value in match.headers.items()]
    return (*headers, *(_condition("query", name, value) for name, value in match.query.items()))


def _condition(source: str, name: str, value: ValueMatch) -> Condition:
    if source == "header":
        if not TOKEN.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a header field")
        if name.lower() == "host":
            raise ValueError("match the host with `host`, which reads it in its one normal form")
        name = name.lower()
    forms = {"exact": value.exact, "regex": value.regex, "present": value.present}
    given = [form for form, wanted in forms.items() if wanted is not None]
    if len(given) != 1:
        raise ValueError(f"write exactly one of exact, regex, present; here are {len(given)}")
    return Condition(
        source,
        name.encode(),
        value.exact.encode() if value.exact is not None else None,
        compile_regex(value.regex) if value.regex is not None else None,
        value.present is not False,
        f"{source} {name} {given[0]} {forms[given[0]]}",
    )


# -- the check -----------------------------------------------------------------------------------------------


def check_match(match: Match) -> list[Objection]:
    """List everything that is wrong with the patterns of `match`."""
    return list(_objections(match))


def _objections(match: Match) -> Iterator[Objection]:
    if match.path is not None:
        try:
            PathPattern(match.path)
        except ValueError as error:
            yield Objection(("path",), str(error))
    for host in match.host:
        try:
            host_pattern(host)
        except ValueError as error:
            yield Objection(("host",), str(error))
    try:
        methods_of(match)
    except ValueError as error:
        yield Objection(("method",), str(error))
    for key, source, values in (("headers", "header", match.headers), ("query", "query", match.query)):
        for name, value in values.items():
            try:
                _condition(source, name, value)
            except ValueError as error:
                yield Objection((key, name), str(error))
