"""Constructs that public Cog projects use, each in a small model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = 'run: "predict.py:Predictor"\n'


async def test_a_class_without_a_base_class_and_with_a_decorated_method_runs(
    write_model: Callable[..., Path], bench: Any
) -> None:
    code = """
        from cog.input import Input

        def logged(function):  # without functools.wraps
            def call(*args, **kwargs):
                return function(*args, **kwargs)
            return call

        class Predictor:
            @logged
            def predict(model, text: str, far: float = Input(default=float("inf")), **others) -> str:
                return f"{text} {far} {others}"
    """
    write_model(code, CONFIG)
    async with bench() as engine:
        assert await engine.output(text="a") == "a inf {}"


async def test_a_predict_method_made_with_partial_runs(write_model: Callable[..., Path], bench: Any) -> None:
    code = """
        import functools
        from typing import Iterator
        from cog import BasePredictor, Input

        class Predictor(BasePredictor):
            def repeat(self, text: str = Input(default="x"), times: int = 1) -> Iterator[str]:
                yield from [text] * times
            predict = functools.partialmethod(repeat, times=2)
    """
    write_model(code, CONFIG)
    async with bench() as engine:
        assert await engine.output() == ["x", "x"]
        assert await engine.output(text="y", times=1) == ["y"]


INSTALLER = """
    import importlib.metadata, os, subprocess, sys
    from cog import BasePredictor

    if "PORT" not in os.environ:  # at the first import
        os.chdir("own")
        subprocess.run([sys.executable, "setup.py", "-q", "develop", "--no-deps"], check=True)
        os.chdir("..")

    class Predictor(BasePredictor):
        def setup(self):
            command = "pip install -q --no-deps --no-build-isolation --no-index /src/other"
            subprocess.run(command, shell=True, check=True)

        def predict(self) -> list[str]:
            import other, own
            packages = [importlib.metadata.distribution(name).locate_file("") for name in ("other", "setuptools")]
            return [str(package) for package in packages] + [own.__file__, os.environ["VIRTUAL_ENV"]]
"""


async def test_packages_that_a_model_installs_go_into_its_own_workspace(
    write_model: Callable[..., Path], bench: Any
) -> None:
    folder = write_model(INSTALLER, CONFIG)
    for name in ("own", "other"):
        (folder / name).mkdir()
        (folder / name / f"{name}.py").touch()
        setup = f"import setuptools\nsetuptools.setup(name={name!r}, version='1', py_modules=[{name!r}])\n"
        (folder / name / "setup.py").write_text(setup)
    async with bench() as engine:
        other, shared, own, prefix = await engine.output()
        version = engine.catalog.find("me", "model").version
    assert f"/workspaces/{version}/python-" in prefix
    assert other.startswith(prefix)
    assert "/venvs/" in shared
    assert f"/workspaces/{version}/src/own/" in own
    assert not list((folder / "own").glob("*.egg-info"))


PLACES = """
    import ctypes, os, subprocess, sys
    from pathlib import Path
    from cog import BasePredictor, Path as File

    sys.path.append("/src/parts")
    import part

    class Predictor(BasePredictor):
        def predict(self, how: str = "") -> list[str]:
            if how == "C":
                raise OSError("libx cannot open /src/words.txt")
            Path("/src/words.txt").write_text("changed")
            os.makedirs("/src/weights/deep", exist_ok=True)
            with open("/src/weights/deep/w.bin", "a") as weights:
                weights.write("w")
            shell = subprocess.run("cat /src/weights/deep/w.bin", shell=True, capture_output=True, text=True).stdout
            code = subprocess.run([sys.executable, "/src/parts/part.py"], capture_output=True, text=True).stdout
            names = sorted(os.listdir("/src/parts"))
            return [shell, code.strip(), os.environ["DATA"], *[name for name in names if name.endswith(".py")]]
"""


async def test_each_version_has_a_lasting_copy_of_the_project_at_src(
    write_model: Callable[..., Path], bench: Any, cache: Path
) -> None:
    folder = write_model(PLACES, f"{CONFIG}environment: [DATA=/src/data]\n", words_dot_txt="shipped")
    (folder / "parts").mkdir()
    (folder / "parts" / "part.py").write_text("print('part')\n")
    async with bench() as engine:
        first = engine.catalog.find("me", "model").version
        source = cache / "workspaces" / first / "src"
        for count in (1, 2):
            assert await engine.output() == ["w" * count, "part", f"{source}/data", "part.py"]
        error = (await engine.run(how="C")).end.error
        told = f"/src is the project's folder in Cog's container; here it is {source}"
        assert error == f"OSError: libx cannot open /src/words.txt ({told})"
        (folder / "more.txt").touch()
        second = engine.catalog.find("me", "model").version
        await engine.output(version=second)
    assert (source / "words.txt").read_text() == "changed"
    async with bench() as engine, bench() as other:
        assert (await engine.output(version=first))[0] == "w" * 3
        assert (await other.output(version=first))[0] == "w"  # a second server makes its own copies
        stored = engine.catalog.version(first).folder
    assert (stored / "words.txt").read_text() == "shipped"
    assert (folder / "words.txt").read_text() == "shipped"
    assert (cache / "workspaces" / second / "src" / "weights" / "deep" / "w.bin").read_text() == "w"


WRITER = """
    import os
    from cog import BasePredictor

    class Predictor(BasePredictor):
        def predict(self, word: str = "") -> list[str]:
            begin = []
            for name in ("large.bin", "newest/words.txt"):
                with open(name, "r+") as file:
                    begin.append(file.read(7))
                    file.seek(0)
                    file.write(word)
            return begin
"""
LARGE = 33 * 2**20


def write_large(file: Path, word: str) -> None:
    with file.open("w") as handle:
        handle.write(word)
        handle.truncate(LARGE)


@pytest.fixture
def writer(write_model: Callable[..., Path]) -> Path:
    """The folder of a model that changes a large file, and another file through a link to its folder."""
    folder = write_model(WRITER, CONFIG)
    write_large(folder / "large.bin", "shipped")
    (folder / "v1").mkdir()
    (folder / "v1" / "words.txt").write_text("shipped")
    (folder / "newest").symlink_to("v1")
    return folder


async def test_a_model_changes_its_own_copy_of_a_large_or_linked_file(
    writer: Path, write_model: Callable[..., Path], bench: Any
) -> None:
    other = write_model(WRITER, CONFIG, name="other")
    for name in ("large.bin", "v1"):
        (other / name).symlink_to(writer / name)
    (other / "newest").symlink_to("v1")
    async with bench() as engine:
        first = engine.catalog.find("me", "model").version
        assert await engine.output(word="written") == ["shipped", "shipped"]
        assert (await engine.output("other"))[0] == "shipped"
        (writer / "more.txt").touch()
        assert await engine.output(word="another") == ["shipped", "shipped"]
        assert await engine.output(version=first) == ["written", "written"]
    async with bench() as engine:
        assert await engine.output(version=first) == ["written", "written"]
        assert await engine.output() == ["another", "another"]
    for name in ("large.bin", "v1/words.txt"):
        with (writer / name).open() as file:
            assert file.read(7) == "shipped"


async def test_an_unchanged_copy_of_a_large_file_becomes_a_link_after_the_run(
    writer: Path, bench: Any, cache: Path
) -> None:
    async with bench() as engine:
        version = engine.catalog.find("me", "model").version
        copy = cache / "workspaces" / version / "src" / "large.bin"
        assert not copy.exists()
        await engine.output()
        assert not copy.is_symlink()
    assert copy.samefile(writer / "large.bin")
    write_large(writer / "large.bin", "changed")
    async with bench() as engine, bench() as second:
        await engine.output()
        assert await second.output() == ["changed", "shipped"]  # a second server has its own copies
        assert await second.output(word="written") == ["changed", "shipped"]
        write_large(writer / "large.bin", "edited!")
        assert await engine.output(version=engine.catalog.find("me", "model").version) == ["edited!", "shipped"]
