"""Who may tell the gateway something: the tokens of the admin API, what each is good for, and who showed one before.

Laws: tokens are compared as digests, each with each, in a time that says nothing of them; what was shown and is wrong
costs a try (control.throttle), also for a login; a right one that is too long to be tried out is taken in any case, or
one that shows a wrong one from behind the same address would keep everybody there out; no token and no session id
stands in what this says of itself.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

from headgate.config.admin_settings import AdminRole
from headgate.config.resolve import ResolvedConfig
from headgate.control.admin_token import find_token
from headgate.control.log import Log
from headgate.control.sessions import Sessions
from headgate.control.throttle import Throttle
from headgate.core.address import is_loopback, parse_listen
from headgate.core.clock import monotonic

# Who showed admin.token, or what stands in its place.
OWNER: Final = "admin"

MAY: Final[Mapping[AdminRole, frozenset[AdminRole]]] = {
    "read": frozenset({"read"}),
    "register": frozenset({"register"}),
    "operate": frozenset({"read", "register", "operate"}),
    "admin": frozenset({"read", "register", "operate", "admin"}),
}

_LONGEST_TOKEN: Final = 4096
# Characters from which on nobody finds a token by trying: 128 bits in hexadecimal digits.
_LONG: Final = 32


class Operator(NamedTuple):
    """Who asks: the name of the token, its role, and how it was shown."""

    name: str
    role: AdminRole
    method: Literal["token", "session"]

    def may(self, *roles: AdminRole) -> bool:
        """Tell whether what asks for any of these roles is allowed."""
        return not MAY[self.role].isdisjoint(roles)


class TooManyTries(Exception):
    """This address has shown too much that was wrong; `wait` is in seconds."""

    def __init__(self, wait: float) -> None:
        super().__init__(f"another try in {wait:.0f} s")
        self.wait = wait


class Operators:
    """All of them, as the configuration in force has them."""

    def __init__(self, log: Log, environ: Mapping[str, str] = os.environ) -> None:
        self._log = log
        self._environ = environ
        self._tokens: dict[bytes, tuple[str, AdminRole]] = {}
        self._sessions = Sessions()
        self._throttle = Throttle()
        self._said = ""
        self.public: frozenset[str] = frozenset()
        self.hosts: frozenset[str] | None = None

    def follow(self, config: ResolvedConfig) -> bool:
        """Know the tokens of this configuration from now on; sessions of those that are gone end.

        Tell whether any token is good for nothing more, or for something else than before.
        """
        admin = config.admin
        try:
            own = find_token(admin.token, self._environ, config.state_dir)
        except ValueError as error:
            own = ""
            if str(error) != self._said:
                self._said = str(error)
                self._log("error", f"nobody may tell the gateway anything with admin.token: {error}")
        tokens: dict[bytes, tuple[str, AdminRole]] = {
            _digest(each.token): (each.name, each.role) for each in admin.tokens if each.token
        }
        if own:
            tokens[_digest(own)] = (OWNER, "admin")
        before, self._tokens = self._tokens, tokens
        self.public = frozenset(admin.public)
        address = parse_listen(admin.address)
        local = not address.unix and is_loopback(address.host)
        self.hosts = frozenset(host.lower() for host in admin.hosts) if local else None
        return any(tokens.get(digest) != known for digest, known in before.items())

    def of_token(self, shown: str, address: str) -> Operator | None:
        """Return whose token this is; None when it is nobody's.

        Raises:
            TooManyTries: when it was not looked at.
        """
        digest = self._try(shown, address)
        return Operator(*self._tokens[digest], "token") if digest is not None else None

    def of_session(self, id_: str, address: str) -> Operator | None:
        """Return who began the session; None when there is none."""
        token = self._sessions.token_of(id_, address, monotonic())
        found = self._tokens.get(token) if token is not None else None
        return Operator(*found, "session") if found is not None else None

    def begin_session(self, shown: str, address: str) -> tuple[Operator, str] | None:
        """Trade a token for the id of a session; None when it is nobody's.

        Raises:
            TooManyTries: when it was not looked at.
        """
        digest = self._try(shown, address)
        if digest is None:
            return None
        return Operator(*self._tokens[digest], "session"), self._sessions.begin(digest, address, monotonic())

    def end_session(self, id_: str) -> None:
        """End it, if there is one."""
        self._sessions.end(id_)

    def is_asked_as(self, host: str) -> bool:
        """Tell whether a request's Host (without its port) may mean this listener.

        On loopback a page whose name a stranger pointed at 127.0.0.1 would be let in by the browser otherwise.
        """
        return self.hosts is None or is_loopback(host.lower()) or host.lower() in self.hosts

    def _try(self, shown: str, address: str) -> bytes | None:
        now = monotonic()
        wait = self._throttle.wait(address, now)
        if wait > 0 and len(shown) < _LONG:
            raise TooManyTries(wait)
        digest, found = _digest(shown[:_LONGEST_TOKEN]), None
        for known in self._tokens:
            if hmac.compare_digest(known, digest):
                found = known
        if found is None and wait > 0:
            raise TooManyTries(wait)
        if found is None:
            self._throttle.wrong(address, now)
        return found

    def __repr__(self) -> str:
        return f"<Operators with {len(self._tokens)} tokens, {len(self._sessions)} sessions>"


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
