"""Secrets are in no file of a recording, wherever they occur in the traffic."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job.errors import RecordingError
from replicate_job.testing import OutputFile, RecordingAPI, ReplayAPI, Script, ScriptedAPI, ScriptedModel
from replicate_job.testing.recording.cleaning import SECRET_NAME, clean_urls

TOKEN = "r8_real_0123456789abcdefghijklmnopqrstuv"  # noqa: S105 - not a real token
GATEWAY = "a-key-of-the-gateway"
HF = "hf_of_somebody"
EVERYWHERE = ScriptedModel(
    name="me/leaky",
    official=True,
    script=Script(
        output=[OutputFile(content=f"it has {TOKEN}".encode()), {TOKEN: f"and {HF}"}],
        logs=lambda given: f"used {given['hf_token']} and {TOKEN}\n",
    ),
)


@pytest.fixture
def real() -> Iterator[ScriptedAPI]:
    with ScriptedAPI(EVERYWHERE, token=TOKEN) as api:
        yield api
        assert not api.strayed_token()


def test_tokens_and_keys_and_webhooks_and_cookies_and_signatures_are_left_out_of_a_recording(
    real: ScriptedAPI, ask: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "it.json"
    monkeypatch.setenv("REPLICATE_JOB_HEADERS", f"x-gateway: {GATEWAY}")
    create = "/v1/models/me/leaky/predictions"
    body: dict[str, Any] = {
        "input": {"hf_token": HF, "image": "https://files.example/a.png?size=2&X-Amz-Signature=abcdef", "seed": 1},
        "webhook": "https://me:pass@hooks.example/services/secret-path?key=hook-key",
    }
    with RecordingAPI(path, token=real.token, base_url=real.base_url) as api:
        made = ask(api, "POST", create, body, cookie="session=cookie-of-mine", prefer="wait").json
        assert TOKEN.encode() in ask(api, "GET", made["output"][0]).body  # the program itself gets everything unchanged
        assert ask(api, "POST", create, {"input": {"hf_token": HF}, "surplus": HF}).status == 422
    assert real.requests[0].headers["x-gateway"] == GATEWAY
    assert "cookie" not in real.requests[0].headers
    assert real.predictions[0].input["image"].endswith("Signature=abcdef")
    written = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    for secret in (TOKEN, GATEWAY, HF, "abcdef", "secret-path", "hook-key", "me:pass", "cookie-of-mine"):
        assert secret.encode() not in written, secret
    request = msgspec.json.decode(path.read_bytes())["predictions"][0]["request"]["body"]
    assert request["input"]["image"] == "https://files.example/a.png?size=2"
    assert request["webhook"] == "https://hooks.example"
    body["input"] |= {"hf_token": "another", "image": "https://files.example/a.png?X-Amz-Signature=new&size=2"}
    with ReplayAPI(path) as api:
        assert ask(api, "POST", create, body, prefer="wait").json["status"] == "succeeded"


def test_requests_without_the_token_of_the_recorder_are_refused(
    real: ScriptedAPI, ask: Callable[..., Any], tmp_path: Path
) -> None:
    with RecordingAPI(tmp_path / "it.json", token=real.token, base_url=real.base_url) as api:
        for given in ("", "Bearer r8_guessed", f"Bearer {real.token}"):
            assert ask(api, "GET", "/v1/account", Authorization=given).status == 401
        assert ask(api, "GET", "/v1/account").status == 200
    assert [request.path for request in real.requests] == ["/v1/account"]


@pytest.mark.parametrize(
    ("url", "clean"),
    [
        ("https://a.example/x?sv=2024&sp=r&sig=abc&page=2", "https://a.example/x?page=2"),
        ("https://a.example/x?Expires=9&Policy=p&Key-Pair-Id=k#part", "https://a.example/x"),
        ("https://me:mine@a.example:8443/x?q=" + "s" * 33, "https://a.example:8443/x"),
        ("https://a.example/x?size=large&seed=3", "https://a.example/x?size=large&seed=3"),
        ("got 'https://a.example/x?sig=abc' and more", "got 'https://a.example/x' and more"),
        ("https://a.example/x?q=a%20b&r", "https://a.example/x?q=a%20b&r"),
        ("https://[broken", "https://[broken"),
    ],
)
def test_signatures_are_removed_from_a_url_and_its_file_name_is_kept(url: str, clean: str) -> None:
    assert clean_urls(url) == clean


@pytest.mark.parametrize(
    ("name", "is_secret"),
    [
        ("hf_token", True),
        ("api_key", True),
        ("OPENAI_API_KEY", True),
        ("password", True),
        ("max_tokens", False),
        ("key", False),
        ("token_count", False),
        ("prompt", False),
    ],
)
def test_inputs_whose_names_sound_like_secrets_count_as_secrets(name: str, is_secret: bool) -> None:  # noqa: FBT001
    assert bool(SECRET_NAME.search(name)) == is_secret


def test_an_unwritable_path_raises_an_error_before_any_prediction_is_created(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for name, told in (("it.yaml", "ends with .json"), ("file/it.json", "cannot be written")):
        with pytest.raises(RecordingError, match=told), RecordingAPI(tmp_path / name, token=TOKEN):
            pass
