"""A model's ``cog.yaml`` (https://cog.run/yaml): the settings that have an effect here, and those that are reported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from replicate_job.errors import LocalError


class Command(msgspec.Struct, frozen=True):
    """An item of ``build.run`` in its long form. Its ``mounts`` have no effect here."""

    command: str


class Build(msgspec.Struct, frozen=True):
    """How the environment is made. YAML may hold a version as a number."""

    python_version: str | float = ""
    python_packages: tuple[str, ...] = ()
    python_requirements: str = ""
    run: tuple[str | Command, ...] = ()
    system_packages: tuple[str, ...] = ()
    gpu: bool = False
    cuda: str | float = ""
    cudnn: str | float = ""

    @property
    def commands(self) -> tuple[str, ...]:
        return tuple(item.command if isinstance(item, Command) else item for item in self.run)


class Concurrency(msgspec.Struct, frozen=True):
    max: int = 1


class Config(msgspec.Struct, frozen=True):
    """``environment`` has items ``NAME=value``. ``concurrency`` is None where the file does not set it."""

    run: str = ""
    predict: str = ""
    image: str = ""
    build: Build = Build()
    concurrency: Concurrency | None = None
    environment: tuple[str, ...] = ()

    @property
    def target(self) -> str:
        """``file.py:Class``, from ``run`` or the older ``predict``."""
        return self.run or self.predict

    @property
    def variables(self) -> dict[str, str]:
        return {name: value for name, _, value in (item.partition("=") for item in self.environment)}


def read_config(folder: Path) -> Config:
    """Raises LocalError, which names the file and the fault."""
    file = folder / "cog.yaml"
    try:
        config = msgspec.convert(_without_nulls(yaml.safe_load(file.read_text("utf-8"))), Config)
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise LocalError(f"{file} cannot be read: {' '.join(str(error).split())}") from None
    except msgspec.ValidationError as error:
        raise LocalError(f"{file} has something else than Cog asks for: {error}") from None
    if not config.target:
        raise LocalError(f'{file} names no predictor: add run: "run.py:Runner" or predict: "predict.py:Predictor"')
    if wrong := next((item for item in config.environment if "=" not in item), None):
        raise LocalError(f"{file}: environment has {wrong!r}, which is not NAME=value")
    return config


def _without_nulls(value: Any) -> Any:
    """A mapping without its keys that have no value, which YAML reads as null: they count as not set."""
    if not isinstance(value, dict):
        return value
    return {name: _without_nulls(item) for name, item in value.items() if item is not None}
