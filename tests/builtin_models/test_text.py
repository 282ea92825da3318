"""The text models write real text, obey their inputs, and refuse the inputs that the real ones refuse."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from replicate_job.wire.sse import Decoder

if TYPE_CHECKING:
    from collections.abc import Callable

from smollm.dialogue import turns
from smollm.llama import formatted
from weights import checked

LLAMA_2, LLAMA_3 = "meta/llama-2-70b-chat", "meta/meta-llama-3-8b-instruct"
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""The sha256 of no bytes."""


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_a_llama_2_dialogue_is_split_into_turns() -> None:
    said = "[INST] Hi! [/INST]\nHello! How are you?\n[INST] I'm great. Could you help me? [/INST]"
    turned = [
        message("user", "Hi!"),
        message("assistant", "Hello! How are you?"),
        message("user", "I'm great. Could you help me?"),
    ]
    assert turns(said) == turned
    assert turns(f"<s>[INST] <<SYS>>\nBe kind\n<</SYS>>\n\n{said} [/INST]") == [message("system", "Be kind"), *turned]
    assert turns("<s>[INST] One [/INST] 1 </s><s>[INST] Two [/INST]") == [
        message("user", "One"),
        message("assistant", "1"),
        message("user", "Two"),
    ]


def test_a_llama_3_dialogue_is_split_into_turns() -> None:
    said = (
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nBe kind<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nHi\n\nyou<|eot_id|><|start_header_id|>assistant<|end_header_id|>\n\n"
    )
    assert turns(said) == [message("system", "Be kind"), message("user", "Hi\n\nyou")]
    assert turns(f"{said}Well,") == [
        message("system", "Be kind"),
        message("user", "Hi\n\nyou"),
        message("assistant", "Well,"),
    ]


def test_other_text_has_no_turns() -> None:
    assert turns("Once upon a time") == []


def test_the_template_can_hold_both_prompts() -> None:
    assert formatted("{x}", "be {y}", "<{system_prompt}|{prompt}>") == "<be {y}|{x}>"
    assert formatted("Hi", "", "") == "Hi"


@pytest.mark.parametrize(
    ("prompt", "template", "code"),
    [
        ("Hi", "no place", "E1003"),
        ("Hi", "{prompt} {", "E1004"),
        ("Hi", "{prompt} {other}", "E1004"),
        ("Hi", "{prompt.x}{prompt}", "E1004"),
        ("", "{prompt}", "E1001"),
    ],
)
def test_an_invalid_template_is_refused_with_replicates_error_code(prompt: str, template: str, code: str) -> None:
    with pytest.raises(ValueError, match=code):
        formatted(prompt, "", template)


def test_weights_with_another_sha256_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "packed_weights"
    package.mkdir()
    (package / "model.bin").write_bytes(b"")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert checked("packed_weights", "model.bin", EMPTY) == package / "model.bin"
    (package / "model.bin").write_bytes(b"other")
    with pytest.raises(RuntimeError, match=r"model\.bin are not the ones that were chosen: sha256 \w+, not e3b0c4"):
        checked("packed_weights", "model.bin", EMPTY)
    with pytest.raises(RuntimeError, match="no_such_weights is not installed"):
        checked("no_such_weights", "model.bin", EMPTY)


def test_both_models_have_the_inputs_of_the_real_ones_in_their_order(inputs: Callable[[str], list[str]]) -> None:
    assert inputs(LLAMA_2) == inputs(LLAMA_3) == [
        "prompt", "system_prompt", "max_tokens", "min_tokens", "temperature", "top_p", "top_k", "stop_sequences",
        "length_penalty", "presence_penalty", "seed", "prompt_template", "log_performance_metrics", "max_new_tokens",
        "min_new_tokens",
    ]  # fmt: skip


async def test_the_text_obeys_its_inputs(running: Callable[[str], Any]) -> None:
    """It uses one server for all checks, because starting one takes a second."""
    async with running(LLAMA_3) as model:

        async def write(**given: Any) -> str:
            return "".join(await model.output(**given))

        question = {"prompt": "What is the capital of France?", "max_tokens": 10}
        assert "Paris" in await write(**question, temperature=0)  # random text differs between processors
        first = await write(**question, seed=7, temperature=1)
        ended = await model(**question, seed=7, temperature=1, log_performance_metrics=True, min_tokens=5)
        assert "".join(ended["output"]) == first
        assert len(ended["output"]) > 3
        metrics, logs = ended["metrics"], ended["logs"]
        assert 0 < metrics["output_token_count"] <= 10
        assert metrics["input_token_count"] > 10
        assert metrics["tokens_per_second"] > 0
        assert 0 < metrics["time_to_first_token"] < metrics["predict_time"]
        assert " is a stand-in, not Llama " in logs
        for line in (
            "Stand-in: without effect here: min_tokens\n",
            "Random seed used: `7`",
            "Serverside tokens per second: ",
        ):
            assert line in logs
        story = {"prompt": "Write a story.", "max_new_tokens": 8}
        assert await write(**story, seed=1, temperature=1) != await write(**story, seed=2, temperature=1)
        assert await write(**story, seed=1, temperature=0) == await write(**story, seed=2, temperature=0)
        counted = {"prompt": "1, 2, 3, 4,", "prompt_template": "{prompt}", "temperature": 0, "max_tokens": 16}
        assert await write(**counted, stop_sequences="0,7") == " 5, 6, "


async def test_a_long_text_does_not_repeat_its_paragraphs(running: Callable[[str], Any]) -> None:
    async with running(LLAMA_2) as model:
        prompt = "Write a short poem about open source machine learning."
        text = "".join(await model.output(prompt=prompt, seed=1, max_tokens=450))
        said = [sentence for sentence in text.split(". ") if len(sentence) > 40]
        assert len(said) > 3
        assert len(set(said)) == len(said)


async def test_canceling_ends_a_prediction_and_the_next_one_starts_at_once(
    running: Callable[[str], Any],
) -> None:
    async with running(LLAMA_2) as model:
        begun, first = time.monotonic(), 0.0
        prediction = await model.create(prompt="Write a very long story about a fox.", max_tokens=3000, seed=1)
        decoder, pieces, reason, canceled = Decoder(), 0, "", None
        stream = model.api.client.get(prediction["urls"]["stream"]).streamed_read_buffer_limit(0)
        async with stream.build_streamed() as response:
            while not reason and (chunk := await response.body_reader.read_chunk()):
                for event in decoder.feed(bytes(chunk)):
                    pieces += event.type == "output"
                    reason = event.data if event.type == "done" else reason
                    if event.type == "output" and pieces == 5:
                        first = time.monotonic() - begun
                        canceled = await (await model.api.request("POST", prediction["urls"]["cancel"])).json()
        assert msgspec.json.decode(reason) == {"reason": "canceled"}
        ended = await model.api.get(prediction["urls"]["get"])
        assert ended == canceled  # without any later text
        assert ended["status"] == "canceled"
        assert len(ended["output"]) >= 5
        async with asyncio.timeout(4 * first):  # the rest of the canceled text would have hundreds of words
            assert await model.output(prompt="Say hello.", max_tokens=5)


async def test_inputs_that_the_real_model_refuses_fail_with_a_one_line_error(running: Callable[[str], Any]) -> None:
    refusals: list[tuple[dict[str, Any], str]] = [
        ({"max_tokens": 9, "max_new_tokens": 8}, "E1102 InvalidArgumentMaxTokens"),
        ({"min_tokens": 9, "min_new_tokens": 8}, "E1101 InvalidArgumentMinTokens"),
        ({"top_p": 0}, "E1105 InvalidArgumentTopKTopP"),
        ({"prompt_template": "none"}, "E1003 BadPromptTemplate"),
        ({"prompt": "hi " * 5000}, "E1002 PromptTooLong: the prompt has 5"),
    ]
    async with running(LLAMA_2) as model:
        for given, said in refusals:
            assert (await model.failure(**{"prompt": "Hi"} | given)).startswith(said)
        refused = await model(prompt="Hi", temperature=6)
        assert refused["status"] == 422
        assert "temperature" in refused["detail"]
