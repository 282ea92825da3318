"""``replicate-job pull`` and ``list --remote``: predictions that other programs have made."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job import Client
from replicate_job.testing import OutputFile, Script, ScriptedAPI

if TYPE_CHECKING:
    from tests.e2e.conftest import Command

SDXL = "stability-ai/sdxl"
Elsewhere = Callable[..., str]


@pytest.fixture
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    """Makes a prediction with another journal, and gives its id."""
    journal = tmp_path_factory.mktemp("elsewhere") / "journal.db"

    def elsewhere(api: ScriptedAPI, script: Script, model: str = SDXL) -> str:
        api.next(script)
        with Client(journal=journal) as client:
            return client.submit(model, {"text": "a"} if "hello" in model else {}).prediction_id

    return elsewhere


def picture(content: bytes = b"\x89PNG\r\n\x1a\n", **facts: Any) -> Script:
    return Script(duration=0, boot=0, output=[OutputFile(content=content, name="a.png", **facts)])


def test_outputs_of_other_programs_are_downloaded_once_and_expired_outputs_are_reported_in_one_line(
    api: ScriptedAPI, command: Command, elsewhere: Elsewhere
) -> None:
    kept = elsewhere(api, picture())
    gone = [elsewhere(api, picture(expires=0)) for _ in range(2)]
    elsewhere(api, Script(duration=math.inf))
    first = command("pull", "--since", "1h", "--save", "pictures")
    assert first.code == 3
    (response,) = map(msgspec.json.decode, first.out.splitlines())
    assert (response["prediction_id"], response["files"]) == (kept, [f"pictures/{kept}/output-0.png"])
    assert (command.folder / response["files"][0]).read_bytes() == b"\x89PNG\r\n\x1a\n"
    expired, summary = first.err.splitlines()
    assert expired.startswith("error: the API has deleted the outputs of ")
    assert all(prediction_id in expired for prediction_id in gone)
    assert summary == "1 kept, 1 still running, 2 expired"
    fetched = api.count("download")
    second = command("pull", "--since", "1h", "--save", "pictures")
    assert (second.code, second.out, api.count("download")) == (3, b"", fetched)
    expired, summary = second.err.splitlines()
    assert all(prediction_id in expired for prediction_id in gone)
    assert summary == "1 kept before, 1 still running, 2 expired"


def test_a_prediction_that_is_named_is_printed_at_each_pull(
    api: ScriptedAPI, command: Command, elsewhere: Elsewhere
) -> None:
    made, running = elsewhere(api, picture()), elsewhere(api, Script(duration=math.inf))
    outcomes = [command("pull", made, "--output-only") for _ in range(2)]
    assert [(each.code, each.out.decode()) for each in outcomes] == [(0, f"outputs/{made}/output-0.png\n")] * 2
    assert [each.err for each in outcomes] == ["1 kept\n", "1 kept before\n"]
    assert command("pull", running, "-q").code == 5
    missing = command("pull", "nothing", made, "-q")
    assert missing.code == 2
    assert missing.err.startswith("nothing: error: no prediction nothing at ")
    assert command("pull", made, "--since", "1h").code == 2


@pytest.mark.replicate_api(faults="download:slow(200ms)=1")
def test_a_killed_pull_continues_where_it_stopped(api: ScriptedAPI, command: Command, elsewhere: Elsewhere) -> None:
    made = [elsewhere(api, picture(bytes([number]) * 1000)) for number in range(4)]
    words = Script(duration=0, boot=0, output="hello")
    made += [elsewhere(api, words, "replicate/hello-world") for _ in range(4)]
    process = command.start("pull", "--save", "kept")
    api.wait_until(lambda: api.count("download"))
    process.kill()
    again = command("pull", "--save", "kept")
    assert again.code == 0
    assert {path.name for path in (command.folder / "kept").iterdir()} == set(made)
    for number, prediction_id in enumerate(made[:4]):
        assert (command.folder / "kept" / prediction_id / "output-0.png").read_bytes() == bytes([number]) * 1000
    fetched = api.count("download")
    assert command("pull", "--save", "kept").err == "8 kept before\n"
    assert api.count("download") == fetched


def test_list_remote_shows_the_predictions_of_the_account_with_the_files_saved_on_this_machine(
    api: ScriptedAPI, command: Command, elsewhere: Elsewhere
) -> None:
    kept = elsewhere(api, picture())
    command("pull", kept)
    facts = {"model": "a\x1b[31m\nb", "source": "web"}
    steering = elsewhere(api, Script(duration=0, boot=0, output="x", overrides=facts))
    listed = command("list", "--remote")
    heading, newest, oldest = listed.out.decode().splitlines()
    assert heading.split() == ["TIME", "PREDICTION", "MODEL", "STATUS", "SOURCE", "PREDICT", "FILES"]
    assert newest.split()[2:] == [steering, "a\x1b[31m", "b", "succeeded", "web", "0.0s"]
    assert oldest.split()[2:] == [kept, SDXL, "succeeded", "api", "0.0s", f"outputs/{kept}/output-0.png"]
    assert listed.err == "2 predictions: 2 succeeded\n"
    assert rb"a\u001b[31m b" in command.on_terminal("list", "--remote").out
    (facts,) = msgspec.json.decode(command("list", "--remote", "--limit", "1", "--json").out)
    assert (facts["prediction_id"], facts["source"], facts["key"]) == (steering, "web", None)
    assert msgspec.json.decode(command("list", "--remote", "--since", "0", "--json").out) == []
    assert command("list", "--since", "1h").code == 2
