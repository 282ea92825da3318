/** Reads the fields of a form from a model's OpenAPI document. These functions have no side effects. */

/** The fields of a form, in the model's order.
 *
 * A field is `{name, title, help, kind, required, initial, choices, minimum, maximum, item, accept}`. `kind` is text,
 * integer, number, boolean, choice, file, secret, list (of `item`) or json. `initial` is the model's default for the
 * input; undefined if it has none.
 */
export function fieldsOf(document) {
  const schemas = document?.components?.schemas ?? {};
  const input = schemas.Input ?? {};
  const required = new Set(input.required ?? []);
  return Object.entries(input.properties ?? {})
    .map(([name, raw], index) => [raw["x-order"] ?? index, fieldOf(name, raw, schemas, required.has(name))])
    .sort((a, b) => a[0] - b[0])
    .map(([, field]) => field);
}

function fieldOf(name, raw, schemas, required) {
  const schema = resolve(raw, schemas);
  const deprecated = schema.deprecated === true;
  return {
    name,
    title: raw.title && raw.title !== name ? raw.title : titled(name),
    help: schema.description === "An enumeration." ? "" : (schema.description ?? ""),
    required,
    deprecated,
    initial: schema.default ?? undefined,
    ...typeOf(schema, schemas),
  };
}

const titled = (name) => (name.charAt(0).toUpperCase() + name.slice(1)).replaceAll("_", " ");

/** A schema in which `$ref`, `allOf` and unions with null are replaced by the schemas that they name.
 *
 * Keys beside them override the keys of those schemas.
 */
export function resolve(raw, schemas, depth = 0) {
  if (!raw || typeof raw !== "object" || depth > 8) return {};
  const { $ref, allOf, anyOf, oneOf, ...own } = raw;
  let found = {};
  if ($ref) found = resolve(schemas[$ref.split("/").pop()], schemas, depth + 1);
  for (const part of allOf ?? []) found = { ...found, ...resolve(part, schemas, depth + 1) };
  const branches = (anyOf ?? oneOf ?? []).map((part) => resolve(part, schemas, depth + 1));
  const real = branches.filter((part) => part.type !== "null");
  if (real.length === 1) found = { ...found, ...real[0] };
  else if (real.length) found = { ...found, branches: real };
  if (real.length < branches.length) found.nullable = true;
  return { ...found, ...own };
}

function typeOf(schema, schemas) {
  const bounds = { minimum: schema.minimum, maximum: schema.maximum, nullable: schema.nullable === true };
  if (schema.enum) return { kind: "choice", choices: schema.enum.filter((item) => item !== null), ...bounds };
  switch (schema.type) {
    case "integer":
    case "number":
      return { kind: schema.type, ...bounds };
    case "boolean":
      return { kind: "boolean", ...bounds };
    case "array": {
      const item = typeOf(resolve(schema.items, schemas), schemas);
      return item.kind === "list" || item.kind === "json" ? { kind: "json" } : { kind: "list", item };
    }
    case "string":
      return stringOf(schema);
    default:
      return { kind: "json" };
  }
}

function stringOf(schema) {
  if (isFile(schema)) return { kind: "file", accept: schema["x-cog-accept"] };
  if (schema["x-cog-secret"] || schema.format === "password") return { kind: "secret" };
  return { kind: "text", longest: schema.maxLength };
}

/** The kind of a model's output: `pieces` (of text, to be joined), `text`, `file`, `files` or `any`. */
export function outputKind(document) {
  const schemas = document?.components?.schemas ?? {};
  const output = resolve(schemas.Output, schemas);
  if (output["x-cog-array-display"] === "concatenate") return "pieces";
  if (output.type === "array") return isFile(resolve(output.items, schemas)) ? "files" : "any";
  if (isFile(output)) return "file";
  return output.type === "string" ? "text" : "any";
}

const isFile = (schema) => schema.type === "string" && schema.format === "uri";

/** Whether two JSON values are the same. */
export function same(a, b) {
  return a === b || JSON.stringify(a) === JSON.stringify(b);
}

/** The input without values that equal the model's defaults. */
export function withoutInitial(values, fields) {
  const initial = new Map(fields.map((field) => [field.name, field.initial]));
  return Object.fromEntries(
    Object.entries(values).filter(
      ([name, value]) => value !== undefined && !(initial.get(name) !== undefined && same(value, initial.get(name))),
    ),
  );
}

/** The names of the required fields that have neither a value nor a default. */
export function missing(values, fields) {
  return fields
    .filter((field) => field.required && field.initial === undefined && values[field.name] === undefined)
    .map((field) => field.name);
}

/** The name of the first field for a file of this kind (`image`, `audio`, …); undefined if there is none.
 *
 * The types that a field accepts decide, else its name. A field with neither is for any file.
 */
export function fileField(fields, media) {
  return fields.find((field) => field.kind === "file" && fits(field, media))?.name;
}

function fits(field, media) {
  const accepts = [field.accept ?? ""].flat().join(",");
  if (accepts) return accepts.includes(media) || accepts.includes("*/*");
  const named = ["image", "audio", "video"].find(
    (kind) => field.name.includes(kind) || (kind === "image" && /img|picture|mask/.test(field.name)),
  );
  return (named ?? media) === media;
}
