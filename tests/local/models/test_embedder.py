"""The embedder gives like texts like vectors, and takes the real model's inputs."""

from __future__ import annotations

from replicate_job.local.catalog.catalog import BUILT_IN

NAME = "beautyyuyanli/multilingual-e5-large"
FOLDER = BUILT_IN / NAME
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
