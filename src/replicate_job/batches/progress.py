"""The numbers of a batch's progress."""

from __future__ import annotations

import msgspec


class Tally(msgspec.Struct):
    """The numbers of a batch's progress. The batch updates them, and they may be read at any time.

    Rows: ``read`` counts those that were read, of ``total`` (None: not known). Each row that was read is ``waiting`` to
    be created, ``running`` until its prediction ends, ``saving`` its files, or over. A row that is over ``succeeded``,
    ``failed`` (also canceled and aborted) or is ``wrong``: it has no prediction, because it cannot be read, does not
    fit the model or was refused. ``stored`` rows were over before this run began. ``fetched`` rows had a prediction
    before this run, but some of its files were missing.

    ``created`` counts predictions that this run made. ``pace`` is the current limit in create requests a second, None
    for no limit. ``paused`` is how many more seconds the API has asked to wait, ``throttled`` how many requests it
    refused. ``predict_time`` is the predict time of the whole batch in seconds. ``saved`` counts saved files. ``bytes``
    is the sum of their sizes, without the objects in a store.
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
