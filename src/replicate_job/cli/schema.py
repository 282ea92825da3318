"""``replicate-job schema``: show a model's inputs and output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import msgspec

from replicate_job.cli.completion import models
from replicate_job.cli.exits import SUCCEEDED
from replicate_job.cli.help import examples
from replicate_job.cli.options import Common, common, local
from replicate_job.cli.output import print_json, print_text
from replicate_job.cli.streams import write
from replicate_job.errors import JobError
from replicate_job.flow.resolve import resolve
from replicate_job.wire.openapi import alternatives, definition
from replicate_job.wire.target import parse_target


@click.command(
    "schema",
    epilog=examples(
        "replicate-job schema black-forest-labs/flux-schnell",
        "replicate-job schema openai/whisper --local --json",
        "replicate-job schema black-forest-labs/flux-schnell --example > job.json",
    ),
)
@click.argument("model", shell_complete=models)
@click.option("--json", "as_json", is_flag=True, help="Print the OpenAPI schemas of the model, unchanged.")
@click.option("--example", is_flag=True, help="Print the example on the model's page as a job file.")
@click.option("--readme", is_flag=True, help="Print the model's readme, in Markdown.")
@local
@common
async def command(shared: Common, model: str, *, as_json: bool, example: bool, readme: bool) -> int:
    """Show the inputs of MODEL (name, type, bounds, default, description) and its output."""
    if as_json + example + readme > 1:
        raise click.UsageError("--json, --example and --readme exclude each other")
    if example or readme:
        return await _show_page(shared, model, readme=readme)
    target = parse_target(model)
    async with shared.session() as context:
        resolved = await resolve(context, target)
    if resolved.schema is None:
        raise JobError(f"the API shows no schema for {model}")
    if as_json:
        print_json(resolved.schema.get("components", {}).get("schemas", {}))
    else:
        try:
            write("\n".join(describe(resolved.schema)) + "\n")
        except RecursionError:
            raise JobError(f"the schema of {model} contains itself: --json shows it as it is") from None
    return SUCCEEDED


async def _show_page(shared: Common, model: str, *, readme: bool) -> int:
    """Print the readme of a model's page, or its example as a job file in JSON."""
    from replicate_job.flow import holdings  # noqa: PLC0415 - only --example and --readme need it

    async with shared.session() as context:
        if readme:
            print_text(await holdings.readme(context, model))
        else:
            job = await holdings.example(context, model)
            print_json({"model": job.model, "input_data": job.input_data})
    return SUCCEEDED


def describe(document: dict[str, Any]) -> Iterator[str]:
    """Describe a model in lines of text: each input with its description below it, then the output."""
    schema = definition(document, "Input") or {}
    properties: dict[str, Any] = schema.get("properties") or {}
    required = schema.get("required") or []
    for name in sorted(properties, key=lambda name: properties[name].get("x-order", 0)):
        facts = [_type(document, properties[name])]
        if name in required:
            facts.append("required")
        if "default" in properties[name]:
            facts.append(f"default {msgspec.json.encode(properties[name]['default']).decode()}")
        yield f"{name}: {', '.join(facts)}"
        if meaning := " ".join(str(properties[name].get("description") or "").split()):
            yield f"    {meaning}"
    yield f"-> {_type(document, definition(document, 'Output') or {})}"


def _type(document: dict[str, Any], schema: Any) -> str:
    """The type that a schema describes, in a few words: ``integer 1..4``, ``webp | jpg | png``, ``list of file``."""
    return " or ".join(dict.fromkeys(_one(document, one) for one in alternatives(document, schema)))


def _one(document: dict[str, Any], schema: dict[str, Any]) -> str:
    if schema.get("enum"):
        return " | ".join(map(str, schema["enum"]))
    kind = schema.get("type", "any")
    if kind == "array":
        joined = schema.get("x-cog-array-display") == "concatenate"
        return "text, piece by piece" if joined else f"list of {_type(document, schema.get('items'))}"
    if kind == "string":
        return "file" if schema.get("format") == "uri" else "string"
    low, high = schema.get("minimum"), schema.get("maximum")
    if low is None and high is None:
        return str(kind)
    return f"{kind} {'' if low is None else low}..{'' if high is None else high}"
