from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TYPES = """
    import enum
    from typing import Any, Literal, Optional
    from cog import BaseModel, BaseRunner, Input, Path, Secret

    class Size(str, enum.Enum):
        SMALL = "small"
        LARGE = "large"

    class Result(BaseModel):
        seen: dict
        picture: Path
        masks: list[Path]
        none: Optional[Path]

    class Runner(BaseRunner):
        def run(
            self,
            pictures: list[Path],
            maybe: Optional[str] = None,
            literal: Literal["a", "b"] = "a",
            size: Size = Size.LARGE,
            choice: int = Input(default=1, choices=[1, 2]),
            secret: Secret = Input(description="Key"),
        ) -> Result:
            paths = [Path(f"{number}.png") for number in range(3)]
            for path in paths:
                path.write_bytes(path.name.encode())
            texts = [picture.read_text() for picture in pictures]
            seen = {"texts": texts, "maybe": maybe, "literal": literal, "choice": choice}
            seen |= {"size": getattr(size, "value", size), "secret": secret.get_secret_value()}
            return Result(seen=seen, picture=paths[0], masks=paths[1:], none=None)
"""


async def test_values_of_every_type_reach_the_model_and_files_in_objects_are_stored(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(TYPES, 'run: "predict.py:Runner"\n')
    async with local() as api:
        given = {"pictures": ["data:,one", "data:;base64,dHdv"], "secret": "s", "size": "small"}
        done = await api.run(**given)
        assert done["error"] is None
        output = done["output"]
        seen = {"texts": ["one", "two"], "maybe": None, "literal": "a", "choice": 1, "size": "small", "secret": "s"}
        assert output["seen"] == seen
        assert output["none"] is None
        names = [url.rpartition("/")[2] for url in (output["picture"], *output["masks"])]
        assert names == ["picture.png", "masks-0.png", "masks-1.png"]
        assert [await (await api.request("GET", url)).text() for url in output["masks"]] == ["1.png", "2.png"]


async def test_every_invalid_value_is_refused_before_the_model_gets_it(
    write_model: Callable[..., Path], local: Any
) -> None:
    write_model(TYPES, 'run: "predict.py:Runner"\n')
    async with local() as api:
        given = {"pictures": ["x"], "literal": "c", "size": "medium", "choice": 3, "maybe": 1, "secret": 5}
        body = {"version": await api.version(), "input": given}
        answer = await (await api.request("POST", "/v1/predictions", body)).json()
        assert [(field["field"], field["type"]) for field in answer["invalid_fields"]] == [
            ("input.choice", "enum"),
            ("input.literal", "enum"),
            ("input.maybe", "invalid_type"),
            ("input.pictures.0", "format"),
            ("input.secret", "invalid_type"),
            ("input.size", "enum"),
        ]


async def test_an_optional_input_may_be_left_out_but_not_null(write_model: Callable[..., Path], local: Any) -> None:
    # Cog's own server does the same with the document of Cog's own tool.
    code = """
        from typing import Optional
        from cog import BasePredictor, Input, Path

        class Predictor(BasePredictor):
            def predict(
                self,
                text: Optional[str],
                size: Optional[int] = Input(description="In pixels"),
                seed: int = Input(default=None),
                mask: Path = Input(default=None),
                b: str = None,
            ) -> str:
                return repr((text, size, seed, mask, b))
    """
    write_model(code)
    async with local() as api:
        assert (await api.run())["output"] == "(None, None, None, None, None)"
        body = {"version": await api.version(), "input": {"text": None, "seed": None}}
        answer = await (await api.request("POST", "/v1/predictions", body)).json()
        assert [(fault["field"], fault["description"]) for fault in answer["invalid_fields"]] == [
            ("input.seed", "Invalid type. Expected: integer, given: null"),
            ("input.text", "Invalid type. Expected: string, given: null"),
        ]


async def test_the_model_gets_the_context_of_its_own_request_unchanged(
    write_model: Callable[..., Path], local: Any
) -> None:
    code = """
        from cog import BasePredictor, current_scope

        class Predictor(BasePredictor):
            def predict(self) -> dict[str, str]:
                return current_scope().context
    """
    write_model(code)
    async with local() as api:
        body = {"version": await api.version(), "input": {}}
        made = await (await api.request("POST", "/v1/predictions", body | {"context": {"id": "../x"}})).json()
        assert (await api.until(made, lambda found: found.get("completed_at")))["output"] == {"id": "../x"}
        assert (await api.run())["output"] == {}
        refused = await (await api.request("POST", "/v1/predictions", body | {"context": {"id": 3}})).json()
        assert [fault["field"] for fault in refused["invalid_fields"]] == ["context"]


async def test_two_fields_that_would_share_a_file_name_keep_their_own_files(
    write_model: Callable[..., Path], local: Any
) -> None:
    code = """
        from cog import BasePredictor, Path

        class Predictor(BasePredictor):
            def predict(self) -> dict:
                return {"a b": self.make("one"), "a-b": self.make("two"), "../up": self.make("three")}

            def make(self, text: str) -> Path:
                path = Path(f"{text}.txt")
                path.write_text(text)
                return path
    """
    write_model(code)
    async with local() as api:
        output = (await api.run())["output"]
        texts = [await (await api.request("GET", output[name])).text() for name in ("a b", "a-b", "../up")]
        assert texts == ["one", "two", "three"]
        assert output["../up"].endswith("/up.txt")


async def test_an_environment_that_was_removed_is_built_again(
    write_model: Callable[..., Path], local: Any, tmp_path: Path
) -> None:
    code = """
        import os
        from cog import BasePredictor

        class Predictor(BasePredictor):
            def predict(self, crash: bool = False) -> str:
                return os._exit(3) if crash else "well"
    """
    write_model(code)
    async with local(cache_dir=tmp_path / "cache") as api:
        await api.run(crash=True)  # so that the next prediction needs a new process
        shutil.rmtree(tmp_path / "cache" / "venvs")
        done = await api.run()
        assert (done["error"], done["output"]) == (None, "well")


async def test_a_stand_in_model_is_reported_once_and_its_preparation_causes_no_warning(
    write_model: Callable[..., Path], local: Any
) -> None:
    code = """
        from cog import BasePredictor


        class Predictor(BasePredictor):
            def predict(self, text: str) -> str:
                return text
    """
    for name in ("model", "other"):
        write_model(code, name=name, README_dot_md=f"A stand-in, not {name}: it repeats.\n")
    notices: list[str] = []
    warnings: list[str] = []
    async with local(on_notice=notices.append, on_warning=warnings.append) as api:
        for name in ("me/model", "me/model", "me/other", "me/model"):
            body = {"version": await api.version(name), "input": {"text": "x"}}
            done = await (await api.request("POST", "/v1/predictions", body, prefer="wait")).json()
            assert done["status"] == "succeeded", done
    assert warnings == [f"me/{name} is a stand-in, not {name}: it repeats." for name in ("model", "other")]
    assert all(line.startswith("preparing me/") for line in notices)
