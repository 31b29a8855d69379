"""A real Prometheus scrapes a real gateway: what it then knows is what was asked, in each format it can ask for."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import yaml

from tests.control.driver import CEILING, free_port, until
from tests.control.whole import Gateway, Service
from tests.deploy.queries import DEPLOY
from tests.deploy.test_alerts import RULES
from tests.deploy.test_dashboard import QUERIES

ASKED, LIMITED = 40, 3
SETTINGS = {
    "limits": [{"name": "few", "requests": ASKED, "window": 3600}],
    "telemetry": {
        "access_log": {"enabled": False},
        "sampling": {"ratio": 1.0},
        "tracing": {"enabled": True},
        "metrics": {
            "native": True,
            "names": {"headgate_requests_total": [{}, {"name": "http_requests_total", "labels": {"path": "pattern"}}]},
        },
    },
}


class Prometheus:
    """Debian's Prometheus, scraping one gateway each second, up to its end."""

    def __init__(self, folder: Path, target: str, *features: str) -> None:
        program = shutil.which("prometheus")
        assert program is not None, "prometheus is missing: .ci/run installs it"
        folder.mkdir()
        document = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yaml").read_text())
        document["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        document["scrape_configs"][0]["static_configs"][0]["targets"] = [target]
        document["rule_files"] = [str(DEPLOY / "prometheus" / "alerts.yaml")]
        file = folder / "prometheus.yaml"
        file.write_text(yaml.safe_dump(document))
        self._port = free_port()
        self._said = (folder / "log").open("wb")
        self.process = subprocess.Popen(
            [
                program,
                f"--config.file={file}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self._port}",
                *([f"--enable-feature={','.join(features)}"] if features else []),
            ],
            stdout=self._said,
            stderr=subprocess.STDOUT,
        )

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer, None while there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=CEILING)
        try:
            connection.request("GET", f"/api/v1/{path}?{urlencode(parameters)}")
            answer = connection.getresponse()
            body = answer.read()
        except OSError:
            return None
        finally:
            connection.close()
        if answer.status == 503:
            # It is still starting.
            return None
        document = json.loads(body)
        assert document["status"] == "success", document
        return document["data"]

    def value(self, query: str) -> float | None:
        """Return the one number of a query, None while there is none."""
        data = self.ask("query", query=query)
        return float(data["result"][0]["value"][1]) if data and data["result"] else None

    def settles(self, query: str, wanted: float) -> None:
        until(lambda: self.value(query) == wanted, f"{query} is {wanted}")

    def close(self) -> None:
        self.process.terminate()
        self.process.wait(CEILING)
        self._said.close()


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """Run a gateway of two workers that has answered some requests, three of them with 429."""
    with closing(Service()) as service:
        settings = {"url": f"http://{service.name}", "circuit_breaker": {"threshold": 5}}
        with closing(Gateway(tmp_path_factory.mktemp("gateway"), 2, settings, **SETTINGS)) as made:
            statuses = [made.ask(f"/{number}")[0] for number in range(ASKED + LIMITED)]
            assert sorted(statuses) == [200] * ASKED + [429] * LIMITED
            yield made


@pytest.fixture(scope="module", params=["openmetrics", "native"])
def prometheus(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, gateway: Gateway
) -> Iterator[Prometheus]:
    features = ["exemplar-storage", *(["native-histograms"] if request.param == "native" else [])]
    made = Prometheus(tmp_path_factory.mktemp("prometheus") / "data", gateway.admin, *features)
    try:
        until(lambda: made.value("up"), "the gateway is scraped")
        yield made
    finally:
        made.close()


def test_it_knows_what_was_asked(prometheus: Prometheus) -> None:
    prometheus.settles("sum(headgate_requests_total)", ASKED + LIMITED)
    prometheus.settles('sum(headgate_requests_total{route="all",status="200"})', ASKED)
    prometheus.settles("sum(http_requests_total)", ASKED + LIMITED)
    prometheus.settles('http_requests_total{path="/"}', ASKED)
    prometheus.settles('headgate_limit_refused_total{limit="few"}', LIMITED)
    prometheus.settles('sum(headgate_upstream_requests_total{service="api",outcome="2xx"})', ASKED)
    prometheus.settles('headgate_service_up{service="api"}', 1)
    prometheus.settles("count(headgate_process_resident_memory_bytes > 1e6)", 4)
    prometheus.settles("count(headgate_process_open_fds > 3)", 4)
    prometheus.settles("count(headgate_config_version == 1)", 2)


def test_histograms_are_whole(request: pytest.FixtureRequest, prometheus: Prometheus) -> None:
    name = "headgate_request_duration_seconds"
    if "native" in request.node.callspec.params["prometheus"]:
        prometheus.settles(f"histogram_count(sum({name}))", ASKED + LIMITED)
        query = f"histogram_quantile(0.5, sum({name}))"
    else:
        prometheus.settles(f'sum({name}_bucket{{le="+Inf"}})', ASKED + LIMITED)
        prometheus.settles(f"sum({name}_count)", ASKED + LIMITED)
        query = f"histogram_quantile(0.5, sum by (le) ({name}_bucket))"
    # Nothing is known while a scrape has failed, as one does that takes longer than its second.
    assert 0 < until(lambda: prometheus.value(query), "half of them are known") < CEILING


def test_exemplars_lead_to_traces(prometheus: Prometheus) -> None:
    name = '{__name__=~"headgate_request_duration_seconds.*"}'

    def found() -> list[dict[str, Any]]:
        data = prometheus.ask("query_exemplars", query=name, start="0", end="9999999999")
        return [exemplar for series in data or [] for exemplar in series["exemplars"]]

    seen = until(found, "there are exemplars")
    assert all(re.fullmatch("[0-9a-f]{32}", each["labels"]["trace_id"]) for each in seen)
    assert all(float(each["value"]) > 0 for each in seen)


def test_it_takes_the_rules_and_every_query_of_the_dashboard(prometheus: Prometheus) -> None:
    def rules() -> list[dict[str, Any]]:
        return list(prometheus.ask("rules")["groups"][0]["rules"])

    until(lambda: all(rule["health"] == "ok" for rule in rules()), "rules are fine")
    assert len(rules()) == len(RULES)
    for query in QUERIES:
        asked = re.sub(r"\$__rate_interval", "1m", query).replace("$instance", ".*").replace("$service", ".*")
        assert prometheus.ask("query", query=asked) is not None


@pytest.mark.parametrize("accept", ["", "text/plain", "application/openmetrics-text"])
def test_promtool_has_nothing_against_the_metrics(gateway: Gateway, accept: str) -> None:
    text = scraped(gateway, accept)[1]
    if accept.endswith("openmetrics-text"):
        assert text.endswith(b"# EOF\n")
        return
    program = shutil.which("promtool")
    assert program is not None
    done = subprocess.run([program, "check", "metrics"], input=text, capture_output=True, check=False, timeout=CEILING)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")


def test_the_form_is_the_one_that_accept_asks_for(gateway: Gateway) -> None:
    kinds: dict[str, Callable[[str], bool]] = {
        "": lambda kind: kind.startswith("text/plain; version=0.0.4"),
        "application/json": lambda kind: kind == "application/json",
        "application/openmetrics-text;version=1.0.0,text/plain;q=0.5": lambda kind: "openmetrics" in kind,
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited": lambda kind: (
            kind.startswith("application/vnd.google.protobuf")
        ),
    }
    for accept, fits in kinds.items():
        kind, _ = scraped(gateway, accept)
        assert fits(kind), (accept, kind)


def scraped(gateway: Gateway, accept: str) -> tuple[str, bytes]:
    host, _, port = gateway.admin.rpartition(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=CEILING)
    headers = {"Authorization": f"Bearer {os.environ.get('HEADGATE_ADMIN_TOKEN', '')}"}
    connection.request("GET", "/metrics", headers={**headers, **({"Accept": accept} if accept else {})})
    answer = connection.getresponse()
    assert answer.status == 200
    body = answer.read()
    connection.close()
    return answer.headers["Content-Type"], body
