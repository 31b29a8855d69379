"""`headgate cache`: what the cache of a running gateway holds and answers, and purging from it."""

from __future__ import annotations

import json
import sys
from typing import Any

from headgate.cli.admin import add_gateway, look, tell
from headgate.cli.arguments import USAGE_ERROR, Namespace, OneOf, Parser, add_json
from headgate.cli.terminal import pairs, plain, table
from headgate.telemetry.access_log import short_size as size

_NAMED = ("url", "prefix", "tag", "all")
_HEAD = ("ROUTE", "ANSWERED", "HIT", "STALE", "REVALIDATED", "COLLAPSED", "MISS", "BYPASS", "BYTES")
_PURGED = {
    "url": "of that URL",
    "prefix": "of URLs that begin so",
    "tag": "with that tag",
    "all": "of all routes",
}


def add_arguments(parser: Parser) -> None:
    """Add what to do, what to purge, and the options."""
    parser.add_argument(
        "action",
        metavar="ACTION",
        nargs="?",
        default="status",
        type=OneOf("action", ("status", "purge")),
        help="status (what it holds and answers; without a word, too); purge (forget what one of the options names)",
    )
    named = parser.add_mutually_exclusive_group()
    named.add_argument("--url", metavar="URL", help="purge all answers of this URL, such as https://shop.example/a?b=c")
    named.add_argument("--prefix", metavar="URL", help="purge all answers of URLs that begin so")
    named.add_argument("--tag", metavar="TAG", help="purge all answers with this tag")
    named.add_argument("--all", action="store_true", help="purge all answers")
    add_gateway(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Do it; return 0 when it was done, else 1."""
    named = {name: value for name in _NAMED if (value := getattr(arguments, name)) not in (None, False)}
    if arguments.action == "status":
        if named:
            print("headgate cache status purges nothing: write headgate cache purge", file=sys.stderr)
            return USAGE_ERROR
        return _status(arguments)
    if not named:
        print("What is to be purged? Write one of --url, --prefix, --tag and --all.", file=sys.stderr)
        return USAGE_ERROR
    done = tell(arguments, "/api/v1/cache/purge", named)
    if done is None:
        return 1
    print(json.dumps(done, indent=2) if arguments.json else f"purged {_answers(done['purged'])} {_PURGED[done['by']]}")
    return 0


def _status(arguments: Namespace) -> int:
    shown = look(arguments, "/api/v1/cache")
    if shown is None:
        return 1
    print(json.dumps(shown, indent=2) if arguments.json else text(shown))
    return 0


def text(shown: dict[str, Any]) -> str:
    """Write it for people."""
    if shown["store"] is None:
        return "No route has a cache."
    facts = [
        ("Store", _store(shown["store"])),
        ("Answered", f"{_share(shown['hit_rate'])} of what came to it, {size(shown['response_bytes'])}"),
    ]
    rows = [[plain(each["route"]), *_counts(each)] for each in shown["routes"]]
    return f"{pairs(facts, indent='')}\n\n{table(_HEAD, rows)}"


def _store(store: dict[str, Any]) -> str:
    if store["away"]:
        return f"{store['type']}, AWAY: services are asked"
    parts = [_answers(store["entries"])] if store["entries"] is not None else []
    if store["bytes"] is not None:
        parts.append(size(store["bytes"]) + (f" of {size(store['size'])}" if store["size"] is not None else ""))
    counts = ("stored", "evicted", "refused", "purged")
    return ", ".join([store["type"], *parts, *(f"{store[name]:,} {name}" for name in counts)])


def _answers(count: int) -> str:
    return "1 answer" if count == 1 else f"{count:,} answers"


def _counts(route: dict[str, Any]) -> list[str]:
    results = route["results"]
    names = ("hit", "stale", "revalidated", "collapsed", "miss", "bypass")
    return [_share(route["hit_rate"]), *(f"{results[name]:,}" for name in names), size(route["response_bytes"])]


def _share(value: float | None) -> str:
    return "nothing" if value is None else f"{100 * value:.1f} %"
