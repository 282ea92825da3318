"""Makes text from servers, models and files safe for a terminal."""

from __future__ import annotations

import re

_STEERING = (
    r"(?!\r\n)[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and newline: escape, backspace, C1, and so on
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # characters that turn the direction of text
    r"\u2028\u2029\u206a-\u206f\ufff9-\ufffb]"  # line separators and marks, which terminals show differently
)


def plain(text: str) -> str:
    """The text with control characters escaped as in JSON: the terminal shows them and does not obey them.

    Newlines and tabs stay, and so do characters that languages need: joiners, wide and unbreakable spaces.
    """
    return re.sub(_STEERING, lambda match: f"\\u{ord(match[0]):04x}", text)
