"""Requests of the official clients are recorded and replayed, and the clients see the same responses."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.contract.conftest import PROGRAMS

from replicate_job.testing import OutputFile, Script, ScriptedAPI, ScriptedModel, Stream, openapi_schema

PYTHON_1 = """
    import asyncio, json, replicate

    image = replicate.run("me/painter", input={"prompt": "a fox", "image": open("note.txt", "rb")})
    waited = replicate.predictions.create(version=VERSION, input={"text": "Ada"}, wait=True)
    polled = replicate.predictions.create(version=VERSION, input={"text": "Bo"}, wait=False)
    polled.wait()
    streamed = "".join(str(event) for event in replicate.stream("me/talker", input={"prompt": "hi"}))
    later = asyncio.run(replicate.async_run("me/painter", input={"prompt": image.url}))
    print(json.dumps([image.read().decode(), waited.output, polled.output, streamed, later.read().decode()]))
"""
PYTHON_2 = """
    import json, replicate

    client = replicate.Replicate()
    image = client.run("me/painter", input={"prompt": "a fox", "image": open("note.txt", "rb")})
    made = client.predictions.create(version=VERSION, input={"text": "Ada"})
    again = client.run("me/painter", input={"prompt": image.url})
    print(json.dumps([image.read().decode(), client.predictions.wait(made.id).output, again.read().decode()]))
"""
JAVASCRIPT = """
    const Replicate = require("replicate");
    const replicate = new Replicate({ baseUrl: process.env.REPLICATE_BASE_URL + "/v1" });
    (async () => {
      const image = await replicate.run("me/painter", { input: { prompt: "a fox", image: Buffer.from("note") } });
      const made = await replicate.predictions.create({ version: VERSION, input: { text: "Ada" } });
      const ended = await replicate.wait(made, { interval: 50 });
      let streamed = "";
      for await (const event of replicate.stream("me/talker", { input: { prompt: "hi" } }))
        if (event.event === "output") streamed += event.data;
      console.log(JSON.stringify([await (await image.blob()).text(), ended.output, streamed]));
    })();
"""
SCRIPTS = {"python-1": PYTHON_1, "python-2": PYTHON_2, "javascript": JAVASCRIPT}
SAID = {
    "python-1": ["a picture", "hello Ada", "hello Bo", "Hello", "a picture"],
    "python-2": ["a picture", "hello Ada", "a picture"],
    "javascript": ["a picture", "hello Ada", "Hello"],
}
FILE = {"type": "string", "format": "uri"}
MODELS = (
    ScriptedModel(
        name="me/painter",
        official=True,
        schema=openapi_schema({"prompt": {"type": "string"}, "image": FILE}, FILE),
        script=Script(output=OutputFile(content=b"a picture", name="out.webp")),
    ),
    ScriptedModel(name="me/talker", official=True, script=Script(output=["Hel", "lo"], stream=Stream(), duration=0.2)),
)


@pytest.mark.cog
@pytest.mark.parametrize("name", SCRIPTS)
def test_requests_of_an_official_client_are_recorded_and_a_replay_gives_it_the_same_responses(
    name: str, tmp_path: Path
) -> None:
    program = PROGRAMS[name]
    environment = program.make()
    (tmp_path / "note.txt").write_text("note")
    script = tmp_path / program.script
    with ScriptedAPI(*MODELS) as real:
        (version,) = real.models["replicate/hello-world"].version_ids
        lines = [line.removeprefix("    ") for line in SCRIPTS[name].splitlines()]
        script.write_text("\n".join(lines).replace("VERSION", f'"{version}"'))
        words = [environment / "bin" / ("node" if program.node else "python"), script]
        own = {"REPLICATE_POLL_INTERVAL": "0.05", "NODE_PATH": str(environment / "node_modules")}
        assert _call("record", tmp_path, words, {**own, **real.environment}) == SAID[name]
        made = real.created
    for file in tmp_path.rglob("*"):
        assert not file.is_file() or real.token.encode() not in file.read_bytes(), file
    assert len(msgspec.json.decode((tmp_path / "it.json").read_bytes())["predictions"]) == made
    assert _call("replay", tmp_path, words, own) == SAID[name]


def _call(command: str, folder: Path, words: list[Path], environment: dict[str, str]) -> Any:
    outcome = subprocess.run(
        [sys.executable, "-m", "replicate_job", command, "it.json", "--", *words],
        cwd=folder,
        env={"PATH": os.defpath, "HOME": str(folder), "LANG": "C.UTF-8", **environment},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert outcome.returncode == 0, outcome.stderr.decode()
    return msgspec.json.decode(outcome.stdout)
