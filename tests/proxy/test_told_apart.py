"""What metrics tell apart because a form shows it, counted by real requests; and what is counted while they are off."""

from __future__ import annotations

from typing import Any

from headgate.telemetry.cells import SlotRegion, read
from tests.proxy.peers import Upstream, answering, eventually, get, ok
from tests.proxy.stage import gateway, on_loop, to

FORMS = {
    "headgate_requests_total": {"labels": {"status": "status", "reason": "reason"}},
    "headgate_errors_total": {"labels": {"reason": "reason", "route": "route", "method": "method"}},
    "headgate_limit_refused_total": {"labels": {"limit": "limit", "caller": "caller", "service": "service"}},
    "headgate_upstream_requests_total": {"labels": {"method": "method", "status": "status"}},
    "headgate_upstream_duration_seconds": {"labels": {"status": "status"}},
    "headgate_request_duration_seconds": {"labels": {"method": "method"}},
}
LIMITED: dict[str, Any] = {"limits": [{"name": "few", "requests": 2, "window": 86400}]}


def counted(region: SlotRegion, family: str) -> dict[tuple[str, ...], int]:
    return {
        name.labels: sum(values[1:]) if name.kind == "histogram" else values[0]
        for name, values in read([region], {f"headgate_{family}"})
    }


@on_loop
async def test_forms_have_told_apart_what_they_show() -> None:
    telemetry = {"access_log": {"enabled": False}, "metrics": {"names": FORMS}}
    async with (
        Upstream(answering(lambda _: ok(b"fine"))) as upstream,
        gateway(to(upstream, route=LIMITED, telemetry=telemetry)) as rig,
    ):
        for _ in range(3):
            await rig.ask(get("/x"))
        await eventually(lambda: sum(counted(rig.region, "requests_total").values()) == 3)
        assert counted(rig.region, "requests_total") == {
            ("all", "api", "GET", "200", ""): 2,
            ("all", "api", "GET", "429", "rate_limited"): 1,
        }
        assert counted(rig.region, "errors_total") == {("rate_limited", "all", "", "GET"): 1}
        assert counted(rig.region, "limit_refused_total") == {("few", "anonymous", "", "api", ""): 1}
        assert counted(rig.region, "upstream_requests_total") == {("api", "2xx", "GET", "200"): 2}
        assert counted(rig.region, "upstream_duration_seconds") == {("api", "", "200"): 2}
        assert sum(counted(rig.region, "request_duration_seconds").values()) == 3


@on_loop
async def test_while_metrics_are_off_requests_are_served_and_not_counted() -> None:
    telemetry = {"access_log": {"enabled": False}, "metrics": {"enabled": False}}
    async with (
        Upstream(answering(lambda _: ok(b"fine"))) as upstream,
        gateway(to(upstream, route=LIMITED, telemetry=telemetry)) as rig,
    ):
        assert [(await rig.ask(get("/x"))).status for _ in range(3)] == [200, 200, 429]
        await eventually(lambda: counted(rig.region, "requests_in_flight") == {(): 0})
        for family in ("requests_total", "request_duration_seconds", "upstream_requests_total"):
            assert counted(rig.region, family) == {}
        # What is rare is counted on.
        assert counted(rig.region, "errors_total") == {("rate_limited", "", "", ""): 1}
