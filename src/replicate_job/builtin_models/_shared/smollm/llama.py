"""Handles inputs as Replicate's Llama models do, but SmolLM2 writes the text."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

from log import ignored, say

from smollm.chat import Chat
from smollm.dialogue import turns

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_USUAL_MOST = 512  # the default of max_tokens: as in the real models, this value counts as not set
_COOLER = 0.3  # factor of the temperature: at the real models' 0.7 this small model rambles; its makers advise 0.2
_AGAINST_LOOPS = {"repeat_penalty": 1.1, "dry_multiplier": 0.8, "dry_allowed_length": 4}
"""Without the first option, a model of this size repeats words; without the others, it repeats paragraphs."""


class Llama:
    """A stand-in for a model whose context has ``context`` tokens."""

    def __init__(self, context: int) -> None:
        self._chat = Chat(context)

    def write(self, given: dict[str, Any], record: Callable[[str, float], None]) -> Iterator[str]:
        """Write the text of one prediction. ``given`` has all inputs by name; ``record`` is called with metrics.

        Raises ValueError with Replicate's own error codes for invalid inputs.
        """
        ignored(_without_effect(given))
        prompt = formatted(given["prompt"], given["system_prompt"], given["prompt_template"])
        options = self._options(given)
        began, first, last = time.monotonic(), None, {}
        for chunk in self._chat.write(turns(prompt), prompt, options):
            last = chunk
            piece = _piece(chunk)
            if piece:
                first = first or time.monotonic()
                yield piece
        spent, count = time.monotonic() - began, _counts(last)
        self._report(given, options, prompt, count, last)
        record("input_token_count", count[0])
        record("output_token_count", count[1])
        record("tokens_per_second", count[1] / spent)
        record("time_to_first_token", (first or time.monotonic()) - began)

    def _options(self, given: dict[str, Any]) -> dict[str, Any]:
        """The options of llama.cpp for the inputs."""
        if given["top_k"] <= 0 and not given["top_p"]:
            raise ValueError("E1105 InvalidArgumentTopKTopP: Can't set both top_k and top_p to 0")
        seed = given["seed"]
        return {
            "max_tokens": min(_most(given["max_tokens"], given["max_new_tokens"]), self._chat.context),
            "temperature": _COOLER * given["temperature"],
            "top_p": given["top_p"],
            "top_k": max(given["top_k"], 0),
            "min_p": 0.0,  # with its default, which is above 0, llama.cpp would drop unlikely tokens
            "presence_penalty": given["presence_penalty"],
            **_AGAINST_LOOPS,
            "dry_penalty_last_n": self._chat.context,
            "stop": [end for end in (given["stop_sequences"] or "").split(",") if end],
            # Cog passes an integer of more than 64 bits as a float. llama.cpp accepts 32 bits, and draws a random seed
            # for the highest number.
            "seed": int.from_bytes(os.urandom(2), "big") if seed is None else int(seed) % (2**32 - 1),
        }

    def _report(
        self, given: dict[str, Any], options: dict[str, Any], prompt: str, count: tuple[int, int], last: dict[str, Any]
    ) -> None:
        if sum(count) >= self._chat.context:
            say(f"Ended where the context ends, at {self._chat.context} tokens of prompt and answer")
        if given["log_performance_metrics"]:
            timings = last.get("timings", {})
            say(f"Tokens processed: {count[1]}")
            say(f"Serverside tokens per second: {timings.get('predicted_per_second', 0):.2f}")
            say(f"Serverside time to first token: {timings.get('prompt_ms', 0) / 1000:.2f} seconds")
        say(f"Random seed used: `{options['seed']}`")
        say("Note: Random seed will not impact output if greedy decoding is used.")
        say(f"Formatted prompt: `{prompt}`")


def formatted(prompt: str, system_prompt: str, template: str) -> str:
    """Put the prompts into the template. Raises ValueError if that is not possible, or if the result is empty."""
    template = template or "{prompt}"
    if prompt and "{prompt}" not in template:
        raise ValueError(
            "E1003 BadPromptTemplate: You have submitted both a prompt and a prompt template that doesn't include "
            "'{prompt}'. Your prompt would not be used."
        )
    try:
        text = template.format(prompt=prompt, system_prompt=system_prompt)
    except (ValueError, LookupError, AttributeError) as error:
        raise ValueError(
            f"E1004 PromptTemplateError: Prompt template must be a valid python format spec: {error!r}"
        ) from None
    if not text:
        raise ValueError("E1001 PromptRequired: A prompt is required, but your formatted prompt is blank")
    return text


def _without_effect(given: dict[str, Any]) -> list[str]:
    """Return the names of the set inputs that have no effect."""
    least = [name for name in ("min_tokens", "min_new_tokens") if (given[name] or 0) > 0]
    if len(least) > 1 and given["min_tokens"] != given["min_new_tokens"]:
        raise ValueError(
            f"E1101 InvalidArgumentMinTokens: Can't set both min_tokens ({given['min_tokens']}) and min_new_tokens "
            f"({given['min_new_tokens']})"
        )
    return least if given["length_penalty"] == 1 else [*least, "length_penalty"]


def _most(most: int, older: int | None) -> int:
    if older and most not in {_USUAL_MOST, older}:
        raise ValueError(
            f"E1102 InvalidArgumentMaxTokens: Can't set both max_tokens ({most}) and max_new_tokens ({older})"
        )
    return older or most


def _piece(chunk: dict[str, Any]) -> str:
    """Return the text of a chunk of a chat or of a completion; empty if it has none."""
    choice = (chunk.get("choices") or [{}])[0]
    return choice.get("text") or choice.get("delta", {}).get("content") or ""


def _counts(last: dict[str, Any]) -> tuple[int, int]:
    """Return how many tokens were read and written."""
    timings = last.get("timings", {})
    return timings.get("prompt_n", 0), timings.get("predicted_n", 0)
