"""What holds for every test."""

from __future__ import annotations

import socket
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, settings

# The machine that runs the tests may be busy with others: how long an example takes says nothing about the code.
settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("quick", settings.get_profile("patient"), max_examples=10)
settings.load_profile("patient")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what runs Cog: all that uses the models' environments."""
    for item in items:
        if "cache" in getattr(item, "fixturenames", ()):
            item.add_marker("cog")


@pytest.fixture
def raw() -> Callable[..., bytes]:
    """Everything that comes back on a raw socket until the connection ends. Raises ConnectionResetError on a reset."""

    def raw(origin: str, request: str) -> bytes:
        host, _, port = urlsplit(origin).netloc.partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(request.encode())
            received = b""
            while part := connection.recv(65536):
                received += part
            return received

    return raw
