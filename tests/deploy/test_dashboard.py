"""The Grafana dashboard: a document that Grafana takes, whose every query names what there is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headgate.telemetry.families import FAMILIES
from tests.deploy.queries import DEPLOY, objections

BOARD: dict[str, Any] = json.loads((DEPLOY / "grafana" / "headgate.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
QUERIES: list[str] = [target["expr"] for panel in PANELS for target in panel["targets"]]
VARIABLES: dict[str, dict[str, Any]] = {each["name"]: each for each in BOARD["templating"]["list"]}


@pytest.mark.parametrize("query", [*QUERIES, *(each["expr"] for each in BOARD["annotations"]["list"])])
def test_every_metric_and_label_of_a_query_is_there(query: str) -> None:
    assert objections(query) == []


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("rate(headgate_request_total[5m])", "there is no headgate_request_total"),
        ("headgate_request_duration_seconds > 1", "there is no headgate_request_duration_seconds"),
        ('headgate_errors_total{route="x"}', "headgate_errors_total has no label route"),
        (
            "sum by (rute) (headgate_errors_total)",
            "nothing in 'sum by (rute) (headgate_errors_total)' has a label rute",
        ),
        ("up == 0", "'up == 0' names no metric of the gateway"),
    ],
)
def test_a_query_that_names_what_is_not_there_is_told(query: str, said: str) -> None:
    assert objections(query) == [said]


def test_variables_ask_for_what_is_there() -> None:
    assert set(VARIABLES) == {"datasource", "instance", "service"}
    for name in ("instance", "service"):
        query = VARIABLES[name]["definition"]
        assert query.startswith("label_values(headgate_")
        metric = query.removeprefix("label_values(").partition(",")[0].partition("{")[0]
        label = query.rpartition(",")[2].strip(" )")
        assert label == "instance" or label in FAMILIES[metric].shown


def test_panels_have_a_number_a_title_and_a_place_of_their_own() -> None:
    numbers = [panel["id"] for panel in BOARD["panels"]]
    assert len(set(numbers)) == len(numbers)
    titles = [panel["title"] for panel in PANELS]
    assert len(set(titles)) == len(titles)
    taken: set[tuple[int, int]] = set()
    for panel in BOARD["panels"]:
        grid = panel["gridPos"]
        assert grid["x"] + grid["w"] <= 24
        cells = {
            (x, y) for x in range(grid["x"], grid["x"] + grid["w"]) for y in range(grid["y"], grid["y"] + grid["h"])
        }
        assert not cells & taken, f"{panel['title']} lies upon another"
        taken |= cells


def test_every_panel_asks_the_source_that_is_chosen() -> None:
    for panel in PANELS:
        assert panel["datasource"]["uid"] == "${datasource}"
        assert panel["targets"]
        assert all(target["datasource"]["uid"] == "${datasource}" for target in panel["targets"])
