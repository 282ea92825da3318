"""The headers of a Parquet file's pages, which contain the size of a page before it is decompressed.

The format is that of ``parquet.thrift`` in Thrift's compact protocol. Reading a header that cannot be right raises a
ValueError.
"""

from __future__ import annotations

from enum import IntEnum
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    import io
    from collections.abc import Iterator


class _ThriftType(IntEnum):
    """The types of Thrift's compact protocol. The first two are also the values of a boolean field."""

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


_WIDTHS = {_ThriftType.TRUE: 1, _ThriftType.FALSE: 1, _ThriftType.I8: 1, _ThriftType.DOUBLE: 8, _ThriftType.UUID: 16}
_DEEPEST = 16  # the most levels of structs and lists; today's headers have three
_LONG = 15  # in place of a list's length if the length is in the next bytes
_VARINT = 10  # the most bytes of a number
_LIMIT = 2**31  # the limit of sizes and of counts of values

_DICTIONARY = 2
_DATA = {0: (5, 2), 3: (8, 4)}
"""For each type of page with values: the number of the struct that describes the page, and the number of the encoding
in that struct."""
_DELTA_BYTE_ARRAY = 7  # an encoding in which a value shares the beginning of the value before it

Fields = dict[tuple[int, int], Any]
"""Values by the field's number and type. In Thrift, a field with an unexpected type counts as missing."""


class ParquetPage(msgspec.Struct, frozen=True):
    """A page. ``header`` is the size of its header; ``compressed`` and ``decompressed`` do not include the header.

    Sizes are in bytes. ``values`` is the number of values, 0 for a dictionary. ``is_shared``: rows may share bytes of
    the page, so that all rows together may take more memory than the page.
    """

    is_shared: bool
    header: int
    compressed: int
    decompressed: int
    values: int

    @property
    def size(self) -> int:
        """The size of the larger form of the page, compressed or decompressed."""
        return max(self.compressed, self.decompressed)


def pages_of(file: io.BufferedReader, column: Any) -> Iterator[ParquetPage]:
    """The pages of a column of a row group, in the order of reading. ``column`` is pyarrow's metadata of the column.

    The file's position moves. Raises ValueError for a header that cannot be read.
    """
    start = column.data_page_offset
    if column.dictionary_page_offset:  # some writers put 0 if there is no dictionary
        start = min(start, column.dictionary_page_offset)
    end, values = start + column.total_compressed_size, 0
    while values < column.num_values and start < end:
        file.seek(start)
        page = _page(_ThriftReader(file).struct(), file, start)
        yield page
        start += page.header + page.compressed
        values += page.values


def _page(fields: Fields, file: io.BufferedReader, start: int) -> ParquetPage:
    values = encoding = 0
    try:
        kind, decompressed, compressed = (fields[number, _ThriftType.I32] for number in (1, 2, 3))
        if kind in _DATA:
            data, number = _DATA[kind]
            values, encoding = (fields[data, _ThriftType.STRUCT][field, _ThriftType.I32] for field in (1, number))
    except KeyError:
        raise ValueError("the header of a page is not whole") from None
    if not all(0 <= number < _LIMIT for number in (kind, decompressed, compressed, values)):
        raise ValueError("the header of a page has an impossible number")
    is_shared = kind == _DICTIONARY or encoding == _DELTA_BYTE_ARRAY
    return ParquetPage(is_shared, file.tell() - start, compressed, decompressed, values)


class _ThriftReader:
    """Reads values, beginning at the file's position."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file

    def struct(self, depth: int = 0) -> Fields:
        """The fields that are numbers or structs; the others are skipped."""
        fields: Fields = {}
        number = 0
        while head := self._byte():
            step, kind = head >> 4, head & 15
            number = number + step if step else self._number()
            if kind not in {_ThriftType.TRUE, _ThriftType.FALSE}:
                fields[number, kind] = self._value(kind, depth)
        return fields

    def _value(self, kind: int, depth: int) -> Any:
        if depth > _DEEPEST:
            raise ValueError("the header of a page is nested too deeply")
        match kind:
            case _ if width := _WIDTHS.get(kind):  # type: ignore[call-overload]
                return self._skip(width)
            case _ThriftType.I16 | _ThriftType.I32 | _ThriftType.I64:
                return self._number()
            case _ThriftType.BINARY:
                return self._skip(self._varint())
            case _ThriftType.LIST | _ThriftType.SET:
                head = self._byte()
                count = head >> 4
                return self._values(self._varint() if count == _LONG else count, [head & 15], depth)
            case _ThriftType.MAP:
                count = self._varint()
                kinds = self._byte() if count else 0
                return self._values(count, [kinds >> 4, kinds & 15], depth)
            case _ThriftType.STRUCT:
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
        for index in range(_VARINT):
            byte = self._byte()
            value |= (byte & 127) << (7 * index)
            if byte < 128:  # noqa: PLR2004 - the high bit is set if more bytes follow
                return value
        raise ValueError("the header of a page has a number without an end")

    def _byte(self) -> int:
        byte = self._file.read(1)
        if not byte:
            raise ValueError("the header of a page ends with the file")
        return byte[0]

    def _skip(self, count: int) -> None:
        if count >= _LIMIT:
            raise ValueError("the header of a page has a text that is too long")
        self._file.seek(count, 1)
