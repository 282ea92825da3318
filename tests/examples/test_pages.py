"""Each program of ``examples/`` is shown completely on a page of the documentation."""

from __future__ import annotations

import msgspec
import pytest
from tests.docs.blocks import ROOT, blocks, pages
from tests.examples.conftest import EXAMPLES

SHOWN = {block.file: block for page in pages() for block in blocks(page) if block.language == "python" and block.file}
CELLS = {block.text for block in blocks(ROOT / "docs/how-to/notebooks.md")}


@pytest.mark.parametrize("name", sorted(path.name for path in EXAMPLES.glob("*.py")))
def test_a_page_shows_the_whole_code_of_its_program(name: str) -> None:
    assert name in SHOWN, f"no page has a block that begins with # {name}"
    assert SHOWN[name].text == (EXAMPLES / name).read_text("utf-8"), f"copy examples/{name} to {SHOWN[name].place}"


def test_the_cells_of_the_page_are_in_the_notebook() -> None:
    notebook = msgspec.json.decode((EXAMPLES / "notebook.ipynb").read_bytes())
    assert {"".join(cell["source"]) + "\n" for cell in notebook["cells"]} >= CELLS
