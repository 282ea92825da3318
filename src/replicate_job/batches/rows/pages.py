"""The headers of a Parquet file's pages: how large a page is, before any of it is unpacked.

The format is that of ``parquet.thrift`` in Thrift's compact protocol. Nothing that a header says is believed beyond its
own page: what does not fit is a ValueError.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator


class _Kind(IntEnum):
    """The types of Thrift's compact protocol. Of a field, the first two are its value too."""

    TRUE = 1
    FALSE = 2
    I8 = 3
    I16 = 4
    I32 = 5
    I64 = 6
    DOUBLE = 7
    BINARY = 8
    LIST = 9
    SET = 10
    MAP = 11
    STRUCT = 12
    UUID = 13


_WIDTHS = {_Kind.TRUE: 1, _Kind.FALSE: 1, _Kind.I8: 1, _Kind.DOUBLE: 8, _Kind.UUID: 16}
_DEEPEST = 16  # structs and lists in each other; today's headers have three
_LONG = 15  # the length of a list that stands behind its head
_VARINT = 10  # bytes
_NUMBERS = 2**31

_DICTIONARY = 2
_DATA = {0: (5, 2), 3: (8, 4)}
"""The types of pages that have values: the field that describes these, and in it the one that says their encoding."""
_DELTA_BYTE_ARRAY = 7  # a value is the end of it, after some of the value before

Fields = dict[tuple[int, int], Any]
"""By number and type: as in Thrift, a field of another type than it should have is not there."""


class Page(msgspec.Struct, frozen=True):
    """Sizes are in bytes; those of the page itself are without its header. ``values`` is 0 for a dictionary.

    ``is_shared``: rows may have bytes in common, so that what all of them take is not bounded by the page.
    """

    is_shared: bool
    header: int
    packed: int
    unpacked: int
    values: int

    @property
    def size(self) -> int:
        """What a reader has in memory at once, in one of the two forms."""
        return max(self.packed, self.unpacked)


def pages_of(file: io.BufferedReader, column: Any) -> Iterator[Page]:
    """The pages that a reader comes by in a column of a row group, as pyarrow describes it.

    It moves the file's position. Raises ValueError for a header that cannot be read.
    """
    place = column.data_page_offset
    if column.dictionary_page_offset:  # some writers say 0 for none
        place = min(place, column.dictionary_page_offset)
    end, seen = place + column.total_compressed_size, 0
    while seen < column.num_values and place < end:
        file.seek(place)
        page = _page(_Thrift(file).struct(), file, place)
        yield page
        place += page.header + page.packed
        seen += page.values


def _page(fields: Fields, file: io.BufferedReader, place: int) -> Page:
    values = encoding = 0
    try:
        kind, unpacked, packed = (fields[number, _Kind.I32] for number in (1, 2, 3))
        if kind in _DATA:
            data, number = _DATA[kind]
            values, encoding = (fields[data, _Kind.STRUCT][field, _Kind.I32] for field in (1, number))
    except KeyError:
        raise ValueError("the header of a page is not whole") from None
    if not all(0 <= number < _NUMBERS for number in (kind, unpacked, packed, values)):
        raise ValueError("the header of a page has a number that cannot be")
    is_shared = kind == _DICTIONARY or encoding == _DELTA_BYTE_ARRAY
    return Page(is_shared, file.tell() - place, packed, unpacked, values)


class _Thrift:
    """What comes next in the file."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def struct(self, depth: int = 0) -> Fields:
        """Its fields that are numbers or structs; the others are skipped."""
        fields: Fields = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._number()
            if kind not in {_Kind.TRUE, _Kind.FALSE}:
                fields[number, kind] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("the header of a page is nested too deeply")
        match kind:
            case _ if width := _WIDTHS.get(kind):  # type: ignore[call-overload]
                return self._skip(width)
            case _Kind.I16 | _Kind.I32 | _Kind.I64:
                return self._number()
            case _Kind.BINARY:
                return self._skip(self._varint())
            case _Kind.LIST | _Kind.SET:
                head = self._byte()
                count = head >> 4
                return self._values(self._varint() if count == _LONG else count, [head & 15], depth)
            case _Kind.MAP:
                count = self._varint()
                kinds = self._byte() if count else 0
                return self._values(count, [kinds >> 4, kinds & 15], depth)
            case _Kind.STRUCT:
                return self.struct(depth + 1)
        raise ValueError("the header of a page has a field of an unknown type")

    def _values(self, count: int, kinds: list[int], depth: int) -> None:
        for _ in range(count):
            for kind in kinds:
                self._value(kind, depth + 1)

    def _number(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)

    def _varint(self) -> int:
        value = 0
        for at in range(_VARINT):
            byte = self._byte()
            value |= (byte & 127) << (7 * at)
            if byte < 128:  # noqa: PLR2004 - the bit that says that more follow
                return value
        raise ValueError("the header of a page has a number without an end")

    def _byte(self) -> int:
        byte = self._file.read(1)
        if not byte:
            raise ValueError("the header of a page ends with the file")
        return byte[0]

    def _skip(self, count: int) -> None:
        if count >= _NUMBERS:
            raise ValueError("the header of a page has a text that is too long")
        self._file.seek(count, 1)
