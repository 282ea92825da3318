"""Long values are short on a terminal and complete in a pipe. Records name a sent file. ``--output-only``."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, openapi_schema
from replicate_job.wire import data_url

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

HELLO = "replicate/hello-world"
SDXL = "stability-ai/sdxl"
LLAMA = "meta/llama-2-70b-chat"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 500
URL = data_url.encode("image/png", PNG)
SENT = {"name": "sketch.png", "media_type": "image/png", "size": len(PNG), "sha256": sha256(PNG).hexdigest()}
PIECES = ["Once", " upon", " a", " time", "."] * 60


@pytest.fixture
def sketch(command: Command) -> None:
    (command.folder / "sketch.png").write_bytes(PNG)


def shown(command: Command, *words: str) -> Any:
    """The JSON that a terminal shows."""
    outcome = command.on_terminal(*words)
    assert outcome.code == 0, outcome
    return msgspec.json.decode(outcome.out)


def records(command: Command, name: str) -> list[Any]:
    return [msgspec.json.decode(line) for line in (command.folder / name).read_bytes().splitlines()]


@pytest.mark.usefixtures("sketch")
def test_a_terminal_shows_the_name_and_size_of_a_sent_file_and_a_pipe_gets_its_whole_content(command: Command) -> None:
    response = shown(command, "run", SDXL, "image=@sketch.png")
    assert response["input"] == {"image": "sketch.png (128 kB)"}
    for verb in ("show", "wait", "cancel"):
        assert shown(command, verb, response["prediction_id"])["input"] == {"image": "sketch.png (128 kB)"}
        # From the journal, which has let its content go, or from the API, which has it.
        assert command(verb, response["prediction_id"]).response["input"]["image"] in (SENT, URL)
    assert command("run", SDXL, "image=@sketch.png").response["input"] == {"image": URL}


@pytest.mark.usefixtures("sketch")
def test_the_file_result_json_names_the_file_that_was_sent(api: ScriptedAPI, command: Command) -> None:
    response = command("run", SDXL, "image=@sketch.png", "prompt=x").response
    place = command.folder / "outputs" / response["prediction_id"] / "result.json"
    assert msgspec.json.decode(place.read_bytes())["input"] == {"image": SENT, "prompt": "x"}
    assert api.predictions[0].input["image"] == URL


@pytest.mark.usefixtures("sketch")
def test_the_results_name_the_file_that_was_sent_even_if_they_are_rewritten_from_the_journal(command: Command) -> None:
    rows = [{"image": "@sketch.png"}, {"image": URL}]
    (command.folder / "rows.jsonl").write_bytes(msgspec.json.Encoder().encode_lines(rows))
    for _ in range(2):
        assert command("batch", SDXL, "rows.jsonl", "--results", "r.jsonl").code == 0
        nameless = {name: value for name, value in SENT.items() if name != "name"}
        found = [
            record["input"]["image"] for record in sorted(records(command, "r.jsonl"), key=lambda one: one["line"])
        ]
        assert found == [SENT, nameless]
        (command.folder / "r.jsonl").unlink()


def test_files_in_a_list_are_known_by_their_names(command: Command) -> None:
    images = {"type": "array", "items": {"type": "string", "format": "uri"}}
    for name in ("a.png", "b.png"):
        (command.folder / name).write_bytes(PNG)
    with ScriptedAPI(ScriptedModel(name="me/many", schema=openapi_schema({"images": images}))) as api:
        command.environment |= api.environment
        words = ("run", "me/many", "images=@a.png", "images=@b.png")
        assert shown(command, *words)["input"] == {"images": ["a.png (128 kB)", "b.png (128 kB)"]}


@pytest.mark.parametrize("words", [["run", LLAMA, "prompt=x"], ["run", "job.toml"]])
def test_a_terminal_shows_streamed_text_joined(api: ScriptedAPI, command: Command, words: list[str]) -> None:
    (command.folder / "job.toml").write_text(f'model = "{LLAMA}"\n[input_data]\nprompt = "x"\n')
    api.next(Script(output=PIECES))
    response = shown(command, *words)
    assert response["output"] == "".join(PIECES)
    assert shown(command, "show", response["prediction_id"])["output"] == "".join(PIECES)
    assert command("show", response["prediction_id"]).response["output"] == PIECES


def test_captions_stay_a_list_and_embeddings_are_cut(api: ScriptedAPI, command: Command) -> None:
    for output, short in (
        (["a cat", "a dog"], ["a cat", "a dog"]),
        ([0.5] * 1024, [0.5, 0.5, 0.5, 0.5, "… 1,020 more"]),
        (["a"] * 25, ["a"] * 20 + ["… 5 more"]),
        ({"picture": URL}, {"picture": "image/png (128 kB)"}),
        ("long " * 1000, "long " * 1000),
    ):
        api.next(Script(output=output))
        assert shown(command, "run", HELLO, "text=x", "--no-save")["output"] == short


def test_a_long_input_is_cut_on_a_terminal_also_before_it_is_sent(command: Command) -> None:
    (command.folder / "long.txt").write_text("x" * 5000)
    for words in (["--dry-run"], []):
        response = shown(command, "run", HELLO, "text=@long.txt", *words)
        assert response["input"] == {"text": f"{'x' * 400}… (5,000 characters)"}


def test_the_option_output_only_prints_nothing_but_the_output(api: ScriptedAPI, command: Command) -> None:
    def alone(output: Any, *words: str) -> bytes:
        api.next(Script(output=output))
        outcome = command("run", *(words or (HELLO, "text=x")), "--output-only")
        assert (outcome.code, outcome.err) == (0, "")
        for verb in ("show", "wait"):
            again = command(verb, api.predictions[-1].id, "--output-only")
            assert (again.code, again.out) == (0, outcome.out)
        return outcome.out

    assert alone("hello") == b"hello\n"
    assert alone(PIECES, LLAMA, "prompt=x") == "".join(PIECES).encode() + b"\n"
    assert alone({"text": "x", "n": [1]}) == b'{"text":"x","n":[1]}\n'
    assert alone(None) == b""
    pictures = [OutputFile(content=PNG, name="a.png"), OutputFile(content=PNG, name="b.png")]
    files = alone(pictures, SDXL, "prompt=x").decode().split()
    assert files == [f"outputs/{api.predictions[-1].id}/output-{index}.png" for index in range(2)]


def test_the_option_output_only_prints_the_urls_of_files_that_are_not_downloaded(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(output=[OutputFile(content=PNG, name="a.png")]))
    outcome = command("run", SDXL, "prompt=x", "--output-only", "--no-save")
    assert outcome.out.decode().splitlines() == api.predictions[0].snapshot()["output"]


def test_the_option_output_only_prints_nothing_for_a_failure_and_is_refused_with_no_wait(
    api: ScriptedAPI, command: Command
) -> None:
    api.next(Script(end="failed", error="no memory"))
    outcome = command("run", HELLO, "text=x", "--output-only")
    assert (outcome.code, outcome.out) == (1, b"")
    refused = command("run", HELLO, "text=x", "--output-only", "--no-wait")
    assert refused.code == 2
    assert "--output-only needs --wait" in refused.err


def test_a_finished_job_is_shown_again_without_a_prediction_request_even_on_a_terminal(
    api: ScriptedAPI, command: Command
) -> None:
    (command.folder / "job.toml").write_text(f'model = "{HELLO}"\n[input_data]\ntext = "x"\n')
    words = ("run", "job.toml", "--key", "k")
    first = shown(command, *words)
    before = len(api.requests)
    assert shown(command, *words) == first
    assert command(*words, "--output-only", "-q").out == b"hello x\n"
    asked = [request.operation for request in api.requests[before:]]
    assert asked == ["model"]  # whether the output is a file
