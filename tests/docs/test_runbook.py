"""docs/runbook.md: every alert has its part, whole, and nothing stands there that does not fire."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "runbook.md").read_text()
PARTS = dict(re.findall(r"^## (\w+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
GROUPS = yaml.safe_load((ROOT / "deploy" / "prometheus" / "alerts.yaml").read_text())["groups"]
ALERTS = [rule["alert"] for group in GROUPS for rule in group["rules"]]


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_told_whole_and_led_to_by_the_table(alert: str) -> None:
    assert re.findall(r"^\*\*(\w+)", PARTS[alert], re.MULTILINE) == ["Means", "Look", "Mend", "Over"]
    assert re.search(rf"^\| \[{alert}\]\(#{alert.lower()}\) \| .+ \| .+ \|$", PAGE, re.MULTILINE)


def test_there_is_no_part_without_an_alert() -> None:
    assert {name for name in PARTS if name.startswith("Headgate")} == set(ALERTS)
