"""The built-in models have the inputs of the real models, and say that they are stand-ins."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = pytest.mark.long
MODELS = Path(__file__).parents[2] / "src/replicate_job/builtin_models"
NAMES = ["replicate/hello-world", "black-forest-labs/flux-schnell", "stability-ai/sdxl"]
FLUX_SIZES = {
    "1:1": (1024, 1024), "16:9": (1344, 768), "21:9": (1536, 640), "3:2": (1216, 832), "2:3": (832, 1216),
    "4:5": (896, 1088),
    "5:4": (1088, 896), "3:4": (896, 1152), "4:3": (1152, 896), "9:16": (768, 1344), "9:21": (640, 1536),
}  # fmt: skip

HARNESS = """
import sys, types
from pathlib import Path
cog = types.ModuleType("cog")
cog.BasePredictor, cog.Path, cog.Input = object, Path, lambda **options: options.get("default")
sys.modules["cog"] = cog
import predict
"""
"""Replaces the cog package, which is not installed here. An ``Input`` is its default."""


def run(model: str, code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    pytest.importorskip("numpy")
    pytest.importorskip("font_source_sans_pro")
    environment = {
        "PYTHONPATH": "../../_shared",
        "PYTHONDONTWRITEBYTECODE": "1",
        "TMPDIR": str(tmp_path),
        "PYTHONIOENCODING": "utf-8",
    }
    command = [sys.executable, "-c", HARNESS + code]
    return subprocess.run(
        command, cwd=MODELS / model, env=environment, capture_output=True, text=True, check=True, encoding="utf-8"
    )


def inputs(model: str) -> list[str]:
    tree = ast.parse((MODELS / model / "predict.py").read_text("utf-8"))
    predict = next(node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == "predict")
    return [argument.arg for argument in predict.args.args[1:]]


def test_the_inputs_are_those_of_the_real_models_in_their_order() -> None:
    assert inputs("black-forest-labs/flux-schnell") == [
        "prompt",
        "aspect_ratio",
        "num_outputs",
        "num_inference_steps",
        "seed",
        "output_format",
        "output_quality",
        "disable_safety_checker",
        "go_fast",
        "megapixels",
    ]
    assert inputs("stability-ai/sdxl") == [
        "prompt",
        "negative_prompt",
        "image",
        "mask",
        "width",
        "height",
        "num_outputs",
        "scheduler",
        "num_inference_steps",
        "guidance_scale",
        "prompt_strength",
        "seed",
        "refine",
        "high_noise_frac",
        "refine_steps",
        "apply_watermark",
        "lora_scale",
        "replicate_weights",
        "disable_safety_checker",
    ]


@pytest.mark.parametrize("model", NAMES)
def test_every_model_has_a_cog_yaml_with_pinned_packages_and_a_description(model: str) -> None:
    config = yaml.safe_load((MODELS / model / "cog.yaml").read_text("utf-8"))
    assert config["predict"] == "predict.py:Predictor"
    assert all("==" in package for package in config["build"].get("python_packages", []))
    first = (MODELS / model / "README.md").read_text("utf-8").split("\n\n")[0]
    assert len(first) < 200
    assert model == "replicate/hello-world" or first.startswith("A stand-in, not ")


def test_hello_world_greets(tmp_path: Path) -> None:
    assert (
        run("replicate/hello-world", "print(predict.Predictor().predict('world'))", tmp_path).stdout == "hello world\n"
    )


def test_flux_has_the_real_sizes_and_halves_them_for_a_quarter_megapixel(tmp_path: Path) -> None:
    code = """
from PIL import Image
seen = []
def pictures(scene, size, seed, count, steps):
    seen.append(size)
    return iter([Image.new("RGB", (8, 8))] * count)
predict.studio.pictures = pictures
for ratio in predict.SIZES:
    for megapixels in ("1", "0.25"):
        predict.Predictor().predict("hills", ratio, 1, 4, 1, "png", 80, False, True, megapixels)
        print("SIZE", ratio, megapixels, *seen[-1])
"""
    lines = [
        line.split()[1:]
        for line in run("black-forest-labs/flux-schnell", code, tmp_path).stdout.splitlines()
        if line.startswith("SIZE")
    ]
    measured = {(ratio, megapixels): (int(width), int(height)) for ratio, megapixels, width, height in lines}
    expected = {(ratio, "1"): size for ratio, size in FLUX_SIZES.items()}
    expected |= {(ratio, "0.25"): (width // 2, height // 2) for ratio, (width, height) in FLUX_SIZES.items()}
    assert measured == expected


def test_flux_logs_its_seed_and_ignored_inputs_and_writes_files(tmp_path: Path) -> None:
    code = """
paths = predict.Predictor().predict("hills", "21:9", 2, 1, None, "jpg", 80, False, False, "0.25")
print(*(path.name for path in paths))
"""
    done = run("black-forest-labs/flux-schnell", code, tmp_path)
    seed, ignored, *_, names = done.stdout.splitlines()
    assert ignored == "Stand-in: without effect here: go_fast"
    assert seed.startswith("Using seed: ")
    assert names == "out-0.jpg out-1.jpg"
    assert "100%|██████████| 10/10 [" in done.stderr


def test_sdxl_blends_over_an_image_and_logs_ignored_inputs(tmp_path: Path) -> None:
    code = f"""
from PIL import Image
Image.new("RGB", (128, 64), (255, 0, 0)).save({str(tmp_path / "in.png")!r})
Image.new("L", (128, 64)).save({str(tmp_path / "black.png")!r})
def out(strength, **more):
    [path] = predict.Predictor().predict("night sea", image=Path({str(tmp_path / "in.png")!r}), num_outputs=1,
        num_inference_steps=4, prompt_strength=strength,
        seed=1, width=512, height=512, **({{"mask": None, "negative_prompt": ""}} | more))
    return Image.open(path)
kept, half, gone = out(0.0), out(0.5, guidance_scale=3.0), out(1.0)
masked = out(1.0, mask=Path({str(tmp_path / "black.png")!r})).getpixel((5, 5))
red, _, blue = gone.getpixel((5, 5))
print("SEEN", *kept.size, kept.getpixel((5, 5)), half.getpixel((5, 5))[0] < 220, red < blue, masked)
"""
    output = run("stability-ai/sdxl", code, tmp_path).stdout
    assert "SEEN 128 64 (255, 0, 0) True True (255, 0, 0)" in output
    assert "Stand-in: without effect here: guidance_scale" in output
