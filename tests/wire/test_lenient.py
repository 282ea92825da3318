"""A response that the decoder refuses is read a second time, and what can be read of it is used."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from replicate_job.decoding import decode
from replicate_job.wire.lenient import mend, mend_id
from replicate_job.wire.model import Model
from replicate_job.wire.prediction import MendedPrediction, Prediction, PredictionPage

DEEP = "[" * 100_000 + "]" * 100_000
LONG = "9" * 5000


def body(**parts: str) -> bytes:
    fields = {"id": '"abc"', "status": '"succeeded"'} | parts
    return ("{" + ", ".join(f'"{name}": {text}' for name, text in fields.items()) + "}").encode()


def mended(text: bytes) -> MendedPrediction:
    with pytest.raises((ValueError, RecursionError)):
        decode(text, Prediction)
    prediction = mend(text, Prediction)
    assert isinstance(prediction, MendedPrediction)
    assert (prediction.id, prediction.status) == ("abc", "succeeded")
    assert msgspec.json.encode(prediction), "the journal can store it"
    return prediction


@pytest.mark.parametrize(
    ("text", "output"),
    [
        (r'"half \ud83d"', "half \ufffd"),
        (r'"\ude00\ud83d"', "\ufffd\ufffd"),
        (r'"\ud83d\ud83d\ude00 \\ud83d \" \n"', '\ufffd😀 \\ud83d " \n'),
        (r'{"\udfff": ["\ud800"]}', {"\ufffd": ["\ufffd"]}),
        ("[1e999, -1e999, 1.5]", ["1e999", "-1e999", 1.5]),
        ("[NaN, Infinity, -Infinity]", [None, None, None]),
        (f"[{LONG}, 12345678901234567890123]", [LONG, 12345678901234567890123]),
    ],
)
def test_what_json_cannot_carry_is_replaced_in_the_output(text: str, output: Any) -> None:
    prediction = mended(body(output=text))
    assert prediction.output == output
    assert (prediction.replaced, prediction.lost) == (("output",), ())
    assert prediction.flaws == "what JSON cannot carry in its output was replaced"


def test_bytes_that_are_not_utf8_are_replaced() -> None:
    prediction = mended(body(output='"ä?"').replace(b"?", b"\xff"))
    assert (prediction.output, prediction.replaced) == ("ä\ufffd", ("output",))


@pytest.mark.parametrize("text", [r'"\ud83d"', DEEP, "NaN", "undefined", "[1 2]"])
def test_a_flaw_in_an_unknown_field_leaves_no_trace(text: str) -> None:
    prediction = mend(body(surprise=text, output='"x"'), Prediction)
    assert (type(prediction), prediction.output) == (Prediction, "x")


@pytest.mark.parametrize("name", ["metrics", "logs", "urls", "input", "model", "created_at", "data_removed"])
@pytest.mark.parametrize("text", ["3", "[]", DEEP])
def test_an_optional_field_of_a_wrong_type_is_as_if_it_were_missing(name: str, text: str) -> None:
    prediction = mended(body(**{name: text, "output": '"x"'}))
    assert (getattr(prediction, name), prediction.output, prediction.lost) == (None, "x", (name,))
    assert not prediction.has_lost_output


@pytest.mark.parametrize("text", [DEEP, "[" * 250 + "NaN" + "]" * 250, "undefined", "[1 2]", ""])
def test_an_output_that_cannot_be_read_is_lost(text: str) -> None:
    prediction = mended(body(output=text))
    assert prediction.has_lost_output
    assert prediction.flaws == "its output cannot be read"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"null",
        b"{}",
        b"[1]",
        body(status="3"),
        body(id='""'),
        body(output='"x"')[:-1],
        body(output="[" * 100_000),
        body() + b"}",
        b'{"id"}',
        b'{id: "abc", "status": "succeeded"}',
        b"{,}",
    ],
)
def test_a_response_without_an_id_and_a_status_or_that_is_cut_is_refused(text: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        mend(text, Prediction)


def test_the_id_is_read_where_the_status_is_wrong() -> None:
    assert mend_id(body(status="3", output=DEEP)) == "abc"


def test_a_page_is_read_around_a_prediction_that_the_decoder_refuses() -> None:
    items = b", ".join((body(), body(output=DEEP), body(output=r'"\ud83d"')))
    page = mend(b'{"next": "https://x?y", "results": [' + items + b'], "surprise": NaN}', PredictionPage)
    assert page.next == "https://x?y"
    assert [type(one) for one in page.results] == [Prediction, MendedPrediction, MendedPrediction]
    assert page.results[2].output == "\ufffd"


@pytest.mark.parametrize("items", [b"{}", b"3", body() + b" " + body()])
def test_a_page_with_something_that_is_no_prediction_is_refused(items: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        mend(b'{"results": [' + items + b"]}", PredictionPage)


def test_other_responses_are_mended_as_a_whole() -> None:
    model = mend(rb'{"owner": "a", "name": "b", "description": "half \ud83d"}', Model)
    assert model.name == "b"
