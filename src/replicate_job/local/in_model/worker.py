"""Cog's worker with corrections: ``python -c TEXT FOLDER -c CODE``.

TEXT is the content of this script, and CODE is Cog's own worker.

The script runs in the model's own environment, where this package is not installed. It corrects these faults of coglet
0.23.1:

- If a setup fails, Cog's server reports only the exception's message. Here the traceback is also written to
  FOLDER/failure.
- Cog's server cancels the prediction of a model that prints faster than its event stream is sent. Here text that is
  printed very fast is sent in fewer and larger pieces.
- Files that cannot be read are silently left out of an output. Here the prediction fails.
- Files that an iterator yields are read later, when the model may have overwritten them. Here each file is copied when
  it is yielded, if predictions do not run concurrently.
- The worker's standard input is the server's pipe to it, so a model that reads it blocks for ever. Here the model, and
  the programs that it starts, have an empty standard input.
- For each number in an output, Cog's server imports numpy. If numpy is not installed, Python searches the whole path
  each time. Here the result of the search is remembered for a second.
- Cog's server does not recognize a ``functools.partialmethod`` as a method. Here it becomes a plain method. Cog's
  server also does not replace the defaults ``Input(...)`` of a function inside a decorator. Here they are replaced.
- The worker continues after its server was killed. Here the worker and all that it started end when the process dies
  that started the server. The worker's file descriptor 3 is a pipe, and only that process has the other end.
- If a prediction changes the working directory, the next prediction starts there. If a setup changes it, the server
  does not find its own files. Here each prediction starts in the directory where the setup ended.
- When an async prediction is canceled, Cog's server reports the prediction's end at once, although the model may still
  run. Here the file FOLDER/running/ID exists until the model has stopped.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import types
import typing

import cog.input  # Cog's package in the model's environment, not a part of this package
import cog.predictor
import cog.types

_SPAN = 0.1  # seconds
_UNBUFFERED_WRITES = 200  # writes in each span that are not joined
_LARGE = 2**16  # the number of buffered characters at which the buffer is written at once
_FLUSH_TIME = 0.2  # seconds
_FOLDER = pathlib.Path(sys.argv[1])
_CONTEXT_ID = "replicate-job prediction"
_PROJECT_FOLDER = os.environ["COG_PROJECT_FOLDER"]
_PIPE = 3
_ARGUMENTS_BEFORE_STDIN = 3  # positional arguments of Popen
_REMEMBERED = 1.0  # seconds

FUNCTIONS = (types.FunctionType, functools.partial, functools.partialmethod)
Function = typing.Any  # a callable with any arguments
Enter = typing.Callable[[], contextlib.AbstractContextManager[None]]
Change = typing.Callable[[object], object]


class BufferedStream:
    """Standard output or error. Writes after the first ``_UNBUFFERED_WRITES`` of each span are joined."""

    def __init__(self, real: typing.Any) -> None:
        self._real = real
        self._lock = threading.RLock()
        self._since = time.monotonic()
        self._count = self._size = 0
        self._buffer: list[str] = []

    def __getattr__(self, name: str) -> typing.Any:
        return getattr(self._real, name)

    def write(self, text: str) -> int:
        with self._lock:
            now = time.monotonic()
            if now - self._since > _SPAN:
                self._since, self._count = now, 0
            self._count += 1
            if not self._buffer and self._count > _UNBUFFERED_WRITES:
                timer = threading.Timer(_SPAN, self.write_buffer)  # in case there is no further write
                timer.daemon = True
                with contextlib.suppress(RuntimeError):  # no memory for a thread: the next write empties the buffer
                    timer.start()
            self._buffer.append(text)
            self._size += len(text)
            if self._count <= _UNBUFFERED_WRITES or self._size >= _LARGE:
                self.write_buffer()
        return len(text)

    def flush(self) -> None:
        self._real.flush()

    def write_buffer(self) -> None:
        with self._lock:
            text = "".join(self._buffer)
            self._buffer.clear()
            self._size = 0
            if text:
                self._real.write(text)


class NumpyFinder:
    """An import finder that remembers that numpy is not installed."""

    def __init__(self) -> None:
        self._until = 0.0

    def find_spec(self, name: str, *_: object) -> None:
        """Return None, so that the next finder is asked. Raises ModuleNotFoundError if no finder finds numpy."""
        if name != "numpy":
            return
        if time.monotonic() >= self._until:
            if any(finder.find_spec(name, None) for finder in sys.meta_path if finder is not self):
                return
            self._until = time.monotonic() + _REMEMBERED
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)


def unchanged(value: object) -> object:
    return value


def written(function: Function) -> Function:
    """The function inside a ``functools.partialmethod``, or the function itself."""
    while partial := getattr(function, "_partialmethod", None) or getattr(function, "__partialmethod__", None):
        function = partial.func
    return function


class Wrapper:
    """Wraps functions of any kind: each call runs inside a context that ``enter`` makes.

    ``returned`` converts a function's return value, and ``yielded`` converts each value that a function yields.
    """

    def __init__(self, enter: Enter, returned: Change = unchanged, yielded: Change = unchanged) -> None:
        self._enter, self._returned, self._yielded = enter, returned, yielded

    def __call__(self, function: Function) -> Function:
        def call(*args: object, **options: object) -> object:
            with self._enter():
                return self._returned(function(*args, **options))

        async def wait(*args: object, **options: object) -> object:
            with self._enter():
                return self._returned(await function(*args, **options))

        def yield_from(*args: object, **options: object) -> typing.Iterator[object]:
            with self._enter(), contextlib.closing(function(*args, **options)) as values:
                for value in values:
                    yield self._yielded(value)

        async def yield_each(*args: object, **options: object) -> typing.AsyncIterator[object]:
            with self._enter():
                async with contextlib.aclosing(function(*args, **options)) as values:
                    async for value in values:
                        yield self._yielded(value)

        for kind, wrapper in (
            (inspect.isasyncgenfunction, yield_each),
            (inspect.isgeneratorfunction, yield_from),
            (inspect.iscoroutinefunction, wait),
        ):
            if kind(written(function)):
                return functools.wraps(function)(wrapper)
        return functools.wraps(function)(call)


@contextlib.contextmanager
def traceback_saved() -> typing.Iterator[None]:
    try:
        yield
    except BaseException:
        (_FOLDER / "failure").write_text(traceback.format_exc(), "utf-8")
        # The process ends now. Its threads need a moment to send the printed text to the server.
        time.sleep(_FLUSH_TIME)
        raise


class ModelCalls:
    """The contexts in which the model's code runs, with the working directory that it expects.

    ``copies`` is the folder for copies of yielded files; None if they are not copied.
    """

    def __init__(self, copies: pathlib.Path | None) -> None:
        self._server_directory = self._model_directory = pathlib.Path.cwd()
        self._copies = copies

    @contextlib.contextmanager
    def setup(self) -> typing.Iterator[None]:
        os.chdir(self._model_directory)
        with traceback_saved():
            yield
        self._model_directory = pathlib.Path.cwd()
        os.chdir(self._server_directory)

    @contextlib.contextmanager
    def prediction(self) -> typing.Iterator[None]:
        """The context of a prediction. At its end, all text that it printed is written.

        Otherwise, some of it would become part of the next prediction's log.
        """
        os.chdir(self._model_directory)
        # The files that remain here are the previous prediction's copies, which the server has read.
        for copy in self._copies.iterdir() if self._copies else ():
            shutil.rmtree(copy, ignore_errors=True)
        # There is no id if the model's setup, or a prediction, calls the prediction's method itself.
        mark = _FOLDER / "running" / cog.current_scope().context.pop(_CONTEXT_ID, "setup")
        mark.touch()
        try:
            yield
        finally:
            mark.unlink(missing_ok=True)
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, BufferedStream):
                    stream.write_buffer()

    def copied(self, value: object) -> object:
        """The yielded value, or a copy of it if it is a file: the model may overwrite the file before it is read."""
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
    if isinstance(value, cog.BaseModel) or hasattr(type(value), "model_fields"):  # models of pydantic have model_fields
        value = vars(value)
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    for item in items:
        if not isinstance(item, (str, int, float)):  # saves a call for each of a million numbers
            yield from files_in(item)


def note_given(path: pathlib.Path) -> None:
    """Add an output file in the project's folder to FOLDER/given, whose files are removed when the server ends."""
    name = os.path.relpath(path, _PROJECT_FOLDER)
    if not name.startswith(os.pardir) and "\n" not in name:
        with (_FOLDER / "given").open("a", encoding="utf-8") as given:
            given.write(f"{name}\n")


def checked(value: object) -> object:
    """Return the output unchanged. Raises OSError for a file in it that cannot be read."""
    for path in files_in(value):
        try:
            if path.stat() and (path.is_file() or path.is_dir()):  # opening a pipe would block
                path.open("rb").close()
                note_given(path)
                continue
            reason: object = "it is no file"
        except OSError as error:
            reason = error.strerror
        raise OSError(f"the output {path} cannot be read: {reason}")
    return value


def functions_in(function: Function) -> typing.Iterator[types.FunctionType]:
    """Yield a function, and the functions that it wraps as a decorator's wrapper or as an object of ``functools``."""
    left, seen = [function], {id(function)}
    while left:
        item = left.pop(0)
        held = [getattr(item, name, None) for name in ("_partialmethod", "__partialmethod__", "func")]
        if inspect.isfunction(item):
            yield item
            for cell in item.__closure__ or ():
                with contextlib.suppress(ValueError):  # an empty cell
                    held.append(cell.cell_contents)
        for value in held:
            if isinstance(value, FUNCTIONS) and id(value) not in seen:
                seen.add(id(value))
                left.append(value)


def with_defaults(function: Function) -> Function:
    """The function with plain defaults in place of ``Input(...)``, also in the functions that it wraps.

    Cog's server replaces defaults only in the function that it finds, which is the wrapper made here.
    """

    def plain(default: object) -> object:
        return default.default if isinstance(default, cog.input.FieldInfo) else default

    for item in functions_in(function):
        if item.__defaults__:
            item.__defaults__ = tuple(plain(default) for default in item.__defaults__)
        if item.__kwdefaults__:
            item.__kwdefaults__ = {name: plain(default) for name, default in item.__kwdefaults__.items()}
    return function


def with_plain_methods(validate: Function) -> Function:
    """Wrap Cog's check of a model's class, so that the check accepts a ``functools.partialmethod`` as a method."""

    def validate_plain(owner: type, *args: object, **options: object) -> None:
        for name in ("run", "predict"):
            if isinstance(inspect.getattr_static(owner, name, None), functools.partialmethod):
                setattr(owner, name, getattr(owner, name))
        validate(owner, *args, **options)

    return validate_plain


def wrap_method(owner: type, names: typing.Iterable[str], wrapper: Wrapper) -> None:
    """Wrap the first of these methods that the model itself defines."""
    for name in names:
        method = inspect.getattr_static(owner, name, None)
        if inspect.isfunction(method) and method.__module__ != cog.predictor.__name__:
            setattr(owner, name, wrapper(with_defaults(method)))
            return


def loads_wrapped(load: Function) -> Function:
    """Wrap Cog's function that loads a model, so that the functions of the loaded model are wrapped too."""

    def load_wrapped(*args: object) -> object:
        # With concurrent predictions, it is unknown which one printed a text, and when a copy is no longer needed.
        if is_alone := os.environ.get("COG_MAX_CONCURRENCY") == "1":
            sys.stdout, sys.stderr = BufferedStream(sys.stdout), BufferedStream(sys.stderr)
        calls = ModelCalls(pathlib.Path(tempfile.mkdtemp(prefix="yielded-")) if is_alone else None)
        wrap_setup, wrap_prediction = Wrapper(calls.setup), Wrapper(calls.prediction, checked, calls.copied)
        predictor = wrap_setup(load)(*args)
        if inspect.isfunction(predictor):
            return wrap_prediction(with_defaults(predictor))
        wrap_method(type(predictor), ("setup",), wrap_setup)
        wrap_method(type(predictor), ("run", "predict"), wrap_prediction)
        return predictor

    return load_wrapped


def without_input(start: Function) -> Function:
    """Wrap ``Popen.__init__``: a program that would inherit the worker's standard input gets an empty one."""

    def start_without_input(self: object, *args: object, **options: object) -> None:
        if len(args) <= _ARGUMENTS_BEFORE_STDIN and options.get("stdin") is None:
            options["stdin"] = subprocess.DEVNULL
        start(self, *args, **options)

    return functools.wraps(start)(start_without_input)


def end_with_parent() -> None:
    """Wait until the pipe has ended, and the group's leader has removed its files and ended. Then kill this group."""
    while os.read(_PIPE, 1):
        pass
    with contextlib.suppress(ProcessLookupError):
        while True:
            os.kill(os.getpgrp(), 0)
            time.sleep(_SPAN)
    os.killpg(os.getpgrp(), signal.SIGKILL)


def main() -> None:
    os.set_inheritable(_PIPE, False)  # programs that the model starts do not need it
    threading.Thread(target=end_with_parent, daemon=True).start()
    sys.stdin = pathlib.Path(os.devnull).open(encoding="utf-8")  # noqa: SIM115 - open until the process ends
    subprocess.Popen.__init__ = without_input(subprocess.Popen.__init__)  # type: ignore[method-assign]
    sys.meta_path.insert(0, NumpyFinder())
    cog.predictor._validate_runner_class = with_plain_methods(cog.predictor._validate_runner_class)  # noqa: SLF001
    cog.predictor.load_predictor_from_ref = loads_wrapped(cog.predictor.load_predictor_from_ref)
    code = sys.argv[3]
    del sys.argv[1:]
    exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - this is Cog's own code


main()
