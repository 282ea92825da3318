"""JSON can be decoded in many threads, even if all of them use a type for the first time."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src" / "replicate_job"

FIRST_USES = """
import sys, threading
from typing import Any, Literal
import msgspec
from replicate_job.decoding import convert, decode

sys.setswitchinterval(1e-6)
for number in range(100):
    few = [("a", "int | None", None), ("b", "dict[str, Any]", {})]
    inner = msgspec.defstruct(f"Inner{number}", few, module=__name__)
    many = [(f"f{field}", "str | int | None", None) for field in range(20)]
    outer = msgspec.defstruct(f"Outer{number}", [("inner", list[inner], []), *many], module=__name__)
    barrier, results = threading.Barrier(4), []
    ways = [lambda: decode('{"inner": [{"a": 1}]}', outer), lambda: convert({"inner": [{"a": 1}]}, outer)]

    def use(way):
        barrier.wait()
        results.append(way())

    threads = [threading.Thread(target=use, args=(way,)) for way in ways * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [result.inner[0].a for result in results] == [1] * 4
print("whole")
"""


def test_threads_that_use_a_type_for_the_first_time_at_the_same_time_do_not_crash() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST_USES], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "whole\n"), done.stderr


def decodes_by_itself(call: ast.Call) -> bool:
    """Whether the call decodes into a type with msgspec itself."""
    name = ast.unparse(call.func)
    takes_type = len(call.args) > 1 or any(word.arg == "type" for word in call.keywords)
    if name in {"msgspec.convert", "msgspec.json.Decoder"}:
        return True
    return name.startswith("msgspec.") and name.endswith(".decode") and takes_type


@pytest.mark.parametrize("text", ["msgspec.convert(x, T)", "msgspec.json.decode(x, type=T)", "msgspec.json.Decoder(T)"])
def test_the_search_for_direct_decoding_finds_an_example_of_it(text: str) -> None:
    assert any(isinstance(node, ast.Call) and decodes_by_itself(node) for node in ast.walk(ast.parse(text)))


@pytest.mark.long
def test_only_the_decoding_module_decodes_into_types_with_msgspec() -> None:
    """Except in built-in models, which run in environments of their own."""
    calls = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in SOURCE.rglob("*.py")
        if path.name != "decoding.py" and "builtin_models" not in path.parts
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and decodes_by_itself(node)
    ]
    assert calls == []
