"""What lies over all services, destinations that name none, and how prefixes are read."""

from __future__ import annotations

from pathlib import Path

from headgate.config.loader import LoadResult, load
from headgate.policy.match import PathMatch

SERVICES = """
services:
  - name: a
    url: http://10.0.0.1:80
    circuit_breaker: {enabled: true, threshold: 7}
    rate_limit: {requests: 5}
    routes: [{name: r, match: {path: /a}}, {name: s, match: {path: {exact: /s}}}]
  - {name: b, url: "http://10.0.0.2:80", routes: [{name: t, match: {path: /b$}}]}
"""


def loaded(tmp_path: Path, text: str, *overrides: str) -> LoadResult:
    file = tmp_path / "gateway.yaml"
    file.write_text(text)
    return load([file], overrides=overrides, environ={})


def test_overrides_win_over_what_a_service_says(tmp_path: Path) -> None:
    result = loaded(tmp_path, SERVICES + "service_overrides: {circuit_breaker: {threshold: 9}}\n")
    assert result.source is not None
    assert [each.circuit_breaker.threshold for each in result.source.services if each.circuit_breaker] == [9, 9]
    first = result.source.services[0]
    assert (first.name, first.rate_limit.requests if first.rate_limit else 0) == ("a", 5)


def test_overrides_merge_named_lists_and_say_the_name_of_the_service(tmp_path: Path) -> None:
    routes = 'routes: [{name: r, max_body: 1}, {name: "{service}-extra", match: {path: "/x/{service}"}}]'
    result = loaded(tmp_path, SERVICES + f"service_overrides: {{{routes}}}\n")
    assert result.config is not None, result.problems
    assert [each.name for each in result.config.routes if each.service == "a"] == ["r", "s", "a-extra"]
    assert result.config.routes[0].max_body == 1
    assert result.config.routes[0].settings.match.path == PathMatch(prefix="/a")


def test_the_command_line_wins_over_overrides(tmp_path: Path) -> None:
    text = SERVICES + "service_overrides: {circuit_breaker: {threshold: 9}}\n"
    result = loaded(tmp_path, text, "services.a.circuit_breaker.threshold=11")
    assert result.source is not None
    assert [each.circuit_breaker.threshold for each in result.source.services if each.circuit_breaker] == [11, 9]


UNLISTED = """
services:
  - name: a
    url: http://10.0.0.1:80
    routes:
      - name: r
        match: {path: /a}
        destinations: [{service_name: a}, {service_name: canary, weight: 1}, {service_name: canary2}]
"""


def test_a_destination_that_names_nobody_is_an_error(tmp_path: Path) -> None:
    result = loaded(tmp_path, UNLISTED)
    assert [problem.message for problem in result.problems][:1] == ['there is no service "canary"']


def test_a_destination_that_names_nobody_is_looked_for_where_that_is_wanted(tmp_path: Path) -> None:
    more = "unlisted_services: discover\ndiscovery: {type: http, host: registry}\n"
    result = loaded(tmp_path, UNLISTED + more + "service_defaults: {circuit_breaker: {threshold: 3}}\n")
    assert result.config is not None, result.problems
    assert [each.name for each in result.config.services] == ["a", "canary", "canary2"]
    assert all(each.breaker is not None and each.breaker.threshold == 3 for each in result.config.services)
    assert [each.discovery is not None for each in result.config.services] == [False, True, True]
    told = [notice.message for notice in result.notices]
    assert told == [f'no service is called "{name}": it is looked for by discovery' for name in ("canary", "canary2")]


def test_prefixes_may_be_read_as_text(tmp_path: Path) -> None:
    result = loaded(tmp_path, SERVICES + "prefixes: text\n")
    assert result.config is not None
    assert [each.settings.match.path for each in result.config.routes] == [
        PathMatch(prefix="/a", segments=False),
        PathMatch(exact="/s"),
        PathMatch(prefix="/b$", segments=False),
    ]
