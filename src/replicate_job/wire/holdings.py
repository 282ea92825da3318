"""Models, trainings and deployments in the form of the HTTP API's lists."""

from __future__ import annotations

from typing import Annotated, Any, Generic, TypeVar

import msgspec

from replicate_job.wire.prediction import TERMINAL, Prediction

_Item = TypeVar("_Item")


class Page(msgspec.Struct, Generic[_Item], frozen=True):
    """One page of a list. ``next`` is the whole URL of the next page; None on the last page."""

    results: list[_Item]
    next: str | None = None


class ModelInfo(msgspec.Struct, frozen=True):
    """A model in the form of lists, without its schema.

    ``visibility`` is ``public`` or ``private``, ``url`` is the address of its page, ``run_count`` counts the runs of
    all users. Only searches fill ``tags``.
    """

    owner: str
    name: str
    description: str | None = None
    visibility: str | None = None
    is_official: bool | None = None
    run_count: int | None = None
    url: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def model(self) -> str:
        """The name of the model in a job: ``owner/name``."""
        return f"{self.owner}/{self.name}"


class SearchMetadata(msgspec.Struct, frozen=True):
    tags: tuple[str, ...] | None = None


class FoundModel(msgspec.Struct, frozen=True):
    model: ModelInfo
    metadata: SearchMetadata | None = None


class SearchAnswer(msgspec.Struct, frozen=True):
    """The models found by a search, the best match first."""

    models: list[FoundModel]


class WithExample(msgspec.Struct, frozen=True):
    """The example prediction of a model, which its page shows.

    Only the local server sends ``example_input``, the initial input on the server's own page of the model.
    """

    default_example: Prediction | None = None
    example_input: dict[str, Any] | None = None


class TrainingInfo(msgspec.Struct, frozen=True):
    """A training. Times are ISO 8601; ``metrics`` maps ``predict_time`` and ``total_time`` to seconds.

    ``model`` and ``version`` name the model that was trained. ``output`` contains the new ``version``, and the URL of
    its ``weights``, which can be read only with the API token. ``status`` has the same values as a prediction's status.
    """

    id: Annotated[str, msgspec.Meta(min_length=1)]
    status: str
    model: str | None = None
    version: str | None = None
    input: dict[str, Any] | None = None
    output: Any = None
    error: Any = None
    logs: str | None = None
    metrics: dict[str, Any] | None = None
    urls: dict[str, str | None] | None = None
    created_at: str | None = None
    started_at: str | None = None
    completed_at: str | None = None
    source: str | None = None

    @property
    def is_terminal(self) -> bool:
        return self.status in TERMINAL


class Configuration(msgspec.Struct, frozen=True):
    """``hardware`` is an SKU such as ``gpu-t4``."""

    hardware: str | None = None
    min_instances: int | None = None
    max_instances: int | None = None


class ReleaseInfo(msgspec.Struct, frozen=True):
    """``number`` counts the deployment's releases; ``model`` is ``owner/name``; ``created_at`` is ISO 8601."""

    number: int | None = None
    model: str | None = None
    version: str | None = None
    created_at: str | None = None
    configuration: Configuration = Configuration()


class DeploymentInfo(msgspec.Struct, frozen=True):
    """A deployment with its current release. Its name in a job is ``deployments/owner/name``."""

    owner: str
    name: str
    current_release: ReleaseInfo | None = None

    @property
    def deployment(self) -> str:
        """``owner/name``."""
        return f"{self.owner}/{self.name}"
