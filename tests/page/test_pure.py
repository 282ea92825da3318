"""The page's JavaScript functions, for cases that no model of these tests has."""

from __future__ import annotations

from typing import Any

import pytest

BAR = " 50%|#####     | 2/4 [00:01<00:01,  2.0it/s]"


def document(properties: dict[str, Any], **schemas: Any) -> dict[str, Any]:
    return {"components": {"schemas": {"Input": {"properties": properties, "required": ["a"]}, **schemas}}}


KINDS: list[tuple[dict[str, Any], str]] = [
    ({"type": "string"}, "text"),
    ({"type": "string", "format": "uri"}, "file"),
    ({"type": "string", "format": "password"}, "secret"),
    ({"allOf": [{"$ref": "#/components/schemas/sizes"}], "default": 1}, "choice"),
    ({"enum": ["a", "b"], "type": "string"}, "choice"),
    ({"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]}, "integer"),
    ({"anyOf": [{"type": "integer"}, {"type": "string"}]}, "json"),
    ({"type": "array", "items": {"type": "number"}}, "list"),
    ({"type": "array", "items": {"type": "array", "items": {}}}, "json"),
    ({"$ref": "#/components/schemas/loop"}, "json"),
    ({}, "json"),
]


async def test_each_schema_has_its_kind_of_field(visit: Any) -> None:
    schemas = {"sizes": {"type": "integer", "enum": [1, 2]}, "loop": {"$ref": "#/components/schemas/loop"}}
    documents = [document({"a": schema}, **schemas) for schema, _ in KINDS]
    found = await visit.pure("schema", "given.map((one) => m.fieldsOf(one)[0])", documents)
    assert [(field["name"], field["kind"], field["required"]) for field in found] == [
        ("a", kind, True) for _, kind in KINDS
    ]


async def test_fields_are_in_the_models_order(visit: Any) -> None:
    properties = {name: {"type": "string", "x-order": order} for name, order in (("c", 2), ("a", 0), ("b", 1))}
    assert await visit.pure("schema", "m.fieldsOf(given).map((field) => field.name)", document(properties)) == [
        "a",
        "b",
        "c",
    ]


async def test_a_document_without_inputs_has_no_fields(visit: Any) -> None:
    assert await visit.pure("schema", "[m.fieldsOf(null), m.fieldsOf({})]") == [[], []]


LOGS = [
    ("one\ntwo\n", "one\ntwo"),
    ("one\n\ntwo", "one\n\ntwo"),
    ("first\rsecond\n", "second"),
    (f"\r  0%|          | 0/4 [00:00<?]\r{BAR}\r\n", BAR),
    (f"  0%|          | 0/4 [00:00<?]\n{BAR}\nend\n", f"{BAR}\nend"),
    (f"{BAR}\n  0%|          | 0/4 [00:00<?]", f"{BAR}\n  0%|          | 0/4 [00:00<?]"),
    (f"a:{BAR}\nb:{BAR}", f"a:{BAR}\nb:{BAR}"),
    (f"step\n\n{BAR}", f"step\n{BAR}"),
    (f"{BAR}words after it", f"{BAR}\nwords after it"),
    ("\x1b[31mred\x1b[0m", "red"),
]


async def test_a_log_is_shown_as_in_a_terminal(visit: Any) -> None:
    found = await visit.pure("log", "given.map(m.foldLog)", [log for log, _ in LOGS])
    assert found == [shown for _, shown in LOGS]


async def test_progress_is_read_from_the_last_progress_bar(visit: Any) -> None:
    found = await visit.pure("log", "m.progressOf(given)", f"x\rload: 100%|##| 9/9 [00:01<00:00]\n{BAR}\nwords")
    assert found == {"percent": 50, "what": "", "count": "2/4", "left": "00:01"}
    assert await visit.pure("log", "m.progressOf('50% of it')") is None


async def test_a_prediction_with_a_growing_output_is_polled_less_and_less_often(visit: Any) -> None:
    pauses = await visit.pure("follow", "[0, 1, 5, 20, 200].map((reads) => Math.round(m.pauseAfter(reads, 10)))")
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[-1]) == (250, 5000)
    assert await visit.pure("follow", "m.pauseAfter(0, 400)") == 3600  # so that reading takes a tenth of the time


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.004, "4 ms"), (0.12, "0.1 s"), (12.2, "12 s"), (185, "3 min 5 s"), (7300, "2 h 1 min")]
)
async def test_a_long_duration_is_rounded_more_than_a_short_one(visit: Any, seconds: float, shown: str) -> None:
    assert await visit.pure("format", "m.duration(given)", seconds) == shown
