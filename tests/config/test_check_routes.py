"""What is said about routes: matches, destinations, rewrites, answers, and routes nobody reaches."""

from __future__ import annotations

import pytest

from tests.config.golden import Case, cases, check_case, load_text


@pytest.mark.parametrize("case", cases("check_routes"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)


def test_suggestions_are_bounded_when_everything_is_unknown() -> None:
    routes = ", ".join(f"{{name: r{each}, mirror: {{service_name: chat{each}}}}}" for each in range(60))
    result = load_text(f"services: [{{name: chat, url: 'http://a', routes: [{routes}]}}]")
    hints = [problem.hint for problem in result.problems]
    assert len(hints) == 60
    assert hints.count('did you mean "chat"?') == 50
