"""Services whose endpoints are found out: own endpoints and the admin API list and count those that they have now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.control.driver import until
from tests.control.test_discovery_run import Registry
from tests.control.whole import Gateway, Service


def views(gateway: Gateway) -> dict[str, Any]:
    """Return the endpoints of `api`, or their number, as each of these says them."""

    def own(path: str) -> Any:
        status, body = gateway.ask(path)
        # Workers know health as of the last second, or as their own alone when control has not told them yet.
        return json.loads(body) if status == 200 else {}

    def names(instances: list[dict[str, Any]]) -> list[str]:
        return sorted(each["url"].removeprefix("http://") for each in instances)

    listed = own("/own/services")
    return {
        "status": names(own("/own/status")["services"]["api"]["instances"]),
        "services": sorted(f"{each['host']}:{each['port']}" for each in listed if each["name"] == "api"),
        "services_health": names(own("/own/services/health")["services"]["api"]["instances"]),
        "services_status": names(own("/own/services/status")["api"]["instances"]),
        "service_health": names(own("/own/services/api/health")["instances"]),
        "config": sorted(own("/own/config")["services"][0]["endpoints"]),
        "config_services": sorted(own("/own/config/services")[0]["endpoints"]),
        "config_service": sorted(own("/own/config/services/api")["endpoints"]),
        "health": own("/own/health").get("services", {}).get("summary", {}).get("total_instances"),
        "admin, health": gateway.shown("/api/v1/health")["services"]["summary"]["total_instances"],
        "admin, status": sum(gateway.shown("/api/v1/status")["counts"]["endpoints"].values()),
        "admin, services/health": names(gateway.shown("/api/v1/services/health")["services"]["api"]["instances"]),
        "admin, services/status": names(gateway.shown("/api/v1/services/status")["services"]["api"]["instances"]),
        "admin, service/health": names(gateway.shown("/api/v1/services/api/health")["instances"]),
    }


OWN = {
    "status": "/own/status",
    "services": "/own/services",
    "services_health": "/own/services/health",
    "services_status": "/own/services/status",
    "service_health": "/own/services/{service}/health",
    "config": "/own/config",
    "config_services": "/own/config/services",
    "config_service": "/own/config/services/{service}",
    "health": "/own/health",
}
COUNTS = ("health", "admin, health", "admin, status")


def expect(gateway: Gateway, *services: Service) -> None:
    names = sorted(each.name for each in services)
    wanted = {view: len(names) if view in COUNTS else names for view in views(gateway)}
    until(lambda: views(gateway) == wanted, f"{names} are shown everywhere")


def test_every_view_has_the_endpoints_of_the_moment(tmp_path: Path) -> None:
    registry, one, other = Registry(), Service(), Service()
    registry.list(one, other)
    found = {"type": "http", "host": "127.0.0.1", "port": registry.port, "interval": 0.1}
    surface = [{"path": path, "view": view, "auth": "none"} for view, path in OWN.items()]
    gateway = Gateway(tmp_path, 1, {"discovery": found}, surface=surface)
    try:
        expect(gateway, one, other)
        registry.list(other)
        expect(gateway, other)
    finally:
        gateway.close()
        registry.close()
        one.close()
        other.close()
