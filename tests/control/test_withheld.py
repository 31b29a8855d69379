"""What of a configuration no worker gets, and its way back into it for control's successor."""

from __future__ import annotations

import pickle

from headgate.control.sources import KeptSource
from headgate.control.withheld import for_workers, whole, withheld
from tests.proxy.stage import resolved

SECRET = "hunter2-of-the-tests"


def test_workers_get_no_secret_of_control_and_a_successor_all_of_them() -> None:
    export = {"endpoint": "http://collector:4318", "headers": {"x-key": SECRET}}
    config = resolved(
        {
            "services": [
                {"name": "chat", "discovery": {"type": "consul", "token": SECRET}},
                {"name": "static", "url": "http://a"},
            ],
            "admin": {
                "token": SECRET,
                "tokens": [{"name": "ci", "token": f"{SECRET}-ci"}],
                "address": "127.0.0.1:9999",
            },
            "telemetry": {"tracing": {"enabled": True, "export": export}},
            "database": {"url": f"postgresql://gate:{SECRET}@db/gate"},
            "health": {"dependencies": [{"name": "cache", "url": f"redis://:{SECRET}@cache:6379"}]},
        }
    )
    told = for_workers(config)
    # pickle shows what repr hides.
    assert SECRET.encode() not in pickle.dumps(told)
    assert [each.discovery for each in told.services] == [None, None]
    assert told.admin.address == "127.0.0.1:9999"
    service = config.services[0]
    assert told.services[0].source == service.source != ""
    kept = KeptSource(service.source, "chat", service.discovery, None, 0.0)
    assert whole(told, withheld(config), [kept]) == config
