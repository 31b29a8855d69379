"""What `headgate top` shows: read from the answers of the admin API, and laid out for a screen of any size.

Laws: rates are means over the last seconds, percentiles those of the newest second that had a request; no text of a
server reaches a terminal with its control characters.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from headgate.cli.terminal import plain, span

SECONDS: Final = 10
PATHS: Final = {
    "status": "/api/v1/status",
    "history": f"/api/v1/telemetry/history?seconds={SECONDS}&step=1",
    "endpoints": "/api/v1/endpoints",
    "breakers": "/api/v1/circuit-breakers",
    "limits": "/api/v1/limits",
}
SORTS: Final = ("requests", "errors", "p95", "name")

_QUANTILES: Final = ("p50", "p95", "p99")
_NONE: Final = "-"
_RESET, _BOLD, _RED, _YELLOW = (f"\x1b[{number}m" for number in (0, 1, 31, 33))
_HEAD: Final = ("SERVICE", "REQ/S", "ERRORS", "P50", "P95", "P99", "ENDPOINTS", "BREAKER")
_LIMITS_HEAD: Final = ("LIMIT", "MOST", "REFUSED", "STANDS AT")


def gathered(answers: Mapping[str, Any]) -> dict[str, Any]:
    """Make one record of the answers to PATHS: rates a second, shares from 0 to 1, times in seconds."""
    status, history = answers["status"], answers["history"]
    workers = status["workers"]
    endpoints = answers["endpoints"]["endpoints"]
    return {
        "at": round(time.time(), 3),
        "plan": status["plan"],
        "version": status["version"],
        "uptime": status["uptime"],
        "draining": status["draining"],
        "workers": {"alive": sum(each["alive"] for each in workers), "all": len(workers)},
        "in_flight": history["in_flight"][-1] if history["in_flight"] else 0,
        **_course(history),
        "protocols": {name: _mean(values) for name, values in history.get("by_protocol", {}).items()},
        "hit_rate": _hit_rate(history.get("cache", {})),
        "services": _services(history, endpoints, answers["breakers"]),
        "limits": _limits(answers["limits"]["limits"]),
        "out": [each for each in endpoints if each["state"] != "healthy"],
    }


def _services(
    history: Mapping[str, Any], endpoints: Sequence[Mapping[str, Any]], breakers: Mapping[str, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    courses: Mapping[str, Any] = history["by_service"]
    names = dict.fromkeys([*(each["service"] for each in endpoints), *breakers, *courses])
    return [
        {
            "name": name,
            **_course(courses.get(name, {})),
            "endpoints": {
                "healthy": sum(each["service"] == name and each["state"] == "healthy" for each in endpoints),
                "all": sum(each["service"] == name for each in endpoints),
            },
            "breaker": breakers[name]["state"].replace("_", "-") if name in breakers else None,
            "forced": bool(name in breakers and breakers[name]["forced"]),
        }
        for name in names
    ]


def _limits(limits: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**{key: each[key] for key in ("limit", "scope", "requests", "window")}, "refused": each["counts"]["refused"]}
        for each in limits
    ]


def _course(line: Mapping[str, Any]) -> dict[str, Any]:
    requests, errors = line.get("requests") or [0.0], line.get("errors") or [0.0]
    asked = sum(requests)
    return {
        "requests": round(asked / len(requests), 3),
        "errors": sum(errors) / asked if asked else None,
        **{name: _newest(line.get(name, ())) for name in _QUANTILES},
    }


def _mean(values: Sequence[float]) -> float:
    return round(sum(values) / len(values), 3) if values else 0.0


def _hit_rate(course: Mapping[str, Sequence[float]]) -> float | None:
    """Return the share answered from the cache of what came to it, None where nothing did."""
    asked = sum(course.get("requests", ()))
    return sum(course["answered"]) / asked if asked else None


def _newest(values: Sequence[float | None]) -> float | None:
    return next((each for each in reversed(values) if each is not None), None)


def text(page: Mapping[str, Any], address: str, sort: str, colour: bool) -> list[str]:
    """Lay the record out as lines."""
    paint: Callable[[str, str], str] = (
        (lambda tone, words: f"{tone}{words}{_RESET}") if colour else lambda _, words: words
    )
    workers, draining = page["workers"], ", draining" if page["draining"] else ""
    alive = f"{workers['alive']} of {workers['all']} workers"
    lines = [
        f"{paint(_BOLD, 'headgate')} {page['version']} at {plain(address)}, plan {page['plan']}, "
        f"up {span(page['uptime'])}, {alive if workers['alive'] == workers['all'] else paint(_RED, alive)}{draining}",
        f"{rate(page['requests'])} req/s  errors {share(page['errors'])}  p50 {took(page['p50'])}  "
        f"p95 {took(page['p95'])}  p99 {took(page['p99'])}  in flight {page['in_flight']}",
        *_spoken(page),
        "",
        *_services_table(page["services"], sort, paint),
    ]
    if page["limits"]:
        rows = [
            [
                plain(each["limit"]),
                _most(each),
                f"{each['refused']:,}",
                plain(each["scope"]),
            ]
            for each in page["limits"]
        ]
        lines += ["", *_table(_LIMITS_HEAD, rows, paint)]
    if page["out"]:
        lines += ["", paint(_BOLD, "ENDPOINTS THAT ARE OUT")]
        lines += [f"{plain(each['endpoint'])} of {plain(each['service'])}: {each['state']}" for each in page["out"]]
    return lines


def _spoken(page: Mapping[str, Any]) -> list[str]:
    """Say what clients spoke, and how much the cache answered; nothing where nothing was asked."""
    asked = sum(page["protocols"].values())
    parts = [f"{name} {share(value / asked)}" for name, value in page["protocols"].items() if value]
    cached = [f"from the cache {share(page['hit_rate'])}"] if page["hit_rate"] is not None else []
    return ["  ".join([*parts, *cached])] if parts or cached else []


def _services_table(services: Sequence[dict[str, Any]], sort: str, paint: Callable[[str, str], str]) -> list[str]:
    if not services:
        return ["No services."]
    ordered = sorted(services, key=lambda each: each["name"])
    if sort != "name":
        ordered.sort(key=lambda each: each[sort] or 0.0, reverse=True)
    rows = [
        [
            plain(each["name"]),
            rate(each["requests"]),
            share(each["errors"]),
            *(took(each[name]) for name in _QUANTILES),
            f"{each['endpoints']['healthy']} of {each['endpoints']['all']}",
            f"{each['breaker'] or _NONE}{', by hand' if each['forced'] else ''}",
        ]
        for each in ordered
    ]
    head, *body = _table(_HEAD, rows, paint)
    return [head, *(_painted(line, each, paint) for line, each in zip(body, ordered, strict=True))]


def _painted(line: str, service: Mapping[str, Any], paint: Callable[[str, str], str]) -> str:
    """Colour a row by the worst that is true of it; the words say the same."""
    endpoints = service["endpoints"]
    if service["breaker"] == "open" or (endpoints["all"] and not endpoints["healthy"]):
        return paint(_RED, line)
    if service["breaker"] == "half-open" or endpoints["healthy"] < endpoints["all"] or (service["errors"] or 0) >= 0.05:
        return paint(_YELLOW, line)
    return line


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], paint: Callable[[str, str], str]) -> list[str]:
    """Lay out columns, all but the first and the last to the right."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]

    def line(row: Sequence[str]) -> str:
        last = len(row) - 1
        cells = (
            cell.ljust(width) if column in (0, last) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return "  ".join(cells).rstrip()

    return [paint(_BOLD, line(head)), *(line(row) for row in rows)]


def _most(limit: Mapping[str, Any]) -> str:
    window = limit["window"]
    return f"{limit['requests']:,} {'at once' if window is None else f'in {span(window)}'}"


def rate(value: float) -> str:
    """Write a rate with three figures."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value else "0"


def share(value: float | None) -> str:
    """Write a share from 0 to 1 in percent."""
    if value is None:
        return _NONE
    return f"{100 * value:.2f} %" if 0 < value < 0.1 else f"{100 * value:.0f} %"


def took(seconds: float | None) -> str:
    """Write how long something took."""
    if seconds is None:
        return _NONE
    if seconds >= 1:
        return f"{seconds:.2f} s"
    return f"{seconds * 1000:.0f} ms" if seconds >= 0.1 else f"{seconds * 1000:.1f} ms"
