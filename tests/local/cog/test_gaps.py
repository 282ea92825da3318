"""Faults of Cog's server that ``local/in_model/worker.py`` corrects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CONFIG = 'run: "predict.py:Runner"\n'
READER = """
    import os, subprocess, sys
    from cog import BaseRunner

    class Runner(BaseRunner):
        def run(self, how: str = "") -> str:
            match how:
                case "input":
                    return input("? ")
                case "read":
                    return sys.stdin.read()
                case "child":
                    return subprocess.run(["cat"], stdout=subprocess.PIPE, text=True).stdout
                case "pipe":
                    return subprocess.run(["cat"], input="given", stdout=subprocess.PIPE, text=True).stdout
            return "well"
"""
WORDS = """
    from typing import Any
    from cog import BaseRunner

    class Runner(BaseRunner):
        def run(self, how: str = "") -> Any:
            match how:
                case "bare":
                    raise ValueError
                case "nan":
                    return {"score": float("nan")}
                case "infinity":
                    return {"score": [float("inf")]}
                case "surrogate":
                    return {"text": chr(0xD800)}
                case "deep":
                    value = []
                    for _ in range(300):
                        value = [value]
                    return {"deep": value}
                case "cycle":
                    value = {}
                    value["self"] = value
                    return value
            return {"score": 1.5}
"""
FILES = """
    import os
    from typing import Iterator, Optional
    from cog import BaseModel, BaseRunner, Path

    class Output(BaseModel):
        file: Optional[Path] = None

    class Runner(BaseRunner):
        def run(self, how: str = "") -> TYPE:
            Path("good.txt").write_text("good")
            Path("folder").mkdir(exist_ok=True)
            if not Path("pipe").exists():
                os.mkfifo("pipe")
            value = Path(how or "good.txt")
            GIVE
"""
KINDS = {
    "Path": "return value",
    "list[Path]": "return [Path('good.txt'), value]",
    "Iterator[Path]": "yield value",
    "Output": "return Output(file=value)",
}
REASONS = {"nothing.txt": "No such file or directory", "folder": "Is a directory", "pipe": "it is no file"}
AGAIN = """
    from typing import AsyncIterator, Iterator
    from cog import BaseRunner, Path

    class Runner(BaseRunner):
        KEYWORD def run(self, count: int) -> KIND[Path]:
            for number in range(count):
                Path("same.txt").write_text(str(number))
                yield Path("same.txt")
            Path("same.txt").write_text("too late")
"""
MOVER = """
    import os
    from cog import BaseRunner

    class Runner(BaseRunner):
        def setup(self) -> None:
            os.mkdir("home")
            os.chdir("home")

        def run(self, to: str = "") -> str:
            if to:
                os.chdir(to)
            return os.path.basename(os.getcwd())
"""

LEAVER = """
    import sys
    from cog import BaseRunner

    class Runner(BaseRunner):
        def setup(self) -> None:
            print("looking")
            sys.exit("no GPU")

        def run(self) -> str:
            return "well"
"""


async def test_the_printed_output_of_a_setup_that_exits_is_in_the_log(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(LEAVER, CONFIG)
    async with bench() as engine:
        run = await engine.run()
        assert run.end.error == "me/model could not be set up: SystemExit: no GPU"
        assert "looking\n" in run.log


async def test_the_long_log_of_a_setup_keeps_its_beginning_and_its_end(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(LEAVER.replace('"looking"', '"\\n".join("x" * 9_999 for _ in range(150))'), CONFIG)
    async with bench() as engine:
        log = (await engine.run()).log
        assert len(log) < 600_000
        assert "characters of the log are left out here" in log
        assert log.endswith("SystemExit: no GPU\n")


@pytest.mark.parametrize(("how", "error"), [("input", "EOFError: EOF when reading a line"), ("read", None)])
async def test_the_standard_input_of_a_model_is_empty(
    write_model: Callable[..., Path], bench: Any, how: str, error: str | None
) -> None:
    write_model(READER, CONFIG)
    async with bench() as engine:
        end = (await engine.run(how=how)).end
        assert end.error == error
        assert end.output in (None, "")
        assert await engine.output() == "well"


async def test_a_program_that_a_model_starts_has_the_given_or_an_empty_standard_input(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(READER, CONFIG)
    async with bench() as engine:
        assert await engine.output(how="child") == ""
        assert await engine.output(how="pipe") == "given"
        assert await engine.output() == "well"


async def test_an_exception_without_a_message_is_reported_by_its_name(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(WORDS, CONFIG)
    async with bench() as engine:
        assert (await engine.run(how="bare")).end.error == "ValueError"


@pytest.mark.parametrize("how", ["nan", "infinity", "surrogate", "deep"])
async def test_an_output_that_json_cannot_represent_fails_with_a_clear_message(
    write_model: Callable[..., Path], bench: Any, how: str
) -> None:
    write_model(WORDS, CONFIG)
    async with bench() as engine:
        end = (await engine.run(how=how)).end
        assert end.status == "failed"
        assert end.error == "the output holds what JSON cannot: NaN, Infinity, a lone surrogate or too deep nesting"
        assert await engine.output() == {"score": 1.5}


async def test_an_output_that_contains_itself_fails_the_prediction(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(WORDS, CONFIG)
    async with bench() as engine:
        assert (await engine.run(how="cycle")).end.error.startswith("RecursionError")


@pytest.mark.parametrize("kind", KINDS)
async def test_an_output_file_that_cannot_be_read_fails_the_prediction_and_is_named(
    write_model: Callable[..., Path], bench: Any, kind: str
) -> None:
    write_model(FILES.replace("TYPE", kind).replace("GIVE", KINDS[kind]), CONFIG)
    async with bench() as engine:
        for name, reason in REASONS.items():
            end = (await engine.run(how=name)).end
            assert (end.status, end.error) == ("failed", f"OSError: the output {name} cannot be read: {reason}")
        await engine.output()


@pytest.mark.parametrize(("keyword", "kind"), [("", "Iterator"), ("async", "AsyncIterator")])
async def test_each_file_that_an_iterator_yields_keeps_its_content_of_that_moment(
    write_model: Callable[..., Path], bench: Any, keyword: str, kind: str
) -> None:
    write_model(AGAIN.replace("KEYWORD ", f"{keyword} " if keyword else "").replace("KIND", kind), CONFIG)
    async with bench() as engine:
        for _ in range(2):
            given = await engine.output(count=20)
            assert [engine.read(address) for address in given] == [str(number).encode() for number in range(20)]
        (copies,) = engine.work.glob("model-*/tmp/yielded-*")
        assert len(list(copies.iterdir())) == 20


async def test_each_prediction_starts_in_the_working_directory_of_the_setup(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(MOVER, CONFIG)
    async with bench() as engine:
        assert await engine.output() == "home"
        assert await engine.output(to="..") == "src"
        assert await engine.output() == "home"


async def test_a_setup_may_call_the_predict_function_and_the_function_may_call_itself(
    write_model: Callable[..., Path], bench: Any
) -> None:
    code = """
        from cog import BaseRunner

        class Runner(BaseRunner):
            def setup(self) -> None:
                self.warm = self.run(1)

            def run(self, depth: int) -> int:
                return self.run(depth - 1) + 1 if depth else 0
    """
    write_model(code, CONFIG)
    async with bench() as engine:
        assert await engine.output(depth=2) == 2


async def test_a_missing_numpy_is_not_searched_for_again_for_each_number_of_an_output(
    write_model: Callable[..., Path], bench: Any
) -> None:
    write_model(
        """
        import sys
        from cog import BaseRunner

        class Counting:
            asked = 0

            def find_spec(self, name, *_):
                self.asked += name == "numpy"

        class Runner(BaseRunner):
            def setup(self):
                self.counting = Counting()
                sys.meta_path.append(self.counting)

            def run(self, count: int) -> list[int]:
                return [*range(count - 1), self.counting.asked]
        """,
        CONFIG,
    )
    async with bench() as server:
        assert len(await server.output(count=5000)) == 5000
        asked = (await server.output(count=1))[0]
    assert 1 <= asked < 500  # the search runs once a second, not for each number


async def test_an_array_of_an_installed_numpy_can_be_an_output(write_model: Callable[..., Path], bench: Any) -> None:
    numpy = """
class integer: pass
class floating: pass
class ndarray:
    def tolist(self):
        return [1, 2]
"""
    model = "from cog import BaseRunner\nclass Runner(BaseRunner):\n    def run(self) -> list[int]:\n"
    write_model(f"{model}        import numpy\n        return [numpy.ndarray()]\n", CONFIG, numpy_dot_py=numpy)
    async with bench() as server:
        assert await server.output() == [[1, 2]]
