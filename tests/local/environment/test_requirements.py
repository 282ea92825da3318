from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from replicate_job.local.environment.requirements import read_requirements

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("line", "lines", "options"),
    [
        ("torch==2.1 --extra-index-url=https://a/b", ["--extra-index-url https://a/b", "torch==2.1"], []),
        ("--pre torch -f https://a/b.html", ["-f https://a/b.html", "torch"], ["--prerelease", "allow"]),
        ("--find-links https://a/b", ["--find-links https://a/b"], []),
        ("--trusted-host a", [], ["--allow-insecure-host", "a"]),
        ("--prefer-binary", [], []),
        ("six --hash=sha256:ab", ["six --hash=sha256:ab"], []),
        ("git+https://a/b.git@main#egg=c", ["git+https://a/b.git@main#egg=c"], []),
        ("my-pre==1  # not --pre", ["my-pre==1"], []),
        ("-e .", [], []),
        ("cogs==1", ["cogs==1"], []),
    ],
)
def test_options_for_pip_become_lines_of_a_requirements_file_or_options_for_uv(
    line: str, lines: list[str], options: list[str], tmp_path: Path
) -> None:
    found = read_requirements([line], tmp_path)
    assert (list(found.lines), list(found.options), found.left_out) == (lines, options, ())


@pytest.mark.parametrize("line", ["cog", "cog==0.3", "Cog >= 0.3", "coglet<1", "cog[x]==1", "cog @ https://a/b.whl"])
def test_a_requirement_for_cog_itself_is_left_out(line: str, tmp_path: Path) -> None:
    assert read_requirements(["six", line], tmp_path).left_out == (line,)
    assert read_requirements(["six", line], tmp_path).lines == ("six",)


def test_lines_after_a_backslash_are_joined_and_file_paths_become_absolute(tmp_path: Path) -> None:
    (tmp_path / "more.txt").touch()
    (tmp_path / "own").mkdir()
    found = read_requirements(["-r more.txt", "./own", "a==1 \\", "  --hash=sha256:ab", "b/c @ https://d"], tmp_path)
    assert found.lines == (
        f"-r {tmp_path}/more.txt",
        f"{tmp_path}/own",
        "a==1    --hash=sha256:ab",
        "b/c @ https://d",
    )
