"""What is wrong with folders of models, for the commands that are given some: a broken model is served by nobody."""

from __future__ import annotations

from typing import TYPE_CHECKING

from replicate_job.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


def warnings(folders: Iterable[Path]) -> Iterator[str]:
    """A line for each folder without a model, and each model whose ``cog.yaml`` cannot be read."""
    from replicate_job.local.catalog.config import read_config  # noqa: PLC0415 - needs an extra

    for folder in folders:
        own = [folder] if (folder / "cog.yaml").is_file() else []
        places = own or sorted(config.parent for config in folder.glob("*/*/cog.yaml"))
        if not places:
            yield f"warning: no model in {folder}: name a folder with a cog.yaml, or one that holds owner/name/cog.yaml"
        for place in places:
            try:
                read_config(place)
            except LocalError as error:
                yield f"warning: {error}"
