"""One Cog model server: started, spoken to, restarted.

What is known of its ways (coglet 0.23.1), and why this looks as it does: a worker that died is never restarted, so
the whole server is; its slot frees after the answer was sent, so 409 can follow a single client; cancel is a request
that a model may not hear, and of an async model the answer ends with it all the same.
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

_WRAPPED = re.compile(r"(?:Prediction failed: |Generator iteration error: )*")
_CRASHED = "Worker crashed"
_NOT_JSON = "Failed to parse output JSON"
_READY = {"READY", "BUSY"}
_PORTS = 3
_LONG_FOR_A_SLOT, _LONG_FOR_A_WORD, _PAUSE = 0.02, 5.0, 0.01  # seconds


class _PredictionRefusedError(Exception):
    """Cog's server does not take the prediction."""


class CogServer:
    """Starts on first use, and again after a crash. It works below ``folder``, which goes when this process dies.

    ``grace`` is how long a canceled model may go on, in seconds; ``memory`` what each of its processes may have, in
    bytes, 0 for any.
    """

    def __init__(self, launch: Launch, folder: Path, *, grace: float, memory: int = 0) -> None:
        self._launch, self._folder, self._grace, self._memory = launch, folder, grace, memory
        self._gives_list = (definition(launch.schema, "Output") or {}).get("type") == "array"
        self._slots = asyncio.Semaphore(launch.model.concurrency)
        self._start: asyncio.Task[None] | None = None
        self._group: ProcessGroup | None = None
        self._is_ready = False
        self._address, self._forced = ServerAddress("", 0), ""

    @property
    def is_ready(self) -> bool:
        """Whether it takes predictions, as far as is known."""
        return self._is_ready and self._group is not None and self._group.is_up

    async def predict(self, id: str, given: Mapping[str, Any], canceled: asyncio.Event) -> AsyncGenerator[ModelEvent]:  # noqa: A002 - the API's own name
        """Run one prediction when a slot is free. ``id`` becomes a folder's name: it must be one that we made.

        Every failure of the model or its server is an ``Ended`` event with the reason. A prediction that was canceled
        before it began has no events.
        """
        log, end = LogExcerpt(), None
        reason = "the model's server stopped in the middle of the prediction"
        try:
            async with self._slot(id, canceled) as is_free:
                if not is_free:
                    return
                try:
                    async with self._messages(id, given) as messages:
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
                yield end or Ended("failed", error=self._forced or reason)
        except _PredictionRefusedError as error:
            yield Ended("failed", error=str(error))
        except LocalError as error:  # the server could not be started
            if self._group and self._group.printed:
                yield Logged(log.take("".join(f"{line}\n" for line in self._group.printed)) + log.rest())
            yield Ended("failed", error=str(error))

    async def start(self) -> None:
        """Make sure that it runs and takes predictions. Raises LocalError when its setup fails."""
        if self.is_ready:
            return
        if self._start is None or self._start.done():
            self._start = asyncio.get_running_loop().create_task(self._restart())
            self._start.add_done_callback(_look)
        await asyncio.shield(self._start)

    async def close(self) -> None:
        """End it and everything it started, at once."""
        if self._start is not None:
            self._start.cancel()
            await asyncio.wait((self._start,))
        await self._stop()

    @asynccontextmanager
    async def _slot(self, id: str, canceled: asyncio.Event) -> AsyncIterator[bool]:  # noqa: A002 - the API's own name
        """Around a prediction: one of the server's slots, once it is ready; False where it was canceled first.

        At the end the slot is free again: the model has stopped, or its server was ended. Raises LocalError.
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
            if self._is_at_work(id):
                await self._free(id)
        finally:
            self._slots.release()

    def _is_at_work(self, id: str) -> bool:  # noqa: A002 - the API's own name
        return self._group is not None and self._group.runs(id)

    async def _free(self, id: str) -> None:  # noqa: A002 - the API's own name
        """Once Cog's server knows no more of it, wait until the model does not either; end the server if that lasts."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                while self._is_at_work(id):  # noqa: ASYNC110 - a file tells nobody
                    await asyncio.sleep(_PAUSE)
                return
        self._force()

    async def _restart(self) -> None:
        for _ in range(_PORTS):
            await self._stop()
            _share_scratch()
            self._address, self._forced = ServerAddress.free(), ""
            self._group = ProcessGroup(self._launch, self._folder, self._memory)
            self._group.start(self._address)
            if await self._wait_until_ready(self._group):
                self._is_ready = True
                return
        raise LocalError(f"{self._launch.model.slug}: no free port on the loopback address")

    async def _stop(self) -> None:
        group, self._group, self._is_ready = self._group, None, False
        if group is not None:
            await group.close()

    async def _wait_until_ready(self, group: ProcessGroup) -> bool:
        """False when another program took the port first. Raises LocalError when the model's setup fails."""
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
        if not state and not crash and any("in use" in line for line in group.said):
            return False
        if line := next((line for line in reversed(group.said) if "Setup failed: " in line), ""):
            reason = line.rpartition("etup failed: ")[2].removeprefix("failed to load predictor: ")
        elif crash:
            reason = f"its process crashed ({crash})"
        else:
            reason = next((line for line in reversed(group.said) if "rror" in line), "it ended before it was ready")
        raise LocalError(f"{self._launch.model.slug} could not be set up: {self._explained(reason)}")

    async def _health(self) -> str:
        """The server's word for its state; empty where it does not answer, or not soon."""
        try:
            async with asyncio.timeout(_LONG_FOR_A_WORD), call(self._address, "GET", "/health-check") as answer:
                return str(msgspec.json.decode(await answer.read()).get("status", ""))
        except (OSError, msgspec.DecodeError):
            return ""

    @asynccontextmanager
    async def _messages(self, id: str, given: Mapping[str, Any]) -> AsyncIterator[AsyncGenerator[Message]]:  # noqa: A002 - the API's own name
        """The messages of one prediction, from its request on. Raises OSError, LocalError."""
        body, delay = msgspec.json.encode({"input": given, "context": {"id": id}}), 0.001
        while True:
            with suppress(ConnectionRefusedError):  # it died while it was idle
                async with call(self._address, "PUT", f"/predictions/{id}", body, "text/event-stream") as answer:
                    if answer.status == HTTPStatus.OK:
                        async with aclosing(answer.messages()) as messages:
                            yield messages
                        return
                    if answer.status != HTTPStatus.CONFLICT:
                        raise _PredictionRefusedError(_refusal(answer.status, await answer.read()))
            # Conflict: the slot is not free yet.
            await asyncio.sleep(delay)
            delay = min(delay * 2, 0.1)
            # Most often the slot is free a moment later; it never will be where a worker died in a way unseen.
            if delay > _LONG_FOR_A_SLOT and await self._health() not in _READY:
                self._is_ready = False
            await self.start()

    async def _cancel(self, id: str, canceled: asyncio.Event) -> None:  # noqa: A002 - the API's own name
        """Once it is canceled: ask the model to end, and end its server if it does not."""
        await canceled.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                with suppress(OSError):
                    async with call(self._address, "POST", f"/predictions/{id}/cancel"):
                        pass
                await asyncio.Event().wait()  # for what is left of it
        self._force()

    def _force(self) -> None:
        """End the server, with all that runs there."""
        if self._group is not None:
            self._forced = "the model's process was ended: another prediction went on after its cancellation"
            self._is_ready = False
            self._group.kill()

    def _event(self, kind: str, data: dict[str, Any], log: LogExcerpt) -> ModelEvent | None:
        """What a message means; None for one that says nothing, and for what ``log`` keeps back."""
        match kind:
            case "start":
                return Started()
            case "log":
                text = log.take(data.get("data", ""))
                return Logged(text) if text else None
            case "output":
                return Produced(data.get("chunk"), part=self._gives_list)
            case "completed":
                error = data.get("error") and self._explained(_WRAPPED.sub("", data["error"], count=1))
                return Ended(data["status"], data.get("output"), error, data.get("metrics") or {})
            case "error":
                return Ended("failed", error=f"the model's server gave up: {data.get('error')}")
        return None

    def _explained(self, error: str) -> str:
        """The model's error, with what only we know of it."""
        if error == _CRASHED:
            how = self._group.crash if self._group else ""
            return "the model's process crashed" + (f" ({how})" if how else "")
        if error.startswith("MemoryError") and self._memory:
            words = error.removeprefix("MemoryError").strip(": ") or "out of memory"
            return f"MemoryError: {words}: a model's process may have {memory_text(self._memory)} here"
        if error.startswith(_NOT_JSON):
            return "the output holds what JSON cannot: NaN, Infinity, a lone surrogate or too deep nesting"
        return error.rstrip().removesuffix(":")  # of an exception without words


def _look(task: asyncio.Task[None]) -> None:
    """Take note of an error, which nobody else may do: whoever waited for the start may have been canceled."""
    if not task.cancelled():
        task.exception()


def _share_scratch() -> None:
    """Coglet's folder is one for the whole machine: open to every user, as /tmp is, or the first one has it alone."""
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
