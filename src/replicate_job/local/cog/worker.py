"""Run what Cog's server starts as its worker, with its gaps filled: ``python -c THIS FILE FOLDER -c CODE``.

It runs in the model's own environment, where nothing of this package can be imported. The gaps:

- Of a setup that fails, Cog's server tells the exception's message only. Here the traceback goes into
  FOLDER/failure.
- A model that prints faster than the server's event stream goes is canceled. Here what is printed very fast goes out
  in fewer and larger pieces.
- Files that cannot be read are left out of an output without a word. Here the prediction fails.
- Files of an iterator are read later than they are given, when the model may have written over them. Here each is
  copied, where predictions do not run side by side.
- The worker's standard input is the server's pipe to it, and whoever reads it waits for ever. Here the model and the
  programs that it starts find an empty one.
- For each number of an output, Cog's server imports numpy; where there is none, the whole path is searched each time.
  Here that is remembered for a second.
- One prediction's change of the working directory stays for the next, and a setup's keeps the server from its own
  files. Here each prediction starts where the setup ended.
- An async prediction that was canceled is over for Cog's server at once, whether the model heard it or not. Here there
  is a file FOLDER/running/ID until it is.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import typing

import cog.input  # the model's, not the module beside this one
import cog.predictor
import cog.types

_SPAN = 0.1  # seconds
_CALM = 200  # writes in a span that go out as they are
_LARGE = 2**16  # characters
_LAST_WORDS = 0.2  # seconds
_FOLDER = pathlib.Path(sys.argv[1])
_BEFORE_STDIN = 3  # arguments of Popen
_ABSENT = 1.0  # seconds

Function = typing.Any  # one that can be called with anything
Enter = typing.Callable[[], contextlib.AbstractContextManager[None]]
Change = typing.Callable[[object], object]


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
                with contextlib.suppress(RuntimeError):  # no memory for a thread: it goes with what comes next
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


class Absent:
    """A finder of modules that knows when numpy is not there."""

    def __init__(self) -> None:
        self._until = 0.0

    def find_spec(self, name: str, *_: object) -> None:
        """Nothing: the next finder is asked. Raises ModuleNotFoundError where that would be in vain."""
        if name != "numpy":
            return
        if time.monotonic() >= self._until:
            if any(finder.find_spec(name, None) for finder in sys.meta_path if finder is not self):
                return
            self._until = time.monotonic() + _ABSENT
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def unchanged(value: object) -> object:
    return value


class Around:
    """Something that is entered each time a function is called, whatever kind of function it is.

    What it returns goes through ``returned`` then, what it yields through ``yielded``.
    """

    def __init__(self, enter: Enter, returned: Change = unchanged, yielded: Change = unchanged) -> None:
        self._enter, self._returned, self._yielded = enter, returned, yielded

    def __call__(self, function: Function) -> Function:
        def call(*given: object, **named: object) -> object:
            with self._enter():
                return self._returned(function(*given, **named))

        async def wait(*given: object, **named: object) -> object:
            with self._enter():
                return self._returned(await function(*given, **named))

        def yield_from(*given: object, **named: object) -> typing.Iterator[object]:
            with self._enter(), contextlib.closing(function(*given, **named)) as values:
                for value in values:
                    yield self._yielded(value)

        async def yield_each(*given: object, **named: object) -> typing.AsyncIterator[object]:
            with self._enter():
                async with contextlib.aclosing(function(*given, **named)) as values:
                    async for value in values:
                        yield self._yielded(value)

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
    except BaseException:
        (_FOLDER / "failure").write_text(traceback.format_exc(), "utf-8")
        time.sleep(_LAST_WORDS)  # what was printed before is on its way through threads of this process, which ends
        raise


class Turns:
    """Around what the model does. ``copies`` is a folder for files that are yielded; None where they are not copied."""

    def __init__(self, copies: pathlib.Path | None) -> None:
        self._room = self._place = pathlib.Path.cwd()
        self._copies = copies

    @contextlib.contextmanager
    def prepare(self) -> typing.Iterator[None]:
        os.chdir(self._place)
        with telling():
            yield
        self._place = pathlib.Path.cwd()
        os.chdir(self._room)

    @contextlib.contextmanager
    def take(self) -> typing.Iterator[None]:
        """Whatever was printed in it belongs to the prediction that printed it."""
        os.chdir(self._place)
        for copy in self._copies.iterdir() if self._copies else ():  # the last one's: nobody reads them any more
            shutil.rmtree(copy, ignore_errors=True)
        mark = _FOLDER / "running" / cog.current_scope().context.get("id", "setup")
        mark.touch()
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)  # a model may call itself
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, Gathered):
                    stream.hand_on()

    def copied(self, value: object) -> object:
        checked(value)
        if not (self._copies and is_file(value)):
            return value
        folder = pathlib.Path(tempfile.mkdtemp(dir=self._copies))
        return cog.types.Path(shutil.copyfile(value, folder / value.name))


def is_file(value: object) -> typing.TypeGuard[pathlib.Path]:
    return isinstance(value, pathlib.Path) and not isinstance(value, cog.types.URLPath)


def files_in(value: object) -> typing.Iterator[pathlib.Path]:
    if is_file(value):
        yield value
    if isinstance(value, cog.BaseModel) or hasattr(type(value), "model_fields"):  # or one of pydantic's
        value = vars(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for item in items:
        if not isinstance(item, (str, int, float)):  # there may be a million of them
            yield from files_in(item)


def checked(value: object) -> object:
    """The output itself. Raises OSError for a file in it that cannot be read."""
    for path in files_in(value):
        try:
            if path.stat() and (path.is_file() or path.is_dir()):  # no pipe, which would be waited for
                path.open("rb").close()
                continue
            reason: object = "it is no file"
        except OSError as error:
            reason = error.strerror
        raise OSError(f"the output {path} cannot be read: {reason}")
    return value


def with_defaults(function: Function) -> Function:
    """The function with the defaults of its inputs themselves, as Cog's server would have it, which sees another."""

    def bare(default: object) -> object:
        return default.default if isinstance(default, cog.input.FieldInfo) else default

    if function.__defaults__:
        function.__defaults__ = tuple(bare(default) for default in function.__defaults__)
    if function.__kwdefaults__:
        function.__kwdefaults__ = {name: bare(default) for name, default in function.__kwdefaults__.items()}
    return function


def surround(owner: type, names: typing.Iterable[str], around: Around) -> None:
    """Put this around the first of these methods that is the model's own."""
    for name in names:
        method = inspect.getattr_static(owner, name, None)
        if inspect.isfunction(method) and method.__module__ != cog.predictor.__name__:
            setattr(owner, name, around(with_defaults(method)))
            return


def prepared(load: Function) -> Function:
    """Cog's function that loads a model, for models that run here."""

    def load_prepared(*given: object) -> object:
        # Where predictions run side by side, whose text it is, or when a copy is done with, cannot be told.
        if is_alone := os.environ.get("COG_MAX_CONCURRENCY") == "1":
            sys.stdout, sys.stderr = Gathered(sys.stdout), Gathered(sys.stderr)
        turns = Turns(pathlib.Path(tempfile.mkdtemp(prefix="yielded-")) if is_alone else None)
        preparing, predicting = Around(turns.prepare), Around(turns.take, checked, turns.copied)
        predictor = preparing(load)(*given)
        if inspect.isfunction(predictor):
            return predicting(with_defaults(predictor))
        surround(type(predictor), ("setup",), preparing)
        surround(type(predictor), ("run", "predict"), predicting)
        return predictor

    return load_prepared


def without_input(start: Function) -> Function:
    """The start of a program, which gets an empty standard input where it would have ours."""

    def started(self: object, *given: object, **named: object) -> None:
        if len(given) <= _BEFORE_STDIN and named.get("stdin") is None:
            named["stdin"] = subprocess.DEVNULL
        start(self, *given, **named)

    return functools.wraps(start)(started)


def main() -> None:
    sys.stdin = pathlib.Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - as long as the process lives
    subprocess.Popen.__init__ = without_input(subprocess.Popen.__init__)  # type: ignore[method-assign]
    sys.meta_path.insert(0, Absent())
    cog.predictor.load_predictor_from_ref = prepared(cog.predictor.load_predictor_from_ref)
    code = sys.argv[3]
    del sys.argv[1:]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - it is what would have run


main()
