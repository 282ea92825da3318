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

    - ``models``: folders that contain ``owner/name/cog.yaml``, or are Cog projects with their own ``cog.yaml``. The
      built-in models are always available.
    - ``state``: a folder for predictions and files. Only one server at a time may use it. Without it, predictions and
      files are removed when the server ends.
    - ``cache_dir``: a folder for environments, schemas and versions; by default this package's cache.
    - ``host``, ``port``: the address where the server listens; port 0 selects a free port.
    - ``token``: the token that every client must send. If it is empty, clients need no token.
    - ``prepare``: whether the models of ``models`` are prepared at the start. Otherwise each is prepared at its first
      use.
    - ``warm``: a model (``owner/name``) to prepare before the server listens. Its model server is started too. Empty
      for no model.
    - ``idle``: the time without a prediction after which a model server stops. At most ``max_models`` model servers run
      together.
    - ``memory``: the limit in bytes for each process of a model. None means three quarters of the machine's memory; 0
      means no limit.
    - ``grace``: how long a canceled model may run on before it is killed.
    - ``faults``: the faults that are injected into requests; None for no faults.
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
