"""Files of rows, written as bytes so that every character of them is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from replicate_job.batches.rows import Row, open_rows


@pytest.fixture
def read(tmp_path: Path) -> Callable[..., list[Row]]:
    """Writes a file with that content and suffix, and reads its rows; ``count`` must agree with them."""

    def read(content: bytes, suffix: str) -> list[Row]:
        file = tmp_path / f"rows{suffix}"
        file.write_bytes(content)
        rows = open_rows(file)
        read_rows = list(rows)
        assert rows.count() == len(read_rows)
        assert list(rows) == read_rows
        return read_rows

    return read
