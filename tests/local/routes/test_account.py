from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
async def api(local: Any) -> AsyncIterator[Any]:
    async with local() as api:
        yield api


async def test_the_account_is_a_user_named_after_this_machine(api: Any) -> None:
    assert await api.get("/v1/account") == {"type": "user", "username": "local", "name": "This machine"}


async def test_the_hardware_list_has_the_skus_of_replicate_and_the_name_of_this_machine(api: Any) -> None:
    found = {each["sku"]: each["name"] for each in await api.get("/v1/hardware")}
    assert {"cpu", "gpu-t4", "gpu-l40s"} <= set(found)
    assert all("this machine" in name.lower() for name in found.values())


async def test_the_webhook_secret_is_in_the_state_folder_and_survives_a_restart(local: Any, tmp_path: Path) -> None:
    async def read(state: Path) -> str:
        async with local(state=state) as api:
            return str((await api.get("/v1/webhooks/default/secret"))["key"])

    first = await read(tmp_path / "one")
    assert first.startswith("whsec_")
    assert await read(tmp_path / "one") == first
    assert await read(tmp_path / "two") != first


async def test_the_list_of_trainings_is_empty_and_any_training_is_a_404(api: Any) -> None:
    """The responses are not 5xx, because clients retry those."""
    assert await api.get("/v1/trainings") == {"next": None, "previous": None, "results": []}
    for method, path in (("GET", "/v1/trainings/a"), ("POST", "/v1/trainings/a/cancel")):
        assert (await api.request(method, path)).status == 404


async def test_a_create_request_for_a_training_is_refused_with_the_reason(api: Any) -> None:
    version = await api.version("replicate/hello-world")
    answer = await api.request("POST", f"/v1/models/replicate/hello-world/versions/{version}/trainings", {})
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.status == 422
    assert await answer.json() == {
        "title": "Not available here",
        "detail": "Models are not trained on this machine: train on replicate.com",
        "status": 422,
    }
    for path in (f"/v1/models/a/b/versions/{version}", f"/v1/models/replicate/hello-world/versions/{'0' * 64}"):
        assert (await api.request("POST", f"{path}/trainings", {})).status == 404
