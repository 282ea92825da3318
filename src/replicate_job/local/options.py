"""What kind of local server is wanted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_job.local.access_log import LoggedRequest
    from replicate_job.serving.faults import Faults


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """What kind of server. Times are in seconds.

    ``models`` are folders that hold ``owner/name/cog.yaml``, or a ``cog.yaml`` themselves, besides the built-in ones.
    ``state`` keeps predictions and files between runs, for one server at a time; without it they live until the end.
    ``cache_dir`` keeps environments, schemas and versions. It listens on ``host`` and ``port`` (0: a free one); with a
    ``token`` every client must have it. ``warm`` names a model (``owner/name``) that is made ready first, and whose
    server starts at once. A model's server ends after ``idle`` without work; there are ``max_models`` at most, of
    ``memory`` bytes a process (None: three quarters of the machine's); a canceled model may go on for ``grace``.
    ``faults`` strike requests. With ``allow_private``, inputs are fetched from private networks too. ``on_notice``
    hears lines for a person, ``on_warning`` those where something is not as it should be, ``on_detail`` what the tools
    print that make an environment, and ``on_request`` of every request once it is over.
    """

    models: Sequence[Path] = ()
    state: Path | None = None
    cache_dir: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    token: str = ""
    warm: str = ""
    idle: float = 600.0
    max_models: int = 4
    memory: int | None = None
    grace: float = 5.0
    faults: Faults | None = None
    allow_private: bool = False
    on_notice: Callable[[str], None] = lambda _: None
    on_warning: Callable[[str], None] = lambda _: None
    on_detail: Callable[[str], None] = lambda _: None
    on_request: Callable[[LoggedRequest], None] | None = None
