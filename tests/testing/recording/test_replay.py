"""Recording a server on loopback, and replaying the recording without it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job import Result, run, stream
from replicate_job.errors import InvalidRequestError, RecordingError
from replicate_job.inputs.secrets import REDACTED
from replicate_job.testing import (
    OutputFile,
    RecordingAPI,
    ReplayAPI,
    Script,
    ScriptedAPI,
    ScriptedModel,
    Stream,
    openapi_schema,
)

FILE = {"type": "string", "format": "uri"}
KEEPER = ScriptedModel(
    name="me/keeper",
    schema=openapi_schema({"note": {"type": "string"}, "code": {"type": "string", "format": "password"}}),
    script=Script(output=lambda given: f"kept {given['note']} with {given['code']}"),
)
PAINTER = ScriptedModel(
    name="me/painter",
    official=True,
    schema=openapi_schema({"prompt": {"type": "string"}, "image": FILE}, FILE),
    script=Script(output=OutputFile(content=b"a picture", name="out.webp"), logs="1\n2\n3\n"),
)
TOKEN = "r8_real_0123456789abcdefghijklmnopqrstuv"  # noqa: S105 - not a real token
Lead = Callable[[ScriptedAPI | RecordingAPI | ReplayAPI], None]


@pytest.fixture
def real() -> Iterator[ScriptedAPI]:
    """A scripted API in place of the real one."""
    with ScriptedAPI(PAINTER, KEEPER, token=TOKEN) as api:
        yield api
        assert not api.strayed_token()


@pytest.fixture
def lead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Lead:
    """Sets the environment variables for a server, with a new journal and new caches."""
    count = iter(range(99))

    def lead(api: ScriptedAPI | RecordingAPI | ReplayAPI) -> None:
        place = tmp_path / f"state{next(count)}"
        own = {"REPLICATE_JOB_JOURNAL": str(place / "journal.db"), "XDG_STATE_HOME": str(place)}
        for name, value in {**api.environment, **own}.items():
            monkeypatch.setenv(name, value)

    return lead


@pytest.fixture
def record(real: ScriptedAPI, lead: Lead, tmp_path: Path) -> Callable[..., Path]:
    """Records the requests of a function, and returns the file. The token must be neither in it nor in a body."""

    def record(work: Callable[[], Any]) -> Path:
        path = tmp_path / "hello.json"
        with RecordingAPI(path, token=real.token, base_url=real.base_url) as api:
            lead(api)
            work()
        for file in tmp_path.rglob("*"):
            assert not file.is_file() or real.token.encode() not in file.read_bytes(), file
        return path

    return record


def paint(prompt: str = "a fox") -> Result:
    return run("me/painter", {"prompt": prompt}, save_to=Path(os.environ["XDG_STATE_HOME"]) / "out")


def test_a_run_is_replayed_without_the_api_and_its_output_file_comes_from_the_recording(
    record: Callable[..., Path], real: ScriptedAPI, lead: Lead
) -> None:
    recorded: list[Result] = []
    path = record(lambda: recorded.append(paint()))
    real.close()
    with ReplayAPI(path) as api:
        lead(api)
        replayed = paint()
        assert api.unmatched == []
    assert replayed.prediction_id == recorded[0].prediction_id
    assert replayed.status == "succeeded"
    assert replayed.files[0].read_bytes() == b"a picture"
    assert [body.suffix for body in path.with_suffix(".files").iterdir()] == [".webp"]


def test_a_recording_is_a_readable_json_file_with_its_version(record: Callable[..., Path]) -> None:
    path = record(paint)
    tape = msgspec.json.decode(path.read_bytes())
    assert tape["replicate_job_recording"] == 1
    (made,) = tape["predictions"]
    assert made["request"] == {
        "method": "POST",
        "path": "/v1/models/me/painter/predictions",
        "body": {"input": {"prompt": "a fox"}},
    }
    assert "127.0.0.1" not in msgspec.json.encode([made["states"][0]["set"]["urls"], made["request"]]).decode()
    assert path.read_text().startswith('{\n  "replicate_job_recording": 1,\n')


def test_the_refusal_of_an_unrecorded_request_names_the_most_similar_recorded_request(
    record: Callable[..., Path], lead: Lead
) -> None:
    path = record(paint)
    with ReplayAPI(path) as api:
        lead(api)
        with pytest.raises(InvalidRequestError, match=r'input\.prompt: "a fox" was recorded, "a cat" requested'):
            paint("a cat")
        assert len(api.unmatched) == 1
        assert paint().status == "succeeded"
        with pytest.raises(InvalidRequestError, match="recorded once, and was requested once more"):
            paint()
        with pytest.raises(InvalidRequestError, match="the nearest that is recorded is GET /v1/models/me/p"):
            run("meta/llama-2-70b-chat", {"prompt": "hi"})


@pytest.mark.long
def test_a_lenient_replay_ignores_inputs_and_reuses_predictions(record: Callable[..., Path], lead: Lead) -> None:
    path = record(paint)
    with ReplayAPI(path, lenient=True) as api:
        lead(api)
        results = [paint(prompt) for prompt in ("a cat", "a dog", "a fox")]
        assert [result.files[0].read_bytes() for result in results] == [b"a picture"] * 3
        assert len({result.prediction_id for result in results}) == 3
        assert results[0].input == {"prompt": "a cat"}
        assert api.unmatched == []


def test_secret_inputs_are_redacted_and_any_value_matches_them(record: Callable[..., Path], lead: Lead) -> None:
    def keep(code: str) -> Result:
        return run("me/keeper", {"note": "a poem", "code": code})

    path = record(lambda: keep("open sesame 4711"))
    assert "4711" not in path.read_text()
    assert msgspec.json.decode(path.read_bytes())["predictions"][0]["request"]["body"]["input"] == {
        "note": "a poem",
        "code": REDACTED,
    }
    with ReplayAPI(path) as api:
        lead(api)
        assert keep("another").output == f"kept a poem with {REDACTED}"


def test_a_stream_is_replayed_event_by_event(record: Callable[..., Path], real: ScriptedAPI, lead: Lead) -> None:
    def listen() -> str:
        return "".join(stream("meta/llama-2-70b-chat", {"prompt": "hi"}))

    said: list[str] = []
    real.next(Script(output=["Hel", "lo"], stream=Stream(), duration=0.3))
    path = record(lambda: said.append(listen()))
    with ReplayAPI(path) as api:
        lead(api)
        assert listen() == said[0] == "Hello"
        assert api.unmatched == []


def test_input_files_are_compared_by_content(record: Callable[..., Path], lead: Lead, tmp_path: Path) -> None:
    sent = tmp_path / "sent"
    sent.mkdir()

    def send(name: str, content: bytes) -> Result:
        (sent / name).write_bytes(content)
        return run("me/painter", {"image": sent / name})

    path = record(lambda: (send("small.txt", b"small"), send("large.txt", b"large" * 2**16)))
    assert b"largelarge" not in path.read_bytes()
    with ReplayAPI(path) as api:
        lead(api)
        assert send("other.txt", b"small").status == "succeeded"
        assert send("large.txt", b"large" * 2**16).status == "succeeded"
        with pytest.raises(InvalidRequestError, match="sha256:"):
            send("small.txt", b"smaller")


@pytest.mark.parametrize("wait", [{}, {"Prefer": "wait"}])
def test_a_replay_works_with_any_number_of_polls(
    record: Callable[..., Path], real: ScriptedAPI, ask: Callable[..., Any], wait: dict[str, str]
) -> None:
    def polled() -> None:
        base, own = os.environ["REPLICATE_BASE_URL"], _own()
        made = ask(real, "POST", f"{base}/v1/models/me/painter/predictions", {"input": {"prompt": "x"}}, **own).json
        for end in (False, True):
            if end:
                real.predictions[0].finish()
            ask(real, "GET", f"{base}/v1/predictions/{made['id']}", **own)

    real.next(Script(duration=float("inf"), output="done", boot=0))
    path = record(polled)
    with ReplayAPI(path) as api:
        made = ask(api, "POST", "/v1/models/me/painter/predictions", {"input": {"prompt": "x"}}, **wait).json
        if wait:
            assert made["status"] == "succeeded"
        seen = [made["status"]]
        while seen[-1] != "succeeded":
            seen.append(ask(api, "GET", f"/v1/predictions/{made['id']}").json["status"])
        assert ask(api, "GET", f"/v1/predictions/{made['id']}").json["output"] == "done"
        listed = ask(api, "GET", f"/v1/predictions?created_after={made['created_at']}").json["results"]
        assert [one["id"] for one in listed] == [made["id"]]


def test_a_prediction_of_another_program_is_replayed_even_if_its_data_were_removed(
    record: Callable[..., Path], real: ScriptedAPI, ask: Callable[..., Any]
) -> None:
    def get() -> None:
        for one in real.predictions:
            one.created -= 7200 * (one.input["prompt"] == "old")
            ask(api=real, method="GET", target=f"{os.environ['REPLICATE_BASE_URL']}/v1/predictions/{one.id}", **_own())

    made = [
        ask(real, "POST", "/v1/models/me/painter/predictions", {"input": {"prompt": prompt}}, prefer="wait").json["id"]
        for prompt in ("old", "new")
    ]
    with ReplayAPI(record(get)) as api:
        old, new = (ask(api, "GET", f"/v1/predictions/{id_}").json for id_ in made)
    assert (old["data_removed"], old["output"]) == (True, None)
    assert (new["input"], new["status"]) == ({"prompt": "new"}, "succeeded")


def _own() -> dict[str, str]:
    return {"Authorization": f"Bearer {os.environ['REPLICATE_API_TOKEN']}"}


def test_a_cancellation_is_replayed_after_a_cancel_request(
    record: Callable[..., Path], real: ScriptedAPI, ask: Callable[..., Any]
) -> None:
    def canceled() -> None:
        base, own = os.environ["REPLICATE_BASE_URL"], _own()
        made = ask(real, "POST", f"{base}/v1/models/me/painter/predictions", {"input": {"prompt": "x"}}, **own).json
        ask(real, "POST", f"{base}/v1/predictions/{made['id']}/cancel", **own)

    real.next(Script(duration=float("inf")))
    path = record(canceled)
    with ReplayAPI(path) as api:
        made = ask(api, "POST", "/v1/models/me/painter/predictions", {"input": {"prompt": "x"}}).json
        place = f"/v1/predictions/{made['id']}"
        assert ask(api, "GET", place).json["status"] in {"starting", "processing"}
        assert ask(api, "POST", f"{place}/cancel").json["status"] == "canceled"
        assert ask(api, "GET", place).json["status"] == "canceled"


def test_a_replay_can_have_faults(record: Callable[..., Path], lead: Lead) -> None:
    path = record(paint)
    with ReplayAPI(path, faults="get:503=0.2") as api:
        lead(api)
        api.faults.next("create", "drop-after")
        assert paint().files[0].read_bytes() == b"a picture"


def test_no_recording_is_written_if_the_program_fails(real: ScriptedAPI, lead: Lead, tmp_path: Path) -> None:
    path = tmp_path / "hello.json"

    def work() -> None:
        with RecordingAPI(path, token=real.token, base_url=real.base_url) as api:
            lead(api)
            paint()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        work()
    assert not path.exists()
    assert not path.with_suffix(".files").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "cannot be read: No such file"),
        (b"{}", "not a recording of version 1"),
        (b"no json", "is not a recording"),
        (b'{"replicate_job_recording": 2}', "not a recording of version 1"),
        (
            b'{"replicate_job_recording":1,"predictions":[],"requests":[],"files":[{"url":"","body":"../../secret"}]}',
            "lacks a body",
        ),
    ],
)
def test_a_file_that_is_not_a_recording_raises_a_recording_error(
    tmp_path: Path, content: bytes | None, told: str
) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordingError, match=told), ReplayAPI(path):
        pass


def test_recording_without_a_token_raises_an_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    with pytest.raises(RecordingError, match="REPLICATE_API_TOKEN is not set"), RecordingAPI(tmp_path / "x.json"):
        pass
