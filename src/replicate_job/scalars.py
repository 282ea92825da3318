"""Python's own values in place of numpy's, and of subclasses of str, int and float.

numpy is not imported. Its values are recognised by the module of their class.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

OWN = frozenset({str, int, float, bool, type(None)})
"""Python's own types of single values, which are also JSON's."""
_TOO_FINE = ("[ns]", "[ps]", "[fs]", "[as]")  # numpy writes such a time as a bare number
# The methods of the base classes, since a subclass may have a ``__str__`` for people.
_BASES: dict[type, Callable[[Any], Any]] = {str: str.__str__, int: int.__int__, float: float.__float__}


def own(value: Any) -> Any:
    """Python's own value for a value of numpy, or of a subclass of str, int or float. Other values are not changed.

    An array becomes a list. A time is rounded down to microseconds, since Python's times are no finer.
    """
    if type(value) in OWN:
        return value
    value = _from_numpy(value)
    if type(value) in OWN:
        return value
    return next((read(value) for base, read in _BASES.items() if isinstance(value, base)), value)


def own_items(value: Any) -> Any:
    """As ``own``, also for the items of a list or a tuple, and for the names and values of a dict."""
    value = own(value)
    if type(value) is list:
        return [own(item) for item in value]
    if type(value) is tuple:
        return tuple(own(item) for item in value)
    if type(value) is dict:
        return {own(name): own(item) for name, item in value.items()}
    return value


def _from_numpy(value: Any) -> Any:
    if type(value).__module__ != "numpy" or not hasattr(value, "dtype"):  # a function of numpy has no ``dtype``
        return value
    if value.dtype.name.endswith(_TOO_FINE):
        value = value.astype(f"{value.dtype.kind}8[us]")
    plain = value.tolist()
    # Python has no number that is as precise as a ``longdouble``, so numpy returns the number itself.
    return float(plain) if type(plain).__name__ == "longdouble" else plain
