"""Fakes for testing code that talks to Replicate: a scripted API server that can be made to fail. Needs ``[local]``.

::

    from replicate_job.testing import Script, ScriptedAPI

    with ScriptedAPI(script=Script(duration=0.2, output="hello"), faults="create:drop-after=0.2") as api:
        ...                                  # run your code against api.base_url with api.token
        assert len(api.predictions) == 1     # created once, although a connection may have died

``api.faults.next("get", "503", "drop-before")`` and ``api.next(Script(end="failed"))`` script single requests and
predictions. ``replicate_job.serving.faults`` documents the words for faults.
"""

try:
    from replicate_job.serving.answer import Answer, problem, throttled
    from replicate_job.serving.connection import BreakableProtocol
    from replicate_job.serving.faults import Fault, Faults
    from replicate_job.serving.middleware import FaultMiddleware
    from replicate_job.testing.api import ScriptedAPI
    from replicate_job.testing.delivery import OutputFile
    from replicate_job.testing.models import ScriptedDeployment, ScriptedModel, openapi_schema
    from replicate_job.testing.predictions import ScriptedPrediction
    from replicate_job.testing.record import RecordedRequest
    from replicate_job.testing.script import Script, Stream, StreamEvent
    from replicate_job.testing.server import LoopbackServer
    from replicate_job.testing.uploads import UploadedFile
except ModuleNotFoundError as error:
    needed = str(error.name).partition(".")[0]
    advice = "pip install 'replicate-job[local]'"
    raise ModuleNotFoundError(
        f"replicate_job.testing needs {needed}, which is not here: {advice}", name=error.name
    ) from None

__all__ = [
    "Answer",
    "BreakableProtocol",
    "Fault",
    "FaultMiddleware",
    "Faults",
    "LoopbackServer",
    "OutputFile",
    "RecordedRequest",
    "Script",
    "ScriptedAPI",
    "ScriptedDeployment",
    "ScriptedModel",
    "ScriptedPrediction",
    "Stream",
    "StreamEvent",
    "UploadedFile",
    "openapi_schema",
    "problem",
    "throttled",
]
