"""The pages of docs/policies: their programs run against what workers run, and their figures are the defaults."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headgate.catalog import BALANCERS, LIMITS
from headgate.policy.health import HealthSettings

FOLDER = Path(__file__).parents[2] / "docs" / "policies"
PAGES = {path.stem: path.read_text() for path in sorted(FOLDER.glob("*.md"))}
PROGRAMS = [
    pytest.param(program, id=f"{page}-{number}")
    for page, text in PAGES.items()
    for number, program in enumerate(re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
]


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_program_runs_and_what_it_asserts_holds(program: str) -> None:
    assert "assert " in program
    exec(compile(program, "docs/policies", "exec"), {})


def test_every_limit_and_every_balancer_has_its_row() -> None:
    assert [name for name in LIMITS if f"| `{name}`" not in PAGES["limits"]] == []
    assert [name for name in BALANCERS if f"`{name}`" not in PAGES["balancing"].partition("## ")[0]] == []


def test_the_times_of_checks_are_those_of_the_defaults() -> None:
    check = HealthSettings()
    out = check.unhealthy_threshold * check.interval * (1 + check.jitter / 100) + check.timeout
    back = check.healthy_threshold * check.interval * (1 + check.jitter / 100)
    assert f"= {out:.0f} s" in PAGES["health"]
    assert f"defaults: {back:.0f} s" in PAGES["health"]
