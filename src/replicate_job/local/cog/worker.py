"""Run what Cog's server starts as its worker, with two of its gaps filled: ``python -c THIS FILE -c CODE``.

It runs in the model's own environment, where nothing of this package can be imported. Of a setup that fails, Cog's
server tells the exception's message only: here the traceback goes into FILE. And a model that prints faster than the
server's event stream goes is canceled: here what is printed very fast goes out in fewer and larger pieces.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import pathlib
import sys
import threading
import time
import traceback
import typing

import cog.input  # type: ignore[import-not-found]  # the model's, not the module beside this one
import cog.predictor  # type: ignore[import-not-found]

_SPAN = 0.1  # seconds
_CALM = 200  # writes in a span that go out as they are
_LARGE = 2**16  # characters
_LAST_WORDS = 0.2  # seconds
_FAILURE = sys.argv[1]

Function = typing.Any  # one that can be called with anything


class Gathered:
    """Standard output or error, which hands on in pieces what is written more than ``_CALM`` times in a span."""

    def __init__(self, real: typing.Any) -> None:
        self._real = real
        self._lock = threading.RLock()
        self._since = time.monotonic()
        self._count = self._size = 0
        self._held: list[str] = []

    def __getattr__(self, name: str) -> typing.Any:
        return getattr(self._real, name)

    def write(self, text: str) -> int:
        with self._lock:
            now = time.monotonic()
            if now - self._since > _SPAN:
                self._since, self._count = now, 0
            self._count += 1
            if not self._held and self._count > _CALM:
                timer = threading.Timer(_SPAN, self.hand_on)  # should nothing more be written
                timer.daemon = True
                timer.start()
            self._held.append(text)
            self._size += len(text)
            if self._count <= _CALM or self._size >= _LARGE:
                self.hand_on()
        return len(text)

    def flush(self) -> None:
        self._real.flush()

    def hand_on(self) -> None:
        with self._lock:
            text = "".join(self._held)
            self._held.clear()
            self._size = 0
            if text:
                self._real.write(text)


class Around:
    """Something that is entered each time a function is called, whatever kind of function it is."""

    def __init__(self, enter: typing.Callable[[], contextlib.AbstractContextManager[None]]) -> None:
        self._enter = enter

    def __call__(self, function: Function) -> Function:
        def call(*given: object, **named: object) -> object:
            with self._enter():
                return function(*given, **named)

        async def wait(*given: object, **named: object) -> object:
            with self._enter():
                return await function(*given, **named)

        def yield_from(*given: object, **named: object) -> typing.Iterator[object]:
            with self._enter():
                yield from function(*given, **named)

        async def yield_each(*given: object, **named: object) -> typing.AsyncIterator[object]:
            with self._enter():
                async with contextlib.aclosing(function(*given, **named)) as values:
                    async for value in values:
                        yield value

        for kind, wrapper in (
            (inspect.isasyncgenfunction, yield_each),
            (inspect.isgeneratorfunction, yield_from),
            (inspect.iscoroutinefunction, wait),
        ):
            if kind(function):
                return functools.wraps(function)(wrapper)
        return functools.wraps(function)(call)


@contextlib.contextmanager
def telling() -> typing.Iterator[None]:
    try:
        yield
    except Exception:
        pathlib.Path(_FAILURE).write_text(traceback.format_exc(), "utf-8")
        time.sleep(_LAST_WORDS)  # what was printed before is on its way through threads of this process, which ends
        raise


@contextlib.contextmanager
def handing_on() -> typing.Iterator[None]:
    """Whatever was printed belongs to the prediction that printed it."""
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, Gathered):
                stream.hand_on()


def with_defaults(function: Function) -> Function:
    """The function with the defaults of its inputs themselves, as Cog's server would have it, which sees another."""

    def bare(default: object) -> object:
        return default.default if isinstance(default, cog.input.FieldInfo) else default

    if function.__defaults__:
        function.__defaults__ = tuple(bare(default) for default in function.__defaults__)
    if function.__kwdefaults__:
        function.__kwdefaults__ = {name: bare(default) for name, default in function.__kwdefaults__.items()}
    return function


def surround(owner: type, name: str, enter: typing.Callable[[], contextlib.AbstractContextManager[None]]) -> None:
    """Enter this each time the model's own method is called."""
    method = inspect.getattr_static(owner, name, None)
    if inspect.isfunction(method) and method.__module__ != cog.predictor.__name__:
        setattr(owner, name, Around(enter)(with_defaults(method)))


def prepared(load: Function) -> Function:
    """Cog's function that loads a model, for models that run here."""

    def load_prepared(*given: object) -> object:
        # Where predictions run side by side, whose text it is cannot be told later.
        gathers = os.environ.get("COG_MAX_CONCURRENCY") == "1"
        if gathers:
            sys.stdout, sys.stderr = Gathered(sys.stdout), Gathered(sys.stderr)
        predictor = Around(telling)(load)(*given)
        if inspect.isfunction(predictor):
            return Around(handing_on)(with_defaults(predictor)) if gathers else predictor
        surround(type(predictor), "setup", telling)
        for name in ("run", "predict") if gathers else ():
            surround(type(predictor), name, handing_on)
        return predictor

    return load_prepared


def main() -> None:
    cog.predictor.load_predictor_from_ref = prepared(cog.predictor.load_predictor_from_ref)
    code = sys.argv[3]
    del sys.argv[1:]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - it is what would have run


main()
