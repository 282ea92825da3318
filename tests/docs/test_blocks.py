"""Every block of the README and of the documentation does what its page says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.docs.blocks import ASKS, ROOT, blocks, pages

if TYPE_CHECKING:
    from tests.docs.conftest import Reader

PAGES = {str(page.relative_to(ROOT)): page for page in pages()}


@pytest.mark.parametrize("name", [name for name, page in PAGES.items() if blocks(page)])
def test_the_code_blocks_of_a_page_run_in_order_with_the_shown_output(name: str, reader: Reader) -> None:
    for block in blocks(PAGES[name]):
        assert block.asks.keys() <= ASKS, f"{block.place}: {block.asks}"
        reader.follow(block)


@pytest.mark.parametrize("name", PAGES)
def test_every_code_block_of_a_page_is_found_by_the_parser(name: str) -> None:
    text = PAGES[name].read_text("utf-8")
    assert len(re.findall(r"^ *```", text, re.MULTILINE)) == 2 * len(blocks(PAGES[name]))


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md"])
def test_pages_outside_the_documentation_site_link_only_to_existing_files(name: str) -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text("utf-8"))
    assert links
    assert [link for link in links if not Path(ROOT, link).exists()] == []
