"""Tell the upstream whose request it is, signed, so that it need believe nobody who cannot sign.

    X-Tenant-Signature: v1; tenant=acme; time=1767225600; id=0190...; mac=HEX

`mac` is HMAC-SHA256 over the lines tenant, time, id and method. An upstream checks it, and that `time` is near. The
path is not signed: a rewrite of the route may change it behind all plugins.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from urllib.parse import quote

from headgate.plugin import Deny, Pass, Plugin, Request, Verdict


class TenantSigner(Plugin):
    """Sign tenant, time, id and method of each request; callers without a tenant are refused, or pass unsigned."""

    @dataclass(frozen=True)
    class Config:
        """What an entry says."""

        secret: str
        header: str = "X-Tenant-Signature"
        required: bool = True

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        if len(config.secret) < 16:
            raise ValueError("the secret must have 16 characters or more")
        self._key = config.secret.encode()
        self._header = config.header
        self._required = config.required

    def on_request(self, request: Request) -> Verdict | None:
        """Put the signature in place of whatever a client may have sent under its name."""
        tenant = request.identity.tenant
        if not tenant:
            if self._required:
                return Deny(403, "This needs a caller that belongs to a tenant.", "no tenant")
            return Pass(remove_headers=[self._header])
        # Escaped, it can neither end a line of what is signed nor begin a part of its own.
        name, now = quote(tenant, safe=""), str(int(request.time))
        signed = "\n".join((name, now, request.request_id, request.method))
        mac = hmac.new(self._key, signed.encode(), hashlib.sha256).hexdigest()
        value = f"v1; tenant={name}; time={now}; id={request.request_id}; mac={mac}"
        return Pass(set_headers={self._header: value})
