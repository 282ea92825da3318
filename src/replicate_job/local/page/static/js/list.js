/** The control of a list. It has one row for each item, and buttons to add and remove rows. */

import { h } from "./dom.js";
import { filesFrom, urlOf } from "./files.js";

let made = 0;
const newNumber = () => ++made; // for unique ids: `crypto.randomUUID` does not exist on plain http

const ITEM = "item #";

/** Returns a function that puts an item's number in place of ITEM, in all labels below an element. */
function numbered(element) {
  const labels = [...element.querySelectorAll("[aria-label]")].map((one) => [one, one.getAttribute("aria-label")]);
  return (number) => {
    for (const [one, label] of labels) one.setAttribute("aria-label", label.replace(ITEM, `item ${number}`));
  };
}

export function listControl(field, about, changed, controlFor) {
  const rows = [];
  const list = h("ol", { class: "rows" });
  const plain = { ...field.item, name: field.name, initial: undefined, required: false };

  function add(value) {
    const own = { id: `${about.id}-${newNumber()}`, describedBy: about.describedBy, label: `${field.name}, ${ITEM}` };
    const control = controlFor(plain, own, changed);
    const remove = h(
      "button",
      { type: "button", class: "small bare", "aria-label": `Remove ${ITEM} of ${field.name}` },
      "×",
    );
    const element = h("li", {}, h("div", { class: "item" }, control.element), remove);
    const row = { control, element, number: numbered(element) };
    remove.addEventListener("click", () => take(row));
    if (value !== undefined) control.set(value);
    row.number(rows.push(row));
    list.append(element);
    return row;
  }

  function take(row) {
    const place = rows.indexOf(row);
    rows.splice(place, 1);
    row.element.remove();
    rows.forEach((one, index) => one.number(index + 1));
    (rows[Math.min(place, rows.length - 1)]?.control ?? { focus: () => more.focus() }).focus();
    changed();
  }

  const more = h(
    "button",
    { type: "button", class: "small", "aria-label": `Add an item to ${field.name}` },
    "Add an item",
  );
  more.addEventListener("click", () => {
    add().control.focus();
    changed();
  });

  const control = {
    element: h(
      "div",
      { class: "list", id: about.id, role: "group", "aria-label": field.name, "aria-describedby": about.describedBy },
      list,
      h("div", { class: "actions" }, more, field.item.kind === "file" && manyFiles(field, add, changed)),
    ),
    focus: () => (rows[0]?.control ?? { focus: () => more.focus() }).focus(),
    pending: () => Promise.all(rows.map((row) => row.control.pending?.())),
    get() {
      // A row without a value is left out. In a list of texts, it is an empty text.
      const items = rows
        .map((row) => row.control.get() ?? (field.item.kind === "text" ? "" : undefined))
        .filter((item) => item !== undefined);
      return items.length === 0 && !field.initial?.length ? undefined : items;
    },
    set(value) {
      rows.splice(0);
      list.replaceChildren();
      for (const item of value ?? (value === undefined ? field.initial : null) ?? []) add(item);
    },
  };
  control.set(undefined);
  return control;
}

function manyFiles(field, add, changed) {
  const input = h("input", {
    type: "file",
    multiple: true,
    class: "unseen",
    tabIndex: -1,
    accept: field.item.accept ?? "",
    "aria-hidden": "true",
  });
  input.addEventListener("change", async () => {
    for (const file of filesFrom(input.files)) {
      const row = add();
      row.control.take(file, urlOf(file));
    }
    input.value = "";
    changed();
  });
  return [h("button", { type: "button", class: "small", onclick: () => input.click() }, "Choose files …"), input];
}
