"""Endless responses, and small files that expand to large ones, cause a clear error in bounded memory."""

from __future__ import annotations

import gzip
import sys
import threading
import urllib.request
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from pyarrow import ipc, parquet

from replicate_job.testing import Script

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Outcome, Process

    from replicate_job.testing import ScriptedAPI

MOST = 300 * 1024
"""Kilobytes."""
BLOCK = b" " * 2**20
HELLO = "replicate/hello-world"
ID = "abcdefghijklmnopqrstuvwxyz"
VERSION = "a" * 64
START = b'{"id":"%s","status":"starting","input":{},"output":' % ID.encode()
LAUNCH = """
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""A small process in between: a child's own peak begins with its parent's size."""


def squeeze(wbits: int, blocks: int = 300) -> bytes:
    squeezer = zlib.compressobj(1, zlib.DEFLATED, wbits)
    return b"".join([squeezer.compress(START), *(squeezer.compress(BLOCK) for _ in range(blocks)), squeezer.flush()])


def zstd(blocks: int = 300) -> bytes:
    """A frame with the largest window that readers allow, of blocks that each say a byte 128 Ki times."""
    block = ((2**17 << 3) | 2).to_bytes(3, "little") + b" "
    return b"\x28\xb5\x2f\xfd\x00" + bytes([17 << 3]) + block * (8 * blocks) + (1).to_bytes(3, "little")


def plain(body: bytes, **headers: str) -> bytes:
    named = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{named}content-length: {len(body)}\r\n\r\n".encode() + body


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: plain(squeeze(31), **{"content-encoding": "gzip"}),
    "deflate": lambda: plain(squeeze(15), **{"content-encoding": "deflate"}),
    "brotli": lambda: plain(pa.Codec("brotli").compress(BLOCK * 300, asbytes=True), **{"content-encoding": "br"}),
    "zstd": lambda: plain(zstd(), **{"content-encoding": "zstd"}),
    "no end": lambda: b"transfer-encoding: chunked\r\n\r\n" + b"100000\r\n" + BLOCK + b"\r\n",
    "a length that no machine has": lambda: b"content-length: 999999999999999\r\n\r\n" + START,
    "many values": lambda: plain(
        gzip.compress(START + b"[" + b'{"":0},' * (63 * 2**20 // 7) + b"0]}", 1), **{"content-encoding": "gzip"}
    ),
}
ENDLESS = {"no end": b"100000\r\n" + BLOCK + b"\r\n", "a length that no machine has": BLOCK}


class Hostile(ThreadingHTTPServer):
    """Answers with ``status``, ``answer``, and ``more`` repeated endlessly; or with the path's entry in ``others``."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status, self.answer, self.more = 200, b"", b""
        self.others = {"/versions/": plain(b'{"id":"%s"}' % VERSION.encode())}
        self.url = f"http://127.0.0.1:{self.server_port}"

    def throw(self, bomb: str) -> None:
        self.answer, self.more = BOMBS[bomb](), ENDLESS.get(bomb, b"")

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Do nothing: the tests make the client disconnect."""


class Handler(BaseHTTPRequestHandler):
    server: Hostile

    def do_GET(self) -> None:
        hostile = self.server
        self.rfile.read(int(self.headers.get("content-length", 0)))
        answer = next((answer for path, answer in hostile.others.items() if path in self.path), None)
        more = hostile.more if answer is None else b""
        self.wfile.write(f"HTTP/1.1 {hostile.status} X\r\nconnection: close\r\n".encode() + (answer or hostile.answer))
        with suppress(OSError):
            while more:
                self.wfile.write(more)

    do_POST = do_GET  # noqa: N815 - the library's name

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture
def hostile(command: Command) -> Iterator[Hostile]:
    server = Hostile()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    command.environment["REPLICATE_BASE_URL"] = server.url
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def measured(command: Command, *words: str | Path) -> Outcome:
    """Run the command, and check that it stays within its memory."""
    return ended(command, launch(command, *words))


def launch(command: Command, *words: str | Path) -> Process:
    return command.execute(
        [sys.executable, "-c", LAUNCH, str(command.folder / "peak"), *command.program, *map(str, words)]
    )


def ended(command: Command, process: Process) -> Outcome:
    outcome = process.end()
    assert int((command.folder / "peak").read_text()) < MOST, outcome
    return outcome


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_response_that_is_too_large_causes_one_clear_error_in_bounded_memory(
    hostile: Hostile, command: Command, bomb: str
) -> None:
    hostile.throw(bomb)
    outcome = measured(command, "show", ID)
    assert outcome.code == 3
    assert "answered with more than the 64 MB that are read" in outcome.error


@pytest.mark.parametrize("bomb", ["gzip", "zstd", "no end"])
def test_a_response_with_an_endless_error_body_is_reported_by_its_status(
    hostile: Hostile, command: Command, bomb: str
) -> None:
    hostile.status = 403
    hostile.throw(bomb)
    outcome = measured(command, "show", ID)
    assert outcome.code == 3
    assert "answered 403" in outcome.error


def test_a_response_just_below_the_limit_is_read(hostile: Hostile, command: Command) -> None:
    text = START + b'"' + b"a,{[" * (2**24 - 2**10) + b'"}'
    hostile.answer = plain(gzip.compress(text, 1), **{"content-encoding": "gzip"})
    outcome = command("show", ID)
    assert outcome.code == 0
    assert len(outcome.response["output"]) == 4 * (2**24 - 2**10)


def test_the_id_is_read_from_the_beginning_of_a_too_large_create_response(hostile: Hostile, command: Command) -> None:
    hostile.throw("gzip")
    outcome = measured(command, "run", f"acme/any:{VERSION}", "--no-save")
    assert outcome.code == 3
    assert f"GET /predictions/{ID}: " in outcome.error
    assert command.rows("state, prediction_id, sends") == [{"state": "created", "prediction_id": ID, "sends": 1}]


@pytest.mark.parametrize(
    ("start", "more"),
    [(b"data: ", BLOCK), (b"", b"data: x\n" * 2**17), (b"", b"id: %s\ndata: x\n\n" % (b"1" * 1000) * 2**10)],
    ids=["line", "event", "stream"],
)
def test_after_an_endless_stream_polling_takes_over(
    hostile: Hostile, command: Command, start: bytes, more: bytes
) -> None:
    made = b'{"id":"%s","status":"%s","input":{},"output":%s,"urls":{"stream":"%s/stream"}}'
    url = hostile.url.encode()
    hostile.others |= {
        f"/predictions/{ID}": plain(made % (ID.encode(), b"succeeded", b'"hello"', url)),
        "/predictions": plain(made % (ID.encode(), b"starting", b"null", url)),
    }
    hostile.answer, hostile.more = b"content-type: text/event-stream\r\n\r\n" + start, more
    outcome = measured(command, "run", f"acme/any:{VERSION}", "--stream", "--no-save")
    assert outcome.code == 0
    differs = "the streamed text is not the beginning of the output"
    assert outcome.out.endswith(b"hello") or differs in outcome.err


MB = 10**6
LISTS = pa.array([0] * 40 * 64), pa.array(["x" * 6 * MB])
TABLES: dict[str, Callable[[], pa.Array]] = {
    "a cell": lambda: pa.array(["x" * 60 * MB]),
    "the largest cells": lambda: pa.array(["x" * 16 * MB] * 3),
    "the largest cell, with an emoji": lambda: pa.array(["\N{PARROT}" + "x" * 16 * MB]),
    "a page": lambda: pa.array(["x" * MB] * 250),
    "the largest page": lambda: pa.array(["x" * MB] * 66),
    "a value that all rows have": lambda: pa.DictionaryArray.from_arrays([0] * 64, ["x" * 8 * MB]),
    "a value that all lists have": lambda: pa.ListArray.from_arrays(
        pa.array(range(0, 65 * 40, 40), pa.int32()), pa.DictionaryArray.from_arrays(*LISTS)
    ),
    "a value that all lists of text have": lambda: pa.array([["x" * MB] * 40] * 4),
    "categories": lambda: pa.DictionaryArray.from_arrays([0, 1], ["x" * 30 * MB, "y" * 30 * MB]),
    "many categories": lambda: pa.DictionaryArray.from_arrays(
        pa.array(range(7_000)), [f"{number:01100}" for number in range(7_000)]
    ),
    "a list": lambda: pa.array([pa.nulls(12 * MB, pa.int8()).fill_null(0)], pa.list_(pa.int8())),
    "a list of nulls": lambda: pa.ListArray.from_arrays(
        pa.array([0, 12 * MB], pa.int32()), pa.nulls(12 * MB, pa.null())
    ),
    "a cell among small ones": lambda: pa.array(["x"] * 63 + ["x" * 300 * MB]),
    "a dictionary": lambda: pa.array(["x"] * 63 + ["x" * 60 * MB]),
    "cells that begin alike": lambda: pa.array(["x" * 8 * MB] * 8),
}
WITH_DICTIONARY = {
    "a value that all rows have",
    "a value that all lists have",
    "a value that all lists of text have",
    "categories",
    "many categories",
    "a dictionary",
}
READ = {
    "the largest cells",
    "the largest cell, with an emoji",
    "the largest page",
    "a value that all rows have",
    "many categories",
    "cells that begin alike",
}


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("column", TABLES)
def test_a_small_table_that_describes_a_large_one_is_read_in_bounded_memory(command: Command, column: str) -> None:
    parquet.write_table(
        pa.table({"text": TABLES[column]()}),
        command.folder / "rows.parquet",
        compression="zstd",
        use_dictionary=column in WITH_DICTIONARY,
        column_encoding={"text": "DELTA_BYTE_ARRAY"} if column == "cells that begin alike" else None,
        dictionary_pagesize_limit=2**30,
    )
    check(command, "rows.parquet", is_read=column in READ)


BATCHES: dict[str, Callable[[], pa.Array]] = {
    "a batch": lambda: pa.array(["x" * MB] * 250),
    "the largest batch": lambda: pa.array(["x" * MB] * 100),
    "the largest cell": lambda: pa.array(["\N{PARROT}" + "x" * 16 * MB]),
    "a dictionary": lambda: pa.DictionaryArray.from_arrays([0], ["x" * 140 * MB]),
    "the largest dictionary": lambda: pa.DictionaryArray.from_arrays([0] * 64, ["x" * 7 * MB] * 4),
    "a value that all lists have": TABLES["a value that all lists have"],
    "a list": TABLES["a list"],
    "a list of nulls": TABLES["a list of nulls"],
}


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("kind", [ipc.new_file, ipc.new_stream])
@pytest.mark.parametrize("column", BATCHES)
def test_a_packed_batch_of_arrow_is_read_in_bounded_memory(
    command: Command, column: str, kind: Callable[..., ipc.RecordBatchStreamWriter]
) -> None:
    table = pa.table({"text": BATCHES[column]()})
    options = ipc.IpcWriteOptions(compression="zstd")
    with kind(str(command.folder / "rows.arrow"), table.schema, options=options) as writer:
        writer.write_table(table)
    check(command, "rows.arrow", is_read=column.startswith("the largest"))


LINES: dict[str, tuple[str, bytes, bytes, int]] = {
    "a line of JSON": ("jsonl", b'{"text":"', BLOCK, 200),
    "the largest line of JSON": ("jsonl", b'{"text":"\xf0\x9f\x98\x80', BLOCK, 7),
    "many values in a line": ("jsonl", b'{"text":[', b"{}," * 2**18, 15),
    "values in a line": ("jsonl", b'{"text":[', b'"",' * 2**18, 1),
    "an element": ("json", b'[{"text":"', BLOCK, 60),
    "a document": ("json", b'[{"text":"', BLOCK, 200),
    "many elements": ("json", b'[{"text":"x"}', b",{}" * 2**18, 60),
    "a line of text": ("txt", b"x", BLOCK, 200),
    "the largest line of text": ("txt", b"\xf0\x9f\x98\x80", BLOCK, 15),
    "a row of CSV": ("csv", b"text\n", BLOCK.replace(b" ", b"x"), 200),
    "the largest row of CSV": ("csv", b"text\n\xf0\x9f\x98\x80", BLOCK.replace(b" ", b"x"), 15),
    "a quote that is not closed": ("csv", b'text,a\nx,"', b"\r\n" * 2**19, 6),
    "columns": ("csv", b"text", b"".join(b",%d" % at for at in range(150_000)), 15),
}
ENDS = {"jsonl": b'"}\n', "json": b'"}]', "txt": b"x\n", "csv": b"\n"}


@pytest.mark.usefixtures("hostile")
@pytest.mark.parametrize("line", LINES)
def test_a_packed_text_that_describes_a_large_one_is_read_in_bounded_memory(command: Command, line: str) -> None:
    kind, start, block, count = LINES[line]
    end = b"0]}\n" if "values" in line else b"]" if line == "many elements" else ENDS[kind]
    name = f"rows.{kind}.gz"
    with gzip.open(command.folder / name, "wb", 1) as file:
        file.write(start)
        for _ in range(count):
            file.write(block)
        file.write(end)
    check(command, name, is_read=line.startswith("the largest") or line == "values in a line")


def check(command: Command, name: str, *, is_read: bool) -> None:
    """Check that its rows are read, or that one line says why not."""
    outcome = measured(command, "batch", f"acme/any:{VERSION}", name, "--results", "-", "--dry-run")
    if is_read:
        assert outcome.code == 0, outcome
    else:
        assert outcome.code in {1, 2}
        assert "Traceback" not in outcome.err
        assert any(word in outcome.err for word in WORDS), outcome


WORDS = ("larger than", "longer than", "too large", "memory", "values", "never closed", "two columns are named")


@pytest.mark.parametrize(("name", "words"), [("job.toml", ["job.toml"]), ("in.json", [HELLO, "--input", "in.json"])])
def test_a_file_of_a_job_that_is_too_large_is_not_read(command: Command, name: str, words: list[str]) -> None:
    with (command.folder / name).open("wb") as file:
        file.truncate(400 * 2**20)
    outcome = measured(command, "run", *words)
    assert outcome.code == 2
    assert "larger than 64 MB" in outcome.error


@pytest.mark.parametrize(
    ("start", "value"),
    [('{"x":[', "{},"), ('{"x":"\N{PARROT}', "xxx"), ('{"x":[', '"",')],
    ids=["objects", "emoji", "texts"],
)
@pytest.mark.parametrize("name", ["job.json", "in.json"])
def test_a_file_of_a_job_whose_values_take_too_much_memory_is_not_decoded(
    command: Command, name: str, start: str, value: str
) -> None:
    text = start + value * (4 * 2**20) + ("0]}" if "[" in start else '"}')
    (command.folder / name).write_text(f'{{"model":"a/b","input_data":{text}}}' if name == "job.json" else text)
    outcome = measured(command, "run", *([name] if name == "job.json" else [HELLO, "--input", name]))
    assert outcome.code == 2
    assert "take more than 32 MB of memory" in outcome.error


def test_after_a_too_large_page_a_batch_requests_smaller_ones(api: ScriptedAPI, command: Command) -> None:
    api.next(*[Script(duration=1.5, output="x" * 2**21)] * 40)
    (command.folder / "rows.jsonl").write_text('{"text":"x"}\n' * 40)
    outcome = measured(command, "batch", HELLO, "rows.jsonl", "--results", "results.jsonl")
    assert outcome.code == 0
    assert api.created == 40


def test_a_prediction_whose_response_was_lost_is_found_in_a_list_whose_page_is_too_large(
    api: ScriptedAPI, command: Command
) -> None:
    api.faults.next("create", "drop-after")
    api.faults.next("list", *["503"] * 99)
    process = launch(command, "run", HELLO, "text=ours", "--no-save")
    api.wait_until(lambda: api.created, seconds=30)
    api.next(*[Script(output="x" * 2**21)] * 40)
    request = urllib.request.Request(  # noqa: S310 - the scripted API
        f"{api.base_url}/v1/models/meta/llama-2-70b-chat/predictions",
        b'{"input":{"prompt":"theirs"}}',
        {"authorization": f"Bearer {api.token}", "content-type": "application/json"},
    )
    for _ in range(40):
        urllib.request.urlopen(request).close()  # noqa: S310 - likewise
    api.wait_until(lambda: all("completed_at" in each.snapshot() for each in api.predictions), seconds=30)
    listed = api.count("list")
    api.faults.clear()
    assert ended(command, process).code == 0
    assert api.created == 41
    assert api.count("list") > listed + 1  # the page was too large


@pytest.mark.parametrize("line", ["list --remote --since 999999w", "pull --since 999999w"])
def test_a_period_that_begins_before_the_first_prediction_includes_all_predictions(
    command: Command, api: ScriptedAPI, line: str
) -> None:
    outcome = command(*line.split())
    assert outcome.code == 0
    assert api.count("list")
