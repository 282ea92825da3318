"""Chains: steps whose inputs use outputs of earlier steps. Checks them, and finds the steps that can start. No I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from typing import Any

import msgspec

from replicate_job.errors import JobError
from replicate_job.outputs.discover import is_text
from replicate_job.template import Field, Template, has_braces, read_template
from replicate_job.wire.openapi import Position, Schema, alternatives, below, definition

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_FIELD = re.compile(r"([^.\[\]]+)((?:\.[^.\[\]]+|\[\d{1,9}\])*)")
_PART = re.compile(r"\.([^.\[\]]+)|\[(\d+)\]")
_REFERENCE = "#/components/schemas/"
_KINDS = {"integer": "an integer", "number": "a number", "boolean": "true or false", "object": "an object"}
_ANY: list[Schema] = [{}]
EACH = "each"
"""The name of the current element in the input of a step with ``for_each``."""
MOST = 100
"""The most elements that a step with ``for_each`` may have."""
_ELEMENT = -1  # in a reference's path: in place of the element's index


class Ref(msgspec.Struct, frozen=True):
    """A value that is known later: an input of the chain (``prompt``), or a step's output (``draw.output[0]``)."""

    name: str


class Step(msgspec.Struct, frozen=True):
    """One model of a chain. ``model``, ``cancel_after`` and ``allow_unknown`` mean the same as in a ``Job``.

    Texts in ``input``, at any depth, are templates: ``{prompt}`` is an input of the chain, ``{draw.output[0]}`` a part
    of an earlier step's output; ``{{`` and ``}}`` are braces. A text that is only one field becomes the field's value,
    of any type. A ``Ref`` becomes its value too.

    ``for_each`` is a list that an earlier step made (``{draw.output}``). The step runs one time for each of the list's
    elements, at most ``MOST``: ``{each}`` in the step's input is the element, ``{each.name}`` or ``{each[0]}`` a part
    of the element. For later steps, the step's output is the list of all outputs, in the order of the elements.
    """

    name: str
    model: str
    input: dict[str, Any] = {}
    cancel_after: str | None = None
    allow_unknown: bool = False
    for_each: str | Ref | None = None


class Call(msgspec.Struct, frozen=True):
    """One job of a step: the step's only job, or its job for one element."""

    step: Step
    index: int | None = None

    @property
    def name(self) -> str:
        return self.step.name if self.index is None else f"{self.step.name}[{self.index}]"


def base_of(call: str) -> str:
    """The step's name, from a call's name."""
    return call.partition("[")[0]


def in_order(calls: Iterable[str], steps: Sequence[str]) -> list[str]:
    """Sort names of calls by the order of the steps, and then of the elements."""

    def place(call: str) -> tuple[int, int]:
        step, _, index = call.removesuffix("]").partition("[")
        return steps.index(step), int(index or 0)

    return sorted(calls, key=place)


class Reference(msgspec.Struct, frozen=True):
    """A field of a template. ``step`` is empty for an input of the chain. ``path`` is a position in the step's output.

    ``gathers``: the value is a list with one output for each element.
    """

    name: str
    step: str = ""
    path: Position = ()
    gathers: bool = False

    def at(self, index: int | None) -> Reference:
        """The reference with ``index`` as the index of the element."""
        path = tuple(index if key == _ELEMENT and index is not None else key for key in self.path)
        return msgspec.structs.replace(self, path=path)


class Chain(msgspec.Struct, frozen=True, dict=True):
    """Models that run one after the other for one input. Raises JobError for invalid steps.

    Each step is a job of its own, and is created once. A step starts when the steps whose outputs it uses have ended.
    """

    steps: Sequence[Step]
    title: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "steps", tuple(self.steps))
        if not self.steps:
            raise JobError("the chain has no step")
        _check_names([step.name for step in self.steps])
        self.lists  # noqa: B018 - reading it raises its errors
        self._forms  # noqa: B018 - reading it raises its errors

    @cached_property
    def lists(self) -> dict[str, Reference]:
        """Maps the name of each step with ``for_each`` to the reference to its list."""
        found: dict[str, Reference] = {}
        for step in self.steps:
            if step.for_each is not None:
                try:
                    found[step.name] = self._read_list(step, step.for_each)
                except JobError as error:
                    raise JobError(f"step {step.name}, for_each: {error}") from None
        return found

    def _read_list(self, step: Step, text: str | Ref) -> Reference:
        form = Template((Field(text.name, 1),)) if isinstance(text, Ref) else read_template(str(text))
        (field, *more) = form.parts or ("",)
        if more or not isinstance(field, Field):
            raise JobError(f"{str(text)!r} is no list: write an output alone, as {{{self.steps[0].name}.output}}")
        found = self._refer(step.name, field.name)
        if not found.step:
            raise JobError(f"{{{field.name}}} is an input, and a list is needed that an earlier step made")
        return found

    @cached_property
    def _forms(self) -> dict[str, dict[str, Any]]:
        """Maps the name of each step to its input, in which texts are read as templates."""
        forms = {
            step.name: {name: self._read(step, name, value) for name, value in step.input.items()}
            for step in self.steps
        }
        for step in self.lists:
            if not any(_ELEMENT in one.path for one in self._references[step].values()):
                raise JobError(f"step {step}: no input takes {{{EACH}}}, so all calls would be the same")
        return forms

    @cached_property
    def _references(self) -> dict[str, dict[str, Reference]]:
        """Maps the name of each step to its references by field. They are collected while inputs are read."""
        return {step.name: {} for step in self.steps}

    @property
    def name(self) -> str:
        """The chain's name in messages: its title, or the names of its steps."""
        return self.title or " > ".join(step.name for step in self.steps)

    @property
    def identity(self) -> str:
        """A text that is equal only for equal steps."""
        # An unset field is left out, so that batches of earlier releases, which had no such field, can continue.
        unset = {"for_each": msgspec.UNSET}
        steps = [step if step.for_each else msgspec.structs.replace(step, **unset) for step in self.steps]
        return msgspec.json.encode(steps, enc_hook=str, order="deterministic").decode()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of the chain's own inputs, in the order in which the steps use them."""
        return tuple(
            dict.fromkeys(one.name for found in self._references.values() for one in found.values() if not one.step)
        )

    def step(self, name: str) -> Step:
        return next(step for step in self.steps if step.name == name)

    def needs(self, step: str) -> frozenset[str]:
        """The steps whose outputs this step uses."""
        return frozenset(one.step for one in self._references[step].values() if one.step)

    def ready(self, ended: Collection[str], begun: Collection[str]) -> list[Step]:
        """The steps that can start now: steps that have not begun, and whose needed outputs all exist."""
        return [step for step in self.steps if step.name not in begun and self.needs(step.name) <= set(ended)]

    def list_of(self, step: str) -> str:
        """The step that made the list for this step's ``for_each``. Empty for a step that runs one time."""
        return self.lists[step].step if step in self.lists else ""

    def calls(self, step: Step, outputs: Mapping[str, Any]) -> list[Call]:
        """The step's jobs with these outputs. Raises JobError if ``for_each`` is not a list, or has too many items."""
        if step.name not in self.lists:
            return [Call(step)]
        source = self.lists[step.name]
        items = _value(source, {}, outputs)
        if not isinstance(items, list):
            raise JobError(f"step {step.name}, for_each: {{{source.name}}} is no list: {_shown(items)}")
        if len(items) > MOST:
            raise JobError(
                f"step {step.name}, for_each: {{{source.name}}} has {len(items):,} items, and a step runs for {MOST} at"
                " most"
            )
        return [Call(step, index) for index in range(len(items))]

    def input_of(self, call: Call, values: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
        """The call's input. ``values`` are the chain's inputs; ``outputs`` maps a step's name to its output.

        Raises JobError for a missing part.

        An input that is only one field is left out if the chain got no value for that field.
        """
        return self._fill_inputs(call, self._forms[call.step.name], values, outputs)

    def known_input(self, step: str, values: Mapping[str, Any] | None) -> tuple[dict[str, Any], frozenset[str]]:
        """The inputs of a step that need no output, and the names of the inputs that need an output.

        Without ``values``, inputs that need an input of the chain are among the names too.
        """
        forms = self._forms[step]
        later = frozenset(
            name
            for name, form in forms.items()
            if any(one.step or values is None for one in self._references_in(step, form))
        )
        known = {name: form for name, form in forms.items() if name not in later}
        return self._fill_inputs(Call(self.step(step)), known, values or {}, {}), later

    def _fill_inputs(
        self, call: Call, forms: Mapping[str, Any], values: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, form in forms.items():
            lone = self._lone(call.step.name, form)
            if lone is None or lone.step or lone.name in values:
                try:
                    found[name] = self._fill(call, form, values, outputs)
                except JobError as error:
                    raise JobError(f"step {call.name}, input {name}: {error}") from None
        return found

    def document(self, documents: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
        """An OpenAPI document of the chain's own inputs. An input has the schema of the step input that uses it."""
        schemas: dict[str, Any] = {}
        uses: dict[str, list[Schema]] = {name: [] for name in self.inputs}
        required: list[str] = []
        for step in self.steps:
            document = documents.get(step.name) or {}
            schemas |= {
                f"{step.name}.{name}": _renamed(schema, step.name)
                for name, schema in document.get("components", {}).get("schemas", {}).items()
            }
            own = definition(document, "Input") or {}
            for name, form in self._forms[step.name].items():
                lone = self._lone(step.name, form)
                for one in self._references_in(step.name, form):
                    if one.step:
                        continue
                    if lone:
                        uses[one.name].append(_renamed((own.get("properties") or {}).get(name, {}), step.name))
                    if not lone or name in (own.get("required") or ()):
                        required.append(one.name)
        text: Schema = {"type": "string"}
        properties = {
            name: found[0] if len(found) == 1 else {"allOf": found} if found else text for name, found in uses.items()
        }
        schemas["Input"] = {"type": "object", "properties": properties, "required": list(dict.fromkeys(required))}
        return {"openapi": "3.0.2", "components": {"schemas": schemas}}

    def misfits(self, documents: Mapping[str, Mapping[str, Any] | None]) -> list[str]:
        """A line for each output that, by the schemas, does not fit the input in which it is used."""
        problems: list[str] = []
        for step in self.steps:
            document = documents.get(step.name) or {}
            own = (definition(document, "Input") or {}).get("properties")
            if source := self.lists.get(step.name):
                lines = _judge_list(source, documents.get(source.step))
                problems += [f"step {step.name}, for_each: {line}" for line in lines]
            for name, form in self._forms[step.name].items():
                takes = list(alternatives(document, own[name])) if own and name in own else _ANY
                lines = self._misfits(step.name, form, documents, (document, takes))
                problems += [f"step {step.name}, input {name}: {line}" for line in lines]
        return problems

    def _misfits(
        self,
        step: str,
        form: Any,
        documents: Mapping[str, Mapping[str, Any] | None],
        place: tuple[Mapping[str, Any], list[Schema]],
    ) -> Iterator[str]:
        document, takes = place
        match form:
            case Template() if lone := self._lone(step, form):
                if lone.step:
                    yield from _judge(lone, documents.get(lone.step), document, takes)
            case Template():
                if not {"any", "text", "file"} & {_kind(one) for one in takes}:  # a text may be the URL of a file
                    yield f"{str(form)!r} is text, and this takes {_named(document, takes)}"
                yield from self._misplaced(step, form, documents)
            case list() | tuple():
                for item in form:
                    yield from self._misfits(step, item, documents, (document, below(document, takes, 0) or _ANY))
            case dict():
                for key, item in form.items():
                    yield from self._misfits(step, item, documents, (document, below(document, takes, key) or _ANY))

    def _misplaced(self, step: str, form: Template, documents: Mapping[str, Mapping[str, Any] | None]) -> Iterator[str]:
        for one in self._references_in(step, form):
            made = _made(one, documents.get(one.step)) if one.step else _ANY
            if made and {_kind(each) for each in made} == {"file"}:
                yield f"{{{one.name}}} is a file, which has no place in a text: give it alone"
            elif not made:
                yield from _judge(one, documents.get(one.step), {}, _ANY)

    def _read(self, step: Step, name: str, value: Any) -> Any:
        """The value with its texts read as templates. The templates' fields are added to the references."""
        match value:
            case Ref():
                form = Template((Field(value.name, 1),))
            case str() if has_braces(value):
                try:
                    form = read_template(value)
                except JobError as error:
                    raise JobError(f"step {step.name}, input {name}: {error}") from None
            case dict():
                return {key: self._read(step, name, item) for key, item in value.items()}
            case list() | tuple():
                return [self._read(step, name, item) for item in value]
            case _:
                return value
        for field in sorted(form.names):
            try:
                self._references[step.name][field] = self._refer(step.name, field, self.lists.get(step.name))
            except JobError as error:
                raise JobError(f"step {step.name}, input {name}: {error}") from None
        return form

    def _refer(self, step: str, field: str, source: Reference | None = None) -> Reference:
        """Parse a template's field as a reference. ``source`` is the list of a step with ``for_each``."""
        names = [each.name for each in self.steps]
        found = _FIELD.fullmatch(field)
        if found is None:
            raise JobError(
                f"{{{field}}} is neither an input, as {{prompt}}, nor an output, as {{{names[0]}.output[0]}}"
            )
        first, rest = found[1], found[2]
        path = [key or int(index) for key, index in _PART.findall(rest)]
        if first == EACH:
            if source is None:
                raise JobError(f"{{{field}}} is an element, and the step has no for_each: give it one with the list")
            return msgspec.structs.replace(source, name=field, path=(*source.path, _ELEMENT, *path))
        if not rest and first not in names:
            return Reference(field)
        if first not in names:
            close = next(iter(get_close_matches(first, names, n=1)), "")
            raise JobError(f"{{{field}}}: there is no step {first!r}" + (f"; did you mean {close}?" if close else ""))
        if names.index(first) >= names.index(step):
            raise JobError(f"{{{field}}}: the step {first} does not come before this one")
        if path[:1] != ["output"]:
            raise JobError(f"{{{field}}}: only the output of a step can be used: write {{{first}.output}}")
        gathers = any(each.name == first and each.for_each is not None for each in self.steps)
        return Reference(field, first, tuple(path[1:]), gathers=gathers)

    def _lone(self, step: str, form: Any) -> Reference | None:
        """The reference of a template that is only one field. None for any other value."""
        if isinstance(form, Template) and len(form.parts) == 1 and isinstance(form.parts[0], Field):
            return self._references[step][form.parts[0].name]
        return None

    def _references_in(self, step: str, form: Any) -> Iterator[Reference]:
        match form:
            case Template():
                yield from (self._references[step][name] for name in sorted(form.names))
            case list() | dict():
                for item in form.values() if isinstance(form, dict) else form:
                    yield from self._references_in(step, item)

    def _fill(self, call: Call, form: Any, values: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        match form:
            case Template() if lone := self._lone(call.step.name, form):
                return _value(lone.at(call.index), values, outputs)
            case Template():
                fields = {name: self._references[call.step.name][name].at(call.index) for name in form.names}
                return form.fill({name: _as_text(one, _value(one, values, outputs)) for name, one in fields.items()})
            case dict():
                return {key: self._fill(call, item, values, outputs) for key, item in form.items()}
            case list():
                return [self._fill(call, item, values, outputs) for item in form]
        return form


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise JobError(f"{name!r} does not name a step: take letters, digits, - and _, a letter first")
        if name == EACH:
            raise JobError(f"{name!r} does not name a step: {{{EACH}}} is the element of a list")
        if names.count(name) > 1:
            raise JobError(f"two steps are named {name!r}: give one another name")


def _value(one: Reference, values: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
    if not one.step:
        if one.name not in values:
            raise JobError(f"the chain takes {one.name}, and no value is given")
        return values[one.name]
    value = outputs[one.step]
    for key in one.path:
        try:
            value = value[key]
        except (LookupError, TypeError):
            raise JobError(f"{{{one.name}}} is not in what {one.step} made: {_shown(value)}") from None
    if value is None:
        raise JobError(f"{{{one.name}}} is nothing: {one.step} made {_shown(outputs[one.step])}")
    return value


def _as_text(one: Reference, value: Any) -> str:
    if not isinstance(value, str | int | float | list | dict):
        raise JobError(f"{{{one.name}}} is a file, which has no place in a text: give it alone")
    return value if isinstance(value, str) else msgspec.json.encode(value, enc_hook=str).decode()


def _shown(value: Any) -> str:
    text = msgspec.json.encode(value, enc_hook=str).decode()
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - the length of a line


def _renamed(schema: Any, step: str) -> Any:
    """The schema with its references changed to the step's own definitions."""
    if isinstance(schema, list):
        return [_renamed(item, step) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: f"{_REFERENCE}{step}.{value.removeprefix(_REFERENCE)}"
        if key == "$ref" and isinstance(value, str) and value.startswith(_REFERENCE)
        else _renamed(value, step)
        for key, value in schema.items()
    }


def _made(one: Reference, document: Mapping[str, Any] | None) -> list[Schema]:
    """The schemas of the part of an output that is referred to. Empty if the output has no such part."""
    schema = definition(document, "Output")
    output: Schema = {"type": "string"} if document and is_text(document) else schema or {}
    if one.gathers:
        output = {"type": "array", "items": output}
    document = document or {}
    made = list(alternatives(document, output))
    for key in one.path:
        made = [part for each in made for part in _part(document, each, key)]
    return made


def _part(document: Mapping[str, Any], schema: Schema, key: str | int) -> list[Schema]:
    holder, inside = ("array", "items") if isinstance(key, int) else ("object", "properties")
    if _kind(schema) == "any" or (schema.get("type") == holder and not schema.get(inside)):
        return _ANY
    return below(document, [schema], key) if schema.get("type", holder) == holder else []


def _judge(
    one: Reference, made_by: Mapping[str, Any] | None, document: Mapping[str, Any], takes: list[Schema]
) -> Iterator[str]:
    made = _made(one, made_by)
    if not made:
        whole = _made(Reference(one.step, one.step, gathers=one.gathers), made_by)
        yield f"{{{one.name}}} is not in what {one.step} makes, which is {_named(made_by or {}, whole)}"
    elif not _fits(made_by or {}, made, document, takes):
        yield f"{{{one.name}}} is {_named(made_by or {}, made)}, and this takes {_named(document, takes)}"


def _judge_list(source: Reference, made_by: Mapping[str, Any] | None) -> Iterator[str]:
    """Report a ``for_each`` that cannot be a list. A schema may allow null, which is reported when it occurs."""
    made = _made(source, made_by)
    if not made:
        yield from _judge(source, made_by, {}, _ANY)
    elif not {_kind(one) for one in made} <= {"array", "null", "any"}:
        yield f"{{{source.name}}} is {_named(made_by or {}, made)}, and a list is needed"


def _fits(made_by: Mapping[str, Any], made: list[Schema], document: Mapping[str, Any], takes: list[Schema]) -> bool:
    """Whether one of the schemas in ``made`` fits one of the schemas in ``takes``."""
    return any(_fit(made_by, one, document, other, 0) for one in made for other in takes)


def _fit(made_by: Mapping[str, Any], made: Schema, document: Mapping[str, Any], takes: Schema, depth: int) -> bool:
    kinds = {_kind(made), _kind(takes)}
    if "any" in kinds or kinds == {"integer", "number"}:
        return True
    if len(kinds) > 1 or "null" in kinds:
        return False
    if kinds != {"array"} or depth > 8:  # noqa: PLR2004 - a schema may contain itself
        return True
    inside, items = below(made_by, [made], 0), below(document, [takes], 0)
    return not inside or not items or any(_fit(made_by, a, document, b, depth + 1) for a in inside for b in items)


def _kind(schema: Schema) -> str:
    kind = schema.get("type")
    if kind == "string":
        return "file" if schema.get("format") == "uri" else "text"
    return str(kind) if kind else "any"


def _named(document: Mapping[str, Any], schemas: list[Schema]) -> str:
    """Describe the values that the schemas allow."""
    names: list[str] = []
    for schema in schemas:
        kind = _kind(schema)
        if kind == "array":
            inside = below(document, [schema], 0)
            names.append("a list of files" if {_kind(one) for one in inside} == {"file"} else "a list")
        elif kind != "null":
            names.append({"file": "a file", "text": "text", "any": "anything"}.get(kind) or _KINDS.get(kind, kind))
    return " or ".join(dict.fromkeys(names)) or "nothing"
