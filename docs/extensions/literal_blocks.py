"""Docstrings mark an indented block with ``::``, as reStructuredText does; on the site it is Markdown's code block."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object


class LiteralBlocks(Extension):
    """Takes the mark away from every docstring."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(r"^::\n", "", obj.docstring.value, flags=re.MULTILINE)
