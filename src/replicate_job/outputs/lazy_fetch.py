"""A ``Fetch`` that is made at its first use, because most sessions download nothing and need not import it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextlib import AbstractAsyncContextManager
    from typing import Self

    from replicate_job.outputs.download import Response
    from replicate_job.outputs.http import HttpFetch


class LazyFetch:
    """An ``HttpFetch`` for the outputs of the API at ``base_url``; an async context manager. See ``Reach``."""

    def __init__(self, base_url: str, *, allow_private: bool) -> None:
        self._base_url, self._allow_private = base_url, allow_private
        self._fetch: HttpFetch | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if self._fetch:
            await self._fetch.__aexit__(*exc_info)

    def __call__(self, url: str, headers: Mapping[str, str]) -> AbstractAsyncContextManager[Response]:
        if self._fetch is None:
            from replicate_job.outputs.http import HttpFetch  # noqa: PLC0415 - see the module's docstring
            from replicate_job.outputs.reach import Reach  # noqa: PLC0415 - as above

            self._fetch = HttpFetch(Reach(self._base_url, allow_private=self._allow_private))
        return self._fetch(url, headers)
