"""Grids and templates: how they are written, and the input that each row gets."""

from __future__ import annotations

import tracemalloc
from itertools import islice
from typing import Any

import pytest

from replicate_job.batches.rows import ColumnOptions, Header, Row, RowReader
from replicate_job.batches.rows.filling import parse_templates
from replicate_job.batches.rows.grid import Grid, OneRow, parse_grid, read_grid
from replicate_job.errors import ColumnsError, JobError
from replicate_job.job import Job
from replicate_job.testing import openapi_schema

SCHEMA = openapi_schema(
    {"prompt": {"type": "string"}, "seed": {"type": "integer"}, "ratio": {"type": "string"}, "any": {}},
    required=["prompt"],
)


def points(*words: str, models: tuple[str, ...] = ()) -> list[tuple[str, dict[str, Any]]]:
    grid = parse_grid(words, models, "acme/own")
    assert grid
    return [(point.model, point.values) for point in grid]


def test_the_last_name_of_a_grid_changes_fastest_and_the_model_changes_slowest() -> None:
    assert points("seed=1..2", "ratio=1:1,16:9", models=("acme/own,acme/other",)) == [
        (model, {"seed": seed, "ratio": ratio})
        for model in ("", "acme/other")
        for seed in (1, 2)
        for ratio in ("1:1", "16:9")
    ]


@pytest.mark.parametrize(
    ("word", "values"),
    [
        ("seed=1..4", [1, 2, 3, 4]),
        ("seed=-1..1,7", [-1, 0, 1, "7"]),
        ('prompt="a fox, running",an owl', ["a fox, running", "an owl"]),
        ('prompt="say ""hi""",""', ['say "hi"', ""]),
        ('prompt="1..4"', ["1..4"]),
        ("prompt=a=b, c ", ["a=b", "c"]),
        ("ratio=0..1:0.25", ["0..1:0.25"]),
    ],
)
def test_values_are_lists_with_commas_quoted_as_in_csv_or_ranges_of_integers(word: str, values: list[Any]) -> None:
    assert [next(iter(value.values())) for _, value in points(word)] == values


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed"], "--grid 'seed' is not NAME=VALUES"),
        (["seed=1,,2"], "in --grid 'seed=1,,2', column 8: there is no value"),
        (["seed="], "in --grid 'seed=', column 6: there is no value"),
        (['p="a,b'], "in --grid 'p=\"a,b', column 3: this quote is not closed"),
        (["seed=4..1"], "column 6: 4..1 ends before it begins; write 1..4"),
        (["seed=1..3,2"], "--grid seed: 2 is there twice"),
        (["seed=1", "seed=2"], "--grid seed is given twice"),
        (["a=1..999999999", "b=1..999999999"], "the grid has more than 1,000,000,000,000,000 combinations"),
        (["seed=1..9999999,0"], "--grid seed has more than 1,000,000 values; a range alone may have them"),
    ],
)
def test_a_mistake_is_named_with_its_place(words: list[str], message: str) -> None:
    with pytest.raises(JobError, match=r".") as error:
        parse_grid(words, (), "acme/own")
    assert message in str(error.value)


def test_the_name_of_a_combination_depends_on_its_own_values_only() -> None:
    few, more = parse_grid(["seed=1..2", "ratio=1:1"], (), "m"), parse_grid(["ratio=16:9,1:1", "seed=2..9"], (), "m")
    assert few
    assert more
    assert {point.name for point in few} & {point.name for point in more} == {"ratio=1:1,seed=2"}
    python = read_grid({"seed": range(1, 3), "ratio": ["1:1"]}, (), "m")
    assert python
    assert [point.name for point in python] == [point.name for point in few]


def test_names_of_combinations_are_short_and_differ() -> None:
    grid = read_grid({"a": ["x", "x" * 500, "y,b=z", True, None, {"k": [1]}], "b": ["z", 'é"']}, ["other/m"], "own/m")
    assert grid
    names = [point.name for point in grid]
    assert len(set(names)) == len(names) == 24
    assert max(map(len, names)) <= 80


def test_the_combinations_of_a_long_grid_are_made_only_as_they_are_needed() -> None:
    grid = parse_grid(["seed=1..1000000000", "ratio=1..1000000"], (), "m")
    assert grid
    tracemalloc.start()
    some = next(grid.rows(OneRow(), 256))
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert [row.point and row.point.texts for row in islice(some, 2)] == [
        {"seed": "1", "ratio": "1"},
        {"seed": "1", "ratio": "2"},
    ]
    assert most < 1_000_000


def reader(
    grid: Grid | None, *templates: str, header: Header | None = None, typed: bool = False, **job: Any
) -> RowReader:
    options = ColumnOptions(templates=parse_templates(templates), grid=frozenset(grid.dimensions if grid else ()))
    return RowReader(SCHEMA, Job("acme/own", **job), options, header or Header("rows.csv"), typed=typed)


def test_a_column_that_fills_a_template_is_not_sent_as_an_input() -> None:
    read = reader(None, "prompt={subject}, {style}", "seed={n}")
    row = Row(2, {"subject": " a fox ", "style": "oil", "n": "7", "ratio": "1:1"})
    assert read(row) == {"prompt": "a fox, oil", "seed": 7, "ratio": "1:1"}


def test_a_template_for_an_input_may_use_the_column_with_the_name_of_that_input() -> None:
    assert reader(None, "prompt={prompt}, in oil")(Row(2, {"prompt": "a fox"})) == {"prompt": "a fox, in oil"}


def test_json_values_fill_templates_as_json_writes_them() -> None:
    read = reader(None, "prompt={a} {b} {c}", typed=True)
    assert read(Row(1, {"a": 1.5, "b": True, "c": "x"})) == {"prompt": "1.5 true x"}
    for missing in ({"a": 1, "b": 2}, {"a": 1, "b": 2, "c": None}):
        with pytest.raises(JobError, match="--set prompt needs the column 'c', which is empty in this row"):
            read(Row(2, missing))
    with pytest.raises(JobError, match="'c', which holds no text or number here"):
        read(Row(3, {"a": 1, "b": 2, "c": [1]}))


def test_texts_in_a_grid_get_the_types_of_the_schema_and_python_values_stay_unchanged() -> None:
    words = parse_grid(["seed=1..2", "ratio=1..2", "any=4"], (), "m")
    assert words
    read = reader(words)
    [first, *_] = next(words.rows([Row(2, {"prompt": "a"})], 9))
    assert read(first) == {"prompt": "a", "seed": 1, "ratio": "1", "any": 4}
    python = read_grid({"any": ["4"]}, (), "m")
    assert python
    assert reader(python)(next(python.rows([Row(2, {})], 1))[0]) == {"any": "4"}


def test_a_grid_name_that_fills_a_template_need_not_be_an_input() -> None:
    grid = parse_grid(["style=oil,ink", "seed=1"], (), "m")
    assert grid
    read = reader(grid, "prompt={animal} in {style}, {seed}")
    rows = next(grid.rows([Row(2, {"animal": "a fox"})], 9))
    assert [read(row) for row in rows] == [{"prompt": f"a fox in {style}, 1", "seed": 1} for style in ("oil", "ink")]


def test_a_row_without_the_values_of_its_grid_is_refused() -> None:
    with pytest.raises(ColumnsError, match="knows no grid"):
        reader(parse_grid(["seed=1"], (), "m"))(Row(2, {"prompt": "a"}))


@pytest.mark.parametrize("names", [("subject", "style"), None])
def test_a_template_with_an_unknown_column_raises_one_error_for_all_rows(names: tuple[str, ...] | None) -> None:
    with pytest.raises(ColumnsError) as error:
        reader(None, "prompt={subject}, {stlye}", header=Header("rows", names))(Row(2, {"subject": "a", "style": "b"}))
    assert str(error.value).replace("line 2: ", "") == (
        "--set prompt: in '{subject}, {stlye}', column 12: there is no {stlye}; did you mean {style}?"
        " There are {subject}, {style}"
    )


def test_a_grid_or_a_template_for_an_unknown_input_is_refused() -> None:
    with pytest.raises(ColumnsError, match="acme/own has no input sed; did you mean seed"):
        reader(parse_grid(["sed=1"], (), "m"))
    with pytest.raises(ColumnsError, match="acme/own has no input promt; did you mean prompt"):
        reader(None, "promt={a}")
    assert reader(None, "new={a}", allow_unknown=True)(Row(2, {"a": "1", "prompt": "x"})) == {"prompt": "x", "new": 1}


def test_a_column_with_the_same_name_as_a_grid_input_is_refused() -> None:
    with pytest.raises(ColumnsError, match=r"seed is a column, and seed=\.\.\. is given for all rows"):
        reader(parse_grid(["seed=1"], (), "m"), header=Header("rows", ("prompt", "seed")))


def test_a_secret_input_cannot_come_from_a_template_or_a_grid() -> None:
    schema = openapi_schema({"key": {"type": "string", "format": "password", "x-cog-secret": True}})
    options = ColumnOptions(grid=frozenset({"key"}))
    with pytest.raises(ColumnsError, match="key is a secret"):
        RowReader(schema, Job("m/m"), options, Header("rows"), typed=False)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("prompt", "--set 'prompt' is not INPUT=TEMPLATE"),
        ("prompt={a", "--set prompt: in '{a', column 1: this { is not closed"),
        ("prompt=a", "--set prompt: 'a' names no {column}; give what is the same for all as 'prompt=a'"),
    ],
)
def test_the_error_for_a_malformed_template_names_it_and_its_place(word: str, message: str) -> None:
    with pytest.raises(JobError) as error:
        parse_templates([word])
    assert message in str(error.value)
