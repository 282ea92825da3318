from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

HELLO = "replicate/hello-world"
ECHO = """
    from cog import BasePredictor

    class Predictor(BasePredictor):
        def predict(self, text: str) -> str:
            return text
"""
ALL = "/v1/deployments"
ONE = f"{ALL}/local/greeter"


@pytest.fixture
async def api(local: Any) -> AsyncIterator[Any]:
    async with local() as api:
        yield api


async def facts(api: Any, **changed: Any) -> dict[str, Any]:
    version = await api.version(HELLO)
    return {
        "name": "greeter",
        "model": HELLO,
        "version": version,
        "hardware": "cpu",
        "min_instances": 0,
        "max_instances": 1,
    } | changed


async def test_a_deployment_can_be_created_read_listed_updated_and_deleted(api: Any) -> None:
    made = await api.request("POST", ALL, await facts(api))
    body = await made.json()
    assert (made.status, body["owner"], body["name"]) == (200, "local", "greeter")
    release = body["current_release"]
    assert (release["number"], release["model"]) == (1, HELLO)
    assert release["configuration"] == {"hardware": "cpu", "min_instances": 0, "max_instances": 1}
    assert release["created_by"]["username"] == (await api.get("/v1/account"))["username"]
    assert await api.get(ONE) == body
    assert (await api.get(ALL))["results"] == [body]

    changed = await (await api.request("PATCH", ONE, {"hardware": "gpu-t4", "max_instances": 3})).json()
    assert changed["current_release"]["number"] == 2
    assert changed["current_release"]["version"] == release["version"]
    assert changed["current_release"]["configuration"] == {
        "hardware": "gpu-t4",
        "min_instances": 0,
        "max_instances": 3,
    }
    assert await api.get(ONE) == changed

    gone = await api.request("DELETE", ONE)
    assert (gone.status, await gone.text()) == (204, "")
    assert (await api.request("GET", ONE)).status == 404
    assert (await api.get(ALL))["results"] == []


async def test_a_prediction_of_a_deployment_shows_the_deployment_and_its_version(api: Any) -> None:
    made = await facts(api)
    await api.request("POST", ALL, made)
    answer = await api.request("POST", f"{ONE}/predictions", {"input": {"text": "you"}}, prefer="wait")
    prediction = await answer.json()
    assert (answer.status, prediction["output"]) == (201, "hello you")
    assert (prediction["deployment"], prediction["model"]) == ("local/greeter", HELLO)
    assert prediction["version"] == made["version"]
    assert await api.get(f"/v1/predictions/{prediction['id']}") == prediction


async def test_the_input_of_a_deployments_prediction_is_checked(api: Any) -> None:
    await api.request("POST", ALL, await facts(api))
    answer = await api.request("POST", f"{ONE}/predictions", {"input": {}})
    assert (answer.status, (await answer.json())["invalid_fields"][0]["description"]) == (422, "text is required")


async def test_a_deployment_with_an_existing_name_is_a_409(api: Any) -> None:
    first = await (await api.request("POST", ALL, await facts(api))).json()
    again = await api.request("POST", ALL, await facts(api, hardware="gpu-t4"))
    assert again.status == 409
    assert "local/greeter" in (await again.json())["detail"]
    assert await api.get(ONE) == first


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"version": "0" * 64}, "The specified version does not exist"),
        ({"version": "latest"}, "The specified version does not exist"),
        ({"model": "openai/whisper"}, "The specified version does not exist"),
        ({"hardware": "abacus"}, 'hardware must be one of the following: "cpu", "gpu-t4"'),
        ({"hardware": 4}, "- hardware: Invalid type. Expected: string, given: integer"),
        ({"name": "../greeter"}, "name: must be 1 to 100 letters, digits, '.', '_' and '-'"),
        ({"name": ""}, "name: must be 1 to 100"),
        ({"name": "a" * 101}, "name: must be 1 to 100"),
        ({"name": "größe"}, "name: must be 1 to 100"),
        ({"name": "greeter\n"}, "name: must be 1 to 100"),
        ({"min_instances": 6}, "min_instances"),
        ({"min_instances": 2}, "max_instances"),
        ({"min_instances": -1}, "min_instances"),
        ({"max_instances": 21}, "max_instances"),
        ({"max_instances": 1.5}, "max_instances"),
        ({"max_instances": 10**30}, "max_instances"),
        ({"extra": 1}, "extra"),
    ],
)
async def test_an_invalid_deployment_is_refused_with_the_field(api: Any, changed: dict[str, Any], word: str) -> None:
    answer = await api.request("POST", ALL, await facts(api, **changed))
    assert answer.status == 422
    assert word in (await answer.json())["detail"]
    assert (await api.get(ALL))["results"] == []


async def test_a_new_deployment_needs_every_field(api: Any) -> None:
    for name in (made := await facts(api)):
        answer = await api.request("POST", ALL, {each: value for each, value in made.items() if each != name})
        assert answer.status == 422
        assert name in (await answer.json())["detail"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"version": "0" * 64}, "The specified version does not exist"),
        ({"hardware": "abacus"}, "hardware must be one of"),
        ({"max_instances": 99}, "max_instances"),
        ({"name": "other"}, "name"),
    ],
)
async def test_an_invalid_update_is_refused_and_makes_no_release(api: Any, change: dict[str, Any], word: str) -> None:
    before = await (await api.request("POST", ALL, await facts(api))).json()
    answer = await api.request("PATCH", ONE, change)
    assert answer.status == 422
    assert word in (await answer.json())["detail"]
    assert await api.get(ONE) == before


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", ONE, None),
        ("PATCH", ONE, {"max_instances": 2}),
        ("DELETE", ONE, None),
        ("POST", f"{ONE}/predictions", {"input": {"text": "you"}}),
        ("GET", f"{ALL}/local/..%2fgreeter", None),
        ("GET", f"{ALL}/%ff/%00", None),
    ],
)
async def test_an_unknown_deployment_is_a_404(api: Any, method: str, path: str, body: Any) -> None:
    assert (await api.request(method, path, body)).status == 404


async def test_an_official_models_version_can_be_deployed(api: Any) -> None:
    model = "black-forest-labs/flux-schnell"
    made = await facts(api, model=model, version=await api.version(model))
    assert (await api.request("POST", ALL, made)).status == 200


async def test_deployments_are_listed_newest_first_also_after_a_restart(local: Any, tmp_path: Path) -> None:
    async with local(state=tmp_path / "state") as api:
        for name in ("b", "c", "a"):
            await api.request("POST", ALL, await facts(api, name=name))
        before = await api.get(ALL)
        assert [each["name"] for each in before["results"]] == ["a", "c", "b"]
    async with local(state=tmp_path / "state") as api:
        assert await api.get(ALL) == before


async def test_a_deployment_keeps_its_version_after_the_model_was_edited_and_removed(
    write_model: Callable[..., Path], local: Any
) -> None:
    folder = write_model(ECHO)
    async with local() as api:
        made = await facts(api, model="me/model", version=await api.version())
        assert (await api.request("POST", ALL, made)).status == 200
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
        answer = await api.request("POST", f"{ONE}/predictions", {"input": {"text": "still"}}, prefer="wait")
        assert (answer.status, (await answer.json())["output"]) == (201, "still")
        assert (await api.request("PATCH", ONE, {"max_instances": 2})).status == 200


async def test_a_deployment_of_a_missing_version_can_be_updated_and_deleted_but_not_run(
    write_model: Callable[..., Path], local: Any, tmp_path: Path
) -> None:
    write_model(ECHO)
    async with local(state=tmp_path / "state") as api:
        made = await facts(api, model="me/model", version=await api.version())
        assert (await api.request("POST", ALL, made)).status == 200
    async with local(state=tmp_path / "state", cache_dir=tmp_path / "another", models=[]) as api:
        refused = await api.request("POST", f"{ONE}/predictions", {"input": {"text": "a"}})
        assert (refused.status, (await refused.json())["title"]) == (422, "Invalid version or not permitted")
        assert (await api.request("PATCH", ONE, {"max_instances": 2})).status == 200
        assert (await api.request("PATCH", ONE, {"version": made["version"]})).status == 422
        assert (await api.request("DELETE", ONE)).status == 204
