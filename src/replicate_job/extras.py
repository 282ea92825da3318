"""Advises how to install an extra. The advice names packages, since this package itself may not be on an index."""

from __future__ import annotations

import re
import sys

_REQUIREMENT = r"(?P<name>[A-Za-z0-9._-]+)[^;]*"


def advice(extra: str) -> str:
    """The command that installs the missing packages of an extra: ``pip install 'starlette>=1'``."""
    wanted = _packages(extra)
    if not wanted:  # the program runs from a folder, and is not installed
        return f"install the extra {extra!r} of replicate-job"
    lacking = {package: name for package, name in wanted.items() if not _is_here(name)}
    import shlex  # noqa: PLC0415 - only an error needs it

    # If all are installed, one of them is broken and cannot be imported: then all are named.
    return shlex.join(["pip", "install", *(lacking or wanted)])


def _packages(extra: str) -> dict[str, str]:
    """Maps each requirement of the extra on this system (``starlette>=1``) to the name of its package."""
    from importlib import metadata  # noqa: PLC0415 - it takes 8 ms, and only an error needs it

    found = {}
    try:
        lines = metadata.requires("replicate-job") or ()
    except metadata.PackageNotFoundError:
        lines = ()
    for line in lines:
        package, _, condition = line.partition(";")
        other_system = sys.platform == "win32" and "sys_platform != 'win32'" in condition.replace('"', "'")
        named = re.match(_REQUIREMENT, package)
        if named and not other_system and re.search(rf"""extra == ['"]{extra}['"]""", condition):
            found[package.strip()] = named["name"]
    return found


def _is_here(name: str) -> bool:
    from importlib import metadata  # noqa: PLC0415 - as above

    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True
