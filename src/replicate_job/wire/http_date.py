"""Reads the date of an HTTP header, such as ``Date`` or ``Last-Modified`` (RFC 9110, 5.6.7)."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_FIXED = r"(?a)[A-Z][a-z]{2}, (\d\d) ([A-Z][a-z]{2}) ([1-9]\d{3}) (\d\d):(\d\d):(\d\d) GMT"
_MONTHS = {
    name: number
    for number, name in enumerate("Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split(), 1)  # noqa: SIM905 - shorter
}


def read_http_date(text: str) -> datetime:
    """The date, with its time zone. A text without one, such as that of C's ``asctime``, is in UTC. Raises ValueError.

    All servers write one form today. The library is imported only for another form, since its import takes 3 ms.
    """
    if (found := re.fullmatch(_FIXED, text)) and (month := _MONTHS.get(found[2])):
        day, year, hour, minute, second = (int(found[part]) for part in (1, 3, 4, 5, 6))
        return datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    from email.utils import parsedate_to_datetime  # noqa: PLC0415 - see above

    try:
        date = parsedate_to_datetime(text)
    except OverflowError as error:  # a number that does not fit into a date
        raise ValueError(str(error)) from None
    return date if date.tzinfo else date.replace(tzinfo=UTC)
