/** Writes values as literals of shells, Python and JavaScript. These functions have no side effects. */

import { typeOf } from "./media.js";

/** Takes the place of a value that must not be written into a snippet.
 *
 * `kind` is `file` or `secret`. `name` is the file's name, or the environment variable with the secret.
 */
export class StandIn {
  /** `url` is the address of a file's content, if the file may not be on the user's disk; else empty. */
  constructor(kind, name, url = "") {
    Object.assign(this, { kind, name, url });
  }
}

/** A text, quoted as one word of a POSIX shell. */
export function shell(text) {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(text)) return text;
  const equals = /^[A-Za-z_]\w*=/.exec(text)?.[0] ?? "";
  return `${equals}'${text.slice(equals.length).replaceAll("'", "'\\''")}'`;
}

/** The name of the environment variable for the input `name`. */
export const variable = (name) => name.toUpperCase().replace(/\W/g, "_");

/** A Python literal. `write` maps each kind of stand-in to a function that returns an expression for its name. */
export function python(value, write = {}, indent = "    ") {
  const own = expression(value, write);
  if (own) return own;
  if (value === null) return "None";
  if (value === true) return "True";
  if (value === false) return "False";
  if (typeof value === "string") return string(value);
  if (Array.isArray(value)) return `[${value.map((item) => python(item, write, indent)).join(", ")}]`;
  if (typeof value === "object")
    return `{${Object.entries(value)
      .map(([name, item]) => `${string(name)}: ${python(item, write, indent)}`)
      .join(", ")}}`;
  return String(value);
}

/** A string literal of Python and JavaScript, which read JSON's escapes alike. Invisible characters are escaped. */
function string(text) {
  return JSON.stringify(text).replace(
    /[\u007f-\u009f\u2028\u2029\u200b-\u200f\u202a-\u202e\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A JavaScript literal. `write` is as in `python`. */
export function js(value, write = {}) {
  const own = expression(value, write);
  if (own) return own;
  if (typeof value === "string") return string(value);
  if (Array.isArray(value)) return `[${value.map((item) => js(item, write)).join(", ")}]`;
  if (value !== null && typeof value === "object")
    return `{ ${Object.entries(value)
      .map(([name, item]) => `${string(name)}: ${js(item, write)}`)
      .join(", ")} }`;
  return String(value);
}

const expression = (value, write) => (value instanceof StandIn ? write[value.kind](value.name) : null);

/** JSON for a here-document of a shell, with `$`, backquotes and backslashes escaped: `{text, expands}`.
 *
 * `expands` is whether the text has stand-ins, for which the shell must insert files or variables.
 */
export function jsonTemplate(value) {
  let expands = false;
  const literal = (text) => text.replace(/[\\$`]/g, "\\$&");
  const write = (item, indent) => {
    if (item instanceof StandIn) {
      expands = true;
      return item.kind === "file"
        ? `"data:${typeOf(item.name)};base64,$(base64 < ${shell(item.name)} | tr -d '\\n')"`
        : `"$${item.name}"`;
    }
    const inner = `${indent}  `;
    if (Array.isArray(item)) return item.length ? `[${item.map((each) => write(each, inner)).join(", ")}]` : "[]";
    if (item !== null && typeof item === "object") {
      const fields = Object.entries(item).map(
        ([name, each]) => `${inner}${literal(JSON.stringify(name))}: ${write(each, inner)}`,
      );
      return fields.length ? `{\n${fields.join(",\n")}\n${indent}}` : "{}";
    }
    return literal(JSON.stringify(item));
  };
  const text = write(value, "");
  return { text, expands };
}
