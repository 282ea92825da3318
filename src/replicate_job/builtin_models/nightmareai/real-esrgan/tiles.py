"""Enlarges a picture tile by tile, so that memory stays bounded, without visible seams."""

# ruff: noqa: INP001 - a Cog model is a folder, not a package

from __future__ import annotations

from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from network import Network
    from numpy.typing import NDArray


class Span(NamedTuple):
    """A part of a side, from ``begin`` to ``end``. It is made from the pixels from ``first`` to ``last``."""

    begin: int
    end: int
    first: int
    last: int


def spans(side: int, most: int, margin: int) -> list[Span]:
    """Cut a side into equal parts of at most ``most`` pixels, each with a margin, except at the picture's edges.

    All parts are made from equally many pixels, because the network keeps memory for each size that it has processed.
    """
    count = -(-side // most)
    cuts = [side * part // count for part in range(count + 1)]
    needed = max(min(side, end + margin) - max(0, begin - margin) for begin, end in pairwise(cuts))
    firsts = [min(max(0, begin - margin), side - needed) for begin in cuts[:-1]]
    return [Span(begin, end, first, first + needed) for (begin, end), first in zip(pairwise(cuts), firsts, strict=True)]


def enlarge(
    picture: NDArray[np.uint8], network: Network, factor: int, on_tile: Callable[[int, int], None]
) -> NDArray[np.uint8]:
    """Enlarge a picture (height, width, 3). ``on_tile`` is called with the numbers of finished and of all tiles."""
    height, width, channels = picture.shape
    result = np.empty((height * factor, width * factor, channels), dtype=np.uint8)
    tiles = list(product(spans(height, network.tile, network.margin), spans(width, network.tile, network.margin)))
    on_tile(0, len(tiles))
    for done, (rows, columns) in enumerate(tiles, 1):
        made = network(picture[rows.first : rows.last, columns.first : columns.last])
        result[_scaled(rows.begin, rows.end, factor), _scaled(columns.begin, columns.end, factor)] = made[
            _scaled(rows.begin - rows.first, rows.end - rows.first, factor),
            _scaled(columns.begin - columns.first, columns.end - columns.first, factor),
        ]
        on_tile(done, len(tiles))
    return result


def _scaled(begin: int, end: int, factor: int) -> slice:
    return slice(begin * factor, end * factor)
