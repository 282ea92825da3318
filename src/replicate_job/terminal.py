"""What a terminal may be given of what servers, models and files say."""

from __future__ import annotations

import re

_STEERING = re.compile(
    r"(?!\r\n)[\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls but tab and newline: escape, backspace, C1, and so on
    r"\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # what turns the direction of the text around it
    r"\u2028\u2029\u206a-\u206f\ufff9-\ufffb]"  # lines and marks that terminals show each in its way
)


def plain(text: str) -> str:
    """The text with what steers a terminal written as JSON writes it: shown, and not obeyed.

    Newlines and tabs stay, and so does all that writes a language: joiners, wide and unbreakable spaces.
    """
    return _STEERING.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
