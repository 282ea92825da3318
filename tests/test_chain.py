"""Chains: the errors in them, the steps that come next, and their inputs."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

from replicate_job.chain import Call, Chain, Ref, Step
from replicate_job.errors import JobError
from replicate_job.testing import openapi_schema

FILE: dict[str, Any] = {"type": "string", "format": "uri"}
DRAW = openapi_schema(
    {"prompt": {"type": "string"}, "seed": {"type": "integer"}, "shape": {"enum": ["1:1", "16:9"]}},
    {"type": "array", "items": FILE},
    required=["prompt"],
)
ENLARGE = openapi_schema({"image": FILE, "scale": {"type": "integer"}}, FILE, required=["image"])
TELL = openapi_schema(
    {"prompt": {"type": "string"}, "images": {"type": "array", "items": FILE}, "n": {"type": "integer"}},
    {
        "type": "array",
        "items": {"type": "string"},
        "x-cog-array-type": "iterator",
        "x-cog-array-display": "concatenate",
    },
)


def poster(**image: Any) -> Chain:
    return Chain(
        [
            Step("draw", "acme/draw", {"prompt": "{prompt}, at dusk", "seed": Ref("seed")}),
            Step("enlarge", "acme/enlarge", image or {"image": "{draw.output[0]}", "scale": 2}),
        ]
    )


def input_of(chain: Chain, step: str, values: dict[str, Any], outputs: dict[str, Any]) -> dict[str, Any]:
    return chain.input_of(Call(chain.step(step)), values, outputs)


def misfits(step: Step, made: dict[str, Any] = DRAW, takes: dict[str, Any] = ENLARGE) -> list[str]:
    return Chain([Step("draw", "acme/draw"), step]).misfits({"draw": made, step.name: takes})


def test_a_step_is_ready_when_the_steps_that_it_uses_have_ended() -> None:
    chain = Chain([*poster().steps, Step("tell", "acme/tell", {"images": ["{draw.output[0]}", "{enlarge.output}"]})])
    assert [step.name for step in chain.ready((), ())] == ["draw"]
    assert chain.ready((), {"draw"}) == []
    assert [step.name for step in chain.ready({"draw"}, {"draw"})] == ["enlarge"]
    assert [step.name for step in chain.ready({"draw", "enlarge"}, {"draw", "enlarge"})] == ["tell"]
    assert chain.inputs == ("prompt", "seed")


def test_a_text_that_consists_only_of_a_reference_keeps_the_type_of_its_value() -> None:
    chain = Chain(
        [
            Step("a", "acme/a", {"seed": "{seed}", "prompt": "{{{seed}}} of {seed} {flag}", "x": {"y": ["{seed}", 1]}}),
            Step("b", "acme/b", {"all": "{a.output}", "text": "{a.output.boxes[1]}: {a.output.name}"}),
        ]
    )
    values = {"seed": 7, "flag": True}
    assert input_of(chain, "a", values, {}) == {"seed": 7, "prompt": "{7} of 7 true", "x": {"y": [7, 1]}}
    output = {"boxes": [1, [2, 3]], "name": "a fox"}
    assert input_of(chain, "b", values, {"a": output}) == {"all": output, "text": "[2,3]: a fox"}


def test_an_input_without_a_value_is_left_out_and_a_text_with_a_missing_value_raises_an_error() -> None:
    assert input_of(poster(), "draw", {"prompt": "a lake"}, {}) == {"prompt": "a lake, at dusk"}
    with pytest.raises(JobError, match="step draw, input prompt: the chain takes prompt, and no value is given"):
        input_of(poster(), "draw", {"seed": 1}, {})


@pytest.mark.parametrize(
    ("output", "problem"),
    [
        ([], "{draw.output[0]} is not in what draw made: []"),
        ({"a": 1}, '{draw.output[0]} is not in what draw made: {"a":1}'),
        ([None], "{draw.output[0]} is nothing: draw made [null]"),
    ],
)
def test_a_missing_output_raises_an_error(output: Any, problem: str) -> None:
    with pytest.raises(JobError) as raised:
        input_of(poster(), "enlarge", {}, {"draw": output})
    assert str(raised.value) == f"step enlarge, input image: {problem}"


@pytest.mark.parametrize(
    ("image", "problem"),
    [
        ("{drow.output[0]}", "{drow.output[0]}: there is no step 'drow'; did you mean draw?"),
        ("{draw}", "{draw}: only the output of a step can be used: write {draw.output}"),
        ("{draw.logs}", "{draw.logs}: only the output of a step can be used: write {draw.output}"),
        ("{enlarge.output}", "{enlarge.output}: the step enlarge does not come before this one"),
        ("{draw.output[-1]}", "{draw.output[-1]} is neither an input, as {prompt}, nor an output, as {draw.output[0]}"),
        ("{draw.output[0]", "in '{draw.output[0]', column 1: this { is not closed (write {{ for a { itself)"),
    ],
)
def test_a_reference_to_an_unknown_step_or_input_raises_an_error(image: str, problem: str) -> None:
    with pytest.raises(JobError) as raised:
        poster(image=image)
    assert str(raised.value) == f"step enlarge, input image: {problem}"


@pytest.mark.parametrize(
    ("names", "problem"),
    [
        ([], "the chain has no step"),
        (["a", "a"], "two steps are named 'a': give one another name"),
        (["a/b"], "'a/b' does not name a step: take letters, digits, - and _, a letter first"),
        (["a.b"], "'a.b' does not name a step: take letters, digits, - and _, a letter first"),
    ],
)
def test_step_names_must_be_valid_and_unique(names: list[str], problem: str) -> None:
    with pytest.raises(JobError) as raised:
        Chain([Step(name, "acme/a") for name in names])
    assert str(raised.value) == problem


@pytest.mark.parametrize("image", ["{draw.output[0]}", Ref("draw.output[3]"), "{prompt}", "https://example.com/x"])
def test_an_output_fits_an_input_of_the_same_type(image: Any) -> None:
    assert misfits(Step("enlarge", "acme/enlarge", {"image": image})) == []


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"image": "{draw.output}"}, "image: {draw.output} is a list of files, and this takes a file"),
        ({"scale": "{draw.output[0]}"}, "scale: {draw.output[0]} is a file, and this takes an integer"),
        (
            {"image": "{draw.output.url}"},
            "image: {draw.output.url} is not in what draw makes, which is a list of files",
        ),
        (
            {"image": "{draw.output[0]}?x=1"},
            "image: {draw.output[0]} is a file, which has no place in a text: give it alone",
        ),
        ({"scale": "{prompt}0"}, "scale: '{prompt}0' is text, and this takes an integer"),
    ],
)
def test_an_output_that_does_not_fit_its_input_is_reported_by_the_schemas(given: dict[str, Any], problem: str) -> None:
    assert misfits(Step("enlarge", "acme/enlarge", given)) == [f"step enlarge, input {problem}"]


def test_an_output_of_text_pieces_is_joined_into_one_text() -> None:
    step = Step("then", "acme/draw", {"prompt": "{draw.output}"})
    assert misfits(step, TELL, DRAW) == []
    assert misfits(Step("then", "acme/x", {"image": "{draw.output}"}), TELL) == [
        "step then, input image: {draw.output} is text, and this takes a file"
    ]


def test_a_file_does_not_fit_a_text_input_even_in_a_list() -> None:
    assert misfits(Step("tell", "acme/tell", {"prompt": "{draw.output[0]}"}), takes=TELL) == [
        "step tell, input prompt: {draw.output[0]} is a file, and this takes text"
    ]
    assert misfits(Step("tell", "acme/tell", {"images": "{draw.output}"}), takes=TELL) == []
    assert misfits(Step("tell", "acme/tell", {"images": ["{draw.output[0]}"]}), takes=TELL) == []
    assert misfits(Step("tell", "acme/tell", {"images": ["{draw.output}"]}), takes=TELL) == [
        "step tell, input images: {draw.output} is a list of files, and this takes a file"
    ]


def test_without_a_schema_every_output_fits_every_input() -> None:
    step = Step("enlarge", "acme/enlarge", {"image": "{draw.output.a[1].b}", "other": "{draw.output}"})
    chain = Chain([Step("draw", "acme/draw"), step])
    assert chain.misfits({"draw": None, "enlarge": None}) == []
    assert chain.misfits({"draw": openapi_schema({}, {"title": "Anything"}), "enlarge": None}) == []


def test_an_input_of_a_chain_has_the_schema_of_the_step_input_that_uses_it() -> None:
    chain = Chain(
        [
            Step("draw", "acme/draw", {"prompt": "{subject}", "seed": "{seed}", "shape": "{shape}"}),
            Step("again", "acme/draw", {"prompt": "{subject} in {style}", "seed": "{seed}"}),
        ]
    )
    document = chain.document({"draw": DRAW, "again": DRAW})
    own = document["components"]["schemas"]["Input"]
    assert own["required"] == ["subject", "style"]
    assert own["properties"]["style"] == {"type": "string"}
    assert own["properties"]["shape"]["allOf"] == [{"$ref": "#/components/schemas/draw.shape"}]
    assert document["components"]["schemas"]["draw.shape"]["enum"] == ["1:1", "16:9"]
    assert [one["type"] for one in own["properties"]["seed"]["allOf"]] == ["integer", "integer"]


def test_a_chain_can_be_pickled() -> None:
    chain = pickle.loads(pickle.dumps(poster()))  # noqa: S301 - the test's own data
    assert chain == poster()
    assert input_of(chain, "draw", {"prompt": "a", "seed": 1}, {}) == {"prompt": "a, at dusk", "seed": 1}
    assert chain.identity == poster().identity != poster(image="{draw.output[1]}").identity


def each(of: str | Ref, **given: Any) -> Chain:
    return Chain([Step("draw", "acme/draw"), Step("enlarge", "acme/enlarge", given, for_each=of)])


@pytest.mark.parametrize(
    ("of", "given", "problem"),
    [
        ("{draw.output}", {"image": "x"}, "step enlarge: no input takes {each}, so all calls would be the same"),
        ("draw.output", {"image": "{each}"}, "step enlarge, for_each: 'draw.output' is no list: write an output alone"),
        (
            "a {draw.output}",
            {"image": "{each}"},
            "'a {draw.output}' is no list: write an output alone, as {draw",
        ),
        ("", {"image": "{each}"}, "step enlarge, for_each: '' is no list"),
        ("{prompts}", {"image": "{each}"}, "{prompts} is an input, and a list is needed that an earlier step made"),
        ("{each}", {"image": "{each}"}, "step enlarge, for_each: {each} is an element, and the step has no for_each"),
        ("{drew.output}", {"image": "{each}"}, "{drew.output}: there is no step 'drew'; did you mean draw?"),
        ("{enlarge.output}", {"image": "{each}"}, "{enlarge.output}: the step enlarge does not come before this one"),
        ("{draw.output", {"image": "{each}"}, "this { is not closed"),
    ],
)
def test_a_for_each_that_cannot_be_a_list_is_reported(of: str, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(JobError) as raised:
        each(of, **given)
    assert problem in str(raised.value)


def test_the_reference_each_needs_a_step_with_for_each_and_is_not_a_valid_step_name() -> None:
    with pytest.raises(JobError, match=r"step draw, input image: .each. is an element, and the step has no for_each"):
        Chain([Step("draw", "acme/draw", {"image": "{each}"})])
    with pytest.raises(JobError, match="'each' does not name a step"):
        Chain([Step("each", "acme/draw")])


def test_parts_of_a_list_element_are_filled_into_the_input_of_its_job() -> None:
    chain = each(Ref("draw.output.boxes"), image="{each.url}", label="{each.names[1]} of {draw.output.title}")
    outputs = {
        "draw": {"title": "a lake", "boxes": [{"url": "u", "names": ["a", "b"]}, {"url": "v", "names": ["c", 7]}]}
    }
    calls = chain.calls(chain.step("enlarge"), outputs)
    assert [call.name for call in calls] == ["enlarge[0]", "enlarge[1]"]
    assert [chain.input_of(call, {}, outputs) for call in calls] == [
        {"image": "u", "label": "b of a lake"},
        {"image": "v", "label": "7 of a lake"},
    ]


def test_a_chain_without_lists_keeps_its_identity() -> None:
    """Batches of earlier releases, which had no lists, can continue."""
    first = '{"name":"draw","model":"acme/draw","input":{"prompt":"{prompt}, at dusk","seed":{"name":"seed"}},'
    assert poster().identity.startswith(f'[{first}"cancel_after":null,"allow_unknown":false}},')
    assert each("{draw.output}", image="{each}").identity != each("{draw.output[0]}", image="{each}").identity
