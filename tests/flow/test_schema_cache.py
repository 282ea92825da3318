"""Schemas of versions are cached for each API, but never from an API on this machine."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import pytest

from replicate_job.api.client import Client
from replicate_job.flow.context import Context
from replicate_job.flow.resolve import resolve
from replicate_job.flow.schema_cache import keep_schema, load_schema
from replicate_job.testing import ScriptedAPI, ScriptedModel, openapi_schema
from replicate_job.wire.target import Target

Connect = Callable[..., AbstractAsyncContextManager[Context]]
VERSION = "a" * 64
SCHEMA = openapi_schema({"n": {"type": "integer"}})
REPLICATE, PROXY = "https://api.replicate.com/v1", "https://gateway.example.com/replicate/v1"


class Elsewhere:
    """A client whose base URL is not on this machine."""

    def __init__(self, client: Client, base_url: str) -> None:
        self._client, self.base_url = client, base_url

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)


def at(context: Context, base_url: str) -> Context:
    return msgspec.structs.replace(context, client=Elsewhere(context.client, base_url))


async def test_the_schema_of_a_version_is_requested_once(connect: Connect) -> None:
    with ScriptedAPI(ScriptedModel(name="acme/model", versions=(VERSION,), schema=SCHEMA)) as api:
        async with connect(api) as context:
            target = Target("version", "acme", "model", VERSION)
            found = [(await resolve(at(context, REPLICATE), target)).schema for _ in range(3)]
        assert found == [SCHEMA] * 3
        assert sum(request.path.endswith(VERSION) for request in api.requests) == 1


async def test_a_schema_is_used_only_for_the_api_that_it_was_cached_for(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        replicate, proxy = at(context, REPLICATE), at(context, PROXY)
        keep_schema(replicate, VERSION, SCHEMA)
        assert load_schema(replicate, VERSION) == SCHEMA
        assert load_schema(proxy, VERSION) is None


@pytest.mark.parametrize("base_url", ["http://127.0.0.1:5000/v1", "http://localhost:5000/v1", "http://[::1]:5000/v1"])
async def test_nothing_is_cached_from_an_api_on_this_machine(api: ScriptedAPI, connect: Connect, base_url: str) -> None:
    async with connect(api) as context:
        for here in (at(context, base_url), msgspec.structs.replace(at(context, REPLICATE), ephemeral=True)):
            keep_schema(here, VERSION, SCHEMA)
            assert load_schema(here, VERSION) is None
        assert not (context.cache / "schemas").exists()
        keep_schema(at(context, REPLICATE), VERSION, SCHEMA)
        assert load_schema(at(context, base_url), VERSION) is None


async def test_a_damaged_cached_schema_is_requested_again(api: ScriptedAPI, connect: Connect) -> None:
    async with connect(api) as context:
        replicate = at(context, REPLICATE)
        keep_schema(replicate, VERSION, SCHEMA)
        (kept,) = (context.cache / "schemas").glob("*/*.json")
        for text in (b"", b"[]", b"\xff", b'{"a":' * 2000):
            kept.write_bytes(text)
            assert load_schema(replicate, VERSION) is None
