"""The check of the soak about an issuer whose keys are fetched: it rotates them, is slow, talks nonsense, and is away.

Its laws stand in bench/checks.py; what it holds besides is the first line of its docstring.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import random
import time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from bench import client
from bench.client import Ask, Crowd, Ending, Outcome
from bench.gate import Gate
from bench.moody import MODES, Moody, http_message
from bench.scene import CLIENTS, NEVER_TOO_MUCH, STEADY, Scene, Verdict, shown
from bench.upstream import Upstream
from bench.wallet import ROLE, bearer, dressed, refused

_SECONDS = 120.0
_MODE_SECONDS = 4.0
# Sooner than that no issuer is asked again for the sake of a key that nobody knows.
_COOLDOWN, _REFRESH, _TIMEOUT = 2, 5, 1
# A key that is published is known so soon, whatever was before.
_KNOWN_SECONDS = 15.0
# A worker waits for control a second longer than control for the issuer.
_WAIT_SECONDS = _TIMEOUT + 1 + 2.0
_KEPT_KEYS = 3
_STRANGE = 0.2


class Issuer(Moody):
    """A server with a discovery document and a key set."""

    def __init__(self) -> None:
        super().__init__()
        self.keys: dict[str, ec.EllipticCurvePrivateKey] = {}
        self._names = itertools.count()

    def rotate(self) -> str:
        """Publish a new key, and the oldest no more; return the name of the new one."""
        name = f"kid-{next(self._names)}"
        self.keys[name] = ec.generate_private_key(ec.SECP256R1())
        if len(self.keys) > _KEPT_KEYS:
            del self.keys[next(iter(self.keys))]
        return name

    def sign(self, kid: str, key: ec.EllipticCurvePrivateKey, caller: str) -> str:
        """Return a token of this caller, with the place of this server in iss."""
        claims = {"sub": caller, "iss": self.url, "aud": "soak", "exp": int(time.time()) + 3600}
        return jwt.encode({**claims, "tenant": "acme", "roles": [ROLE]}, key, "ES256", {"kid": kid})

    async def message(self, target: str) -> bytes:
        return http_message(json.dumps(self._document(target)).encode())

    def empty(self) -> bytes:
        return http_message(b'{"keys": []}')

    def _document(self, path: str) -> dict[str, Any]:
        if path != "/keys":
            return {"issuer": self.url, "jwks_uri": f"{self.url}/keys"}
        made = jwt.get_algorithm_by_name("ES256")
        listed = [(name, made.to_jwk(key.public_key(), as_dict=True)) for name, key in self.keys.items()]
        return {"keys": [{**jwk, "kid": name, "use": "sig", "alg": "ES256"} for name, jwk in listed]}


class Bearers:
    """Who shows tokens of the issuer: by keys that are known, by one that is no key of it, and beside a known one."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._stranger = ec.generate_private_key(ec.SECP256R1())
        self._tokens: dict[str, list[tuple[str, str]]] = {}
        self._serial = itertools.count()

    def know(self, kid: str) -> None:
        """Let tokens by this key be shown from now on, and none by keys that are not published any more."""
        self._tokens[kid] = [(self.token(kid, caller), caller) for caller in (f"{kid}-{n}" for n in range(20))]
        self._tokens = {kid: tokens for kid, tokens in self._tokens.items() if kid in self._issuer.keys}

    def forget(self, kid: str) -> None:
        """Show no token by this key any more."""
        self._tokens.pop(kid, None)

    @property
    def kids(self) -> list[str]:
        """Return the keys by which tokens are shown, the oldest first."""
        return list(self._tokens)

    def token(self, kid: str, caller: str) -> str:
        """Sign by a key of the issuer."""
        return self._issuer.sign(kid, self._issuer.keys[kid], caller)

    def dress(self, ask: Ask) -> Ask:
        """Let a request show one of them."""
        if random.random() >= _STRANGE:
            token, caller = random.choice(random.choice(list(self._tokens.values())))
            return dressed(ask, bearer(token, caller))
        number = next(self._serial)
        kid = random.choice((f"strange-{number}", random.choice(self.kids)))
        token = self._issuer.sign(kid, self._stranger, f"stranger-{number}")
        return dressed(ask, refused(f"Authorization: Bearer {token}", "invalid_token"))


async def issuer(scene: Scene) -> Verdict:
    """An issuer rotates keys, is slow, talks nonsense and is away: tokens by known keys pass, all others never do.

    No request waits for longer than the issuer may take, a new key is known in time, and the issuer is asked no more
    often than configured, whatever is shown.
    """
    upstream, server = Upstream(), Issuer()
    await upstream.start()
    await server.start()
    source = {"refresh": _REFRESH, "cooldown": _COOLDOWN, "timeout": _TIMEOUT}
    identity = scene.wallet.identity()
    made = {"name": "made", "issuer": server.url, "audience": "soak", "algorithms": "ES256", "discovery": source}
    settings = {"identity": {**identity, "jwt": [*identity["jwt"], made]}, **NEVER_TOO_MUCH}
    gate = scene.gate(upstream.port, 2, settings=settings)
    trial = Trial(gate, server)
    first = server.rotate()
    await gate.start()
    await trial.know(first)
    server.asked = 0
    crowds = [Crowd(gate.port, STEADY, trial.judge, trial.bearers.dress), gate.crowd(STEADY, trial.judge)]
    crowds[0].start(CLIENTS // 2)
    crowds[1].start(4)
    loop = asyncio.get_running_loop()
    began = loop.time()
    await trial.turns(began + min(_SECONDS, scene.seconds))
    seconds = loop.time() - began
    for crowd in crowds:
        await crowd.stop()
        trial.failures += crowd.failures
    await server.close()
    await upstream.close()
    # Two documents a fetch; one fetch for the sake of keys nobody knows, and one when a fetch is due or is tried again.
    most = 2 * (seconds / _COOLDOWN + seconds + 2)
    words = (
        f"{trial.turned} turns to the worse and back with a new key each, known after {trial.newest:.1f} s at most; "
    )
    words += f"{sum(crowd.total for crowd in crowds):,} requests, the slowest took {trial.slowest:.2f} s (at most "
    words += f"{_WAIT_SECONDS:g}); {server.asked} documents asked for in {seconds:.0f} s; {len(trial.failures)} failed"
    held = trial.slowest <= _WAIT_SECONDS and server.asked <= most and trial.turned > 0 and not trial.failures
    return Verdict(held, words + shown(trial.failures))


class Trial:
    """An issuer that gets worse and well again in turn, and what becomes of requests meanwhile.

    `slowest` is the longest answer and `newest` the longest time until a new key was known, in seconds.
    """

    def __init__(self, gate: Gate, server: Issuer) -> None:
        self._gate = gate
        self._server = server
        self.bearers = Bearers(server)
        self.slowest = self.newest = 0.0
        self.turned = 0
        self.failures: list[str] = []

    def judge(self, ending: Ending) -> str:
        """Judge a request of any moment: each must end as if nothing were wrong."""
        self.slowest = max(self.slowest, ending.ended - ending.began)
        good = ending.outcome is Outcome.GOOD
        return "" if good else f"while it was {self._server.mode or 'well'!r}: {ending.words or ending.outcome}"

    async def know(self, kid: str) -> None:
        """Wait until the gateway knows a key, and show tokens by it from then on."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        # On many connections: both workers have to know it.
        while not all([await _passes(self._gate.port, self.bearers.token(kid, "probe")) for _ in range(8)]):
            if loop.time() > began + _KNOWN_SECONDS:
                self.failures.append(f"{kid} is not known after {_KNOWN_SECONDS:g} s")
                return
            await asyncio.sleep(0.1)
        self.newest = max(self.newest, loop.time() - began)
        self.bearers.know(kid)

    async def turns(self, until: float) -> None:
        """Turn it to the worse and back, with a new key each time, until a moment of the loop."""
        server = self._server
        for mode in itertools.cycle(MODES):
            if asyncio.get_running_loop().time() > until:
                return
            await server.turn(mode)
            await asyncio.sleep(_MODE_SECONDS)
            await server.turn("")
            if len(server.keys) == _KEPT_KEYS and len(self.bearers.kids) > 1:
                # What is in flight ends, and from here on its tokens may be refused.
                self.bearers.forget(self.bearers.kids[0])
                await asyncio.sleep(0.5)
            await self.know(server.rotate())
            self.turned += 1


async def _passes(port: int, token: str) -> bool:
    connection = await client.connect(port)
    outcome, _, _ = await connection.ask(dressed(client.small(), bearer(token, "probe")))
    connection.close()
    return outcome is Outcome.GOOD
