"""docs/caching-conformance.md: the suite's results, ours beside those of nginx."""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

from tests.conformance.suite import FOLDER, Case, Outcome

PATH: Final = FOLDER.parents[1] / "docs" / "caching-conformance.md"

_MARKS: Final[dict[Outcome, str]] = {"pass": "pass", "fail": "**fail**", "n/a": "n/a", "yes": "yes", "no": "no"}
_ROW = re.compile(r"^\| `([^`]+)` \|.*\| (\S+) \| (\S+) \|$", re.MULTILINE)
_HEAD: Final = """\
# What the public test suite says of the cache

The results of [http-cache-tests](https://cache-tests.fyi) 0.4.5, the suite with which the caches of browsers, proxies
and CDNs are compared: ours with `cache: true` and nothing else, beside nginx {nginx} with `proxy_cache` and
`proxy_cache_revalidate`, as the suite's own pages configure it. `python -m tests.conformance` writes this page anew;
a test holds the gateway to its column.

*Required* tests are what RFC 9111 demands, *optimal* ones save requests, *checks* only show what a cache does where
more than one way is right. A test is *n/a* where it cannot say anything: a test on which it depends did not pass, or
what it prepares was refused.

"""
_REMARKS: Final = """\
## What is not a pass, and why

- `stale-close-*` ask that nothing stale is served when the service closes the connection. They depend on
  `stale-close`, which wants the opposite where nothing forbids it; here that takes `stale_if_error`. With it they are
  held to be failures, for the suite takes any answer for a cached one that the service did not give: the 502, too.
- `*-Set-Cookie` and `other-set-cookie`: an answer with Set-Cookie is one caller's. `set_cookie: true` stores it without
  that field.
- `headers-store-Transfer-Encoding`: an answer with an unknown coding is framed in no known way, and is refused.
- `other-authorization-*`: who shows credentials shares no entry with those who show none, even where the answer would
  allow it. `key: {partition: shared}` shares them.
- `partial-store-*`: answers to range requests are passed on and not stored; ranges are served from whole entries.
- `method-POST`, `vary-normalise-lang-select`: answers to POST are not stored, and no variant is chosen for a client
  that did not ask for the same.
- `conditional-lm-fresh-no-lm` expects 304 for a date before the one at which the answer was made.
- Most checks with *no* are about dates and directives in disorder, which are read so that they allow less.

"""


def page(ours: dict[str, Case], theirs: dict[str, Case], version: str) -> str:
    """Return the whole page."""
    return "".join((_HEAD.format(nginx=version), _summary(ours, theirs), _REMARKS, *_tables(ours, theirs)))


def listed(text: str) -> dict[str, str]:
    """Return our column of a page: what is said of each test."""
    return {row[0]: row[1].strip("*") for row in _ROW.findall(text)}


def _summary(ours: dict[str, Case], theirs: dict[str, Case]) -> str:
    lines = ["| | headgate | nginx |", "|---|---:|---:|"]
    counts = [Counter((case.kind, case.outcome) for case in cases.values()) for cases in (ours, theirs)]
    outcomes: list[Outcome] = ["pass", "fail", "n/a", "yes", "no"]
    for kind in ("required", "optimal", "check"):
        for outcome in outcomes:
            numbers = [count[kind, outcome] for count in counts]
            if any(numbers):
                lines.append(f"| {kind}: {outcome} | {numbers[0]} | {numbers[1]} |")
    return "\n".join(lines) + "\n\n"


def _tables(ours: dict[str, Case], theirs: dict[str, Case]) -> list[str]:
    parts: list[str] = []
    suite = ""
    for case in ours.values():
        if case.suite != suite:
            parts.append(f"{'' if not suite else chr(10)}## {case.suite}\n\n| test | kind | headgate | nginx |\n")
            parts.append("|---|---|---|---|\n")
            suite = case.suite
        marks = " | ".join(_MARKS[cases[case.id].outcome] for cases in (ours, theirs))
        parts.append(f"| `{case.id}` | {case.kind} | {marks} |\n")
    return parts
