"""Which web pages may read our answers: the server's side of the CORS protocol (Fetch standard, "CORS protocol").

Laws:
- An origin is compared byte for byte with its serialization, as browsers do ("CORS check"): nothing is lowered, cut or
  decoded, and what is echoed is what was matched.
- Credentials need an origin by name: what only `*` allows is answered `*` and never told that credentials may go along
  ("CORS protocol and credentials").
- Where the answer depends on the origin, every answer says so by Vary, those to requests without Origin too ("CORS
  protocol and HTTP caches"): a cache must not show one page what another one was answered.
- A list with `*` is answered by what was asked for, since `*` means nothing with credentials, and never Authorization.
"""

from __future__ import annotations

import re

from headgate.core.failure import Failure
from headgate.core.message import Fields, RequestHead
from headgate.core.uri import BadTarget, parse_authority
from headgate.policy.hygiene_settings import Cors

ANY = "*"
# RFC 6454 section 6.1: what pages without an origin of their own send, such as a sandboxed frame of any site.
OPAQUE = "null"
# What an answer of ours replaces on an upstream's.
OWNED = (
    "Access-Control-Allow-Credentials",
    "Access-Control-Allow-Headers",
    "Access-Control-Allow-Methods",
    "Access-Control-Allow-Origin",
    "Access-Control-Allow-Private-Network",
    "Access-Control-Expose-Headers",
    "Access-Control-Max-Age",
)
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://([^/?#@\s]+)", re.ASCII)
_LABELS = rb"(?:[a-z0-9_-]{1,63}\.)+"
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]{1,256}")
_MOST_ORIGINS = 1024
_LONGEST_ORIGIN = 300


class CorsPolicy:
    """One block of settings, compiled; its origins are those that `check_origin` does not object to."""

    __slots__ = (
        "_answers",
        "_any",
        "_any_fields",
        "_credentials",
        "_exact",
        "_expose",
        "_headers",
        "_max_age",
        "_methods",
        "_other_fields",
        "_private_network",
        "_vary",
        "_wild",
    )

    def __init__(self, settings: Cors) -> None:
        origins = settings.origins
        self._any = ANY in origins
        self._exact = frozenset(text.encode() for text in origins if text != ANY and "://*." not in text)
        wild = [_wildcard(text) for text in origins if "://*." in text]
        self._wild = re.compile(b"|".join(wild)) if wild else None
        self._credentials = settings.credentials
        self._expose: Fields = []
        if settings.expose:
            self._expose = [(b"Access-Control-Expose-Headers", ", ".join(settings.expose).encode())]
        self._methods = None if ANY in settings.methods else ", ".join(settings.methods).encode()
        self._headers = None if ANY in settings.headers else ", ".join(settings.headers).encode()
        self._max_age = (b"Access-Control-Max-Age", b"%d" % settings.max_age)
        self._private_network = settings.private_network
        asked = ["Access-Control-Request-Method", "Access-Control-Request-Headers"]
        asked += ["Access-Control-Request-Private-Network"] if settings.private_network else []
        self._vary = (b"Vary", ", ".join(asked).encode())
        # All origins are answered alike: then that needs no Vary, and one object serves all.
        alike = self._any and not self._credentials
        vary: Fields = [] if alike else [(b"Vary", b"Origin")]
        self._any_fields: Fields = [(b"Access-Control-Allow-Origin", b"*"), *self._expose, *vary]
        self._other_fields: Fields = self._any_fields if alike else vary
        self._answers: dict[bytes, Fields] = {}
        if alike:
            self._exact = frozenset()
            self._wild = None

    def fields(self, origin: bytes | None) -> Fields:
        """Return what stands on every answer to a request with that Origin; not to be changed."""
        if origin is None:
            return self._other_fields
        fields = self._answers.get(origin)
        if fields is None:
            fields = self._made(origin)
            if len(origin) <= _LONGEST_ORIGIN:
                if len(self._answers) >= _MOST_ORIGINS:
                    self._answers.clear()
                self._answers[origin] = fields
        return fields

    def allows(self, origin: bytes) -> bool:
        """Tell whether pages of that origin may read our answers."""
        return self._any or self._lists(origin)

    def preflight(self, head: RequestHead) -> Fields | None:
        """Return what a preflight is answered besides `fields`; None if the request is none ("HTTP requests").

        Whether method and fields are among those allowed is the browser's to say: it has the lists.

        Raises:
            Failure: origin_forbidden.
        """
        asked = preflighted(head)
        if asked is None:
            return None
        origin, method = asked
        if not self.allows(origin):
            raise Failure("origin_forbidden", origin[:_LONGEST_ORIGIN].decode("ascii", "backslashreplace"))
        fields: Fields = []
        methods = _names(method) if self._methods is None else self._methods
        if methods:
            fields.append((b"Access-Control-Allow-Methods", methods))
        headers = self._headers
        if headers is None:
            headers = _names(head.get(b"access-control-request-headers") or b"")
        if headers:
            fields.append((b"Access-Control-Allow-Headers", headers))
        if self._private_network and head.get(b"access-control-request-private-network") == b"true":
            fields.append((b"Access-Control-Allow-Private-Network", b"true"))
        fields.append(self._max_age)
        fields.append(self._vary)
        return fields

    def _lists(self, origin: bytes) -> bool:
        return origin in self._exact or (self._wild is not None and self._wild.fullmatch(origin) is not None)

    def _made(self, origin: bytes) -> Fields:
        if not self._lists(origin):
            return self._any_fields if self._any else self._other_fields
        fields: Fields = [(b"Access-Control-Allow-Origin", origin)]
        if self._credentials:
            fields.append((b"Access-Control-Allow-Credentials", b"true"))
        return [*fields, *self._expose, *self._other_fields]


def preflighted(head: RequestHead) -> tuple[bytes, bytes] | None:
    """Return origin and method that a preflight asks for; None for any other request."""
    if head.method != "OPTIONS":
        return None
    origin, method = head.get(b"origin"), head.get(b"access-control-request-method")
    return None if origin is None or method is None else (origin, method)


def check_origin(text: str) -> str | None:
    """Say why that text is no origin of a page, None if it is one."""
    if text in (ANY, OPAQUE):
        return None
    if "@" in text:
        return "an origin has no user name"
    if re.search(r"[\s,]", text):
        return "an origin holds neither spaces nor commas; write several as a list"
    if not text.isascii():
        return "names beyond ASCII are sent in punycode (xn--...)"
    found = _ORIGIN.fullmatch(text)
    if found is None:
        return _why_none(text)
    scheme, authority = found.groups()
    if authority[:2] == "*.":
        authority = authority[2:]
    if "*" in authority:
        return "a * stands for whole names below a domain only: https://*.example.com"
    if scheme not in _DEFAULT_PORTS:
        # Such as those of browser extensions, which follow no rule for hosts.
        return None
    try:
        host, port = parse_authority(authority.encode(), _DEFAULT_PORTS[scheme])
    except BadTarget as error:
        return str(error)
    written = f"{scheme}://{'*.' if '://*.' in text else ''}{host}"
    written += "" if port == _DEFAULT_PORTS[scheme] else f":{port}"
    return None if written == text else f"browsers send it as {written}"


def _why_none(text: str) -> str:
    scheme, mark, rest = text.partition("://")
    if not mark:
        return f"the scheme is missing: https://{text.strip('/')}" if text.strip("/") else "expected an origin"
    if scheme != scheme.lower():
        return f"browsers send it as {text.lower()}"
    host = re.split(r"[/?#]", rest, maxsplit=1)[0]
    if not host:
        return "the host is missing"
    return f"an origin has no path, nor a slash at its end: {scheme}://{host}"


def _wildcard(text: str) -> bytes:
    scheme, _, domain = text.partition("://*.")
    return re.escape(f"{scheme}://".encode()) + _LABELS + re.escape(domain.encode())


def _names(value: bytes) -> bytes:
    """Return the names in a list, without whatever is none."""
    names = (part.strip(b" \t") for part in value.split(b","))
    return b", ".join(name for name in names if _NAME.fullmatch(name))
