from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

HELLO = "/v1/models/replicate/hello-world"
FLUX = "/v1/models/black-forest-labs/flux-schnell"
ECHO = """
    from cog import BasePredictor

    class Predictor(BasePredictor):
        def predict(self, text: str) -> str:
            return text
"""


@pytest.fixture
async def api(local: Any) -> AsyncIterator[Any]:
    async with local() as api:
        yield api


def slugs(body: Any) -> list[str]:
    return [f"{model['owner']}/{model['name']}" for model in body["results"]]


def created(body: Any) -> list[str]:
    """Of those that are ready: a list does not wait for the environments of the others."""
    return [model["latest_version"]["created_at"] for model in body["results"] if model["latest_version"]]


async def test_the_list_has_the_newest_first_unless_it_is_asked_otherwise(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(ECHO)
    async with local() as api:
        newest = await api.get("/v1/models")
        oldest = await api.get("/v1/models?sort_by=model_created_at&sort_direction=asc")
        times = created(newest)
        assert times == sorted(times, reverse=True)
        assert created(oldest) == sorted(created(oldest))
        assert {"me/model", "replicate/hello-world"} <= set(slugs(newest))


@pytest.mark.parametrize("query", ["sort_by=run_count", "sort_direction=up", "sort_by="])
async def test_an_order_that_there_is_not_is_refused(api: Any, query: str) -> None:
    answer = await api.request("GET", f"/v1/models?{query}")
    assert (answer.status, (await answer.json())["title"]) == (400, "Bad request")


async def test_one_broken_model_hides_no_other_and_says_what_is_wrong_when_it_is_named(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(ECHO, name="good")
    write_model("def (", name="torn")
    write_model("", "predict: [", name="unreadable")
    async with local() as api:
        found = slugs(await api.get("/v1/models"))
        assert {"me/good", "me/torn", "replicate/hello-world"} <= set(found)
        assert "me/unreadable" not in found
        for name in ("torn", "unreadable"):
            answer = await api.request("GET", f"/v1/models/me/{name}")
            said = await answer.json()
            assert (answer.status, said["title"]) == (422, "The model cannot be run")
            assert "\n" not in said["detail"]


async def test_a_model_that_breaks_and_is_mended_while_it_is_served(
    write_model: Callable[..., Path], local: Any
) -> None:
    folder = write_model(ECHO)
    config = (folder / "cog.yaml").read_text()
    async with local() as api:
        version = await api.version()
        (folder / "cog.yaml").write_text("predict: [")
        answer = await until_changed(api, 200)
        assert (answer.status, (await answer.json())["title"]) == (422, "The model cannot be run")
        body = {"version": version, "input": {"text": "old"}}
        kept = await (await api.request("POST", "/v1/predictions", body, prefer="wait")).json()
        assert (kept["status"], kept["output"]) == ("succeeded", "old")
        (folder / "cog.yaml").write_text(config)
        assert (await (await until_changed(api, 422)).json())["latest_version"]["id"] == version


async def until_changed(api: Any, status: int) -> Any:
    """Folders are looked at once a second: ask until the answer is another one."""
    while (answer := await api.request("GET", "/v1/models/me/model")).status == status:
        pass
    return answer


async def test_the_folder_of_models_may_go_and_come_back(
    write_model: Callable[..., Path], local: Any, tmp_path: Path
) -> None:
    write_model(ECHO)
    async with local() as api:
        before = await api.version()
        (tmp_path / "models").rename(tmp_path / "away")
        assert (await until_changed(api, 200)).status == 404
        assert "me/model" not in slugs(await api.get("/v1/models"))
        (tmp_path / "away").rename(tmp_path / "models")
        await until_changed(api, 404)
        assert await api.version() == before


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("hello", True),
        ("HELLO  world", True),
        ("hello nowhere", False),
        ("smallest", True),  # of its description
        ("", True),
        ("模型 \U0001f4a5", False),
    ],
)
async def test_a_query_finds_models_that_have_every_word(api: Any, words: str, *, found: bool) -> None:
    request = api.client.request("QUERY", f"{api.base_url}/v1/models").body_text(words)
    answer = await request.header("content-type", "text/plain").build().send()
    assert answer.status == 200
    assert ("replicate/hello-world" in slugs(await answer.json())) == found


async def test_a_query_that_is_no_text_finds_nothing(api: Any) -> None:
    answer = await api.client.request("QUERY", f"{api.base_url}/v1/models").body_bytes(b"\xff\x00").build().send()
    assert (answer.status, (await answer.json())["results"]) == (200, [])


async def test_a_search_returns_models_with_their_metadata_up_to_its_limit(api: Any) -> None:
    found = await api.get("/v1/search?query=hello%20world")
    (result,) = found["models"]
    assert (result["model"]["name"], found["query"]) == ("hello-world", "hello world")
    assert result["metadata"]["generated_description"] == result["model"]["description"]
    assert (found["collections"], found["pages"]) == ([], [])
    assert len((await api.get("/v1/search?query=a&limit=50"))["models"]) > 2
    assert len((await api.get("/v1/search?query=a&limit=2"))["models"]) == 2


@pytest.mark.parametrize(
    ("query", "word"),
    [
        ("", '"query" is required'),
        ("query=", '"query" is required'),
        ("query=a&limit=0", "from 1 to 50"),
        ("query=a&limit=51", "from 1 to 50"),
        ("query=a&limit=-1", "from 1 to 50"),
        ("query=a&limit=many", "from 1 to 50"),
        ("query=a&limit=1.5", "from 1 to 50"),
        ("query=a&limit=%C2%B2", "from 1 to 50"),
        ("query=a&limit=" + "9" * 5000, "from 1 to 50"),
    ],
)
async def test_a_wrong_search_is_refused_in_plain_json(api: Any, query: str, word: str) -> None:
    answer = await api.request("GET", f"/v1/search?{query}")
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert word in (await answer.json())["detail"]


async def test_an_official_model_shows_no_versions_though_its_latest(api: Any) -> None:
    model = await api.get(FLUX)
    assert (model["is_official"], model["latest_version"]["id"] != "") == (True, True)
    for path in (f"{FLUX}/versions", f"{FLUX}/versions/{model['latest_version']['id']}"):
        assert (await api.request("GET", path)).status == 404


async def test_a_community_model_lists_its_versions_and_an_edit_makes_a_new_one(
    write_model: Callable[..., Path], local: Any, cache: Path, tmp_path: Path
) -> None:
    folder = write_model(ECHO)
    own = tmp_path / "cache"  # in the other one are versions of other tests' models of that name
    own.mkdir()
    (own / "venvs").symlink_to(cache / "venvs")
    async with local(cache_dir=own) as api:
        first = await api.get("/v1/models/me/model/versions")
        before = first["results"][0]["id"]
        (folder / "predict.py").write_text((folder / "predict.py").read_text().replace("text: str", "words: str"))
        while (await api.version()) == before:
            pass
        new, old = (await api.get("/v1/models/me/model/versions"))["results"]
        assert old == first["results"][0]
        inputs = [each["openapi_schema"]["components"]["schemas"]["Input"]["properties"] for each in (new, old)]
        assert [list(each) for each in inputs] == [["words"], ["text"]]
        assert await api.get(f"/v1/models/me/model/versions/{before}") == old


async def test_a_built_in_model_answers_for_the_versions_that_replicate_published(api: Any) -> None:
    from replicate_job.local.catalog.catalog import Catalog  # noqa: PLC0415 - only here

    model = Catalog().find("replicate", "hello-world")
    assert model is not None
    (published,) = model.published
    found = await api.get(f"{HELLO}/versions/{published}")
    assert found == (await api.get(f"{HELLO}/versions/{model.version}")) | {"id": published}
    body = {"version": published, "input": {"text": "you"}}
    made = await (await api.request("POST", "/v1/predictions", body)).json()
    assert (made["version"], made["model"]) == (published, "replicate/hello-world")


@pytest.mark.parametrize("version", ["0" * 64, "latest", "%00", "a" * 5000])
async def test_a_version_that_there_is_not_or_of_another_model_is_not_found(api: Any, version: str) -> None:
    assert (await api.request("GET", f"{HELLO}/versions/{version}")).status == 404
    other = await api.version("black-forest-labs/flux-schnell")
    assert (await api.request("GET", f"{HELLO}/versions/{other}")).status == 404


async def test_the_examples_input_is_one_that_the_model_takes(api: Any) -> None:
    (example,) = (await api.get(f"{HELLO}/examples"))["results"]
    body = {"version": example["version"], "input": example["input"]}
    assert (await api.request("POST", "/v1/predictions", body)).status == 201
    default = (await api.get(HELLO))["default_example"]
    assert default["input"] == example["input"]


async def test_a_model_of_ones_own_has_the_example_and_readme_that_lie_in_its_folder(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(ECHO, name="bare")
    write_model(ECHO, README_dot_md="# Grüße\n\nSays it.", example_dot_json='{"input": {"text": "hi"}}', name="full")
    write_model(ECHO, example_dot_json="{", name="torn")
    async with local() as api:
        for name in ("bare", "torn"):
            assert (await api.get(f"/v1/models/me/{name}/examples"))["results"] == []
            assert (await api.request("GET", f"/v1/models/me/{name}/readme")).status == 404
        (example,) = (await api.get("/v1/models/me/full/examples"))["results"]
        assert (example["input"], example["model"]) == ({"text": "hi"}, "me/full")
        readme = await api.request("GET", "/v1/models/me/full/readme")
        assert readme.headers["content-type"] == "text/plain; charset=utf-8"
        assert await readme.text() == "# Grüße\n\nSays it."


async def test_collections_tell_ones_own_models_from_those_that_are_built_in(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(ECHO)
    async with local() as api:
        assert [each["slug"] for each in (await api.get("/v1/collections"))["results"]] == ["built-in", "yours"]
        found = {}
        for slug in ("built-in", "yours"):
            collection = await api.get(f"/v1/collections/{slug}")
            found[slug] = slugs({"results": collection["models"]})
        assert found["yours"] == ["me/model"]
        assert "replicate/hello-world" in found["built-in"]
        assert (await api.request("GET", "/v1/collections/none")).status == 404


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/v1/models"), ("PATCH", HELLO), ("DELETE", HELLO), ("DELETE", f"{HELLO}/versions/a")]
)
async def test_models_are_made_and_removed_as_folders(api: Any, method: str, path: str) -> None:
    answer = await api.request(method, path, {})
    assert (answer.status, (await answer.json())["title"]) == (501, "Not implemented")
    assert "owner/name/ with a cog.yaml" in (await answer.json())["detail"]


@pytest.mark.parametrize("rest", ["", "/versions", "/examples", "/readme", "/predictions"])
async def test_a_model_that_there_is_not_is_not_found(api: Any, rest: str) -> None:
    method = "POST" if rest == "/predictions" else "GET"
    body: dict[str, Any] | None = {"input": {}} if method == "POST" else None
    assert (await api.request(method, f"/v1/models/no/body{rest}", body)).status == 404


async def test_the_built_in_models_come_in_their_rank_and_one_has_a_picture(local: Any) -> None:
    async with local() as api:
        models = (await api.get("/v1/collections/built-in"))["models"]
        first = models[0]
        assert (first["owner"], first["name"]) == ("black-forest-labs", "flux-schnell")
        picture = await api.request("GET", first["cover_image_url"])
        assert (picture.status, picture.headers["content-type"]) == (200, "image/webp")
        assert bytes(await picture.bytes())[8:12] == b"WEBP"
        for path in ("/covers/replicate/hello-world", "/covers/none/none"):
            assert (await api.request("GET", path)).status == 404
        assert (await api.get("/v1/models/replicate/hello-world"))["cover_image_url"] is None


async def test_a_built_in_model_says_which_version_runs_on_replicate_too(write_model: Any, local: Any) -> None:
    write_model(ECHO)
    async with local() as api:
        version = (await api.get(HELLO))["published_version"]
        body = {"version": version, "input": {"text": "you"}}
        done = await (await api.request("POST", "/v1/predictions", body, prefer="wait")).json()
        assert done["output"] == "hello you"
        assert (await api.get("/v1/models/me/model"))["published_version"] is None
