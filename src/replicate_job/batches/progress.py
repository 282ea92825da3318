"""The numbers of a batch's progress."""

from __future__ import annotations

import msgspec


class Tally(msgspec.Struct):
    """The numbers of a batch's progress, which the batch updates. May be read at any time.

    Rows: ``read`` so far, of ``total`` (None: not known). Every row that was read is ``waiting`` (for its turn to be
    created), ``running`` (from its create to its end), ``saving`` (its end is known, its files are on their way), or
    over: ``succeeded``, ``failed`` (also canceled and aborted), ``wrong`` (no prediction: a row that cannot be read,
    does not fit, was refused), ``stored`` of which were over before this run began. ``fetched`` had their prediction
    before it, and lacked files.

    ``created`` counts predictions that this run made. ``pace`` is the create requests a second allowed now, None for
    no limit; ``paused`` is how many more seconds the API has asked to wait, ``throttled`` how many requests it
    refused. ``predict_time`` is in seconds, of the whole batch; ``saved`` files with
    ``bytes`` in all, without those of objects in a store.
    """

    total: int | None = None
    read: int = 0
    waiting: int = 0
    running: int = 0
    saving: int = 0
    succeeded: int = 0
    failed: int = 0
    wrong: int = 0
    stored: int = 0
    fetched: int = 0
    created: int = 0
    pace: float | None = None
    paused: float = 0.0
    throttled: int = 0
    predict_time: float = 0.0
    saved: int = 0
    bytes: int = 0

    @property
    def over(self) -> int:
        return self.succeeded + self.failed + self.wrong
