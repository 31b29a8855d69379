"""The services of the preset sandbox, callers that no other test has met, and the preset as it is loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from headgate.config.declarations import Layer
from headgate.config.loader import LoadResult, load
from headgate.config.preset import preset_source, preset_text
from headgate.config.resolve import ResolvedConfig
from tests.acceptance.gateway import Answer, Document, Gateway, mint
from tests.acceptance.stub import Stub
from tests.control.driver import until
from tests.stores.redis.servers import RedisServer

PRESET = "sandbox"
SECRET = "the secret of the sandbox, 32 bytes and more"
SERVICES = ("auth", "sms", "llm")
NOBODY = "http://127.0.0.1:1"
# Redis is not given up because this machine is slow.
PATIENT = ("--set", "store.timeout=10", "--set", "store.connect_timeout=60")

_callers = count(1)


def caller(**claims: Any) -> str:
    """Return a token of a user that nobody has met."""
    return mint(SECRET, **{"sub": f"user-{next(_callers)}", **claims})


class Scene(NamedTuple):
    """A gateway at work, and its services by name, each with its instances."""

    gateway: Gateway
    stubs: Mapping[str, Sequence[Stub]]

    def stub(self, name: str) -> Stub:
        """Return the first instance of a service."""
        return self.stubs[name][0]

    def send(self, method: str, path: str, body: object = None, headers: Mapping[str, str] = {}) -> Answer:
        """Ask as a user of its own."""
        return self.gateway.ask(method, path, body, headers, bearer=caller())

    def breaker(self, service: str) -> dict[str, Any]:
        """Return what /api/v1/services/{service}/metrics says of a breaker."""
        shown = self.gateway.shown(f"/api/v1/services/{service}/metrics")
        assert shown["service"] == service
        found: dict[str, Any] = shown["circuit_breaker"]
        return found

    def until_state(self, service: str, state: str) -> dict[str, Any]:
        """Wait for a state: a worker notes how a call went behind its answer."""
        what = f"the breaker of {service} is {state}"
        return until(lambda: (said := self.breaker(service))["state"] == state and said, what)

    def counted(self, name: str, **labels: str) -> float:
        """Return the sum of the series of a metric that have these labels."""
        series = self.gateway.metrics(public=True).get(name, [])
        return sum(value for found, value in series if labels.items() <= found.items())

    def until_counted(self, name: str, least: float = 1, **labels: str) -> float:
        """Wait until so many are counted, which happens behind the answer."""
        return until(lambda: (found := self.counted(name, **labels)) >= least and found, f"{name} {labels}")


@contextmanager
def scene(
    folder: Path,
    redis: RedisServer | None,
    *files: Document,
    env: Mapping[str, str] = {},
    instances: int = 1,
    options: Sequence[str] = (),
) -> Iterator[Scene]:
    """Run the preset before its three services, each of so many instances, and, if there is one, a Redis."""
    with ExitStack() as held:
        stubs = {
            name: [held.enter_context(Stub(f"{name}-{number}")) for number in range(instances)] for name in SERVICES
        }
        urls = {f"{name.upper()}_SERVICE_URL": ",".join(each.url for each in of) for name, of in stubs.items()}
        given = {
            **urls,
            "JWT_SECRET_KEY": SECRET,
            "WORKERS": "1",
            "REDIS_URL": f"{redis.url}/0" if redis is not None else "redis://127.0.0.1:1/0",
        }
        # Nothing waits for load balancers that are not there.
        options = ("--set", "shutdown.grace=0", *options, *(PATIENT if redis is not None else ()))
        gateway = held.enter_context(Gateway(folder, PRESET, *files, env={**given, **env}, options=options))
        yield Scene(gateway, stubs)


def loaded(*files: str, **env: str) -> LoadResult:
    """Load the preset in this process, with files over it and nothing in the environment but this and the secret."""
    layers = [Layer(preset_source(PRESET), preset_text(PRESET), own=False)]
    layers += [Layer(f"own-{number}.yaml", text) for number, text in enumerate(files)]
    environ = {"JWT_SECRET_KEY": SECRET, **env}
    return load([], environ={name: value for name, value in environ.items() if value}, layers=layers)


def resolved(*files: str, **env: str) -> ResolvedConfig:
    """Return the preset as it comes into force."""
    result = loaded(*files, **env)
    assert result.config is not None, [str(problem) for problem in result.problems]
    return result.config
