"""The other programs of ``examples/`` do what their pages say."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import msgspec
import pytest

from replicate_job.testing import ScriptedAPI

if TYPE_CHECKING:
    from tests.examples.conftest import Start


@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_each_process_of_a_pool_opens_its_own_client(method: str, folder: Path, start: Start, api: ScriptedAPI) -> None:
    program = folder / "pool.py"
    program.write_text(program.read_text().replace('"spawn"', f'"{method}"'))
    for _ in range(2):
        pool = start("python", "pool.py")
        assert pool.end() == 0, pool.output
        assert pool.lines == [f"{animal}: succeeded\n" for animal in ("a fox", "a hare", "a lynx", "an owl")]
        assert api.count("create") == 4


def test_each_gunicorn_worker_opens_its_own_client_after_the_fork(start: Start, api: ScriptedAPI) -> None:
    server = start(*["gunicorn", "--preload", "--workers", "2", "--threads", "8", "-b", "127.0.0.1:0", "web:app"])
    url = server.wait_for(r"Listening at: (http://[\d.:]+)")
    for animal in ("fox", "hare", "fox"):
        with urlopen(f"{url}/?a+{animal}", timeout=60) as response:  # noqa: S310 - our own server's
            assert response.read() == b"succeeded"
    assert [prediction.input for prediction in api.predictions] == [{"prompt": "a fox"}, {"prompt": "a hare"}]
    assert server.stop() == 0, server.output
    assert "Traceback" not in server.output, server.output


def test_one_client_serves_many_threads(start: Start, api: ScriptedAPI) -> None:
    program = start("python", "threads.py")
    assert program.end() == 0, program.output
    assert [line.split(":")[0] for line in program.lines] == ["fox", "hare", "lynx", "owl"], program.output
    assert all(re.search(r": Once upon a time\. /\S+\.webp$", line.rstrip()) for line in program.lines), program.output
    assert api.count("create") == 8


def test_a_program_reads_a_table_and_writes_a_table_with_the_results(
    folder: Path, start: Start, api: ScriptedAPI
) -> None:
    program = start("python", "tables.py")
    assert program.end() == 0, program.output
    with (folder / "pictures.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["fox", "hare", "owl"]
    assert {row["status"] for row in rows} == {"succeeded"}
    prompts = {prediction.id: prediction.input for prediction in api.predictions}
    assert [prompts[Path(row["file"]).parent.name] for row in rows] == [
        {"prompt": "a fox", "seed": 1},
        {"prompt": "a hare"},
        {"prompt": "an owl", "seed": 3},
    ]


def test_a_notebook_runs_jobs_with_and_without_await_and_shows_pictures(
    folder: Path, start: Start, api: ScriptedAPI
) -> None:
    kernel = start("jupyter", "execute", "--inplace", "notebook.ipynb")
    assert kernel.end() == 0, kernel.output
    notebook = msgspec.json.decode((folder / "notebook.ipynb").read_bytes())
    outputs = {cell["id"]: cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code"}
    assert [len(_pictures(outputs[cell])) for cell in ("one", "together", "again")] == [1, 3, 1]
    assert _pictures(outputs["one"]) == _pictures(outputs["again"])
    assert "".join(outputs["stream"][0]["text"]) == "Once upon a time."
    assert outputs["close"] == []
    assert api.count("create") == 5


def _pictures(outputs: list[dict[str, Any]]) -> list[str]:
    return [found for output in outputs for found in re.findall(r"<img [^>]+>", "".join(output["data"]["text/html"]))]
