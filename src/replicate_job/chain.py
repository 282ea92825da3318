"""Chains: steps whose inputs take outputs of earlier ones. What is wrong, and what comes next; no I/O."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
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


class Ref(msgspec.Struct, frozen=True):
    """A value that is not known yet: an input of the chain (``prompt``), or an output (``draw.output[0]``)."""

    name: str


class Step(msgspec.Struct, frozen=True):
    """One model of a chain. ``model``, ``cancel_after`` and ``allow_unknown`` are those of a ``Job``.

    Texts in ``input``, at any depth, are templates: ``{prompt}`` is an input of the chain, ``{draw.output[0]}`` a part
    of what an earlier step made; ``{{`` and ``}}`` are braces. A text that is one field alone is that value, of
    whatever type, and so is a ``Ref``.
    """

    name: str
    model: str
    input: dict[str, Any] = {}
    cancel_after: str | None = None
    allow_unknown: bool = False


class Reference(msgspec.Struct, frozen=True):
    """What a field stands for. ``step`` is empty for an input of the chain, ``path`` leads into the step's output."""

    name: str
    step: str = ""
    path: Position = ()


class Chain(msgspec.Struct, frozen=True, dict=True):
    """Models that run one after the other for one input. Raises JobError for steps that cannot be right.

    Each step is a job of its own, created once. A step begins when the steps that it names have ended.
    """

    steps: Sequence[Step]
    title: str = ""

    def __post_init__(self) -> None:
        msgspec.structs.force_setattr(self, "steps", tuple(self.steps))
        if not self.steps:
            raise JobError("the chain has no step")
        _check_names([step.name for step in self.steps])
        self._forms  # noqa: B018 - what is wrong in them is raised now

    @cached_property
    def _forms(self) -> dict[str, dict[str, Any]]:
        """The input of each step, with its texts as templates."""
        return {
            step.name: {name: self._read(step, name, value) for name, value in step.input.items()}
            for step in self.steps
        }

    @cached_property
    def _references(self) -> dict[str, dict[str, Reference]]:
        """What the fields of each step stand for. Reading the step's input fills it."""
        return {step.name: {} for step in self.steps}

    @property
    def name(self) -> str:
        """What messages call it: its title, or the names of its steps."""
        return self.title or " > ".join(step.name for step in self.steps)

    @property
    def identity(self) -> str:
        """A text that differs where a step does."""
        return msgspec.json.encode(self.steps, enc_hook=str, order="deterministic").decode()

    @property
    def inputs(self) -> tuple[str, ...]:
        """The names of its own inputs, in the order in which the steps name them."""
        return tuple(
            dict.fromkeys(one.name for found in self._references.values() for one in found.values() if not one.step)
        )

    def needs(self, step: str) -> frozenset[str]:
        """The steps whose outputs it takes."""
        return frozenset(one.step for one in self._references[step].values() if one.step)

    def ready(self, ended: Collection[str], begun: Collection[str]) -> list[Step]:
        """The steps that can begin: all that they take is there."""
        return [step for step in self.steps if step.name not in begun and self.needs(step.name) <= set(ended)]

    def input_of(self, step: str, values: Mapping[str, Any], outputs: Mapping[str, Any]) -> dict[str, Any]:
        """The step's input. ``values`` are the chain's, ``outputs`` by step. Raises JobError for what is not there.

        An input that is one field alone is left out where the chain got no value for it.
        """
        return self._fill_inputs(step, self._forms[step], values, outputs)

    def known_input(self, step: str, values: Mapping[str, Any] | None) -> tuple[dict[str, Any], frozenset[str]]:
        """The inputs of a step that need no output, and the names of those that do.

        Without ``values`` those that need an input of the chain are among the latter.
        """
        forms = self._forms[step]
        later = frozenset(
            name
            for name, form in forms.items()
            if any(one.step or values is None for one in self._references_in(step, form))
        )
        known = {name: form for name, form in forms.items() if name not in later}
        return self._fill_inputs(step, known, values or {}, {}), later

    def _fill_inputs(
        self, step: str, forms: Mapping[str, Any], values: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, form in forms.items():
            lone = self._lone(step, form)
            if lone is None or lone.step or lone.name in values:
                try:
                    found[name] = self._fill(step, form, values, outputs)
                except JobError as error:
                    raise JobError(f"step {step}, input {name}: {error}") from None
        return found

    def document(self, documents: Mapping[str, Mapping[str, Any] | None]) -> dict[str, Any]:
        """An OpenAPI document of the chain's own inputs, each with the schema of what it is for, by the steps' ones."""
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
        """A line for each output that does not fit the input that it goes to, as far as the schemas say."""
        problems: list[str] = []
        for step in self.steps:
            document = documents.get(step.name) or {}
            own = (definition(document, "Input") or {}).get("properties")
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
                if not {"any", "text", "file"} & {_kind(one) for one in takes}:  # an address may be written so
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
        """The value with its texts as templates, whose fields are known to the chain."""
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
                self._references[step.name][field] = self._refer(step.name, field)
            except JobError as error:
                raise JobError(f"step {step.name}, input {name}: {error}") from None
        return form

    def _refer(self, step: str, field: str) -> Reference:
        names = [each.name for each in self.steps]
        found = _FIELD.fullmatch(field)
        if found is None:
            raise JobError(
                f"{{{field}}} is neither an input, as {{prompt}}, nor an output, as {{{names[0]}.output[0]}}"
            )
        first, rest = found[1], found[2]
        if not rest and first not in names:
            return Reference(field)
        if first not in names:
            close = next(iter(get_close_matches(first, names, n=1)), "")
            raise JobError(f"{{{field}}}: there is no step {first!r}" + (f"; did you mean {close}?" if close else ""))
        if names.index(first) >= names.index(step):
            raise JobError(f"{{{field}}}: the step {first} does not come before this one")
        path = [key or int(index) for key, index in _PART.findall(rest)]
        if path[:1] != ["output"]:
            raise JobError(f"{{{field}}}: of a step there is its output: write {{{first}.output}}")
        return Reference(field, first, tuple(path[1:]))

    def _lone(self, step: str, form: Any) -> Reference | None:
        """The only field of a template that has nothing else."""
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

    def _fill(self, step: str, form: Any, values: Mapping[str, Any], outputs: Mapping[str, Any]) -> Any:
        match form:
            case Template() if lone := self._lone(step, form):
                return _value(lone, values, outputs)
            case Template():
                fields = {name: self._references[step][name] for name in form.names}
                return form.fill({name: _as_text(one, _value(one, values, outputs)) for name, one in fields.items()})
            case dict():
                return {key: self._fill(step, item, values, outputs) for key, item in form.items()}
            case list():
                return [self._fill(step, item, values, outputs) for item in form]
        return form


def _check_names(names: Sequence[str]) -> None:
    for name in names:
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise JobError(f"{name!r} does not name a step: take letters, digits, - and _, a letter first")
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
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - a line


def _renamed(schema: Any, step: str) -> Any:
    """The schema with its references leading to the step's own definitions."""
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
    """The schemas of what a reference to an output stands for; none where the output has no such part."""
    schema = definition(document, "Output")
    if document is None or schema is None:
        return _ANY
    made = [{"type": "string"}] if is_text(document) else list(alternatives(document, schema))
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
        whole = _made(Reference(one.step, one.step), made_by)
        yield f"{{{one.name}}} is not in what {one.step} makes, which is {_named(made_by or {}, whole)}"
    elif not _fits(made_by or {}, made, document, takes):
        yield f"{{{one.name}}} is {_named(made_by or {}, made)}, and this takes {_named(document, takes)}"


def _fits(made_by: Mapping[str, Any], made: list[Schema], document: Mapping[str, Any], takes: list[Schema]) -> bool:
    """Whether something of what is made can be taken."""
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
    """What the schemas allow, in words."""
    names: list[str] = []
    for schema in schemas:
        kind = _kind(schema)
        if kind == "array":
            inside = below(document, [schema], 0)
            names.append("a list of files" if {_kind(one) for one in inside} == {"file"} else "a list")
        elif kind != "null":
            names.append({"file": "a file", "text": "text", "any": "anything"}.get(kind) or _KINDS.get(kind, kind))
    return " or ".join(dict.fromkeys(names)) or "nothing"
