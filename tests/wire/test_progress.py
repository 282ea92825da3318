from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.wire.prediction import Bar, read_bar


@pytest.mark.parametrize(
    ("logs", "expected"),
    [
        (" 40%|████      | 4/10 [00:01<00:02, 2.9it/s]", Bar(0.4, 4, 10)),
        ("  0%|          | 0/4 [00:00<?, ?it/s]\r 25%|██▌       | 1/4 [00:00<00:01]", Bar(0.25, 1, 4)),
        ("Using seed: 7\n100%|██████████| 4/4 [00:00<00:00]\nsaved\n", Bar(1.0, 4, 4)),
        ("Denoising:  12%|#2        | 3/25 [00:01<00:08]", Bar(0.12, 3, 25)),
        ("300%|██| 6/2 [", Bar(1.0, 6, 2)),
        ("", None),
        (None, None),
        ("40% of users | 3/4 agree", None),
        ("4/10", None),
    ],
)
def test_progress_is_read_from_the_last_progress_bar_in_the_logs(logs: str | None, expected: Bar | None) -> None:
    assert read_bar(logs) == expected


@given(st.text(max_size=200), st.integers(0, 10**9), st.integers(1, 10**9), st.text("abc \n", max_size=50))
def test_a_progress_bar_after_any_text_is_found(before: str, current: int, total: int, after: str) -> None:
    percent = min(100, 100 * current // total)
    found = read_bar(f"{before}\n{percent:3d}%|██  | {current}/{total} [00:01<00:02]\n{after}")
    assert found == Bar(percent / 100, current, total)


@given(st.integers(0, 5000))
def test_a_bar_cut_off_by_the_tail_is_never_misread(padding: int) -> None:
    found = read_bar("100%|██████████| 4/4 [00:00<00:00]\n" + "x" * padding)
    assert found in {Bar(1.0, 4, 4), None}
