"""A model's ``cog.yaml``: what of it is acted on here (https://cog.run/yaml)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import yaml

from replicate_job.errors import LocalError


class Command(msgspec.Struct, frozen=True):
    """An item of ``build.run`` that is more than a command. What else it has, mounts, is not acted on."""

    command: str


class Build(msgspec.Struct, frozen=True):
    """How the environment is made. A version may be written as a number."""

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
    """``environment`` are items ``NAME=value``. ``concurrency`` is None where nothing is said."""

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
    """Raises LocalError, which says where and what."""
    place = folder / "cog.yaml"
    try:
        found = msgspec.convert(_stated(yaml.safe_load(place.read_text("utf-8"))), Config)
    except (OSError, UnicodeError, yaml.YAMLError) as error:
        raise LocalError(f"{place} cannot be read: {' '.join(str(error).split())}") from None
    except msgspec.ValidationError as error:
        raise LocalError(f"{place} has something else than Cog asks for: {error}") from None
    if not found.target:
        raise LocalError(f'{place} names no predictor: add run: "run.py:Runner" or predict: "predict.py:Predictor"')
    if wrong := next((item for item in found.environment if "=" not in item), None):
        raise LocalError(f"{place}: environment has {wrong!r}, which is not NAME=value")
    return found


def _stated(value: Any) -> Any:
    """Without the keys that have nothing behind them, which YAML reads as null."""
    if not isinstance(value, dict):
        return value
    return {name: _stated(item) for name, item in value.items() if item is not None}
