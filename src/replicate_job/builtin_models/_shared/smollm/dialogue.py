"""The turns of a conversation, read from text in the notations of Llama 2 and Llama 3."""

from __future__ import annotations

import re

_LLAMA_3 = re.compile(
    r"<\|start_header_id\|>(\w+)<\|end_header_id\|>(.*?)(?:<\|eot_id\|>|(?=<\|start_header_id\|>)|\Z)", re.DOTALL
)
_LLAMA_2 = re.compile(r"(\[INST\]|\[/INST\])")
_SYSTEM = re.compile(r"<<SYS>>(.*?)<</SYS>>", re.DOTALL)


def turns(text: str) -> list[dict[str, str]]:
    """Return messages with ``role`` and ``content``; an empty list if the text uses neither notation."""
    if headed := _LLAMA_3.findall(text):
        return _messages(headed)
    if not _LLAMA_2.search(text):
        return []
    roles = {"": "user", "[INST]": "user", "[/INST]": "assistant"}
    system = [("system", found) for found in _SYSTEM.findall(text)]
    spoken = re.sub(r"</?s>", "", _SYSTEM.sub("", text))
    parts = ["", *_LLAMA_2.split(spoken)]
    return _messages([*system, *((roles[mark], said) for mark, said in zip(parts[::2], parts[1::2], strict=True))])


def _messages(said: list[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"role": role, "content": content.strip()} for role, content in said if content.strip()]
