"""Which route a request takes: a table of rules, built once, asked once per request.

The rule, "most specific wins", of all routes that match:
1. Host: a name wins over a wildcard, a longer wildcard over a shorter one, any wildcard over no host.
2. Path, segment by segment from the left; at the first difference a literal segment wins over a regular expression,
   that over a `{name}`, that over the open end of a prefix (or of a template whose last name takes the rest); and
   a path that ends (exact) over an open end. A regular expression stands behind the whole segments that it begins
   with: `/v1/[a-z]+` behind `/v1`.
3. Number of criteria: the method counts one, each header field and each query parameter counts one.
4. Place in the file: the earlier one.
With `order: file` only the last counts.

When the most specific place has no rule whose method, header fields and query match, the next one is tried. Only
when no rule matches at all, those that matched in all but the method make it 405, with the union of their methods;
else it is 404.

The table is a trie of segments for each host, so its cost depends on the length of the path and not on the number
of routes. Tried one by one are only rules at one and the same place: the same path with other criteria, and regular
expressions behind the same segments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import attrgetter
from typing import Generic, Literal, NamedTuple, TypeVar

from headgate.policy.match import Match
from headgate.policy.pattern import (
    Condition,
    Fields,
    Kind,
    PathPattern,
    Steps,
    conditions_of,
    host_pattern,
    methods_of,
)

T = TypeVar("T")

_NO_PARAMS: dict[str, str] = {}
_PARAMETERS = re.compile("(?:;|%3B)[^/]*")


def has_parameters(path: str) -> bool:
    """Tell whether a segment of a path, in its normal form, may have parameters."""
    return ";" in path or "%3B" in path


def without_parameters(path: str) -> str:
    """Return a path as servlets are found by it."""
    return _PARAMETERS.sub("", path)


class RouteRule(NamedTuple, Generic[T]):
    """One route: `order` is its place in the file, `payload` whatever the caller wants back."""

    name: str
    match: Match
    payload: T
    order: int


# Not frozen and no tuple: one is made for nearly every request, and those cost twice as much to make.
@dataclass(slots=True)
class Matched(Generic[T]):
    """The route that takes the request, shared between requests: not to be changed.

    `params`: the named parts of the path. `cacheable`: the answer would be the same for every request of that host,
    path and method.
    """

    route: str
    payload: T
    params: dict[str, str]
    cacheable: bool


class NotFound(NamedTuple):
    """No route matches."""

    cacheable: bool


class MethodNotAllowed(NamedTuple):
    """Routes match, but none with this method; `allow` lists theirs, sorted."""

    allow: tuple[str, ...]
    cacheable: bool


class Step(NamedTuple):
    """One route as it was considered: `why` is a sentence."""

    route: str
    taken: bool
    why: str


class Explanation(NamedTuple, Generic[T]):
    """The answer of `match` and how it came about: candidates in the order of the rule, then all the others."""

    result: Matched[T] | NotFound | MethodNotAllowed
    steps: tuple[Step, ...]


class Rule(Generic[T]):
    """A RouteRule compiled; `hosts` holds "" for any host and ".example.com" for a wildcard."""

    __slots__ = (
        "conditions",
        "constant",
        "cut",
        "hosts",
        "methods",
        "name",
        "order",
        "path",
        "payload",
        "plain",
        "rank",
        "regex",
    )

    def __init__(self, rule: RouteRule[T], sets: dict[frozenset[str], frozenset[str]]) -> None:
        """Compile; `sets` lets rules with equal methods share one set, which keeps a large table near the CPU.

        Raises:
            ValueError: if a pattern is malformed; the message names the route.
        """
        self.name = rule.name
        self.payload = rule.payload
        self.order = rule.order
        try:
            self.path = PathPattern(rule.match.path)
            self.hosts = tuple(dict.fromkeys(host_pattern(host) for host in rule.match.host)) or ("",)
            methods = methods_of(rule.match)
            self.conditions: tuple[Condition, ...] = conditions_of(rule.match)
        except ValueError as error:
            raise ValueError(f"route {rule.name}: {error}") from None
        self.methods = sets.setdefault(methods, methods) if methods is not None else None
        self.regex = self.path.regex
        self.cut = self.path.cut
        self.rank = (-(len(self.conditions) + (self.methods is not None)), rule.order)
        # Nothing but host and place decides: the most common kind, and worth a short cut.
        self.plain = self.methods is None and not self.conditions and self.regex is None
        # Without named parts every answer is the same one.
        self.constant = None if self.path.names else Matched(rule.name, rule.payload, _NO_PARAMS, True)

    def takes(self, path: str, segments: Sequence[str], fields: Fields, query: bytes | None) -> dict[str, str] | None:
        """Return the named parts if expression and conditions hold for a path that led here, else None."""
        params = self.path.find(path) if self.regex is not None else _NO_PARAMS
        if params is None:
            return None
        for condition in self.conditions:
            if not condition.holds(fields, query):
                return None
        return params if self.regex is not None else self.params(path, segments)

    def params(self, path: str, segments: Sequence[str]) -> dict[str, str]:
        """Return the named parts of a path that led here, of any form but an expression."""
        if self.constant is not None:
            return _NO_PARAMS
        return {"path": path[self.cut :]} if self.cut else self.path.params(path, segments)

    def matched(self, params: dict[str, str], cacheable: bool) -> Matched[T]:
        """Make the answer."""
        if cacheable and self.constant is not None:
            return self.constant
        return Matched(self.name, self.payload, params, cacheable)


class _Node(Generic[T]):
    """A place in the trie: the ways on, and the rules of a path that ends here or goes no further, in order.

    Empty parts are shared and None, so that a large table touches little memory.
    """

    __slots__ = ("ends", "literals", "named", "passing", "regexes", "rest")

    def __init__(self) -> None:
        self.literals: dict[str, _Node[T]] | None = None
        self.named: _Node[T] | None = None
        self.regexes: tuple[Rule[T], ...] = ()
        self.rest: tuple[Rule[T], ...] = ()
        # What a path that ends here may take, and one that goes on but into no child.
        self.ends: tuple[Rule[T], ...] = ()
        self.passing: tuple[Rule[T], ...] = ()

    def below(self, steps: Steps) -> _Node[T]:
        """Return the node that the steps lead to, made if it is missing."""
        node = self
        for kind, text in steps:
            if kind is Kind.LITERAL:
                if node.literals is None:
                    node.literals = {}
                node = node.literals.setdefault(text, _Node())
            else:
                node.named = node = node.named or _Node()
        return node

    def put(self, kind: Kind, rules: list[Rule[T]]) -> None:
        """Set the rules whose last step here is of that kind."""
        ordered = tuple(sorted(rules, key=attrgetter("rank")))
        if kind is Kind.END:
            self.ends = ordered + self.ends
        elif kind is Kind.REGEX:
            self.regexes = ordered
            self.passing = ordered + self.passing
        else:
            self.rest = ordered
            self.ends += ordered
            self.passing += ordered


class RouteTable(Generic[T]):
    """All routes, asked with `match`; `rules` are the compiled ones, in the order given."""

    __slots__ = ("_any", "_exact", "_file_order", "_parametrised", "_wildcards", "rules")

    def __init__(self, routes: Sequence[RouteRule[T]], order: Literal["specific", "file"] = "specific") -> None:
        """Build the table.

        Raises:
            ValueError: if a pattern is malformed; the message names the route.
        """
        sets: dict[frozenset[str], frozenset[str]] = {}
        self.rules = [Rule(route, sets) for route in routes]
        self._file_order = order == "file"
        self._parametrised = frozenset(rule.name for rule in self.rules if has_parameters(rule.path.text))
        places: dict[tuple[str, Steps, Kind], list[Rule[T]]] = {}
        for rule in self.rules:
            *way, (kind, _) = rule.path.steps
            for host in rule.hosts:
                places.setdefault((host, tuple(way), kind), []).append(rule)
        tries: dict[str, _Node[T]] = {}
        for (host, steps, kind), rules in places.items():
            tries.setdefault(host, _Node()).below(steps).put(kind, rules)
        self._any: tuple[_Node[T], ...] = (tries.pop(""),) if "" in tries else ()
        self._wildcards = {host: node for host, node in tries.items() if host[0] == "."}
        self._exact = {
            host: (node, *self._below_wildcards(host)) for host, node in tries.items() if host not in self._wildcards
        }

    def match(
        self, host: str, path: str, method: str, fields: Fields, query: bytes | None
    ) -> Matched[T] | NotFound | MethodNotAllowed:
        """Find the route of a request.

        Args:
            host: in its normal form, without port.
            path: in its normal form.
            method: to the letter.
            fields: the header fields, names in any case.
            query: raw, without the question mark; None is an empty one.
        """
        segments = path.split("/")
        missed: list[Rule[T]] = []
        cacheable = True
        for rules in self._places(host, segments):
            for rule in rules:
                if rule.plain:
                    return rule.matched(rule.params(path, segments), cacheable)
                if rule.methods is not None and method not in rule.methods:
                    missed.append(rule)
                    continue
                if rule.conditions:
                    cacheable = False
                params = rule.takes(path, segments, fields, query)
                if params is not None:
                    return rule.matched(params, cacheable)
        if not missed:
            return NotFound(cacheable)
        allow: set[str] = set()
        for rule in missed:
            if rule.conditions:
                cacheable = False
            if rule.methods is not None and rule.takes(path, segments, fields, query) is not None:
                allow |= rule.methods
        return MethodNotAllowed(tuple(sorted(allow)), cacheable) if allow else NotFound(cacheable)

    def bare(
        self, found: Matched[T], host: str, path: str, method: str, fields: Fields, query: bytes | None
    ) -> Matched[T] | None:
        """Return the route that a path has without the parameters of its segments, if it is another than `found`.

        Segments may have them behind `;` (RFC 3986 section 3.3). Servlets are found without, so that /admin;x is /admin
        to some upstreams. A route whose own path has a `;` means it.
        """
        if found.route in self._parametrised or not has_parameters(path):
            return None
        other = self.match(host, without_parameters(path), method, fields, query)
        return other if isinstance(other, Matched) and other.route != found.route else None

    def explain(self, host: str, path: str, method: str, fields: Fields, query: bytes | None) -> Explanation[T]:
        """Say what `match` answers, and of every route why it was taken or not."""
        result = self.match(host, path, method, fields, query)
        segments = path.split("/")
        steps: dict[Rule[T], Step] = {}
        taken: Rule[T] | None = None
        for rule in chain.from_iterable(self._places(host, segments)):
            if rule in steps:
                continue
            why = _refusal(rule, path, method, fields, query)
            if why is None and taken is None:
                taken = rule
                steps[rule] = Step(rule.name, True, f"matches: {rule.path.text}")
            elif why is None and taken is not None:
                steps[rule] = Step(rule.name, False, self._behind(rule, taken))
            else:
                steps[rule] = Step(rule.name, False, why or "")
        for rule in self.rules:
            if rule not in steps:
                steps[rule] = Step(rule.name, False, _elsewhere(rule, host))
        return Explanation(result, tuple(steps.values()))

    def _places(self, host: str, segments: list[str]) -> Iterator[Sequence[Rule[T]]]:
        """Yield the rules at each place that host and path lead to, most specific first, or all in file order."""
        roots = self._exact.get(host)
        if roots is None:
            roots = self._below_wildcards(host) if self._wildcards else self._any
        places = _walk(roots, segments)
        if self._file_order:
            return iter([sorted(chain.from_iterable(places), key=attrgetter("order"))])
        return places

    def _below_wildcards(self, host: str) -> tuple[_Node[T], ...]:
        """List the tries of the wildcards above a host, the longest first, and of no host."""
        found = []
        dot = host.find(".")
        while dot >= 0:
            node = self._wildcards.get(host[dot:])
            if node is not None:
                found.append(node)
            dot = host.find(".", dot + 1)
        return (*found, *self._any)

    def _behind(self, rule: Rule[T], taken: Rule[T]) -> str:
        if self._file_order:
            return f"matches too, but {taken.name} stands earlier in the file"
        if rule.path.steps == taken.path.steps and set(rule.hosts) & set(taken.hosts):
            reason = "has more criteria" if taken.rank[0] < rule.rank[0] else "stands earlier in the file"
        else:
            reason = "is more specific"
        return f"matches too, but {taken.name} {reason}"


def _walk(roots: Sequence[_Node[T]], segments: list[str]) -> Iterator[Sequence[Rule[T]]]:
    """Go down by literal segments as far as they lead, and come back by what is ever less specific."""
    count = len(segments)
    for root in roots:
        node: _Node[T] | None = root
        depth = 1
        # What was passed on the way down: rules to yield, then a node to go down into, and how deep it is.
        behind: list[tuple[Sequence[Rule[T]], _Node[T] | None, int]] = []
        while True:
            while node is not None:
                if depth == count:
                    if node.ends:
                        yield node.ends
                    break
                segment = segments[depth]
                if node.named is not None and segment:
                    behind.append((node.rest, None, 0))
                    behind.append((node.regexes, node.named, depth + 1))
                elif node.passing:
                    behind.append((node.passing, None, 0))
                if node.literals is None:
                    break
                node = node.literals.get(segment)
                depth += 1
            if not behind:
                break
            rules, node, depth = behind.pop()
            if rules:
                yield rules


def _refusal(rule: Rule[T], path: str, method: str, fields: Fields, query: bytes | None) -> str | None:
    """Say why a rule whose place was reached does not take the request, None if it does."""
    if rule.regex is not None and rule.path.find(path) is None:
        return f"the path does not match {rule.path.text}"
    if rule.methods is not None and method not in rule.methods:
        return f"the method is not {' or '.join(sorted(rule.methods))}"
    for condition in rule.conditions:
        if not condition.holds(fields, query):
            return f"does not hold: {condition.text}"
    return None


def _elsewhere(rule: Rule[T], host: str) -> str:
    if any(own in ("", host) or (own[0] == "." and host.endswith(own)) for own in rule.hosts):
        return f"the path does not match {rule.path.text}"
    return f"the host is not {' or '.join('*' + own if own[0] == '.' else own for own in rule.hosts)}"
