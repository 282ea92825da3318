"""Recording the local server: real models, a search, uploads, and states that are polled."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from replicate_job.testing import LocalAPI, RecordingAPI, ReplayAPI


def test_a_prediction_of_a_real_model_and_a_search_and_an_upload_are_replayed(
    replicate_local: LocalAPI, ask: Callable[..., Any], tmp_path: Path
) -> None:
    path = tmp_path / "local.json"
    form = b'--x\r\ncontent-disposition: form-data; name="content"; filename="a.txt"\r\n\r\nwords\r\n--x--\r\n'
    multipart = {"content_type": "multipart/form-data; boundary=x"}

    def work(api: RecordingAPI | ReplayAPI) -> list[Any]:
        found = ask(api, "QUERY", "/v1/models", b"hello", content_type="text/plain").json["results"]
        file = ask(api, "POST", "/v1/files", form, **multipart).json
        version = ask(api, "GET", "/v1/models/replicate/hello-world").json["latest_version"]["id"]
        made = ask(api, "POST", "/v1/predictions", {"version": version, "input": {"text": "Ada"}}, prefer="wait")
        got = ask(api, "GET", made.json["urls"]["get"]).json
        missing = ask(api, "GET", "/v1/models/no/body").status
        assert ask(api, "DELETE", f"/v1/files/{file['id']}").status == 204
        return [found[0]["name"], file["name"], file["id"], made.json["id"], got["output"], missing]

    with RecordingAPI(path, token=replicate_local.token, base_url=replicate_local.base_url) as recording:
        seen = work(recording)
    assert seen[-2:] == ["hello Ada", 404]
    with ReplayAPI(path) as replay:
        assert work(replay) == seen
        assert replay.unmatched == []
