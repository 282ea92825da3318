from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.errors import LocalError
from replicate_job.local.store import PredictionRow, Store

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_can_be_used_by_one_server_at_a_time(tmp_path: Path) -> None:
    first = Store(tmp_path)
    with pytest.raises(LocalError, match="in use by another local server"):
        Store(tmp_path)
    first.close()
    Store(tmp_path).close()


@pytest.mark.parametrize("content", [b"no database at all, but a text that is long enough to be read", b""])
def test_a_file_that_is_not_a_store_is_refused_unless_it_is_empty(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "server.db").write_bytes(content)
    if content:
        with pytest.raises(LocalError, match="cannot be read: file is not a database; move it away"):
            Store(tmp_path)
        (tmp_path / "server.db").unlink()
    Store(tmp_path).close()


def test_a_folder_where_the_file_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "server.db").mkdir()
    with pytest.raises(LocalError, match="cannot be read: unable to open database file; move it away"):
        Store(tmp_path)


def test_a_store_of_a_newer_release_is_refused(tmp_path: Path) -> None:
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "server.db") as connection:
        connection.execute("PRAGMA user_version = 9")
    connection.close()
    with pytest.raises(LocalError, match="it is of version 9, and this release knows 2"):
        Store(tmp_path)


@given(
    gaps=st.lists(st.integers(0, 2), min_size=0, max_size=30),
    after=st.none() | st.integers(-1, 60),
    before=st.none() | st.integers(-1, 60),
)
def test_bounds_select_predictions_created_between_two_times(
    tmp_path_factory: pytest.TempPathFactory, gaps: list[int], after: int | None, before: int | None
) -> None:
    store, at, times = Store(tmp_path_factory.mktemp("store")), 0, []
    for number, gap in enumerate(gaps):
        at += gap
        times.append(at)
        store.add(PredictionRow(number, str(number), float(at), None, "", b"{}"))
    low, high = store.bounds(after, before)
    wanted = [
        number for number, at in enumerate(times) if (after is None or at >= after) and (before is None or at < before)
    ]
    assert [row.number for row in store.between(low, high)] == wanted[::-1]
    store.close()


def test_the_state_folder_is_readable_by_its_user_only(tmp_path: Path) -> None:
    Store(tmp_path / "state").close()
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700


def test_a_secret_stays_the_same_and_secrets_with_different_names_differ(tmp_path: Path) -> None:
    store = Store(tmp_path)
    made = store.secret("webhooks")
    assert made != store.secret("files")
    store.close()
    store = Store(tmp_path)
    assert store.secret("webhooks") == made
    store.close()
