"""The display of a Result in a notebook."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest

from replicate_job.job import Result
from replicate_job.notebook import INLINE

if TYPE_CHECKING:
    from pathlib import Path

PNG = "data:image/png;base64,iVBORw0KGgo="


def result(output: Any = None, **fields: Any) -> Result:
    return Result(
        **{"prediction_id": "abc", "status": "succeeded", "model": "owner/name", "input": {}, "output": output} | fields
    )


class Page(HTMLParser):
    """The tags that a browser would see."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag != "div":
            self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def page(of: Result) -> Page:
    return Page(of._repr_mimebundle_()["text/html"])


@pytest.mark.parametrize(
    ("name", "tag", "kind"),
    [("a.webp", "img", "image/webp"), ("a.mp3", "audio", "audio/mpeg"), ("a.mp4", "video", "video/mp4")],
)
def test_a_saved_file_is_embedded_with_its_player(name: str, tag: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_bytes(b"hi")

    ((found, attributes),) = page(result(files=(path,))).tags

    assert found == tag
    assert attributes["src"] == f"data:{kind};base64,aGk="


def test_files_beyond_the_size_limit_are_named_and_not_embedded(tmp_path: Path) -> None:
    first, second = tmp_path / "first.png", tmp_path / "second.png"
    first.write_bytes(b"x" * (INLINE - 10))
    second.write_bytes(b"y" * 11)

    shown = page(result(files=(first, second)))

    assert [attributes["alt"] for _, attributes in shown.tags] == ["first.png"]
    assert f"{second} (11 bytes)" in shown.text


def test_files_without_a_player_and_missing_files_are_named(tmp_path: Path) -> None:
    archive = tmp_path / "weights.zip"
    archive.write_bytes(b"PK")

    shown = page(result(files=(archive, tmp_path / "gone.png")))

    assert shown.tags == []
    assert f"{archive} (2 bytes)" in shown.text
    assert f"{tmp_path / 'gone.png'} (no longer there)" in shown.text


def test_unsaved_outputs_are_shown_from_their_urls() -> None:
    output = ["https://replicate.delivery/a/out.png", PNG, "https://replicate.delivery/b/mesh.glb"]

    assert [
        (tag, attributes.get("src") or attributes.get("href")) for tag, attributes in page(result(output)).tags
    ] == [
        ("img", output[0]),
        ("img", PNG),
        ("a", output[2]),
    ]


def test_files_of_a_local_run_are_recognized_by_their_origin() -> None:
    url = "http://127.0.0.1:5000/files/a.png"
    urls = {"get": "http://127.0.0.1:5000/v1/predictions/abc"}

    assert [tag for tag, _ in page(result(url, urls=urls)).tags] == ["img"]
    assert page(result(url, urls={})).text == url


@pytest.mark.parametrize("output", ['A <b>bold</b> & "quoted" sea', ["A <b>bold</b>", ' & "quoted" sea']])
def test_text_is_shown_unchanged(output: Any) -> None:
    shown = page(result(output))

    assert shown.tags == []
    assert shown.text == 'A <b>bold</b> & "quoted" sea'


def test_text_from_a_model_is_escaped(tmp_path: Path) -> None:
    evil = '"><script>alert(1)</script>'
    named = tmp_path / 'x"><script>.png'
    named.write_bytes(b"hi")
    results = [
        result(evil),
        result(f"https://replicate.delivery/{evil}.png"),
        result(f"https://replicate.delivery/{evil}.zip"),
        result("data:text/html;base64,PHNjcmlwdD4="),
        result(status="failed", error=evil),
        result(files=(named,)),
    ]

    for one in results:
        assert {tag for tag, _ in page(one).tags} <= {"img", "a"}
        assert all(set(attributes) <= {"src", "href", "alt", "style"} for _, attributes in page(one).tags)


def test_the_size_limit_applies_to_data_urls_too() -> None:
    shown = page(result("data:image/png," + "x" * (INLINE + 1)))

    assert shown.tags == []
    assert shown.text == "image/png (10,000,001 bytes)"
    assert page(result("data:image/png;base64,*")).tags == []


def test_long_text_is_cut() -> None:
    assert len(result("word " * 10**6)._repr_mimebundle_()["text/html"]) < 200_000


@pytest.mark.parametrize(
    ("of", "line"),
    [
        (result("one\ntwo"), "prediction abc succeeded: one two"),
        (result({"a": 1}), "prediction abc succeeded"),
        (result(status="failed", error="CUDA\nout of memory"), "prediction abc failed: CUDA out of memory"),
        (result("word " * 1000), "prediction abc succeeded: " + ("word " * 1000)[:173] + "…"),
    ],
)
def test_the_plain_text_form_of_a_result_is_one_line(of: Result, line: str) -> None:
    assert of._repr_mimebundle_()["text/plain"] == line
    assert "\n" not in line


def test_the_plain_text_form_of_a_result_names_the_files(tmp_path: Path) -> None:
    assert result(files=(tmp_path / "a.png",))._repr_mimebundle_()["text/plain"].endswith("a.png")


def test_the_status_of_a_failed_result_is_shown() -> None:
    assert page(result(status="canceled")).text == "prediction abc canceled"


def test_an_output_in_an_object_store_is_shown_by_its_url(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"png")
    shown = result(PNG, files=("s3://bucket/<b>.png", picture))._repr_mimebundle_()
    page = Page(shown["text/html"])
    assert "s3://bucket/<b>.png" in page.text
    assert [tag for tag, _ in page.tags] == ["img"]
