"""The notation of prices, and the price tables."""

from __future__ import annotations

from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replicate_job.errors import JobError
from replicate_job.pricing.price import Price, Term, parse_terms
from replicate_job.pricing.table import prices_place, read_prices

UNITS = ["second", "image", "input_token", "output_token", "video_second", "prediction"]
AMOUNTS = st.decimals("0.0000000001", "99999", allow_nan=False, places=10)


@pytest.mark.parametrize(
    ("text", "amount", "unit"),
    [
        ("0.003/image", "0.003", "image"),
        ("$3.00/1000 images", "0.003", "image"),
        ("$3.00 / 1,000 images", "0.003", "image"),
        ("3.75/1M input tokens", "0.00000375", "input_token"),
        ("10/1m output_tokens", "0.00001", "output_token"),
        ("2/1k runs", "0.002", "prediction"),
        ("0.05/prediction", "0.05", "prediction"),
        ("0.1/second of video", "0.1", "video_second"),
        ("0.1/seconds of video", "0.1", "video_second"),
        ("0.000975/s", "0.000975", "second"),
        ("1/2 Seconds", "0.5", "second"),
    ],
)
def test_a_price_is_an_amount_for_a_number_of_units(text: str, amount: str, unit: str) -> None:
    assert parse_terms(text) == (Term(Decimal(amount), unit),)  # type: ignore[arg-type]


@given(st.lists(st.builds(Term, AMOUNTS, st.sampled_from(UNITS)), min_size=1, max_size=4))
def test_a_printed_price_reads_back_the_same(terms: list[Term]) -> None:
    assert parse_terms(str(Price(tuple(terms), "user"))) == tuple(terms)


@pytest.mark.parametrize(
    "text", ["", "x", "0.003", "/image", "0/image", "1/0 images", "-1/image", "1/cat", "1e9/image"]
)
def test_the_error_of_a_text_that_is_no_price_shows_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"like 0\.003/image|above 0"):
        parse_terms(text)


@given(st.text(max_size=30))
def test_any_text_is_a_price_or_raises_value_error(text: str) -> None:
    with suppress(ValueError):
        assert all(term.amount > 0 for term in parse_terms(text))


def write(folder: Path, text: str) -> dict[str, str]:
    (folder / "prices.toml").write_text(text)
    return {"REPLICATE_JOB_PRICES": str(folder / "prices.toml")}


def test_the_price_table_of_the_package_has_prices_and_the_day_on_which_they_were_read(tmp_path: Path) -> None:
    prices = read_prices({"XDG_CONFIG_HOME": str(tmp_path)})
    flux = prices.find("black-forest-labs/flux-schnell")
    assert flux == Price((Term(Decimal("0.003"), "image"),), "table", date(2026, 10, 7))
    assert prices.find("acme/unknown") is None
    assert prices.hardware["gpu-l40s"].terms == (Term(Decimal("0.000975"), "second"),)
    assert all(price.date and price.terms for price in [*prices.models.values(), *prices.hardware.values()])


def test_prices_in_the_users_file_replace_those_of_the_package(tmp_path: Path) -> None:
    text = """
        date = 2026-11-02
        [hardware]
        gpu-t4 = 0.0002
        [models]
        "acme/a" = "gpu-t4"
        "deployments/acme/b" = { price = "gpu-l40s", date = 2026-11-03 }
        "black-forest-labs/flux-dev" = "0.02/image"
    """
    prices = read_prices(write(tmp_path, text))
    day = date(2026, 11, 2)
    assert prices.find("acme/a") == Price((Term(Decimal("0.0002"), "second"),), "user", day)
    assert prices.find("deployments/acme/b") == Price((Term(Decimal("0.000975"), "second"),), "user", date(2026, 11, 3))
    assert prices.find("black-forest-labs/flux-dev") == Price((Term(Decimal("0.02"), "image"),), "user", day)
    assert (flux := prices.find("black-forest-labs/flux-schnell"))
    assert flux.source == "table"


def test_a_price_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    environment = write(tmp_path, '[models]\n"a/b" = "1/image"')
    assert read_prices(environment).find("a/b")
    write(tmp_path, '[models]\n"a/ccc" = "1/image"')
    assert read_prices(environment).find("a/b") is None


def test_a_deployments_price_follows_from_its_hardware_unless_the_user_gives_one(tmp_path: Path) -> None:
    prices = read_prices(write(tmp_path, '[models]\n"deployments/acme/named" = "1/run"'))
    learned = prices.find("deployments/acme/x@gpu-t4")
    assert learned
    assert (learned.source, learned.bills_idle, str(learned)) == ("learned", True, "0.000225/second")
    assert (named := prices.find("deployments/acme/named@gpu-t4"))
    assert named.source == "user"
    assert prices.find("deployments/acme/x@gpu-unheard") is None


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[models", "prices.toml cannot be read: "),
        ("[model]", "'model' is unknown: only date, hardware and models are known"),
        ("date = 7", "date is a day like 2026-10-07"),
        ("models = 1", "hardware and models are tables"),
        ("[hardware]\ngpu-t4 = 'x'", "gpu-t4 needs a number of USD a second"),
        ("[hardware]\ngpu-t4 = 0", "above 0"),
        ("[hardware]\ngpu-t4 = nan", "gpu-t4 needs a number"),
        ("[models]\n'a/b' = 0.003", "'a/b' needs a price as text"),
        ("[models]\n'a/b' = 'gpu-x'", "a/b: 'gpu-x' is neither a price"),
        ("[models]\n'a/b' = '1/cat'", "a/b: '1/cat' is not a price"),
        ("[models]\n'a/b' = {price = '1/run', day = 1}", "'a/b' needs a price"),
    ],
)
def test_the_error_of_a_wrong_price_file_names_the_place(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(JobError, match=r"prices\.toml cannot be read") as caught:
        read_prices(write(tmp_path, text))
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_price_file_raises_an_error_only_if_the_user_named_it(tmp_path: Path) -> None:
    assert prices_place({"XDG_CONFIG_HOME": str(tmp_path)}) == tmp_path / "replicate-job" / "prices.toml"
    with pytest.raises(JobError, match="REPLICATE_JOB_PRICES: there is no file"):
        read_prices({"REPLICATE_JOB_PRICES": str(tmp_path / "no.toml")})


def test_a_price_option_is_an_amount_or_the_name_of_hardware(tmp_path: Path) -> None:
    prices = read_prices({"XDG_CONFIG_HOME": str(tmp_path)})
    assert prices.read("gpu-l40s").source == "user"
    assert str(prices.read("0.003/image")) == "0.003/image"
    with pytest.raises(ValueError, match=r"neither a price .* nor hardware: cpu, gpu-2x-l40s"):
        prices.read("gpu-9000")
