"""Text of a server, a model or a file cannot control the terminal. Piped data is unchanged."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import msgspec
import pytest

from replicate_job.testing import Script, ScriptedModel, Stream, openapi_schema

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Outcome

    from replicate_job.testing import ScriptedAPI

EVIL = "\x1b]0;owned\x07\x9b31m\x08\x7f\rabc\u202edef\u2066\u200f\u061c."
SHOWN = r"\u001b]0;owned\u0007\u009b31m\u0008\u007f\u000dabc\u202edef\u2066\u200f\u061c."
FINE = "日本\u3000語 👩\u200d💻 a\u00a0b\té"
LINE, SHOWN_LINE = EVIL.replace("\r", ""), SHOWN.replace(r"\u000d", "")
"""In an event of a stream, a return ends a line."""
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
DRAWING = re.compile(r"\x1b\[(?:[0-9;]*m|\?25[lh]|1A|2K)|\r")
"""Our own: colours, the cursor, the line that is drawn anew."""
HELLO = "replicate/hello-world"
LLAMA = "meta/llama-2-70b-chat"


def told(outcome: Outcome) -> str:
    """The text on both terminals, after a check that they got no control characters except our own."""
    out, err = outcome.out.decode(), DRAWING.sub("", outcome.err)
    assert not STEERING.search(out), outcome
    assert not STEERING.search(err), outcome
    return out + err


def unnamed(json: str) -> str:
    """JSON with numeric escapes in place of two short ones."""
    return json.replace(r"\r", r"\u000d").replace(r"\b", r"\u0008")


@pytest.mark.parametrize("words", [("-v",), ("-q",), ("--poll-interval", "0.05")])
def test_output_logs_and_error_of_a_model_cannot_control_the_terminal(
    api: ScriptedAPI, command: Command, words: tuple[str, ...]
) -> None:
    api.next(Script(duration=0.3, end="failed", error=EVIL, output=[EVIL, FINE], logs=f"{EVIL}\n"))
    shown = told(command.on_terminal("run", HELLO, f"text={EVIL}", *words))
    assert SHOWN in unnamed(shown)
    assert f"failed: {SHOWN}" in shown


def test_streamed_text_cannot_control_the_terminal(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(duration=0.1, output=[LINE, f"\n{FINE}\n", "\x1b", "[31m"], stream=Stream()))
    shown = command.on_terminal("run", LLAMA, "prompt=x", "--stream")
    assert shown.out.decode() == f"{SHOWN_LINE}\n{FINE}\n\\u001b[31m\n"
    told(shown)


def test_a_schema_a_list_and_an_account_cannot_control_the_terminal(api: ScriptedAPI, command: Command) -> None:
    evil = {"te\x9bxt": {"type": "string", "description": EVIL, "default": EVIL}}
    api.models["acme/evil"] = ScriptedModel(name="acme/evil", official=True, schema=openapi_schema(evil))
    assert r"te\u009bxt" in told(command.on_terminal("schema", "acme/evil"))
    told(command.on_terminal("schema", "acme/evil", "--json"))
    api.next(Script(output=EVIL))
    command("run", "acme/evil", "--key", EVIL, "--no-save")
    with closing(sqlite3.connect(command.journal, isolation_level=None)) as journal:
        journal.execute("UPDATE jobs SET job = replace(job, 'acme/evil', ?)", ["acme/x\u202e\x9b\\ny"])
    assert r"acme/x\u202e\u009b y" in told(command.on_terminal("list"))
    assert SHOWN in unnamed(told(command.on_terminal("list", "--json")))


def test_error_messages_cannot_control_the_terminal(command: Command) -> None:
    (command.folder / f"{EVIL}.json").write_text("{")
    assert SHOWN in told(command.on_terminal("run", f"{EVIL}.json"))
    assert SHOWN in told(command.on_terminal("run", HELLO, "--input", f"{EVIL}"))
    told(command.on_terminal(EVIL))


@pytest.mark.parametrize("results", ["-", "/dev/stdout", "results.jsonl"])
def test_results_of_a_batch_cannot_control_the_terminal(api: ScriptedAPI, command: Command, results: str) -> None:
    (command.folder / "rows.jsonl").write_bytes(msgspec.json.encode({"text": EVIL}) + b"\n")
    api.next(Script(end="failed", error=EVIL, logs=EVIL))
    told(command.on_terminal("batch", HELLO, "rows.jsonl", "--results", results, "-v"))


def test_piped_data_is_unchanged(api: ScriptedAPI, command: Command) -> None:
    api.next(Script(output=EVIL), Script(duration=0.1, output=[LINE, FINE], stream=Stream()))
    assert command("run", HELLO, f"text={FINE}").response["output"] == EVIL
    assert command("run", LLAMA, "prompt=x", "--stream").out.decode() == LINE + FINE
