"""``replicate-job batch`` with files as people have them: columns, constants, quotes, containers, and messages."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

if TYPE_CHECKING:
    from tests.e2e.conftest import Command, Outcome

    from replicate_job.testing import ScriptedAPI

FLUX = "black-forest-labs/flux-schnell"
TAKES = "it takes prompt, aspect_ratio, num_outputs, seed, output_format, output_quality"


def batch(command: Command, rows: str, *words: str | Path, typed: bytes | None = None) -> Outcome:
    return command("batch", FLUX, rows, "--results", "results.jsonl", "--no-save", *words, typed=typed)


def write(command: Command, name: str, content: str | bytes) -> str:
    (command.folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return name


def sent(api: ScriptedAPI) -> list[dict[str, Any]]:
    return sorted((prediction.input for prediction in api.predictions), key=str)


def results(command: Command) -> list[dict[str, Any]]:
    found = [msgspec.json.decode(line) for line in (command.folder / "results.jsonl").read_bytes().splitlines()]
    return sorted(found, key=lambda record: record["line"])


@pytest.mark.parametrize("option", [[], ["--dry-run"], ["--allow-unknown"]])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("rows.csv", "promt\na\nb\n"),
        ("rows.jsonl", '{"promt": "a"}\n{"promt": "b"}\n'),
        ("rows.json", '[{"promt": "a"}, {"promt": "b"}]'),
    ],
)
def test_a_mistyped_column_is_refused_before_the_default_value_is_paid_for_in_its_place(
    api: ScriptedAPI, command: Command, name: str, content: str, option: list[str]
) -> None:
    outcome = batch(command, write(command, name, content), *option)

    assert outcome.code == 2
    assert outcome.error == (
        f"error: {name}: promt is not an input of {FLUX}; {TAKES}. Did you mean --rename promt=prompt?"
        " To leave out: --ignore-columns promt."
    )
    assert not api.count("create")


def test_a_mistyped_name_in_one_row_is_an_error_of_that_row_even_with_allow_unknown(
    api: ScriptedAPI, command: Command
) -> None:
    write(command, "rows.jsonl", '{"prompt": "a"}\n{"promt": "b"}\n{"hidden": 1}\n{"prompt": "c", "hidden": 1}\n')

    outcome = batch(command, "rows.jsonl", "--allow-unknown")

    assert outcome.code == 1
    assert sent(api) == [{"prompt": "a"}, {"prompt": "c", "hidden": 1}]
    errors = [record["error"] or "" for record in results(command)]
    assert "did you mean prompt?" in errors[1] or "gives no input" in errors[1]
    assert f"it gives no input of {FLUX}" in errors[2]


@pytest.mark.parametrize("words", [["--ignore-columns", "prompt"], ["prompt=a lake", "--ignore-columns", "prompt"]])
def test_rows_without_an_input_value_run_only_if_the_command_sets_that_input(
    api: ScriptedAPI, command: Command, words: list[str]
) -> None:
    write(command, "rows.csv", "id,prompt\n1,x\n2,y\n")

    outcome = batch(command, "rows.csv", "--id", "id", *words)

    if "=" in words[0]:
        assert outcome.code == 0
        assert sent(api) == [{"prompt": "a lake"}] * 2
    else:
        assert outcome.code == 1
        assert f"it gives no input of {FLUX}, which takes prompt" in outcome.err
        assert not api.count("create")


def test_one_error_names_all_wrong_columns_and_the_options_that_help(api: ScriptedAPI, command: Command) -> None:
    write(command, "rows.tsv", "Prompt\tCategory\tNote \n" + "a\tb\tc\n" * 500)

    refused = batch(command, "rows.tsv")
    ignored = batch(command, "rows.tsv", "--limit", "2", "--ignore-columns", "Category,Note")

    assert refused.code == 2
    assert refused.error == (
        f"error: rows.tsv: Category, Note are not inputs of {FLUX}; {TAKES}."
        " To leave out: --ignore-columns Category,Note."
        " (Columns are separated by tabs; --delimiter names another separator.)"
    )
    assert ignored.code == 0
    assert sent(api) == [{"prompt": "a"}] * 2


def test_column_names_match_in_any_case_if_only_one_input_fits(api: ScriptedAPI, command: Command) -> None:
    write(command, "rows.csv", " PROMPT , Seed\nx,4\n")
    write(command, "two.csv", "Prompt,prompt\nx,y\n")
    write(command, "rows.jsonl", '{"Prompt": "z", "SEED": 5}\n')

    assert batch(command, "rows.csv").code == 0
    assert batch(command, "rows.jsonl", "--results", "other.jsonl").code == 0
    refused = batch(command, "two.csv")

    assert sent(api) == [{"prompt": "x", "seed": 4}, {"prompt": "z", "seed": 5}]
    assert refused.code == 2
    assert "both prompt and Prompt would be the input prompt. To leave out: --ignore-columns Prompt." in refused.error


def test_columns_are_renamed_and_left_out_with_one_option(api: ScriptedAPI, command: Command) -> None:
    write(command, "rows.csv", "Prompts,Category,the seed\nx,c,4\n")

    assert batch(command, "rows.csv", "--rename", "Prompts=prompt,the seed=seed,*=").code == 0
    assert sent(api) == [{"prompt": "x", "seed": 4}]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--rename", "Prompt=prompt"], "--rename: rows.csv has no column 'Prompt'; it has id, prompt, seed"),
        (["--rename", "id=promt"], f"--rename id=promt: {FLUX} has no input promt; {TAKES}"),
        (["--rename", "id"], "'id' is not COLUMN=INPUT"),
        (["--rename", "id=seed,prompt=seed"], "two columns are to be the input seed"),
        (["--rename", "id=seed"], "both id and seed would be the input seed"),
        (["--id", "ids"], "--id: rows.csv has no column 'ids'; it has id, prompt, seed"),
        (["--header", "a,b", "--no-header"], "--header names the columns"),
        (["prompt"], "'prompt' is not KEY=VALUE"),
        (["image=@none.png"], "there is no file 'none.png'"),
    ],
)
def test_options_for_missing_columns_are_refused_at_once(
    api: ScriptedAPI, command: Command, words: list[str], said: str
) -> None:
    write(command, "rows.csv", "id,prompt,seed\n1,x,4\n")

    outcome = batch(command, "rows.csv", *words)

    assert outcome.code == 2
    assert said in outcome.err
    assert not api.count("create")


def test_other_constants_make_another_batch(api: ScriptedAPI, command: Command) -> None:
    write(command, "rows.csv", "prompt,seed\nx,1\ny,2\n")

    refused = batch(command, "rows.csv", "seed=7", "num_outputs=2")
    assert (refused.code, api.count("create")) == (2, 0)
    assert "seed is a column, and seed=... is given for all rows" in refused.error
    words = ["--ignore-columns", "seed", "num_outputs=2"]
    assert batch(command, "rows.csv", "seed=7", *words).code == 0
    assert batch(command, "rows.csv", "seed=7", *words).code == 0
    assert sent(api) == [{"prompt": name, "seed": 7, "num_outputs": 2} for name in "xy"]
    other = batch(command, "rows.csv", "seed=8", *words)
    assert other.code == 2
    assert "holds the results of another batch" in other.error
    assert len(api.predictions) == 2


def test_another_mapping_of_columns_makes_another_batch(api: ScriptedAPI, command: Command) -> None:
    write(command, "rows.csv", "a,b\nx,y\n")

    assert batch(command, "rows.csv", "--rename", "a=prompt,b=").code == 0
    other = batch(command, "rows.csv", "--rename", "b=prompt,a=")

    assert other.code == 2
    assert "holds the results of another batch" in other.error
    assert len(api.predictions) == 1


def test_cells_are_converted_to_the_types_of_their_inputs(api: ScriptedAPI, command: Command) -> None:
    write(command, "rows.csv", "prompt,seed,num_outputs,\n  a lake  ,4.0, 2 ,\n")
    write(command, "rows.jsonl", '{"prompt": "a", "seed": null, "num_outputs": "2", "output_quality": 80.0}\n')

    assert batch(command, "rows.csv").code == 0
    assert batch(command, "rows.jsonl", "--results", "other.jsonl").code == 0

    assert sent(api) == [
        {"prompt": "a lake", "seed": 4, "num_outputs": 2},
        {"prompt": "a", "num_outputs": 2, "output_quality": 80},
    ]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("rows.json", '[{"prompt": "a"}, {"prompt": "b"}]', []),
        ("rows.json", '{"version": 1, "data": [\n {"prompt": "a"}, {"prompt": "b"}]}', []),
        ("rows.json", '{"prompt": "a"}\n{"prompt": "b"}\n', []),
        ("rows.jsonl", '[{"prompt": "a"},\n {"prompt": "b"}]', []),
        ("rows.txt", "a\n\n b \r\n", []),
        ("rows.csv.gz", gzip.compress(b"prompt\na\nb\n", mtime=0), []),
        ("rows.csv", "prompt;seed\na;\nb;\n", []),
        ("rows.csv", "prompt\na\nb\n".encode("utf-16"), []),
        ("rows.dat", "prompt\na\nb\n", ["--format", "csv"]),
        ("rows.csv", "a\nb\n", ["--no-header"]),
        ("rows.csv", "1|a\n2|b\n", ["--header", ",prompt"]),
        ("rows.csv", "prompt\na\nb\n".encode("utf-16-le"), ["--encoding", "utf-16-le"]),
        ("rows.csv", "prompt~seed\na~\nb~\n", ["--delimiter", "~"]),
    ],
)
def test_files_of_every_format_are_read(
    api: ScriptedAPI, command: Command, name: str, content: str | bytes, words: list[str]
) -> None:
    outcome = batch(command, write(command, name, content), *words)

    assert (outcome.code, outcome.err.count("\n")) == (0, 1), outcome
    assert sent(api) == [{"prompt": "a"}, {"prompt": "b"}]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"prompt\na\n", ["--format", "csv"]),
        (b"a\n", ["--format", "txt"]),
        (b'[{"prompt": "a"}]', []),
        (b'{"prompt": "a"}\n', []),
        (gzip.compress(b'{"prompt": "a"}\n', mtime=0), []),
        (b"a|1\n", ["--format", "csv", "--header", "prompt,seed"]),
    ],
)
def test_a_pipe_may_have_any_format(api: ScriptedAPI, command: Command, content: bytes, words: list[str]) -> None:
    assert batch(command, "-", *words, typed=content).code == 0
    assert [given["prompt"] for given in sent(api)] == ["a"]


def test_the_input_names_of_a_pipe_are_checked_once_and_not_in_each_row(api: ScriptedAPI, command: Command) -> None:
    outcome = batch(command, "-", typed=b'{"promt": "a"}\n' * 500)

    assert outcome.code == 2
    assert outcome.error.startswith(
        f"error: -: line 1: promt is not an input of {FLUX}; {TAKES}. Did you mean --rename"
    )
    assert not api.count("create")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        (
            "rows.json",
            '{"images": [{"id": 1}], "captions": [{"id": 2}]}',
            "jq -c '.images[]' rows.json | replicate-job",
        ),
        ("rows.json", '{"prompt": "a"\n}{"prompt": "b"}', "jq -c '.' rows.json | replicate-job batch … -"),
        ("rows.json", '[{"prompt": "a"},', "rows.json is not a JSON document: broken JSON"),
        ("rows.xlsx", b"PK", "save it as CSV UTF-8"),
        ("rows.zst", b"x", "zstdcat FILE | replicate-job batch … - --format csv"),
        ("rows.csv", ",prompt\n0,x\n1,y\n", "pandas writes none with index=False"),
        ("rows.csv", "prompt,seed\nx,1,2\n", "cells are separated by commas; --delimiter names another separator"),
        ("rows.csv", b"prompt,seed\ncaf\xe9,1\n", "save it as CSV UTF-8, or give its --encoding, as cp1252"),
        ("rows.txt", "prompt\na\n", "--format csv"),
    ],
)
def test_an_error_of_a_file_names_the_option_that_helps(
    api: ScriptedAPI, command: Command, name: str, content: str | bytes, said: str
) -> None:
    outcome = batch(command, write(command, name, content), "--dry-run")

    assert outcome.code in {1, 2}
    assert said in outcome.err
    assert not api.count("create")


def test_the_error_of_a_plain_path_says_how_to_send_a_file(command: Command) -> None:
    write(command, "rows.csv", "prompt,image\nx,cat.png\ny,https://a/1.png https://a/2.png\nz,https://\n")

    outcome = command("batch", "stability-ai/sdxl", "rows.csv", "--results", "results.jsonl", "--dry-run")

    assert outcome.json["wrong"] == 3
    assert "a local file is @path" in outcome.err
    assert "holds several URLs" in outcome.err
    assert "names no host" in outcome.err


@pytest.mark.parametrize("words", [[], ["-v"]])
def test_a_narrow_terminal_cuts_messages_unless_verbose_is_given(command: Command, words: list[str]) -> None:
    write(command, "rows.csv", "prompt,aspect_ratio\nx,17:9\ny,18:9\n")
    call = ["batch", FLUX, "rows.csv", "--results", "results.jsonl", "--dry-run", *words]

    narrow, piped = command.on_terminal(*call, width=70).err, command(*call).err

    whole = 'aspect_ratio: "17:9" is not one of 1:1, 16:9, 21:9, 3:2, 2:3, 9:16'
    assert whole in piped
    assert (whole in narrow.replace("\r\n", "")) is bool(words)
    assert ("line 3: the input does not fit" in piped) is bool(words)


def test_a_stray_quote_swallows_no_row_and_is_counted(api: ScriptedAPI, command: Command) -> None:
    write(command, "rows.tsv", 'prompt\tseed\n"a\t1\nb\t2\nc\t3\nd"\t4\n')
    write(command, "rows.csv", 'prompt,seed\n"e,5\nf,6\ng" and,7\nh,8\n')

    tabs = batch(command, "rows.tsv")
    commas = batch(command, "rows.csv", "--results", "other.jsonl")

    assert tabs.code == 0
    assert [given["seed"] for given in sent(api)[:4]] == [1, 2, 3, 4] or len(api.predictions) == 7
    assert "rows.tsv: in " in tabs.err
    assert commas.code == 1
    assert "4 rows: 3 succeeded, 1 error" in commas.err
    assert {given["seed"] for given in sent(api)} == {1, 2, 3, 4, 6, 7, 8}


def test_a_dry_run_reports_duplicate_ids_and_ids_that_ran_with_another_input(
    api: ScriptedAPI, command: Command
) -> None:
    write(command, "rows.csv", "name,prompt\na,x\nb,y\n")
    assert batch(command, "rows.csv", "--id", "name").code == 0
    write(command, "rows.csv", "name,prompt\na,x\nb,other\nc,z\nc,z\nc,w\n")

    checked = batch(command, "rows.csv", "--id", "name", "--dry-run")
    ran = batch(command, "rows.csv", "--id", "name")

    counts = checked.json
    assert counts.pop("cost")["history"]["predictions"] == 2
    assert counts == {"model": FLUX, "rows": 5, "done": 1, "to_run": 1, "wrong": 2, "repeated": 1}
    assert "a row named 'b' has run with another input" in checked.err
    assert checked.code == ran.code == 1
    assert [record["status"] for record in results(command)] == [
        "succeeded",
        "error",
        "succeeded",
        "succeeded",
        "error",
    ]
    assert len(api.predictions) == 3


def test_with_a_limit_a_large_file_is_read_no_further_than_the_limit(api: ScriptedAPI, command: Command) -> None:
    content = gzip.compress(b"prompt\n" + b"".join(b"%d\n" % number for number in range(200_000)))
    write(command, "rows.csv.gz", content[:-20])  # reading to its end would fail

    assert batch(command, "rows.csv.gz", "--limit", "5").code == 0
    assert len(api.predictions) == 5
