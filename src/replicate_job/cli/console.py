"""The terminal that live lines are drawn on."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from replicate_job.cli.streams import bare_stderr
from replicate_job.terminal import plain


class LiveConsole(Console):
    """A console on stderr. Control sequences in a text are shown as characters; those of the drawing take effect."""

    def __init__(self) -> None:
        super().__init__(file=bare_stderr(), highlight=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=plain(segment.text))

    def tell(self, lines: str) -> None:
        """Print above the drawing, without markup or wrapping."""
        self.print(
            plain(lines), markup=False, soft_wrap=True
        )  # ``plain`` comes before rich, which drops some of the characters that ``plain`` makes visible
