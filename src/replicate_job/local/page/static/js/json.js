/** Shows JSON as a tree. Long arrays and texts are folded. */

import { h } from "./dom.js";
import { canLink } from "./files.js";

const MANY = 24; // the most items of an array of plain values that are shown at first
const ROWS = 200; // the most lines of an array or object that are shown at first
const LONG = 2000; // the most characters of a text that are shown at first

export function jsonView(value) {
  return h("div", { class: "json", tabIndex: 0, role: "group", "aria-label": "JSON" }, node(value, 0, ""));
}

/** The elements of a value. `comma` is a comma or an empty text to put after the value, on its last line. */
function node(value, depth, comma) {
  if (isPlain(value)) return [leaf(value), comma];
  if (!Array.isArray(value)) return branch(Object.entries(value), "{", `}${comma}`, depth);
  return value.every(isPlain) ? plainArray(value, comma) : branch(Object.entries(value), "[", `]${comma}`, depth);
}

const isPlain = (value) => value === null || typeof value !== "object";

function leaf(value) {
  const kind = value === null ? "null" : typeof value;
  if (kind !== "string") return h("span", { class: kind }, String(value));
  if (/^https?:/.test(value) && canLink(value)) {
    return h(
      "span",
      { class: "string" },
      '"',
      h("a", { href: value, target: "_blank", rel: "noopener noreferrer" }, value),
      '"',
    );
  }
  if (value.length <= LONG) return h("span", { class: "string" }, JSON.stringify(value));
  const shown = h("span", { class: "string" }, JSON.stringify(value.slice(0, LONG)));
  return h(
    "span",
    {},
    shown,
    unfold(`… ${(value.length - LONG).toLocaleString()} more characters`, () =>
      shown.replaceChildren(JSON.stringify(value)),
    ),
  );
}

function plainArray(items, comma) {
  const element = h("span", { class: "array" }, "[");
  const show = (part) => part.flatMap((item, index) => (index ? [", ", leaf(item)] : [leaf(item)]));
  element.append(...show(items.slice(0, MANY)));
  // An element of its own, so that the bracket stays on one line with the item before it.
  const end = h("span", { class: "last" }, `]${comma}`);
  if (items.length > MANY) {
    const label = `${(items.length - MANY).toLocaleString()} more of ${items.length.toLocaleString()}`;
    element.append(", ");
    end.prepend(unfold(label, () => end.before(...show(items.slice(MANY)))));
  }
  element.append(end);
  return element;
}

function unfold(label, act) {
  const button = h("button", { type: "button", class: "fold" }, label);
  button.addEventListener("click", () => {
    button.remove();
    act();
  });
  return button;
}

/** An object or array as lines. `entries` are `[name, value]`; the names of an array's entries are not shown. */
function branch(entries, open, close, depth) {
  if (!entries.length) return h("span", {}, open + close);
  const line = ([name, value], index) => {
    const key = open === "{" && h("span", { class: "key" }, JSON.stringify(name), ": ");
    return h("li", {}, key, node(value, depth + 1, index < entries.length - 1 ? "," : ""));
  };
  const lines = entries.slice(0, ROWS).map(line);
  const list = h("ul", {}, lines);
  if (entries.length > ROWS) {
    const rest = h("li", {});
    rest.append(
      unfold(`${(entries.length - ROWS).toLocaleString()} more`, () =>
        rest.replaceWith(...entries.slice(ROWS).map((entry, index) => line(entry, index + ROWS))),
      ),
    );
    list.append(rest);
  }
  const noun = (open === "[" ? "item" : "field") + (entries.length === 1 ? "" : "s");
  return h(
    "details",
    { open: depth < 3 },
    h("summary", {}, open, h("span", { class: "count" }, ` ${entries.length} ${noun} ${close}`)),
    list,
    h("span", { class: "close" }, close),
  );
}
