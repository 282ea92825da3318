"""The options of a local server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from replicate_job.local.access_log import LoggedRequest
    from replicate_job.serving.faults import Faults


class ServerOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of a local server. Times are in seconds.

    - ``models``: folders that hold ``owner/name/cog.yaml``, or a ``cog.yaml`` themselves; the built-in models are
      always there.
    - ``state``: a folder for predictions and files. Only one server at a time may use it. Without it, predictions and
      files are removed at the end.
    - ``cache_dir``: a folder for environments, schemas and versions; by default this package's cache.
    - ``host``, ``port``: where it listens; port 0 is a free one.
    - ``token``: the token that every client must send; empty: clients need none.
    - ``prepare``: whether the models of ``models`` are prepared at the start. Otherwise each is prepared at its first
      use.
    - ``warm``: a model (``owner/name``) that is prepared before the server listens. Then its model server is started.
    - ``idle``: the time without a prediction after which a model server stops. At most ``max_models`` of them run.
    - ``memory``: bytes for each process of a model. None: three quarters of the machine's; 0: no limit.
    - ``grace``: how long a canceled model may run on before it is killed.
    - ``faults``: the faults that strike requests.
    - ``allow_private``: whether inputs are also fetched from private networks.
    - ``on_notice`` is called with lines of progress, ``on_warning`` with problems, ``on_detail`` with the output of the
      tools that make environments, and ``on_request`` with each request when it has ended.
    """

    models: Sequence[Path] = ()
    state: Path | None = None
    cache_dir: Path | None = None
    host: str = "127.0.0.1"
    port: int = 0
    token: str = ""
    prepare: bool = False
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
