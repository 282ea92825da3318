"""Places for outputs: folders, templates, stores."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from obstore.store import MemoryStore

from replicate_job.errors import JobError
from replicate_job.outputs.names import safe
from replicate_job.outputs.place import Facts, check_place, find_place, of_row, read_save
from replicate_job.outputs.stores.stores import Stores

FACTS = Facts("acme/fox", "order/17", 1_700_000_000.0, "abc123", "rows-1")


@pytest.fixture
def stores() -> Stores:
    store = MemoryStore()
    return Stores(lambda _: store)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


async def address(save: str, stores: Stores, facts: Facts = FACTS) -> str:
    return str((await find_place(save, facts, stores)).address("output-0.webp"))


@pytest.mark.parametrize("given", ["out", "./out", "deep/er", "s3:/out", "a b%20"])
def test_a_text_without_braces_is_a_folder(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_save(given) == str(tmp_path / given)


async def test_nothing_is_replaced_in_the_name_of_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stores: Stores
) -> None:
    odd = tmp_path / "{odd}"
    odd.mkdir()
    monkeypatch.chdir(odd)
    assert read_save("out") == str(odd / "out")
    assert read_save(Path("{date}")) == str(odd / "{date}"), "a Path is no template"
    assert await address(str(odd / "out"), stores) == str(odd / "out/abc123/output-0.webp")
    assert await address(read_save("{id}/x"), stores) == str(odd / "abc123/x/output-0.webp")


def test_braces_in_the_name_of_the_home_folder_do_not_make_a_template(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "{me}"))
    assert read_save("~/out/{id}") == f"file://{tmp_path}/{{{{me}}}}/out/{{id}}"


@pytest.mark.parametrize(
    ("save", "found"),
    [
        ("file:///out/{model}/{date}/{id}-{name}", "/out/acme/fox/2023-11-14/abc123-output-0.webp"),
        ("file:///out/{owner}/{id}", "/out/acme/abc123/output-0.webp"),
        ("s3://bucket/{name}/{id}", "s3://bucket/output-0.webp/abc123"),
        ("s3://bucket/a/{key}/{name}", "s3://bucket/a/order-17-ba125075dcdd/output-0.webp"),
        ("s3://bucket/{{a}}/{id}", "s3://bucket/{a}/abc123/output-0.webp"),
        ("s3://bucket/a//b/", "s3://bucket/a/b/abc123/output-0.webp"),
        ("s3://bucket", "s3://bucket/abc123/output-0.webp"),
        ("gs://bucket/x", "gs://bucket/x/abc123/output-0.webp"),
        ("az://container/x/{id}", "az://container/x/abc123/output-0.webp"),
    ],
)
async def test_a_template_is_filled_with_values_of_the_job(save: str, found: str, stores: Stores) -> None:
    assert await address(read_save(save), stores) == found


async def test_a_file_url_without_template_names_is_a_folder(stores: Stores) -> None:
    assert read_save("file:///out/x") == "/out/x"
    assert await address("/out/x", stores) == "/out/x/abc123/output-0.webp"


async def test_the_template_for_a_row_is_filled_with_its_line(stores: Stores) -> None:
    assert of_row("/out", 1234) == "/out/0001"
    assert of_row("s3://bucket/out", 1234) == "s3://bucket/out/0001"
    row = of_row(read_save("s3://bucket/{batch}/{{x}}/{line}", rows=True), 1234)
    assert row == "s3://bucket/{batch}/{{x}}/1234"
    assert await address(row, stores) == "s3://bucket/rows-1/{x}/1234/output-0.webp"


async def test_the_date_in_a_template_is_the_day_of_the_claim_in_utc(stores: Stores) -> None:
    facts = Facts("acme/fox", "k", 86_400 * 3 - 1, "id")
    assert await address("s3://b/{date}/{id}", stores, facts) == "s3://b/1970-01-03/id/output-0.webp"


async def test_for_a_model_known_only_by_its_version_a_template_gets_the_owner_unknown(stores: Stores) -> None:
    facts = Facts("f" * 64, "k", 0, "id")
    assert await address("s3://b/{owner}/{model}/{id}", stores, facts) == f"s3://b/unknown/{'f' * 64}/id/output-0.webp"


@pytest.mark.parametrize(
    ("save", "message"),
    [
        ("s3:///x", "names no bucket"),
        ("s3://{id}/x", "names no bucket"),
        ("s3://bucket/../x", "no steps like"),
        ("s3://bucket/{batch}/{id}", r"there is no \{batch\}"),
        ("https://bucket/x", "outputs cannot be kept in https"),
        ("s3://bucket/{date}", r"it needs \{key\} or \{id\}"),
    ],
)
def test_an_invalid_template_or_url_raises_an_error(save: str, message: str) -> None:
    with pytest.raises(JobError, match=message):
        read_save(save)


async def test_the_folder_in_front_of_the_first_template_name_is_checked(tmp_path: Path, stores: Stores) -> None:
    (tmp_path / "file").write_text("in the way")
    await check_place(read_save(f"{tmp_path}/new/{{id}}/x"), stores)
    with pytest.raises(JobError, match="is not a folder"):
        await check_place(read_save(f"{tmp_path}/file/a-{{id}}"), stores)
    assert names(tmp_path) == {"file"}


async def test_writing_and_discarding_files_of_a_template_leaves_no_other_files(tmp_path: Path, stores: Stores) -> None:
    place = await find_place(read_save(f"{tmp_path}/{{name}}/{{id}}"), FACTS, stores)
    await place.make()
    part = place.part("output")
    await part.open()
    await part.write(b"RIFF0000WEBP")
    await part.commit()
    await part.discard()
    await place.write("result.json", b"{}")
    assert names(tmp_path) == {"output.webp/abc123", "result.json/abc123"}


@pytest.mark.parametrize(
    ("value", "step"),
    [
        ("sku-17.b", "sku-17.b"),
        ("größe", "größe"),
        ("a/b", "a-b-c14cddc0"),
        ("..", "5ec1f7e7"),
        ("../../etc", "etc-"),
        (".hidden", "hidden-"),
        ("con", "con-"),
        ("CON.txt", "CON.txt-"),
        ("", "e3b0c442"),
        ("a b", "a-b-"),
        ("end.", "end-"),
    ],
)
def test_a_value_becomes_one_step_of_a_path(value: str, step: str) -> None:
    assert safe(value).startswith(step)


@given(st.text(max_size=200), st.text(max_size=200))
def test_values_stay_different_and_never_leave_the_folder(one: str, other: str) -> None:
    step = safe(one)
    assert 0 < len(step.encode()) <= 80
    assert not set(step) & set('/\\\0:*?"<>|{}')
    assert not step.startswith(".")
    assert not step.endswith((".", " "))
    assert safe(step) == step
    assert one == other or step != safe(other)
