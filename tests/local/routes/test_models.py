from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

HELLO = "/v1/models/replicate/hello-world"
PUBLISHED = "5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa"
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
    """The creation times of the listed models that are ready: a list does not wait for other models' environments."""
    return [model["latest_version"]["created_at"] for model in body["results"] if model["latest_version"]]


async def test_models_are_listed_newest_first_by_default(write_model: Callable[..., Path], local: Any) -> None:
    write_model(ECHO)
    async with local() as api:
        newest = await api.get("/v1/models")
        oldest = await api.get("/v1/models?sort_by=model_created_at&sort_direction=asc")
        times = created(newest)
        assert times == sorted(times, reverse=True)
        assert created(oldest) == sorted(created(oldest))
        assert {"me/model", "replicate/hello-world"} <= set(slugs(newest))


@pytest.mark.parametrize("query", ["sort_by=run_count", "sort_direction=up", "sort_by="])
async def test_an_unknown_sort_order_is_refused(api: Any, query: str) -> None:
    answer = await api.request("GET", f"/v1/models?{query}")
    assert (answer.status, (await answer.json())["title"]) == (400, "Bad request")


async def test_a_broken_model_is_left_out_of_the_list_and_its_fault_is_shown_on_request(
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


async def test_a_model_can_become_unreadable_and_be_repaired_while_the_server_runs(
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
    """Repeat the request until its response has another status, because folders are checked at intervals."""
    while (answer := await api.request("GET", "/v1/models/me/model")).status == status:
        pass
    return answer


async def test_the_models_folder_may_disappear_and_return(
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
        ("smallest", True),  # a word of its description
        ("", True),
        ("模型 \U0001f4a5", False),
    ],
)
async def test_a_query_finds_models_that_have_every_word(api: Any, words: str, *, found: bool) -> None:
    request = api.client.request("QUERY", f"{api.base_url}/v1/models").body_text(words)
    answer = await request.header("content-type", "text/plain").build().send()
    assert answer.status == 200
    assert ("replicate/hello-world" in slugs(await answer.json())) == found


async def test_a_query_in_invalid_utf_8_finds_no_model(api: Any) -> None:
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
async def test_an_invalid_search_gets_an_error_in_plain_json(api: Any, query: str, word: str) -> None:
    answer = await api.request("GET", f"/v1/search?{query}")
    assert (answer.status, answer.headers["content-type"]) == (400, "application/json")
    assert word in (await answer.json())["detail"]


async def test_an_official_model_lists_no_versions_but_its_latest_can_be_read(api: Any) -> None:
    model = await api.get(FLUX)
    latest = model["latest_version"]
    assert (model["is_official"], latest["id"] != "") == (True, True)
    assert (await api.request("GET", f"{FLUX}/versions")).status == 404
    assert await api.get(f"{FLUX}/versions/{latest['id']}") == latest


async def test_a_community_model_lists_its_versions_and_an_edit_makes_a_new_one(
    write_model: Callable[..., Path], local: Any, cache: Path, tmp_path: Path
) -> None:
    folder = write_model(ECHO)
    own = tmp_path / "cache"  # the shared cache has versions of other tests' models of that name
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


async def test_a_built_in_model_is_found_by_the_versions_published_on_replicate(api: Any) -> None:
    from replicate_job.local.catalog.catalog import Catalog  # noqa: PLC0415 - only here

    model = Catalog().find("replicate", "hello-world")
    assert model is not None
    for published in model.published:
        found = await api.get(f"{HELLO}/versions/{published}")
        assert found == (await api.get(f"{HELLO}/versions/{model.version}")) | {"id": published}
        body = {"version": published, "input": {"text": "you"}}
        made = await (await api.request("POST", "/v1/predictions", body)).json()
        assert (made["version"], made["model"]) == (published, "replicate/hello-world")


# From Replicate's OpenAPI document, the READMEs and recorded tests of its clients, and its documentation.
@pytest.mark.parametrize(
    "named",
    [
        "replicate/hello-world:5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa",
        "replicate/hello-world:9dcd6d78e7c6560c340d916fe32e9f24aabfa331e5cce95fe31f77fb03121426",
        "stability-ai/sdxl:39ed52f2a78e934b3ba6e2a89f5b1c712de7dfea535525255b1aa35c5565e08b",
        "stability-ai/sdxl:7762fd07cf82c948538e41f63f77d685e02b063e37e496e96eefd46c929f9bdc",
        "stability-ai/sdxl:8beff3369e81422112d93b89ca01426147de542cd4684c244b673b105188fe5f",
        "stability-ai/sdxl:c221b2b8ef527988fb59bf24a8b97c4561f1c671f73bd389f866bfb27c061316",
        "stability-ai/sdxl:2b017d9b67edd2ee1401238df49d75da53c523f36e363881e057f5dc3ed3c5b2",
        "nightmareai/real-esrgan:42fed1c4974146d4d2414e2be2c5277c7fcf05fcc3a73abf41610695738c1d7b",
        "nightmareai/real-esrgan:350d32041630ffbe63c8352783a26d94126809164e54085352f8326e53999085",
        "meta/musicgen:671ac645ce5e552cc63a54a2bbff63fcf798043055d2dac5fc9e36a837eedcfb",
        "meta/musicgen:7a76a8258b23fae65c5a22debb8841d1d7e816b75c2f24218cd2bd8573787906",
        "meta/llama-2-70b-chat:02e509c789964a7ea8736978a43525956ef40397be9033abf9fd2badfe68c9e3",
        "meta/llama-2-70b-chat:2796ee9483c3fd7aa2e171d38f4ca12251a30609463dcfd4cd76703f22e96cdf",
        "meta/llama-2-70b-chat:2c1608e18606fad2812020dc541930f2d0495ce32eee50074220b87300bc16e1",
        "meta/llama-2-70b-chat:58d078176e02c219e11eb4da5a02a7830a283b14cf8f94537af893ccff5ee781",
        "openai/whisper:8099696689d249cf8b122d833c36ac3f75505c666a395ca40ef26f68e7d3d16e",
        "openai/whisper:30414ee7c4fffc37e260fcab7842b5be470b9b840f2b608f5baa9bbef9a259ed",
        "openai/whisper:be69de6b9dc57b3361dff4122ef4d6876ad4234bf5c879287b48d35c20ce3e83",
        "black-forest-labs/flux-schnell:c846a69991daf4c0e5d016514849d14ee5b2e6846ce6b9d6f21369e564cfe51e",
        "meta/meta-llama-3-8b-instruct:5a6809ca6288247d06daf6365557e5e429063f32a21146b2a807c682652136b8",
        "beautyyuyanli/multilingual-e5-large:a06276a89f1a902d5fc225a9ca32b6e8e6292b7f3b136518878da97c458e2bad",
    ],
)
async def test_version_ids_from_replicates_documentation_are_found(api: Any, named: str) -> None:
    model, _, version = named.partition(":")
    found = await api.get(f"/v1/models/{model}/versions/{version}")
    assert (found["id"], "Input" in found["openapi_schema"]["components"]["schemas"]) == (version, True)
    # Inputs of a wrong type for each model: so the version is found, but nothing runs.
    wrong = dict.fromkeys(("text", "prompt", "image", "audio", "texts"), 5)
    answer = await api.request("POST", "/v1/predictions", {"version": named, "input": wrong})
    assert (answer.status, (await answer.json())["title"]) == (422, "Input validation failed")


@pytest.mark.parametrize("version", ["0" * 64, "latest", "%00", "a" * 5000])
async def test_an_unknown_version_or_one_of_another_model_is_a_404(api: Any, version: str) -> None:
    assert (await api.request("GET", f"{HELLO}/versions/{version}")).status == 404
    other = await api.version("black-forest-labs/flux-schnell")
    assert (await api.request("GET", f"{HELLO}/versions/{other}")).status == 404


async def test_the_example_of_a_model_is_a_prediction_that_succeeded(api: Any) -> None:
    async def run(text: Any) -> Any:
        body = {"version": await api.version("replicate/hello-world"), "input": {"text": text}}
        return await (await api.request("POST", "/v1/predictions", body, prefer="wait")).json()

    async def default() -> Any:
        (model,) = [one for one in (await api.get("/v1/models"))["results"] if one["name"] == "hello-world"]
        assert (await api.get(HELLO))["default_example"] == model["default_example"]
        return model["default_example"]

    assert (await default(), (await api.get(f"{HELLO}/examples"))["results"]) == (None, [])
    own = (await api.get(HELLO))["example_input"]
    first, _, best, _ = [await run(text) for text in ("one", "two", own["text"], own["text"])]
    assert await default() == await api.get(f"/v1/predictions/{best['id']}") == best
    assert (best["status"], best["output"]) == ("succeeded", f"hello {own['text']}")
    assert (await api.get(f"{HELLO}/examples"))["results"] == [best]
    await api.request("DELETE", f"/v1/predictions/{best['id']}")
    assert await default() is None
    assert await api.get(f"/v1/predictions/{first['id']}") == first
    third = await run("three")
    assert await default() == third


async def test_a_users_model_has_the_example_and_the_readme_from_its_folder(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(ECHO, name="bare")
    write_model(ECHO, README_dot_md="# Grüße\n\nSays it.", example_dot_json='{"input": {"text": "hi"}}', name="full")
    write_model(ECHO, example_dot_json="{", name="torn")
    async with local() as api:
        for name in ("bare", "torn"):
            assert (await api.get(f"/v1/models/me/{name}"))["example_input"] is None
            assert (await api.request("GET", f"/v1/models/me/{name}/readme")).status == 404
        assert (await api.get("/v1/models/me/full"))["example_input"] == {"text": "hi"}
        readme = await api.request("GET", "/v1/models/me/full/readme")
        assert readme.headers["content-type"] == "text/plain; charset=utf-8"
        assert await readme.text() == "# Grüße\n\nSays it."


async def test_collections_separate_built_in_models_from_models_of_the_user(
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
    ("method", "path"),
    [
        ("POST", "/v1/models"),
        ("PATCH", HELLO),
        ("DELETE", HELLO),
        ("DELETE", f"{HELLO}/versions/{PUBLISHED}"),
    ],
)
async def test_requests_to_create_change_or_delete_models_are_refused(api: Any, method: str, path: str) -> None:
    answer = await api.request(method, path, {})
    assert (answer.status, (await answer.json())["title"]) == (422, "Not available here")
    assert "owner/name/ with a cog.yaml" in (await answer.json())["detail"]


async def test_a_request_to_change_an_unknown_model_or_version_gets_a_404(api: Any) -> None:
    for method, path in (("PATCH", "/v1/models/a/b"), ("DELETE", "/v1/models/a/b"), ("DELETE", f"{HELLO}/versions/a")):
        assert (await api.request(method, path, {})).status == 404


@pytest.mark.parametrize("rest", ["", "/versions", "/examples", "/readme", "/predictions"])
async def test_an_unknown_model_is_a_404(api: Any, rest: str) -> None:
    method = "POST" if rest == "/predictions" else "GET"
    body: dict[str, Any] | None = {"input": {}} if method == "POST" else None
    assert (await api.request(method, f"/v1/models/no/body{rest}", body)).status == 404


async def test_the_first_built_in_model_is_flux_schnell_with_a_cover(local: Any) -> None:
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


async def test_a_built_in_model_shows_the_published_version_of_the_real_model(write_model: Any, local: Any) -> None:
    write_model(ECHO)
    async with local() as api:
        version = (await api.get(HELLO))["published_version"]
        body = {"version": version, "input": {"text": "you"}}
        done = await (await api.request("POST", "/v1/predictions", body, prefer="wait")).json()
        assert done["output"] == "hello you"
        assert (await api.get("/v1/models/me/model"))["published_version"] is None
