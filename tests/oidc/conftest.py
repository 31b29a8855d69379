"""The service behind the gateway, as in the tests of control."""

from tests.control.conftest import service

__all__ = ["service"]
