"""Plugins in `headgate run`: made in every worker, measured, and refused on a reload as `check` would refuse them."""

from __future__ import annotations

from pathlib import Path

from tests.control.whole import Gateway, Service

GOOD = {"name": "gate", "module": "tests.config.gates", "class": "Plain"}


def test_plugins_work_in_every_worker_and_bad_ones_leave_the_plan_in_force(tmp_path: Path) -> None:
    service = Service()
    gateway = Gateway(tmp_path / "run", 2, {"url": f"http://{service.name}", "plugins": [GOOD]})
    try:
        for _ in range(8):
            assert gateway.ask() == (200, service.name.encode())
        shown = gateway.metrics()
        assert 'headgate_plugin_verdicts_total{plugin="gate",verdict="pass"} 8' in shown
        assert 'headgate_plugin_seconds_count{plugin="gate",hook="on_request"} 8' in shown
        for bad, says in (
            ({**GOOD, "class": "Hookless"}, "it has no hook"),
            ({**GOOD, "class": "Typed"}, "services[api].plugins[gate].config.secret: is required and missing"),
            ({**GOOD, "module": "tests.config.no_gates"}, "there is no module tests.config.no_gates"),
        ):
            gateway.write({"url": f"http://{service.name}", "plugins": [bad]})
            status, body = gateway.tell("POST", "/api/v1/reload")
            assert status == 422, body
            assert says in body.decode()
            assert gateway.ask()[0] == 200
        gateway.write(
            {"url": f"http://{service.name}", "plugins": [{**GOOD, "class": "Typed", "config": {"secret": "x"}}]}
        )
        gateway.reload()
        assert gateway.ask()[0] == 200
        assert 'headgate_plugin_verdicts_total{plugin="gate",verdict="pass"} 12' in gateway.metrics()
    finally:
        gateway.close()
        service.close()
