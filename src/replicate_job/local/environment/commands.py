"""The commands in ``build.run``. Their authors wrote them for the container that Cog builds.

Here each command is confined: it can only write into the model's environment. Paths of the container's folders in the
command are replaced by paths of the environment's folders. Tools that would change this system do nothing, and their
calls are recorded.
"""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from replicate_job.local.environment import confine

if TYPE_CHECKING:
    from replicate_job.local.catalog.config import Command

_CONFINE = Path(confine.__file__)
_MOUNTS = re.compile(r"(?:--mount=\S+\s+)+")
_SECRET = re.compile(r"type=secret\S*?,id=([^,\s]+)|id=([^,\s]+)\S*?,type=secret")
_PLACES = re.compile(r"""(?<![\w./~-])(/usr/local/bin|/src|/tmp|/root)(?=$|[/\s"';:&|)<>])""")
_SYSTEM_TOOLS = ("apt", "apt-get", "apt-key", "add-apt-repository", "dpkg", "apk", "yum", "dnf", "ldconfig")
_SKIP = '#!/bin/sh\necho "{name} $*" >>{notes}\n'
_AS_ROOT = '#!/bin/sh\nwhile [ "${1#-}" != "$1" ]; do shift; done\nexec "$@"\n'
# Landlock does not restrict chmod, chown, chgrp and touch. This script replaces them. It only records a call that would
# change an existing path outside of the environment.
_INSIDE = """#!/bin/sh
for word in "$@"; do
  case "$(readlink -f -- "$word" 2>/dev/null || echo "$word")" in
    {root}/*) ;;
    /*) if [ -e "$word" ]; then echo "{name} $*" >>{notes}; exit 0; fi ;;
  esac
done
PATH={path} exec {name} "$@"
"""
# Where commands cannot be confined, a line is run only if it installs with pip and does nothing else.
_INSTALL = r"(?:python3? -m |uv )?pip3? install\b[^|<>`$;&]*"
_INSTALLS = re.compile(rf"\s*{_INSTALL}(?:&&\s*{_INSTALL})*")


class Places(msgspec.Struct, frozen=True):
    """The folders of an environment that replace the container's folders for commands. All are below ``root``."""

    root: Path

    @property
    def source(self) -> Path:
        """The project's folder, which is ``/src`` in the container."""
        return self.root / "src"

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def temporary(self) -> Path:
        return self.root / "tmp"

    @property
    def tools(self) -> Path:
        """The folder with ``uv``, and with scripts in place of tools that change a system."""
        return self.root / "tools"

    @property
    def notes(self) -> Path:
        """The file with a line for each call that such a script has skipped."""
        return self.temporary / "skipped"

    def make(self, path: str, uv: str) -> None:
        """Make the folders and the tools. ``path`` is the PATH on which the real tools are."""
        for folder in (self.source, self.home, self.temporary, self.tools):
            folder.mkdir(parents=True, exist_ok=True)
        if not (self.tools / "uv").is_symlink():
            (self.tools / "uv").symlink_to(uv)
        notes, root = shlex.quote(str(self.notes)), shlex.quote(str(self.root.resolve()))
        scripts = {name: _SKIP.format(name=name, notes=notes) for name in _SYSTEM_TOOLS} | {"sudo": _AS_ROOT}
        for name in ("chmod", "chown", "chgrp", "touch"):
            scripts[name] = _INSIDE.format(name=name, notes=notes, root=root, path=shlex.quote(path))
        for name, script in scripts.items():
            (self.tools / name).write_text(script, "utf-8")
            (self.tools / name).chmod(0o755)

    def take_notes(self) -> list[str]:
        """Return the lines of ``notes``, and remove that file."""
        lines = self.notes.read_text("utf-8", "replace").splitlines() if self.notes.exists() else []
        self.notes.unlink(missing_ok=True)
        return lines

    def inside(self, text: str) -> str:
        """The text of a command, with paths of the environment's folders in place of the container's folders."""
        places = {
            "/usr/local/bin": self.root / "bin",
            "/src": self.source,
            "/tmp": self.temporary,  # noqa: S108 - it is replaced here
            "/root": self.home,
        }
        return _PLACES.sub(lambda found: str(places[found[1]]), text)


def secrets(command: Command) -> list[str]:
    """The names of the secrets that the command expects as mounted files."""
    inline = [one or other for one, other in _SECRET.findall("".join(_MOUNTS.findall(command.command)))]
    return [mount.id for mount in command.mounts] + inline


def bare(command: Command) -> str:
    """The command without Docker's own options before it."""
    return (
        _MOUNTS.sub("", command.command.strip(), count=1)
        if command.command.lstrip().startswith("--")
        else command.command
    )


def words(command: Command, places: Places) -> tuple[str, ...] | None:
    """The arguments that run the command. None if it does more than install, and this system cannot confine it."""
    shell = ("/bin/sh", "-c", places.inside(bare(command)))
    if confine.version():
        return (sys.executable, "-I", "-c", _CONFINE.read_text("utf-8"), str(places.root), "--", *shell)
    return shell if _INSTALLS.fullmatch(bare(command)) else None
