"""The alert rules: every metric and label they name is there, and each fires when it should and only then."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.control.driver import CEILING
from tests.deploy.queries import DEPLOY, objections

ALERTS = DEPLOY / "prometheus" / "alerts.yaml"
RULES: dict[str, dict[str, Any]] = {
    rule["alert"]: rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]
}
GATEWAY = 'instance="gw"'


class Case(NamedTuple):
    """What a gateway shows each minute for half an hour, and the labels of what fires in the end; None: nothing."""

    alert: str
    series: dict[str, str]
    fires: dict[str, str] | None


def case(alert: str, fires: dict[str, str] | None, **series: str) -> Case:
    """`series` by metric: labels, then values, as promtool writes them."""
    shown = {}
    for name, text in series.items():
        for line in text.split(";"):
            labels, _, values = line.strip().rpartition("}")
            labels = labels.lstrip("{")
            shown[f"{name}{{{','.join(filter(None, (GATEWAY, labels)))}}}"] = values.strip()
    return Case(alert, shown, fires)


def bucket(fast: str, slow: str, labels: str = "") -> str:
    """Write a histogram's buckets of 0.1 s, 2.5 s and above."""
    return ";".join(f'{{{labels}le="{le}"}} {values}' for le, values in (("0.1", fast), ("2.5", slow), ("+Inf", slow)))


LLM = {"service": "llm"}
CASES = [
    Case("HeadgateDown", {'up{job="headgate",instance="gw"}': "0x30"}, {"job": "headgate"}),
    Case("HeadgateDown", {'up{job="headgate",instance="gw"}': "1x30"}, None),
    case("HeadgateServiceDown", LLM, headgate_service_up='{service="llm"} 0x30; {service="ocr"} 1x30'),
    case("HeadgateServiceDown", None, headgate_service_up='{service="llm"} 1x30'),
    case("HeadgateBreakerOpen", LLM, headgate_breaker_state='{service="llm"} 1x30; {service="ocr"} 2x30'),
    case("HeadgateBreakerOpen", None, headgate_breaker_state='{service="llm"} 0x30'),
    case(
        "HeadgateErrorRate",
        LLM,
        headgate_requests_total='{service="llm",status="200"} 0+90x30; {service="llm",status="503"} 0+10x30',
    ),
    case(
        "HeadgateErrorRate",
        None,
        headgate_requests_total='{service="llm",status="404"} 0+50x30; {service="llm",status="503"} 0+1x30',
    ),
    case("HeadgateSlow", LLM, headgate_request_duration_seconds_bucket=bucket("0+90x30", "0+100x30", 'service="llm",')),
    case(
        "HeadgateSlow", None, headgate_request_duration_seconds_bucket=bucket("0+99x30", "0+100x30", 'service="llm",')
    ),
    case("HeadgateLimitReached", {"limit": "few"}, headgate_limit_refused_total='{limit="few"} 0+200x30'),
    case("HeadgateLimitReached", None, headgate_limit_refused_total='{limit="few"} 0+50x30'),
    case("HeadgateOverloaded", {"by": "gateway"}, headgate_shed_total='{by="gateway",priority="low"} 0+1x30'),
    case("HeadgateOverloaded", None, headgate_shed_total='{by="gateway",priority="low"} 7x30'),
    case("HeadgateLoopLate", {}, headgate_loop_lag_seconds_bucket=bucket("0+90x30", "0+100x30")),
    case("HeadgateLoopLate", None, headgate_loop_lag_seconds_bucket=bucket("0+100x30", "0+100x30")),
    case("HeadgateWorkersDie", {}, headgate_worker_restarts_total="{} 0x20 1 2 3 4 5x6"),
    case("HeadgateWorkersDie", None, headgate_worker_restarts_total="{} 0x20 1x10"),
    case("HeadgateConfigurationsDiffer", {}, headgate_config_version='{worker="1"} 4x30; {worker="2"} 3x30'),
    case("HeadgateConfigurationsDiffer", None, headgate_config_version='{worker="1"} 4x30; {worker="2"} 0x30'),
    case("HeadgateCacheAway", {}, headgate_cache_failing="{} 2x30"),
    case("HeadgateCacheAway", None, headgate_cache_failing="{} 0x30"),
    case("HeadgateStoreAway", {}, headgate_store_failing="{} 2x30"),
    case("HeadgateStoreAway", None, headgate_store_failing="{} 0x30"),
    case(
        "HeadgateAuthFailures",
        {"reason": "invalid_token"},
        headgate_auth_failures_total='{reason="invalid_token"} 0+400x30',
    ),
    case("HeadgateAuthFailures", None, headgate_auth_failures_total='{reason="invalid_token"} 0+100x30'),
    case(
        "HeadgateIssuerKeysOld",
        {"issuer": "https://id"},
        headgate_issuer_keys_age_seconds='{issuer="https://id"} 7000+60x30',
    ),
    case("HeadgateIssuerKeysOld", None, headgate_issuer_keys_age_seconds='{issuer="https://id"} 60x30'),
    case("HeadgateKeyDatabaseAway", {}, headgate_key_database_failing="{} 1x30"),
    case("HeadgateKeyDatabaseAway", None, headgate_key_database_failing="{} 0x30"),
    case("HeadgateLogLost", {}, headgate_access_log_dropped_total="{} 0+1x30", headgate_audit_dropped_total="{} 0x30"),
    case("HeadgateLogLost", None, headgate_access_log_dropped_total="{} 9x30", headgate_audit_dropped_total="{} 0x30"),
]


def promtool(*arguments: str) -> str:
    """Run Prometheus' own tool, and fail with what it says."""
    program = shutil.which("promtool")
    assert program is not None, "promtool is missing: .ci/run installs it, with Debian's package prometheus"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=CEILING)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_takes_the_rules_and_the_configuration() -> None:
    assert f"{len(RULES)} rules found" in promtool("check", "rules", str(ALERTS))
    promtool("check", "config", str(DEPLOY / "prometheus" / "prometheus.yaml"))


@pytest.mark.parametrize("alert", sorted(set(RULES) - {"HeadgateDown"}))
def test_every_metric_and_label_of_a_rule_is_there(alert: str) -> None:
    assert objections(RULES[alert]["expr"]) == []


@pytest.mark.parametrize("alert", RULES)
def test_what_a_rule_says_is_of_its_labels(alert: str) -> None:
    rule = RULES[alert]
    texts = rule["annotations"]
    named = set(re.findall(r"\$labels\.(\w+)", " ".join(texts.values())))
    shown = next(each for each in CASES if each.alert == alert and each.fires is not None).fires
    assert shown is not None
    assert named <= {*shown, "instance"}
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(texts) == {"summary", "description"}


def test_each_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    assert {each.alert for each in CASES if each.fires is not None} == set(RULES)
    assert {each.alert for each in CASES if each.fires is None} == set(RULES)
    tests = [
        {
            "name": f"{each.alert} {'fires' if each.fires is not None else 'is quiet'}",
            "interval": "1m",
            "input_series": [{"series": series, "values": values} for series, values in each.series.items()],
            "promql_expr_test": [
                {
                    "expr": f"count by (alertname, {', '.join(each.fires or {'instance': ''})})"
                    f' (ALERTS{{alertstate="firing"}})',
                    "eval_time": "25m",
                    "exp_samples": [{"labels": _series(each), "value": 1}] if each.fires is not None else [],
                }
            ],
        }
        for each in CASES
    ]
    file = tmp_path / "alerts.test.yaml"
    file.write_text(json.dumps({"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": tests}))
    promtool("test", "rules", str(file))


def _series(case: Case) -> str:
    labels = {"alertname": case.alert, **(case.fires or {"instance": "gw"})}
    return "{" + ", ".join(f'{name}="{value}"' for name, value in labels.items()) + "}"
