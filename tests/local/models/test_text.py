"""The text models write real text, obey their inputs, and refuse what the real ones refuse."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from replicate_job.local.catalog.catalog import BUILT_IN

sys.path.insert(0, str(BUILT_IN / "_shared"))

from smollm.dialogue import turns  # type: ignore[import-not-found,unused-ignore] # found by the path above
from smollm.llama import formatted  # type: ignore[import-not-found,unused-ignore] # found by the path above
from weights import checked  # type: ignore[import-not-found,unused-ignore] # found by the path above

LLAMA_2, LLAMA_3 = "meta/llama-2-70b-chat", "meta/meta-llama-3-8b-instruct"
PAINTERS = ("stability-ai/sdxl", "black-forest-labs/flux-schnell")
EMPTY = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
"""The sha256 of no bytes."""


def message(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_a_dialogue_in_llama_2s_notation_becomes_its_turns() -> None:
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


def test_a_dialogue_in_llama_3s_notation_becomes_its_turns() -> None:
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


def test_the_template_takes_both_prompts() -> None:
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
def test_a_template_that_cannot_be_filled_is_refused_with_replicates_code(
    prompt: str, template: str, code: str
) -> None:
    with pytest.raises(ValueError, match=code):
        formatted(prompt, "", template)


def test_weights_are_taken_only_when_they_are_the_chosen_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
