"""The seven services of the preset ai-microservices, what it depends on, and callers that no other test has met."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from tests.acceptance.gateway import Answer, Gateway
from tests.acceptance.stub import Stub
from tests.control.driver import until
from tests.stores.redis.servers import RedisServer

PRESET = "ai-microservices"
# Redis is not given up because this machine is slow.
PATIENT = ("--set", "store.timeout=10", "--set", "store.connect_timeout=60")


class Named(NamedTuple):
    """One service: its breaker, what its variables begin with, its paths, and those of its methods that are allowed."""

    breaker: str
    variable: str
    path: str
    later: str
    methods: tuple[str, ...] = ("GET", "POST")


SERVICES = (
    Named(
        "recommendation-service", "RECOMMENDATION", "recommendations", "recommender", ("GET", "POST", "PUT", "DELETE")
    ),
    Named("search-service", "SEARCH", "search", "search"),
    Named("pricing-service", "PRICING", "pricing", "pricing"),
    Named("chatbot-service", "CHATBOT", "chat", "chatbot"),
    Named("fraud-service", "FRAUD", "fraud", "fraud"),
    Named("forecasting-service", "FORECAST", "forecast", "forecasting"),
    Named("vision-service", "VISION", "vision", "vision"),
)
BREAKERS = [each.breaker for each in SERVICES]

_callers = count(1)


def caller() -> dict[str, str]:
    """Return what makes a request that of an address which nobody has used; needs TRUSTED_PROXIES."""
    number = next(_callers)
    return {"X-Forwarded-For": f"198.51.{number >> 8}.{number & 255}"}


class Scene(NamedTuple):
    """A gateway at work, and what stands behind it by name; `qdrant` among them."""

    gateway: Gateway
    stubs: Mapping[str, Stub]

    def send(self, method: str, path: str, body: object = None, headers: Mapping[str, str] = {}, **more: Any) -> Answer:
        """Ask as a caller of its own, unless the headers say another."""
        return self.gateway.ask(method, path, body, caller() | dict(headers), **more)

    def breakers(self) -> dict[str, Any]:
        """Return what is said of all breakers."""
        shown: dict[str, Any] = self.gateway.shown("/circuit-breakers")
        return shown

    def until_state(self, breaker: str, state: str) -> dict[str, Any]:
        """Wait for a state: a worker notes how a call went behind its answer."""
        what = f"{breaker} is {state}"
        return until(lambda: (said := self.breakers()[breaker])["state"] == state and said, what)

    def counted(self, name: str, /, **labels: str) -> float:
        """Return the sum of the series of a metric that have these labels."""
        series = self.gateway.metrics(public=True).get(name, [])
        return sum(value for found, value in series if labels.items() <= found.items())

    def until_counted(self, name: str, /, *, least: float = 1, **labels: str) -> None:
        """Wait until so many are counted, which happens behind the answer."""
        until(lambda: self.counted(name, **labels) >= least, f"{least} of {name} {labels}")

    def logged(self, correlation_id: str) -> dict[str, Any]:
        """Wait for the line of a request in the access log."""
        return until(
            lambda: next(
                (line for line in self.gateway.access_log() if line["correlation_id"] == correlation_id), None
            ),
            f"the line of {correlation_id}",
        )

    def fail(self, path: str, times: int, status: int = 502, **headers: str) -> None:
        """Let a service fail so many requests."""
        wanted = {"X-Stub-Close": "head"} | {name.replace("_", "-"): value for name, value in headers.items()}
        for _ in range(times):
            assert self.send("POST", path, b"", wanted).status == status


@contextmanager
def scene(
    folder: Path,
    redis: RedisServer | None,
    *files: Mapping[str, Any],
    env: Mapping[str, str] = {},
    options: Sequence[str] = PATIENT,
    ready: bool = True,
) -> Iterator[Scene]:
    """Run the preset before seven services, one Qdrant and, if there is one, a Redis."""
    with ExitStack() as held:
        stubs = {each.breaker: held.enter_context(Stub(each.breaker)) for each in SERVICES}
        stubs["qdrant"] = held.enter_context(Stub("qdrant"))
        urls = {f"{each.variable}_SERVICE_URL": stubs[each.breaker].url for each in SERVICES}
        away = {"REDIS_URL": redis.url if redis is not None else "redis://127.0.0.1:1/0"}
        given = urls | away | {"QDRANT_URL": stubs["qdrant"].url, "WORKERS": "2", "TRUSTED_PROXIES": "127.0.0.1"}
        environ = given | dict(env)
        gateway = Gateway(
            folder, PRESET, *files, env=environ, port_variable="GATEWAY_PORT", options=options, ready=ready
        )
        yield Scene(held.enter_context(gateway), stubs)
