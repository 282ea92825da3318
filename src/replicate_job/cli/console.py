"""The terminal, as live lines are drawn on it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from replicate_job.cli.streams import bare_stderr
from replicate_job.terminal import plain


class LiveConsole(Console):
    """Stderr, with the control sequences of the drawing and of nothing that is drawn."""

    def __init__(self) -> None:
        super().__init__(file=bare_stderr(), highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))

    def tell(self, lines: str) -> None:
        """Print above what is drawn, as it stands: no markup, no wrapping."""
        self.print(plain(lines), markup=False, soft_wrap=True)  # before it: a renderer drops some that are to be shown
