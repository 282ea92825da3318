from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.wire.sse import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ECHO = """
    from cog import BasePredictor, Input

    class Predictor(BasePredictor):
        def predict(self, text: str, times: int = Input(default=1, ge=1, le=3)) -> str:
            print("echoing", text)
            return text * times
"""
FILES = """
    from cog import BasePredictor, Path

    class Predictor(BasePredictor):
        def predict(self, picture: Path, name: str = "a.webp", count: int = 1) -> list[Path]:
            results = [Path(f"{number}-{name}") for number in range(count)]
            for number, result in enumerate(results):
                result.write_bytes(picture.read_bytes() + b"%d" % number)
            print(picture.name)
            return results
"""
SLOW = """
    import time
    from cog import BasePredictor, CancelationException

    class Predictor(BasePredictor):
        def predict(self, stubborn: bool = False, quick: bool = False) -> str:
            print("begun", flush=True)
            if quick:
                return "quick"
            while True:
                try:
                    for _ in range(1000):
                        time.sleep(0.01)
                except CancelationException:
                    if not stubborn:
                        raise
"""
STREAM = """
    from cog import BasePredictor, ConcatenateIterator

    class Predictor(BasePredictor):
        def predict(self, text: str, fail: bool = False) -> ConcatenateIterator[str]:
            print("log")
            yield from text.split("|")
            if fail:
                raise ValueError("out of words")
"""


async def test_a_blocking_wait_lasts_until_the_prediction_ends(write_model: Callable[..., Path], local: Any) -> None:
    write_model(ECHO)
    async with local() as api:
        done = await api.run(text="ab", times=2)
        assert (done["status"], done["output"], done["logs"]) == ("succeeded", "abab", "echoing ab\n")
        assert (done["model"], done["input"], done["error"]) == ("me/model", {"text": "ab", "times": 2}, None)
        assert done["version"] == await api.version()
        assert 0 <= done["metrics"]["predict_time"] <= done["metrics"]["total_time"]
        assert await api.get(done["urls"]["get"]) == done


async def test_without_a_long_blocking_wait_the_prediction_is_returned_unfinished(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(SLOW)
    async with local() as api:
        body = {"version": f"me/model:{await api.version()}", "input": {}}
        at_once = await api.request("POST", "/v1/predictions", body)
        held = await api.request("POST", "/v1/predictions", body, prefer="wait=1")
        assert (at_once.status, (await at_once.json())["status"]) == (201, "starting")
        assert (held.status, (await held.json())["status"]) == (202, "starting")


async def test_a_users_model_cannot_be_run_without_its_version(write_model: Callable[..., Path], local: Any) -> None:
    write_model(ECHO)
    async with local() as api:
        for path, body in (
            ("/v1/models/me/model/predictions", {"input": {"text": "a"}}),
            ("/v1/predictions", {"version": "me/model", "input": {"text": "a"}}),
        ):
            answer = await api.request("POST", path, body)
            assert (answer.status, await answer.json()) == (
                404,
                {"detail": "The requested resource could not be found.", "status": 404},
            )


async def test_every_fault_of_an_input_is_named_and_nothing_is_created(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(ECHO)
    async with local() as api:
        answer = await api.request("POST", "/v1/predictions", {"version": await api.version(), "input": {"times": 9}})
        assert (answer.status, await answer.json()) == (
            422,
            {
                "title": "Input validation failed",
                "detail": "- input: text is required\n- input.times: Must be less than or equal to 3\n",
                "status": 422,
                "invalid_fields": [
                    {"type": "required", "field": "input", "description": "text is required"},
                    {
                        "type": "number_lte",
                        "field": "input.times",
                        "description": "Must be less than or equal to 3",
                    },
                ],
            },
        )
        assert (await api.get("/v1/predictions"))["results"] == []


@pytest.mark.parametrize(
    ("body", "status", "word"),
    [
        ({"version": "0" * 64, "input": {}}, 422, "Invalid version or not permitted"),
        ({"version": "no such thing", "input": {}}, 422, "Invalid version or not permitted"),
        ({"input": {}}, 422, "version is required"),
        ({"version": "0" * 64, "input": {}, "extra": 1}, 422, "Additional property extra is not allowed"),
        ([], 400, "not a JSON object"),
    ],
)
async def test_a_wrong_request_is_refused_with_its_reason(local: Any, body: Any, status: int, word: str) -> None:
    async with local() as api:
        answer = await api.request("POST", "/v1/predictions", body)
        assert answer.status == status
        assert word in await answer.text()


async def test_input_files_may_be_uploads_or_data_urls_and_outputs_support_ranges(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(FILES)
    content = bytes(range(256))
    async with local() as api:
        multipart = (
            b'--x\r\ncontent-disposition: form-data; name="content"; filename="my picture.png"\r\n'
            b"content-type: image/png\r\n\r\n" + content + b"\r\n--x--\r\n"
        )
        request = api.client.post(f"{api.base_url}/v1/files").body_bytes(multipart)
        answer = await request.header("content-type", "multipart/form-data; boundary=x").build().send()
        upload = await answer.json()
        assert (answer.status, upload["size"], upload["content_type"]) == (201, 256, "image/png")
        digests = {name: hashlib.new(name, content).hexdigest() for name in ("sha256", "md5")}
        assert (upload["checksums"], upload["etag"]) == (digests, digests["md5"])
        assert await api.get(upload["urls"]["get"]) == upload

        data_url = "data:image/png;base64," + base64.b64encode(content).decode()
        for source in (upload["urls"]["get"], data_url):
            done = await api.run(picture=source, count=2)
            assert [url.rpartition("/")[2] for url in done["output"]] == ["out-0.webp", "out-1.webp"]
            kept = await api.request("GET", done["output"][1])
            assert (kept.headers["content-type"], kept.headers["content-length"]) == ("image/webp", "257")
            assert bytes(await kept.bytes()) == content + b"1"
            rest = await api.request("GET", done["output"][1], range="bytes=256-")
            assert (rest.status, rest.headers["content-range"]) == (206, "bytes 256-256/257")
            assert await rest.text() == "1"
        assert done["logs"].endswith(".png\n")


@pytest.mark.parametrize("source", ["/etc/hostname", "file:///etc/hostname", "picture.png"])
async def test_a_path_on_this_machine_as_a_file_input_is_refused(
    write_model: Callable[..., Path], local: Any, source: str
) -> None:
    write_model(FILES)
    async with local() as api:
        body = {"version": await api.version(), "input": {"picture": source}}
        answer = await api.request("POST", "/v1/predictions", body)
        assert answer.status == 422
        assert (await answer.json())["invalid_fields"][0]["field"] == "input.picture"


async def test_an_html_output_is_sent_as_plain_text(write_model: Callable[..., Path], local: Any) -> None:
    write_model(FILES)
    async with local() as api:
        done = await api.run(picture="data:,x", name="page.html")
        kept = await api.request("GET", done["output"][0])
        assert kept.headers["content-type"].startswith("text/plain")
        assert kept.headers["content-security-policy"] == "sandbox"
        assert kept.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("made", "kept"), [("a.jpeg", "jpg"), ("a.mp3", "mp3"), ("a.glb", "glb"), ("a.unheard", "bin")]
)
async def test_an_output_has_the_usual_extension_of_its_type_on_every_machine(
    write_model: Callable[..., Path], local: Any, made: str, kept: str
) -> None:
    write_model(FILES)
    async with local() as api:
        (url,) = (await api.run(picture="data:,x", name=made))["output"]
        assert url.endswith(f"/out-0.{kept}")


async def test_text_that_looks_like_a_data_url_stays_text(write_model: Callable[..., Path], local: Any) -> None:
    write_model(ECHO)
    async with local() as api:
        done = await api.run(text="data:text/plain;base64,aGk=")
        assert done["output"] == "data:text/plain;base64,aGk=", done


@pytest.mark.parametrize("stubborn", [False, True])
async def test_cancel_ends_a_prediction_and_the_next_one_runs(
    write_model: Callable[..., Path],
    local: Any,
    stubborn: bool,  # noqa: FBT001 - the case
) -> None:
    write_model(SLOW)
    async with local() as api:
        running = await api.until(await api.create({"stubborn": stubborn}), lambda found: "begun" in found["logs"])
        canceled = await (await api.request("POST", running["urls"]["cancel"])).json()
        assert (canceled["status"], canceled["output"]) == ("canceled", None)
        assert (await api.run(quick=True))["output"] == "quick"
        assert (await api.get(running["urls"]["get"]))["status"] == "canceled"


@pytest.mark.parametrize("given", ["4", "25h", "soon", "", "5m3h"])
async def test_a_malformed_cancel_after_is_refused(write_model: Callable[..., Path], local: Any, given: str) -> None:
    write_model(ECHO)
    async with local() as api:
        body = {"version": await api.version(), "input": {"text": "a"}}
        assert (await api.request("POST", "/v1/predictions", body, cancel_after=given)).status == 422


async def test_cancel_after_is_echoed_as_a_deadline(write_model: Callable[..., Path], local: Any) -> None:
    write_model(ECHO)
    async with local() as api:
        done = await api.create({"text": "a"}, cancel_after="1h30m", prefer="wait")
        assert done["status"] == "succeeded"
        assert (int(done["deadline"][11:13]) - int(done["created_at"][11:13])) % 24 in (1, 2)


async def read_stream(api: Any, prediction: Any, **headers: str) -> list[tuple[str, str, str]]:
    answer = await api.request("GET", prediction["urls"]["stream"], accept="text/event-stream", **headers)
    assert answer.headers["content-type"].startswith("text/event-stream")
    body = bytes(await answer.bytes())
    assert body.startswith(b":")
    return [(event.type, event.data, event.id if event.own_id else "") for event in Decoder().feed(body)]


async def test_a_stream_has_logs_output_and_done_and_resumes_after_last_event_id(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(STREAM)
    async with local() as api:
        made = await api.create({"text": "one |two\nlines| three"})
        events = await read_stream(api, made)
        assert [data for kind, data, _ in events if kind == "output"] == ["one ", "two\nlines", " three"]
        assert "".join(data for kind, data, _ in events if kind == "logs") == "log\n"
        assert events[-1] == ("done", "{}", "")
        assert (await api.get(made["urls"]["get"]))["output"] == ["one ", "two\nlines", " three"]
        last = next(id for kind, data, id in events if data == "two\nlines")  # noqa: A001 - it is one
        assert [data for _, data, _ in await read_stream(api, made, last_event_id=last)] == [" three", "{}"]


async def test_the_stream_of_a_failed_prediction_has_the_error(write_model: Callable[..., Path], local: Any) -> None:
    write_model(STREAM)
    async with local() as api:
        events = await read_stream(api, await api.create({"text": "a", "fail": True}))
        assert events[-2:] == [
            ("error", '{"detail":"ValueError: out of words"}', ""),
            ("done", '{"reason":"error"}', ""),
        ]


@pytest.mark.parametrize("host", ["example.com", "127.0.0.1.example.com", "0.0.0.0", "[::", ""])  # noqa: S104 - a name that is refused
async def test_a_request_with_another_host_name_is_refused(local: Any, host: str) -> None:
    async with local() as api:
        assert (await api.request("GET", "/v1/account", host=host)).status in (400, 403)


async def test_only_the_page_of_the_server_itself_may_write(local: Any) -> None:
    async with local() as api:
        assert (await api.request("POST", "/v1/predictions", {}, origin="https://example.com")).status == 403
        assert (await api.request("POST", "/v1/predictions", {}, origin="null")).status == 403
        assert (await api.request("POST", "/v1/predictions", {}, origin=api.base_url)).status == 422
        assert (await api.request("GET", "/v1/account", authorization="Bearer r8_anything")).status == 200


@pytest.mark.parametrize(
    "path",
    ["/v1/predictions/none", "/v1/models/no/body", "/outputs/..%2f..%2fetc/passwd", "/v1/nothing"],
)
async def test_unknown_paths_get_the_same_404_as_at_the_real_api(local: Any, path: str) -> None:
    async with local() as api:
        answer = await api.request("GET", path)
        assert (answer.status, await answer.json()) == (
            404,
            {"detail": "The requested resource could not be found.", "status": 404},
        )


async def test_a_version_can_be_looked_up_and_shows_the_models_schema(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(ECHO, README_dot_md="# Echo\n\nSays what it\nis told.\n\nMore.")
    async with local() as api:
        model = await api.get("/v1/models/me/model")
        assert (model["description"], model["is_official"]) == ("Says what it is told.", False)
        version = model["latest_version"]
        assert await api.get(f"/v1/models/me/model/versions/{version['id']}") == version
        assert set(version["openapi_schema"]["components"]["schemas"]["Input"]["properties"]) == {"text", "times"}
        assert (await api.request("GET", f"/v1/models/me/model/versions/{'0' * 64}")).status == 404


@pytest.mark.parametrize(
    "path", ["/account", "/predictions", "/models/replicate/hello-world", "/files", "/search?query=a"]
)
async def test_a_path_works_with_v1_once_or_twice_or_without_it(local: Any, path: str) -> None:
    async with local() as api:
        assert await api.get(path) == await api.get(f"/v1{path}") == await api.get(f"/v1/v1{path}")


async def test_official_clients_get_output_files_as_data_urls_and_other_clients_get_urls_of_the_server(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(FILES)
    async with local() as api:
        done = await api.run(picture="data:,x", count=2)
        assert [output.rpartition("/")[2] for output in done["output"]] == ["out-0.webp", "out-1.webp"]
        for agent in ("replicate-python/1.0.7", "_ModuleClient/Python 2.0.0b4", "replicate-javascript/1.4.0"):
            seen = await api.get(done["urls"]["get"], user_agent=agent)
            assert seen == done | {"output": ["data:image/webp;base64,eDA=", "data:image/webp;base64,eDE="]}


async def test_an_output_file_that_was_removed_is_a_url_of_the_server_also_for_official_clients(
    write_model: Callable[..., Path], local: Any, tmp_path: Path
) -> None:
    write_model(FILES)
    async with local(state=tmp_path / "state") as api:
        done = await api.run(picture="data:,x", count=2)
        (content,) = (tmp_path / "state").rglob("out-0.webp/content")
        content.unlink()
        seen = await api.get(done["urls"]["get"], user_agent="replicate-python/1.0.7")
        assert seen["output"] == [done["output"][0], "data:image/webp;base64,eDE="]
