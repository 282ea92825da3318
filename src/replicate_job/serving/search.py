"""Searches for models: reads the request, finds the models that fit it, and makes the response of ``/v1/search``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from replicate_job.serving.answer import Answer, RefusedError, json_answer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MOST_RESULTS = 50
_LIMIT = re.compile(r"\d{1,4}", re.ASCII)


def fits(query: str, slug: str, description: str) -> bool:
    """Whether every word of the query is in the model's name or description."""
    text = f"{slug} {description}".lower()
    return all(word in text for word in query.lower().split())


def read_query(body: bytes) -> str:
    """Read the body of ``QUERY /v1/models``: plain text as documented, or a JSON string as some clients send it."""
    return body.decode(errors="replace").strip().strip('"')


def read_search(params: Mapping[str, str]) -> tuple[str, int]:
    """The words and the limit of ``/v1/search``. Raises RefusedError."""
    words, limit = params.get("query", ""), params.get("limit", "20")
    if not words:
        raise RefusedError(_bad('Query parameter "query" is required'))
    if not _LIMIT.fullmatch(limit) or not 1 <= int(limit) <= MOST_RESULTS:
        raise RefusedError(_bad(f'Query parameter "limit" must be from 1 to {MOST_RESULTS}'))
    return words, int(limit)


def search_answer(words: str, bodies: Sequence[Mapping[str, Any]]) -> Answer:
    """The response with these model objects."""
    results = [
        {"model": body, "metadata": {"generated_description": body["description"] or "", "tags": [], "score": 1.0}}
        for body in bodies
    ]
    return json_answer({"query": words, "models": results, "collections": [], "pages": []})


def _bad(detail: str) -> Answer:
    """An error of ``/v1/search``. By the documentation it is plain JSON, unlike all other errors."""
    return json_answer({"detail": detail, "status": 400}, 400)
