/** Values as the words of other languages. Pure. */

import { typeOf } from "./media.js";

/** A value that is not written out: a `file` of this name, or a `secret` in this variable. */
export class StandIn {
  /** `url` has the content of a file that may be on no disk. */
  constructor(kind, name, url = "") {
    Object.assign(this, { kind, name, url });
  }
}

/** One word of a POSIX shell. */
export function shell(text) {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(text)) return text;
  const equals = /^[A-Za-z_]\w*=/.exec(text)?.[0] ?? "";
  return `${equals}'${text.slice(equals.length).replaceAll("'", "'\\''")}'`;
}

/** The name of an environment variable for an input. */
export const variable = (name) => name.toUpperCase().replace(/\W/g, "_");

/** A Python literal. `write` has an expression for each kind of stand-in. */
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

/** JSON's escapes mean the same in Python and JavaScript; what cannot be seen is written as an escape. */
function string(text) {
  return JSON.stringify(text).replace(
    /[\u007f-\u009f\u2028\u2029\u200b-\u200f\u202a-\u202e\ufeff]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** A JavaScript literal. */
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

/** JSON for a here-document of a shell, where `$`, backquotes and backslashes mean something.
 *
 * `{text, expands}`: `expands` says whether the shell has to put something in.
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
