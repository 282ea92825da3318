"""One Cog model server: starts it, runs predictions on it, and restarts it after a crash.

Three facts about coglet 0.23.1 shape this module:

- It never restarts a worker that died. Here the whole server is restarted.
- It sends an answer before it frees the prediction's slot. So even a single client can get 409 for its next prediction.
- A model may ignore a cancellation. With an async model the answer still ends at once, while the model runs on.
"""

from __future__ import annotations

import asyncio
import re
from contextlib import aclosing, asynccontextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

from replicate_job.aio import unless
from replicate_job.errors import LocalError
from replicate_job.local.cog.coglet_client import ServerAddress, call
from replicate_job.local.cog.limits import LogExcerpt, memory_text
from replicate_job.local.cog.process_group import SCRATCH, ProcessGroup, scratch
from replicate_job.local.prediction import Ended, Logged, ModelEvent, Produced, Started
from replicate_job.wire.openapi import definition

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Mapping
    from pathlib import Path

    from replicate_job.local.cog.coglet_client import Message
    from replicate_job.local.environment.preparation import Launch

# Coglet puts these prefixes before a model's own error.
_ERROR_PREFIXES = re.compile(r"(?:Prediction failed: |Generator iteration error: )*")
_CRASHED = "Worker crashed"
_NOT_JSON = "Failed to parse output JSON"
_READY = {"READY", "BUSY"}
_PORT_ATTEMPTS = 3
_SLOT_DELAY = 0.02
"""When attempts to get a slot are this many seconds apart, the server's health is checked too."""
_CONTEXT_ID = "replicate-job prediction"
"""The key of the prediction's id in its context. ``in_model/worker.py`` removes the key before the model runs."""
_HEALTH_TIMEOUT, _POLL_INTERVAL = 5.0, 0.01  # seconds


class _PredictionRefusedError(Exception):
    """Cog's server answered a prediction request with an error."""


class CogServer:
    """A server that starts at its first use, and again after a crash.

    It works below ``folder``, which is removed when this process dies. A canceled model may run on for ``grace``
    seconds. ``memory`` is the limit of each of its processes in bytes; 0 is no limit.
    """

    def __init__(self, launch: Launch, folder: Path, *, grace: float, memory: int = 0) -> None:
        self._launch, self._folder, self._grace, self._memory = launch, folder, grace, memory
        self._gives_list = (definition(launch.schema, "Output") or {}).get("type") == "array"
        self._slots = asyncio.Semaphore(launch.model.concurrency)
        self._start: asyncio.Task[None] | None = None
        self._group: ProcessGroup | None = None
        self._is_ready = False
        self._address = ServerAddress("", 0)
        self._kill_reason = ""

    @property
    def is_ready(self) -> bool:
        """Whether it accepts predictions, as far as is known."""
        return self._is_ready and self._group is not None and self._group.is_up

    async def predict(
        self,
        id: str,  # noqa: A002 - the API's own name
        inputs: Mapping[str, Any],
        canceled: asyncio.Event,
        context: Mapping[str, str],
    ) -> AsyncGenerator[ModelEvent]:
        """Run one prediction when a slot is free. ``id`` becomes a folder's name, so it must come from ``new_id``.

        Every failure of the model or its server is an ``Ended`` event with the reason. A prediction that is canceled
        before it begins has no events.
        """
        log, end = LogExcerpt(), None
        reason = "the model's server stopped in the middle of the prediction"
        try:
            async with self._slot(id, canceled) as is_free:
                if not is_free:
                    return
                try:
                    async with self._messages(id, inputs, context) as messages:
                        async for kind, data in messages:
                            event = self._event(kind, data, log)
                            if isinstance(event, Ended):
                                end = event  # sent last, after the rest of the log
                            elif event:
                                yield event
                except OSError as error:
                    reason = f"the model's server stopped ({error})"
                if text := log.rest():
                    yield Logged(text)
                yield end or Ended("failed", error=self._kill_reason or reason)
        except _PredictionRefusedError as error:
            yield Ended("failed", error=str(error))
        except LocalError as error:  # the server could not be started
            if self._group and self._group.printed:
                yield Logged(log.take("".join(f"{line}\n" for line in self._group.printed)) + log.rest())
            yield Ended("failed", error=str(error))

    async def start(self) -> None:
        """Start the server if it is not ready. Raises LocalError when the model's setup fails."""
        if self.is_ready:
            return
        if self._start is None or self._start.done():
            self._start = asyncio.get_running_loop().create_task(self._restart())
            self._start.add_done_callback(_retrieve_error)
        # All waiting predictions share one start. Canceling one of them must not end it.
        await asyncio.shield(self._start)

    async def close(self) -> None:
        """End the server and all of its processes at once."""
        if self._start is not None:
            self._start.cancel()
            await asyncio.wait((self._start,))
        await self._stop()

    @asynccontextmanager
    async def _slot(self, id: str, canceled: asyncio.Event) -> AsyncIterator[bool]:  # noqa: A002 - the API's own name
        """A context with a slot of the ready server. Yields False if the prediction was canceled before it got one.

        At the end of the context, either the model has stopped or its server was killed. Then the slot is free again.
        Raises LocalError if the server cannot be started.
        """
        if not await unless(canceled, self._slots.acquire()):
            yield False
            return
        try:
            await unless(canceled, self.start())
            if canceled.is_set() or self._group is None:
                yield False
                return
            stopping = asyncio.create_task(self._cancel(id, canceled))
            try:
                async with scratch(id, self._folder):
                    yield True
            finally:
                stopping.cancel()
                await asyncio.wait((stopping,))
            if self._is_running(id):
                await self._wait_until_stopped(id)
        finally:
            self._slots.release()

    def _is_running(self, id: str) -> bool:  # noqa: A002 - the API's own name
        return self._group is not None and self._group.runs(id)

    async def _wait_until_stopped(self, id: str) -> None:  # noqa: A002 - the API's own name
        """Wait until the model has stopped, which may be after its response. Kill the server after the grace period."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                while self._is_running(id):  # noqa: ASYNC110 - there is no event for the removal of a file
                    await asyncio.sleep(_POLL_INTERVAL)
                return
        self._kill()

    async def _restart(self) -> None:
        for _ in range(_PORT_ATTEMPTS):
            await self._stop()
            _share_scratch()
            self._address, self._kill_reason = ServerAddress.free(), ""
            self._group = ProcessGroup(self._launch, self._folder, self._memory)
            await self._group.start(self._address)
            if await self._wait_until_ready(self._group):
                self._is_ready = True
                return
        raise LocalError(f"{self._launch.model.slug}: no free port on the loopback address")

    async def _stop(self) -> None:
        group, self._group, self._is_ready = self._group, None, False
        if group is not None:
            await group.close()

    async def _wait_until_ready(self, group: ProcessGroup) -> bool:
        """Wait until the server is ready. Returns False if another program has taken the port in the meantime.

        Raises LocalError if the model's setup fails.
        """
        delay = 0.01
        while True:
            state = await self._health()
            if state in _READY:
                return True
            if state in {"SETUP_FAILED", "DEFUNCT", "UNHEALTHY"} or not group.is_up:
                break
            await asyncio.sleep(delay)
            delay = min(delay * 1.2, 0.1)
        await group.settle()
        crash = group.crash
        await group.close()
        if not state and not crash and any("in use" in line for line in group.log):
            return False
        if line := next((line for line in reversed(group.log) if "Setup failed: " in line), ""):
            reason = line.rpartition("etup failed: ")[2].removeprefix("failed to load predictor: ")
        elif crash:
            reason = f"its process crashed ({crash})"
        else:
            reason = next((line for line in reversed(group.log) if "rror" in line), "it ended before it was ready")
        raise LocalError(f"{self._launch.model.slug} could not be set up: {self._explained(reason)}")

    async def _health(self) -> str:
        """The state that the server reports; empty if it does not answer in time."""
        try:
            async with asyncio.timeout(_HEALTH_TIMEOUT), call(self._address, "GET", "/health-check") as response:
                return str(msgspec.json.decode(await response.read()).get("status", ""))
        except (OSError, msgspec.DecodeError):
            return ""

    @asynccontextmanager
    async def _messages(
        self,
        id: str,  # noqa: A002 - the API's own name
        inputs: Mapping[str, Any],
        context: Mapping[str, str],
    ) -> AsyncIterator[AsyncGenerator[Message]]:
        """Send a prediction request, repeat it while the server has no free slot, and yield its messages.

        Raises OSError, LocalError and _PredictionRefusedError.
        """
        body = msgspec.json.encode({"input": inputs, "context": {**context, _CONTEXT_ID: id}})
        delay = 0.001
        while True:
            with suppress(ConnectionRefusedError):  # the server died while it was idle
                async with call(self._address, "PUT", f"/predictions/{id}", body, "text/event-stream") as response:
                    if response.status == HTTPStatus.OK:
                        async with aclosing(response.messages()) as messages:
                            yield messages
                        return
                    if response.status != HTTPStatus.CONFLICT:
                        raise _PredictionRefusedError(_refusal(response.status, await response.read()))
            await asyncio.sleep(delay)
            delay = min(delay * 2, 0.1)
            # Usually the slot is free a moment later. If the worker has died unnoticed, the slot never becomes free.
            if delay > _SLOT_DELAY and await self._health() not in _READY:
                self._is_ready = False
            await self.start()

    async def _cancel(self, id: str, canceled: asyncio.Event) -> None:  # noqa: A002 - the API's own name
        """Wait until the prediction is canceled. Then ask the model to stop, and kill it after the grace period.

        When the prediction ends, the task of this coroutine is canceled.
        """
        await canceled.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                with suppress(OSError):
                    async with call(self._address, "POST", f"/predictions/{id}/cancel"):
                        pass
                await asyncio.Event().wait()  # never set: only the timeout ends the wait
        self._kill()

    def _kill(self) -> None:
        """Kill the server, and with it every prediction that runs there."""
        if self._group is not None:
            self._kill_reason = "the model's process was ended: another prediction went on after its cancellation"
            self._is_ready = False
            self._group.kill()

    def _event(self, kind: str, data: dict[str, Any], log: LogExcerpt) -> ModelEvent | None:
        """The event of a message; None for a message of another kind, or for a piece of the log that is held back."""
        match kind:
            case "start":
                return Started()
            case "log":
                text = log.take(data.get("data", ""))
                return Logged(text) if text else None
            case "output":
                return Produced(data.get("chunk"), part=self._gives_list)
            case "completed":
                error = data.get("error") and self._explained(_ERROR_PREFIXES.sub("", data["error"], count=1))
                return Ended(data["status"], data.get("output"), error, data.get("metrics") or {})
            case "error":
                return Ended("failed", error=f"the model's server gave up: {data.get('error')}")
        return None

    def _explained(self, error: str) -> str:
        """The model's error in plain words, with the exit code or the memory limit, which coglet does not report."""
        if error == _CRASHED:
            how = self._group.crash if self._group else ""
            return "the model's process crashed" + (f" ({how})" if how else "")
        if error.startswith("MemoryError") and self._memory:
            words = error.removeprefix("MemoryError").strip(": ") or "out of memory"
            return f"MemoryError: {words}: a model's process may have {memory_text(self._memory)} here"
        if error.startswith(_NOT_JSON):
            return "the output holds what JSON cannot: NaN, Infinity, a lone surrogate or too deep nesting"
        explained = error.rstrip().removesuffix(":")  # an exception without a message leaves the colon
        return self._launch.workspace.explain(explained, self._group.source if self._group else None)


def _retrieve_error(task: asyncio.Task[None]) -> None:
    """Mark the error of a start as retrieved. Otherwise asyncio logs it if every waiting prediction was canceled."""
    if not task.cancelled():
        task.exception()


def _share_scratch() -> None:
    """Make coglet's folder writable for every user of this machine, as /tmp is. Coglet makes it for its first user."""
    with suppress(OSError):
        SCRATCH.mkdir(parents=True, exist_ok=True)
        for folder in (SCRATCH.parent, SCRATCH):
            folder.chmod(0o1777)


def _refusal(status: int, body: bytes) -> str:
    try:
        detail = msgspec.json.decode(body)["detail"]
    except (msgspec.DecodeError, KeyError, TypeError):
        return f"the model's server answered {status}: {body[:200].decode(errors='replace')}"
    if isinstance(detail, list):
        return "; ".join(f"{'.'.join(map(str, item['loc'][2:]))}: {item['msg']}" for item in detail)
    return str(detail)
