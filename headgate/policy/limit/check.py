"""What is wrong with one limit by its meaning; types and single bounds are checked before.

Law: whatever passes here, the algorithms count exactly: all their numbers and products stay below 2**53. With the
bounds of settings.py that leaves one thing to refuse, a bucket that takes longer than LONGEST to empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from headgate.policy.limit.algorithm import LONGEST
from headgate.policy.limit.quota import microseconds
from headgate.policy.limit.settings import (
    KEY_SOURCES,
    MOST_EXACT,
    MOST_RATE,
    Limit,
    LimitHeaders,
    Tier,
)
from headgate.policy.pattern import TOKEN

HEADER: Final = "header:"
_BUCKETS: Final = ("token_bucket", "leaky_bucket")
_WINDOW_BY_DEFAULT: Final = 60.0
_YEAR: Final = 365.25 * 86400 * 1_000_000


class Problem(NamedTuple):
    """One thing wrong: where below the limit, what, and what to write instead."""

    path: tuple[str | int, ...]
    message: str
    hint: str


class _Numbers(NamedTuple):
    """What counts for one tier, or for the limit's own callers, and where each of it was written."""

    requests: int
    window: float
    burst: int | None
    at: Callable[[str], tuple[str | int, ...]]


def problems(limit: Limit) -> list[Problem]:
    """List everything wrong with a limit, as paths below it, such as ("tiers", "premium", "requests").

    Refused are: key sources that do not exist, lack a header's name or stand twice; a rate above MOST_RATE a second;
    a log of more than MOST_EXACT moments; a bucket that takes more than LONGEST to empty; a cost that is never
    admitted, counts nothing or comes in a header that is none; and settings that its type, or a free tier, has no
    use for.
    """
    return [
        *_name(limit),
        *_key(limit),
        *_useless(limit),
        *_cost(limit),
        *_numbers(limit, _Numbers(limit.requests, limit.window, limit.burst, lambda key: (key,))),
        *(problem for name, tier in limit.tiers.items() for problem in _tier(limit, name, tier)),
    ]


def header_problems(settings: LimitHeaders) -> list[Problem]:
    """List what is wrong with how limits are told."""
    found = []
    if settings.prefix and not TOKEN.fullmatch(settings.prefix):
        found.append(Problem(("prefix",), f'"{settings.prefix}" can\'t begin a field name', "such as X-RateLimit-"))
    for place, form in enumerate(settings.forms):
        if form in settings.forms[:place]:
            found.append(Problem(("forms", place), f"{form} stands here twice", "leave one of them out"))
    return found


def _name(limit: Limit) -> Iterator[Problem]:
    if not limit.name.isprintable():
        yield Problem(("name",), "the name holds characters that can't be shown", "letters, digits and hyphens do")


def _key(limit: Limit) -> Iterator[Problem]:
    seen = set()
    for place, source in enumerate(limit.key):
        at = ("key", place)
        # Field names are the same in any case.
        same = source.lower() if source.startswith(HEADER) else source
        if source.startswith(HEADER):
            name = source.removeprefix(HEADER)
            if not name:
                yield Problem(at, "header: lacks the name of the field", "such as header:X-Client-Id")
            elif not TOKEN.fullmatch(name):
                yield Problem(at, f'"{name}" is no field name', "such as header:X-Client-Id")
        elif source not in KEY_SOURCES:
            yield Problem(at, f'there is no key source "{source}"', f"one of {', '.join(KEY_SOURCES)}, header:NAME")
        if same in seen:
            yield Problem(at, f"{source} stands here twice", "leave one of them out")
        seen.add(same)


def _useless(limit: Limit) -> Iterator[Problem]:
    kind = limit.type
    if limit.burst is not None and kind not in _BUCKETS:
        yield Problem(("burst",), f"{kind} has no burst", "leave it out, or use token_bucket or leaky_bucket")
    if limit.max_delay and kind != "leaky_bucket":
        yield Problem(("max_delay",), f"{kind} delays nothing", "leave it out, or use leaky_bucket")
    if limit.exact is not None and kind != "sliding_window":
        yield Problem(("exact",), f"{kind} has one form only", "leave it out, or use sliding_window")
    if kind == "concurrency" and limit.window != _WINDOW_BY_DEFAULT:
        yield Problem(("window",), "concurrency has no window", "leave it out")


def _cost(limit: Limit) -> Iterator[Problem]:
    header = limit.cost.header
    if header is None:
        if not limit.cost.request:
            yield Problem(("cost", "request"), "counts nothing", "1 or more, or a header that says what was used")
    elif not TOKEN.fullmatch(header):
        yield Problem(("cost", "header"), f'"{header}" is no field name', "such as X-Tokens-Used")
    elif limit.type == "concurrency":
        yield Problem(("cost", "header"), "what runs at the same time has no cost afterwards", "leave it out")


def _tier(limit: Limit, name: str, tier: Tier) -> Iterator[Problem]:
    written = {"requests": tier.requests, "window": tier.window, "burst": tier.burst}
    own = [key for key, value in written.items() if value is not None]

    def at(key: str) -> tuple[str | int, ...]:
        return ("tiers", name, key) if key in own else ("tiers", name)

    if not own:
        yield Problem(at(""), f'the tier "{name}" says nothing', "requests, window or burst, or leave it out")
        return
    if tier.requests == "unlimited":
        for key in own[1:]:
            yield Problem(at(key), f"an unlimited tier has no {key}", "leave it out")
        return
    if tier.burst is not None and limit.type not in _BUCKETS:
        yield Problem(at("burst"), f"{limit.type} has no burst", "leave it out")
    if tier.window is not None and limit.type == "concurrency":
        yield Problem(at("window"), "concurrency has no window", "leave it out")
    requests, window, burst = tier.requests or limit.requests, tier.window or limit.window, tier.burst or limit.burst
    yield from _numbers(limit, _Numbers(requests, window, burst, at))


def _numbers(limit: Limit, numbers: _Numbers) -> Iterator[Problem]:
    requests, window, _, at = numbers
    bucket = limit.type in _BUCKETS
    if limit.type != "concurrency" and requests > window * MOST_RATE:
        message = f"{requests:,} in {window:g} s are more than {MOST_RATE:,} a second, which limits nothing"
        yield Problem(at("requests"), message, "fewer requests or a longer window")
    if limit.type == "sliding_window" and limit.exact is True and requests > MOST_EXACT:
        message = f"{requests:,} moments are too many to keep for each key: at most {MOST_EXACT:,}"
        yield Problem(at("requests"), message, "exact: fitting has two counters above that")
    burst = (numbers.burst if bucket else None) or requests
    if burst * microseconds(window) > LONGEST * requests:
        years = burst * microseconds(window) / requests / _YEAR
        message = f"a burst of {burst:,} takes {years:,.0f} years to come back"
        yield Problem(at("burst"), message, "a smaller burst, more requests or a shorter window")
    if limit.cost.request > burst:
        what = "burst" if bucket and numbers.burst else "requests"
        message = f"a request costs {limit.cost.request:,}, so at most {burst:,} admits none"
        yield Problem(at(what), message, "more of them, or a smaller cost")
