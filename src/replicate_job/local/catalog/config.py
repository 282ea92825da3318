"""Reads a model's ``cog.yaml`` (https://cog.run/yaml): the settings with an effect here, and a list of the others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import yaml

from replicate_job.decoding import convert
from replicate_job.errors import LocalError


class Mount(msgspec.Struct, frozen=True):
    id: str = ""
    target: str = ""


class Command(msgspec.Struct, frozen=True):
    """An item of ``build.run`` in its long form. Here, the files of its ``mounts`` do not exist."""

    command: str
    mounts: tuple[Mount, ...] = ()


class Build(msgspec.Struct, frozen=True):
    """The section ``build``. YAML may read a version as a number. ``pre_install`` is an older name of ``run``."""

    python_version: str | float = ""
    python_packages: tuple[str, ...] = ()
    python_requirements: str = ""
    run: tuple[str | Command, ...] = ()
    pre_install: tuple[str | Command, ...] = ()

    @property
    def commands(self) -> tuple[Command, ...]:
        """All commands, in the order in which Cog runs them."""
        items = (*self.run, *self.pre_install)
        return tuple(item if isinstance(item, Command) else Command(item) for item in items)


class Concurrency(msgspec.Struct, frozen=True):
    max: int = 1


class Config(msgspec.Struct, frozen=True):
    """The settings of ``cog.yaml``. ``environment`` has items ``NAME=value``; ``concurrency`` is None if it is not set.

    ``without_effect`` lists the settings in the file that have no effect here, each with its value if that is short.
    """

    run: str = ""
    predict: str = ""
    image: str = ""
    build: Build = Build()
    concurrency: Concurrency | None = None
    environment: tuple[str, ...] = ()
    without_effect: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """``file.py:Class``, from ``run`` or the older ``predict``."""
        return self.run or self.predict

    @property
    def variables(self) -> dict[str, str]:
        return {name: value for name, _, value in (item.partition("=") for item in self.environment)}


def read_config(folder: Path) -> Config:
    """Read ``cog.yaml``. Raises LocalError, which names the file and the fault."""
    file = folder / "cog.yaml"
    try:
        settings = _without_nulls(yaml.safe_load(file.read_text("utf-8")))
        config = convert(settings, Config)
        config = msgspec.structs.replace(config, without_effect=tuple(_without_effect(settings)))
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise LocalError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    except msgspec.ValidationError as error:
        raise LocalError(f"{file} has a value that Cog does not allow: {error}") from None
    if not config.target:
        raise LocalError(f'{file} names no predictor: add run: "run.py:Runner" or predict: "predict.py:Predictor"')
    if wrong := next((item for item in config.environment if "=" not in item), None):
        raise LocalError(f"{file}: environment has {wrong!r}, which is not NAME=value")
    return config


def _without_effect(settings: dict[str, Any]) -> Iterator[str]:
    """Settings with a field in neither ``Config`` nor ``Build``. A setting that is off or empty counts as not set."""
    for struct, part in ((Build, settings.get("build", {})), (Config, settings)):
        for name, value in part.items():
            if value and name not in {*struct.__struct_fields__, "model"} - {"without_effect"}:
                yield name + _short(value)


def _short(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return f" ({', '.join(value)})"
    return f" ({value})" if isinstance(value, (str, float)) and not isinstance(value, bool) else ""


def _without_nulls(value: Any) -> Any:
    """A mapping without its null values. YAML reads a key without a value as null, and such a key counts as not set."""
    if not isinstance(value, dict):
        return value
    return {name: _without_nulls(item) for name, item in value.items() if item is not None}
