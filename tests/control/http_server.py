"""A server on loopback in threads of its own, for tests that say what it answers."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class QuietHandler(BaseHTTPRequestHandler):
    """Answers as its subclasses say, and writes no log."""

    def log_message(self, *_: Any) -> None:
        pass


class HttpServer:
    """Serves with a handler from the moment it is made, at `port`, a free one unless it is named."""

    def __init__(self, handler: type[QuietHandler], tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        self._server = _Server(("127.0.0.1", port), handler)
        self.port: int = self._server.server_port
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Five by default: a crowd's connections would be lost, and tried again only after a second.
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Say nothing of a client that left, as a killed gateway does."""
