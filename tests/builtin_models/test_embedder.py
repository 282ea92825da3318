"""The embedder gives similar texts similar vectors, and has the real model's inputs."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "beautyyuyanli/multilingual-e5-large"
QUESTION = "query: who swims in water?"
ANSWERS = [
    "passage: Fish live in rivers, lakes and seas.",
    "passage: Fische leben in Flüssen, Seen und Meeren.",
    "passage: Les poissons vivent dans les rivières, les lacs et les mers.",
    "passage: 魚は川や湖や海に住んでいます。",
]
OTHERS = [
    "passage: A book lies open on the table.",
    "passage: Ein Buch liegt offen auf dem Tisch.",
    "passage: Un livre est ouvert sur la table.",
    "passage: 本がテーブルの上に開いてあります。",
]
UNUSABLE = [
    (
        "no JSON",
        'texts is not JSON (Expecting value: line 1 column 1 (char 0)): write a list of strings, as ["hello", ',
    ),
    ('{"a": 1}', "texts is not a list of strings: write it as "),
    ('["a", 1]', "texts is not a list of strings: write it as "),
]


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def test_the_inputs_are_those_of_the_real_model_in_their_order(inputs: Callable[[str], list[str]]) -> None:
    assert inputs(NAME) == ["texts", "batch_size", "normalize_embeddings"]


async def test_texts_of_similar_meaning_get_similar_vectors(running: Callable[[str], Any]) -> None:
    """It uses one server for all checks, because starting one takes a second."""
    async with running(NAME) as model:

        async def embed(*texts: str, **given: Any) -> Any:
            return await model.output(texts=msgspec.json.encode(texts).decode(), **given)

        question, *vectors = await embed(QUESTION, *ANSWERS, *OTHERS)
        assert {len(vector) for vector in (question, *vectors)} == {384}
        assert [math.hypot(*vector) for vector in vectors] == pytest.approx([1] * 8, abs=1e-3)
        near, far = vectors[:4], vectors[4:]
        assert min(dot(question, one) for one in near) > max(dot(question, one) for one in far)
        for one, other in zip(near, far, strict=True):
            assert dot(near[0], one) > dot(near[0], other)
            assert dot(far[0], other) > dot(far[0], one)

        assert await embed() == []
        (cleaned,), (query,), (passage,) = [await embed(text) for text in ("a\0b", "query: a b", "passage: a b")]
        assert cleaned == pytest.approx(query, abs=1e-4)
        assert passage != pytest.approx(query, abs=1e-4)

        plain = [QUESTION, ANSWERS[0], "Fish"]
        given = {"batch_size": 2, "normalize_embeddings": False}
        ended = await model(texts=msgspec.json.encode(plain).decode(), **given)
        assert ended["output"][0] == pytest.approx(question, abs=1e-4)
        assert ended["output"][1] == pytest.approx(near[0], abs=1e-4)
        said = ended["logs"].splitlines()
        assert said[0].startswith("beautyyuyanli/multilingual-e5-large is a stand-in, not multilingual-e5-large: ")
        assert "Stand-in: normalize_embeddings has no effect here: every vector has the length 1" in said
        assert '1 of 3 texts begin with neither "query: " nor "passage: ": read as queries' in said
        assert [line.split("|")[2].split()[0] for line in said if "%|" in line] == ["0/3", "2/3", "3/3"]

        for texts, error in UNUSABLE:
            assert (await model.failure(texts=texts)).startswith(error)
        assert await model.failure(batch_size=0) == "batch_size must be 1 or more"
        assert len(await model.output()) == 3
