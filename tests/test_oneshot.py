"""Running jobs from Python: blocking, in a coroutine, in a notebook's loop, and as a stream."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import msgspec
import pytest

from replicate_job import Job, Result, arun, batch, replicate_run_prediction, run, stream
from replicate_job.errors import (
    JobError,
    JobTimeoutError,
    MissingVariableError,
    OutputError,
    OutputExpiredError,
    PredictionFailedError,
    PredictionUnfinishedError,
)
from replicate_job.oneshot import astream
from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, Stream, openapi_schema

TEN = ["prediction_id", "status", "model", "input", "output", "error", "created_at", "completed_at", "urls", "metrics"]
LLAMA = Job("meta/llama-2-70b-chat", {"prompt": "x"}, poll_interval=0.05, max_poll_attempts=200)


def test_run_blocks_until_the_prediction_ends(api: ScriptedAPI, tmp_path: Path) -> None:
    result = run("black-forest-labs/flux-schnell", {"prompt": "x"}, save_to=tmp_path / "out")
    assert isinstance(result, Result)
    assert result.raise_for_status() is result
    assert [path.parent for path in result.files] == [tmp_path / "out" / result.prediction_id]
    assert list(result.to_dict()) == [*TEN, "files"]
    assert api.predictions[0].input == {"prompt": "x"}


def test_the_input_and_options_of_a_call_replace_those_of_the_job(api: ScriptedAPI) -> None:
    job = Job("acme/private", {"a": 1, "b": 1}, cancel_after="5m")
    result = run(job, {"b": 2}, key="mine", webhook="https://example.com/x")
    assert (result.key, result.input) == ("mine", {"a": 1, "b": 2})
    create = next(request for request in api.requests if request.operation == "create")
    assert create.headers["cancel-after"] == "5m"
    assert b'"webhook":"https://example.com/x"' in create.body
    assert run(job, {"b": 2}, key="mine") == result
    assert len(api.predictions) == 1


def test_the_function_of_the_original_run_job_returns_its_ten_fields_in_order(api: ScriptedAPI) -> None:
    response = replicate_run_prediction(
        "black-forest-labs/flux-schnell",
        {
            "prompt": "A serene mountain landscape",
            "aspect_ratio": "16:9",
            "output_format": "webp",
            "output_quality": 80,
        },
        wait_for_completion=True,
        poll_interval=1,
        max_poll_attempts=60,
    )
    assert list(response) == TEN
    assert response["status"] == "succeeded"
    assert response["prediction_id"] == api.predictions[0].id
    assert response["metrics"]["predict_time"] >= 0
    api.next(Script(duration=math.inf))
    assert replicate_run_prediction("acme/private", {}, wait_for_completion=False)["status"] == "starting"
    api.next(Script(duration=math.inf))
    unfinished = replicate_run_prediction("acme/private", {}, poll_interval=0.1, max_poll_attempts=2)
    assert (list(unfinished), unfinished["output"], unfinished["completed_at"]) == (TEN, None, None)


async def test_run_works_inside_a_running_event_loop(api: ScriptedAPI) -> None:
    result = run("acme/private", {"n": 1})
    assert (result.status, result.prediction_id) == ("succeeded", api.predictions[0].id)
    with pytest.raises(JobError, match="names no model"):
        run("flux")


@pytest.mark.usefixtures("api")
async def test_errors_of_the_loop_thread_are_raised_unchanged(tmp_path: Path) -> None:
    with ScriptedAPI(script=Script(output=OutputFile(content=b"x", expires=0))) as gone:  # noqa: SIM117 - one setting, one claim
        with pytest.raises(OutputExpiredError) as caught:
            run("facebook/musicgen", {"prompt": "x"}, base_url=gone.base_url, token=gone.token, save_to=tmp_path)
    assert caught.value.result.status == "succeeded"


async def _run_all(save_to: Path, *, allowed: bool) -> list[Result]:
    """Run the same prediction with each function."""
    model, inputs = "black-forest-labs/flux-schnell", {"prompt": "x"}
    results = [await arun(model, inputs, save_to=save_to, allow_private_outputs=allowed)]
    results += [run(model, inputs, save_to=save_to, allow_private_outputs=allowed)]
    results += [result async for result in batch(model, [inputs], save_to=save_to, allow_private_outputs=allowed)]
    return results


async def test_downloads_from_private_addresses_can_be_allowed_if_the_api_is_on_another_machine(
    api: ScriptedAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", api.base_url)
    monkeypatch.setenv("REPLICATE_BASE_URL", "http://replicate.example")
    with pytest.raises(OutputError, match="allow_private_outputs=True"):
        await _run_all(tmp_path / "out", allowed=False)
    results = await _run_all(tmp_path / "out", allowed=True)
    assert [len(result.files) for result in results] == [1, 1, 1]


async def test_many_concurrent_aruns_succeed(api: ScriptedAPI) -> None:
    results = await asyncio.gather(*(arun("acme/private", {"n": number}) for number in range(5)))
    assert {result.input["n"] for result in results} == set(range(5))
    assert len(api.predictions) == 5


async def test_after_a_cancelled_arun_the_next_call_with_its_key_continues_the_prediction(api: ScriptedAPI) -> None:
    api.next(Script(duration=math.inf, output="x"))
    task = asyncio.create_task(arun("acme/private", key="mine"))
    await asyncio.to_thread(api.wait_until, lambda: api.predictions)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert api.count("cancel") == 0
    api.predictions[0].finish()
    assert (await arun("acme/private", key="mine")).status == "succeeded"
    assert len(api.predictions) == 1


async def test_astream_yields_text_and_raises_an_error_unless_the_prediction_succeeded(api: ScriptedAPI) -> None:
    api.next(Script(duration=0.2, output=["a", "b"], stream=Stream(interval=0.05)))
    assert [piece async for piece in astream(LLAMA)] == ["a", "b"]
    api.next(Script(duration=0.1, end="failed", error="boom", output=["a"], stream=Stream()))
    pieces: list[str] = []
    with pytest.raises(PredictionFailedError, match="boom"):  # noqa: PT012 - it is the loop that raises
        async for piece in astream(LLAMA):
            pieces.append(piece)  # noqa: PERF401 - what came before the error counts
    assert pieces == ["a"]


def test_stream_yields_text_as_it_arrives(api: ScriptedAPI) -> None:
    api.next(Script(duration=math.inf, output=["a", "b"], stream=Stream()))
    texts = stream(LLAMA)
    assert next(texts) == "a"
    assert api.predictions[0].status in {"starting", "processing"}
    assert next(texts) == "b"
    api.predictions[0].finish()
    assert list(texts) == []


def test_stream_yields_the_output_of_a_model_that_does_not_stream(api: ScriptedAPI) -> None:
    assert list(stream("replicate/hello-world", {"text": "you"})) == ["hello you"]
    assert len(api.predictions) == 1


@pytest.mark.parametrize(
    ("output", "texts"),
    [
        (["a", None, 3, "b"], ["ab"]),
        ([None, "a", {"n": 1}, ["x"]], ["a"]),
        ([1, 2], []),
        ({"text": "a", "n": 1}, []),
        (7, []),
        ([], []),
        (None, []),
        ("", []),
        ([""], []),
    ],
)
def test_output_that_is_not_text_is_in_the_result_of_the_stream(
    api: ScriptedAPI, caplog: pytest.LogCaptureFixture, output: Any, texts: list[str]
) -> None:
    api.next(Script(output=output))
    followed = stream("acme/private")
    assert list(followed) == texts
    assert followed.result.output == output
    has_warning = any("holds no text to stream" in record.message for record in caplog.records)
    assert has_warning == (not texts and bool(output) and output != [""])


def test_files_of_a_stream_are_saved_and_in_its_result(api: ScriptedAPI, tmp_path: Path) -> None:
    api.next(Script(output=["a caption", OutputFile(content=b"x", name="a.txt", inline=True)]))
    with stream("acme/private", save_to=tmp_path) as followed:
        assert list(followed) == ["a caption"]
    assert [path.read_bytes() for path in followed.result.files] == [b"x"]


async def test_files_of_an_astream_are_saved_and_in_its_result(api: ScriptedAPI, tmp_path: Path) -> None:
    api.next(Script(output=["a caption", OutputFile(content=b"x", name="a.txt", inline=True)]))
    async with astream("acme/private", save_to=tmp_path) as followed:
        assert [piece async for piece in followed] == ["a caption"]
    assert [path.read_bytes() for path in followed.result.files] == [b"x"]


def test_a_stream_has_its_result_only_after_it_has_ended_even_with_an_error(api: ScriptedAPI) -> None:
    api.next(Script(duration=0.1, end="failed", error="boom", output=["a"], stream=Stream()))
    followed = stream(LLAMA)
    assert next(followed) == "a"
    with pytest.raises(JobError, match="read it to its end first"):
        _ = followed.result
    with pytest.raises(PredictionFailedError, match="boom"):
        list(followed)
    assert (followed.result.status, followed.result.error) == ("failed", "boom")


def test_the_stream_of_a_finished_job_warns_of_output_without_text_too(
    api: ScriptedAPI, caplog: pytest.LogCaptureFixture
) -> None:
    api.next(Script(output={"n": 1}))
    for times in (1, 2):
        assert list(stream("acme/private", key="mine")) == []
        assert sum("holds no text to stream" in record.message for record in caplog.records) == times


def test_stream_raises_the_errors_of_run_and_an_error_for_an_unfinished_prediction(api: ScriptedAPI) -> None:
    with pytest.raises(JobError, match="names no model"):
        list(stream("flux"))
    api.next(Script(duration=math.inf, output=["a"], stream=Stream()))
    with pytest.raises(PredictionUnfinishedError):
        list(stream(LLAMA, poll_interval=0.1, max_poll_attempts=4))


def test_run_raises_an_error_at_its_timeout_and_a_call_with_its_key_continues(api: ScriptedAPI) -> None:
    api.next(Script(duration=math.inf, output="done"))
    with pytest.raises(JobTimeoutError) as caught:
        run("acme/private", {"n": 1}, timeout=0.5)
    assert caught.value.result.status in {"starting", "processing"}
    api.predictions[0].finish()
    assert run("acme/private", {"n": 1}, key=caught.value.result.key).output == "done"
    assert len(api.predictions) == 1


def test_a_stream_raises_an_error_at_its_timeout_and_has_its_result(api: ScriptedAPI) -> None:
    api.next(Script(duration=math.inf, output=["a"], stream=Stream()))
    texts = stream(LLAMA, timeout=1)
    assert next(texts) == "a"
    with pytest.raises(JobTimeoutError):
        next(texts)
    assert texts.result.prediction_id == api.predictions[0].id


async def test_stream_works_inside_a_running_event_loop(api: ScriptedAPI) -> None:
    assert "".join(stream(LLAMA)) == "Once upon a time."
    assert len(api.predictions) == 1


def test_closing_a_stream_early_leaves_the_prediction_running_and_ends_the_thread(api: ScriptedAPI) -> None:
    api.next(Script(duration=math.inf, output=["a", "b"], stream=Stream()))
    texts: Any = stream(LLAMA, key="mine")
    assert next(texts) == "a"
    texts.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "replicate-job"]
    assert api.count("cancel") == 0
    api.predictions[0].finish()
    assert list(stream(LLAMA, key="mine")) == ["ab"]
    assert len(api.predictions) == 1


def test_a_stream_that_is_never_read_sends_nothing(api: ScriptedAPI) -> None:
    stream(LLAMA).close()
    assert api.requests == []


def test_the_schema_of_a_stand_in_is_not_used_for_the_real_model(api: ScriptedAPI, tmp_path: Path) -> None:
    name = f"acme/model:{'a' * 64}"
    text, file = openapi_schema({}, {"type": "string"}), openapi_schema({}, {"type": "string", "format": "uri"})
    stand_in = ScriptedModel(name="acme/model", versions=("a" * 64,), schema=text, script=Script(output="words"))
    with ScriptedAPI(stand_in) as local:
        assert run(name, {}, base_url=local.base_url, token=local.token).output == "words"
    real = msgspec.structs.replace(stand_in, schema=file, script=Script(output=OutputFile(content=b"x", name="a.bin")))
    api.models["acme/model"] = real
    result = run(name, {}, save_to=tmp_path / "out")
    assert [path.read_bytes() for path in result.files] == [b"x"]


def test_a_stream_whose_event_loop_cannot_be_made_raises_an_error(api: ScriptedAPI) -> None:
    program = """
import resource
from replicate_job import stream
pieces = stream("acme/private", {})
resource.setrlimit(resource.RLIMIT_NOFILE, (3, 3))
try:
    next(pieces)
except OSError as error:
    print(error.strerror)
"""
    words = [sys.executable, "-c", program]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert (ended.stdout, ended.returncode) == ("Too many open files\n", 0)
    assert not api.predictions


def test_without_a_token_nothing_is_sent(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("REPLICATE_API_TOKEN", raising=False)
    monkeypatch.delenv("REPLICATE_BASE_URL", raising=False)
    with pytest.raises(MissingVariableError, match="api-tokens"):
        run("acme/private", journal=tmp_path / "journal.db")
    with pytest.raises(MissingVariableError, match="MY_SECRET"):
        run(Job("acme/private", env=("MY_SECRET",)), journal=tmp_path / "journal.db")


def test_a_program_gets_the_reports_of_its_calls_as_log_records(
    api: ScriptedAPI, caplog: pytest.LogCaptureFixture
) -> None:
    api.faults.next("create", "429(body=0)")
    with caplog.at_level(logging.DEBUG, logger="replicate_job"):
        run("acme/private")
    assert any("429" in record.message for record in caplog.records if record.levelno == logging.WARNING)
    assert any("is succeeded" in record.message for record in caplog.records if record.levelno == logging.DEBUG)
    assert api.token not in caplog.text


START = """
import asyncio, os, signal, sys, threading
from replicate_job import run
signal.signal(signal.SIGINT, signal.default_int_handler)  # a program in the background of a shell ignores it
signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))

def work():
    try:
        run("acme/private", {"n": 1}, key="mine")
    except KeyboardInterrupt:
        print("interrupted", flush=True)
"""
BLOCKS = f"{START}\nwork()"
IN_A_LOOP = f"""{START}
async def notebook():
    signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a kernel, whose cells get KeyboardInterrupt
    work()
asyncio.run(notebook())
"""
IN_ANOTHER_THREAD = f"""{START}
def interrupt():
    sys.stdin.read(1)
    signal.pthread_kill(threading.get_ident(), signal.SIGINT)
    sys.stdin.read(1)
threading.Thread(target=interrupt, daemon=True).start()
work()
"""
"""The signal goes to a thread other than the waiting one, as systems may do it: it interrupts no wait."""


def started(program: str) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen([sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.parametrize("program", [BLOCKS, IN_A_LOOP], ids=["a script", "a notebook"])
def test_ctrl_c_in_run_cancels_the_prediction_at_the_api(api: ScriptedAPI, program: str) -> None:
    """Ctrl-C comes during the blocking wait of the create request, when no id is known yet."""
    api.next(Script(duration=math.inf))
    with started(program) as process:
        api.wait_until(lambda: api.predictions)
        process.send_signal(signal.SIGINT)
        stdout, _ = process.communicate(timeout=30)
    assert stdout == "interrupted\n"
    assert process.returncode == 0
    assert [prediction.status for prediction in api.predictions] == ["canceled"]


@pytest.mark.long
def test_ctrl_c_that_another_thread_receives_cancels_the_prediction_too(api: ScriptedAPI) -> None:
    api.next(Script(duration=math.inf))
    with started(IN_ANOTHER_THREAD) as process:
        api.wait_until(lambda: api.predictions)
        assert process.stdin
        process.stdin.write("x")
        process.stdin.flush()
        assert process.stdout
        assert process.stdout.readline() == "interrupted\n"
    assert [prediction.status for prediction in api.predictions] == ["canceled"]


def test_after_an_exception_in_another_signal_handler_a_call_with_the_same_key_continues(api: ScriptedAPI) -> None:
    """Process managers and time limits end a program in this way."""
    api.next(Script(duration=math.inf))
    with started(BLOCKS) as process:
        api.wait_until(lambda: api.predictions)
        process.send_signal(signal.SIGTERM)
        _, stderr = process.communicate(timeout=30)
    assert "terminated" in stderr
    assert api.count("cancel") == 0
    api.predictions[0].finish()
    assert run("acme/private", {"n": 1}, key="mine").prediction_id == api.predictions[0].id
    assert len(api.predictions) == 1


TOGETHER = """
import asyncio, resource, sys, threading
from concurrent.futures import ThreadPoolExecutor
from replicate_job import arun, run
resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
numbers = range(200)
if sys.argv[1] == "coroutines":
    async def main():
        return await asyncio.gather(*(arun("acme/private", {"n": number}, rate="none") for number in numbers))
    results = asyncio.run(main())
else:
    with ThreadPoolExecutor(200) as pool:
        results = list(pool.map(lambda number: run("acme/private", {"n": number}, rate="none"), numbers))
print(len({result.prediction_id for result in results}), [thread.name for thread in threading.enumerate()])
"""


@pytest.mark.long
@pytest.mark.parametrize("way", ["coroutines", "threads"])
def test_calls_that_run_at_the_same_time_share_connections_and_journal_and_thread(api: ScriptedAPI, way: str) -> None:
    """Two hundred calls run at the same time, and at most two file descriptors are allowed for each."""
    api.next(*[Script(duration=0.5)] * 200)
    done = subprocess.run(
        [sys.executable, "-c", TOGETHER, way], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.stdout, done.stderr) == ("200 ['MainThread']\n", "")
    assert api.count("create") == 200


def test_a_program_is_warned_once_of_a_stand_in_model_and_its_results_say_what_it_left_out(
    api: ScriptedAPI, caplog: pytest.LogCaptureFixture
) -> None:
    notice = "acme/private is a stand-in, not FLUX: a painter paints."
    api.next(Script(output="x", logs=f"{notice}\nStand-in: not painted: car\n"))
    with caplog.at_level(logging.WARNING):
        result = run("acme/private", {"prompt": "a car"})
    assert result.stand_in == "not FLUX; not painted: car"
    assert [record.message for record in caplog.records] == [notice]


@pytest.mark.usefixtures("api")
def test_a_run_imports_no_modules_for_batches_prices_or_account_lists() -> None:
    program = (
        "import sys\nfrom replicate_job import run\nimport replicate_job.cli.run\nrun('acme/private', {})\n"
        "words = ('batch', 'pricing', 'holdings', 'importlib.metadata')\n"
        "print([name for name in sys.modules if any(word in name for word in words)])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
