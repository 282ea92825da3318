"""In Python, messages about a refused file of rows name Python's arguments."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from replicate_job import batch, errors
from replicate_job.batches.rows import columns, delimited, lines, options, row_reader, source
from replicate_job.batches.rows.python_words import in_python
from replicate_job.testing import ScriptedAPI

FLUX = "black-forest-labs/flux-schnell"


@pytest.mark.parametrize(
    ("said", "python"),
    [
        ("Did you mean --rename promt=prompt?", "Did you mean rename={'promt': 'prompt'}?"),
        ("--rename 'a b=prompt,c=seed'.", "rename={'a b': 'prompt', 'c': 'seed'}."),
        ("--rename old=new: a/b has no input new", "rename={'old': 'new'}: a/b has no input new"),
        ("--rename: two columns", "rename: two columns"),
        ("To leave out: --ignore-columns a.b,c.", "To leave out: ignore_columns=['a.b', 'c']."),
        ("(--ignore-columns '*')", "(ignore_columns='*')"),
        ("(--encoding cp1252, or what it is, reads it)", "(encoding='cp1252', or what it is, reads it)"),
        ("give its --encoding, as cp1252", "give its encoding, as cp1252"),
        ("with --format csv, or without --no-header", "with format='csv', or without header=False"),
        ("--delimiter names another; --no-quotes reads all", "delimiter names another; quotes=False reads all"),
        ("--id: x has no column 'a'", "id: x has no column 'a'"),
        ("a -- b --local", "a -- b --local"),
    ],
)
def test_command_line_options_in_a_message_become_python_arguments(said: str, python: str) -> None:
    assert in_python(said) == python


@pytest.mark.parametrize("module", [columns, delimited, lines, options, row_reader, source])
def test_no_message_for_python_names_an_option_of_the_command_line(module: object) -> None:
    text = Path(str(getattr(module, "__file__", ""))).read_text("utf-8").replace('"""', "'''")
    said = re.findall(r'f?"[^"\n]*--[a-z][^"\n]*"', text)
    assert not [line for line in said if re.search(r"--[a-z]", in_python(line.replace('"', "")))]


def test_errors_and_problems_in_python_name_python_arguments(
    api: ScriptedAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in {**api.environment, "REPLICATE_JOB_JOURNAL": str(tmp_path / "jobs.db")}.items():
        monkeypatch.setenv(name, value)
    rows = tmp_path / "rows.csv"
    rows.write_text("promt\na fox\n")
    with pytest.raises(errors.ColumnsError, match=re.escape("Did you mean rename={'promt': 'prompt'}?")):
        list(batch(FLUX, rows))
    rows.write_bytes(b"prompt\na f\xf6x\n")
    (result,) = batch(FLUX, rows)
    assert "encoding" in result.problem
    assert "--" not in result.problem
    (tmp_path / "rows.doc").touch()
    with pytest.raises(errors.JobError, match="format='jsonl'"):
        list(batch(FLUX, tmp_path / "rows.doc"))
