"""A scripted server of Replicate's API, for testing code that calls the API. It can inject faults. Needs ``[local]``.

::

    from replicate_job.testing import Script, ScriptedAPI

    with ScriptedAPI(script=Script(duration=0.2, output="hello"), faults="create:drop-after=0.2") as api:
        ...                                  # run your code against api.base_url with api.token
        assert len(api.predictions) == 1     # created once, although a connection may have died

``api.faults.next("get", "503", "drop-before")`` and ``api.next(Script(end="failed"))`` script single requests and
predictions. ``replicate_job.serving.faults`` documents the language of faults. ``replicate_job.testing.plugin`` has
fixtures, which pytest loads automatically.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from replicate_job.local.options import ServerOptions
    from replicate_job.serving.answer import Answer, problem, throttled
    from replicate_job.serving.connection import BreakableProtocol
    from replicate_job.serving.faults import Fault, Faults
    from replicate_job.serving.middleware import FaultMiddleware
    from replicate_job.testing.api import ScriptedAPI
    from replicate_job.testing.delivery import OutputFile
    from replicate_job.testing.local import LocalAPI, local_api
    from replicate_job.testing.models import ScriptedDeployment, ScriptedModel, openapi_schema
    from replicate_job.testing.predictions import ScriptedPrediction
    from replicate_job.testing.record import RecordedRequest
    from replicate_job.testing.recording.servers import RecordingAPI, ReplayAPI
    from replicate_job.testing.script import Script, Stream, StreamEvent
    from replicate_job.testing.server import LoopbackServer
    from replicate_job.testing.trainings import ScriptedTraining
    from replicate_job.testing.uploads import UploadedFile

__all__ = [
    "Answer",
    "BreakableProtocol",
    "Fault",
    "FaultMiddleware",
    "Faults",
    "LocalAPI",
    "LoopbackServer",
    "OutputFile",
    "RecordedRequest",
    "RecordingAPI",
    "ReplayAPI",
    "Script",
    "ScriptedAPI",
    "ScriptedDeployment",
    "ScriptedModel",
    "ScriptedPrediction",
    "ScriptedTraining",
    "ServerOptions",
    "Stream",
    "StreamEvent",
    "UploadedFile",
    "local_api",
    "openapi_schema",
    "problem",
    "throttled",
]

_HOMES = {
    **dict.fromkeys(["Answer", "problem", "throttled"], "serving.answer"),
    "BreakableProtocol": "serving.connection",
    **dict.fromkeys(["Fault", "Faults"], "serving.faults"),
    "FaultMiddleware": "serving.middleware",
    **dict.fromkeys(["LocalAPI", "local_api"], "testing.local"),
    "LoopbackServer": "testing.server",
    "OutputFile": "testing.delivery",
    "RecordedRequest": "testing.record",
    **dict.fromkeys(["RecordingAPI", "ReplayAPI"], "testing.recording.servers"),
    **dict.fromkeys(["Script", "Stream", "StreamEvent"], "testing.script"),
    "ScriptedAPI": "testing.api",
    **dict.fromkeys(["ScriptedDeployment", "ScriptedModel", "openapi_schema"], "testing.models"),
    "ScriptedPrediction": "testing.predictions",
    "ScriptedTraining": "testing.trainings",
    "ServerOptions": "local.options",
    "UploadedFile": "testing.uploads",
}


def __getattr__(name: str) -> object:
    # pytest loads the plugin, and so this module, in every project where this package is installed. Importing all names
    # would slow down its start, so each name is imported at its first use.
    if name not in _HOMES:
        raise AttributeError(f"module 'replicate_job.testing' has no attribute {name!r}")
    from importlib import import_module  # noqa: PLC0415 - only for whoever needs it

    try:
        value = globals()[name] = getattr(import_module(f"replicate_job.{_HOMES[name]}"), name)
    except ModuleNotFoundError as error:
        needed = str(error.name).partition(".")[0]
        from replicate_job.extras import advice  # noqa: PLC0415 - only this error needs it

        raise ModuleNotFoundError(
            f"replicate_job.testing needs {needed}, which is not here: {advice('local')}", name=error.name
        ) from None
    return value


def __dir__() -> list[str]:
    return __all__
