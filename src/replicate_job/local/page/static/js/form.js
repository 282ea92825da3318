/** The form of a model: its fields, their values, and the problems with these values. */

import { h } from "./dom.js";
import { controlFor } from "./controls.js";
import { inline } from "./markdown.js";
import { fileField, missing, same, withoutInitial } from "./schema.js";

/** Makes the form of `fields`. `changed` is called after each edit. */
export function createForm(fields, changed) {
  const rows = fields.map((field) => fieldRow(field, () => edited(field)));
  let others = {}; // values for names that the schema does not have; they are sent unchanged

  function edited(field) {
    const row = rows[fields.indexOf(field)];
    row.mark();
    row.say("");
    changed();
  }

  function values() {
    const set = Object.fromEntries(rows.map((row) => [row.field.name, row.control.get()]));
    return { ...withoutInitial(set, fields), ...others };
  }

  return {
    element: h(
      "div",
      { class: "fields" },
      rows.length ? rows.map((row) => row.element) : h("p", { class: "quiet" }, "This model takes no input."),
    ),
    values,
    /** Sets the fields to the values in `given`. All other fields become unset. */
    set(given) {
      const names = new Set(fields.map((field) => field.name));
      others = Object.fromEntries(Object.entries(given).filter(([name]) => !names.has(name)));
      for (const row of rows) row.set(given[row.field.name]);
    },
    /** Marks the required fields that are unset. Returns whether there are any. */
    incomplete() {
      const names = missing(values(), fields);
      for (const row of rows) row.say(names.includes(row.field.name) ? "This one is required." : "");
      rows.find((row) => names.includes(row.field.name))?.control.focus();
      return names.length > 0;
    },
    /** Shows the API's `invalid_fields` at their fields. Returns those that belong to no field. */
    problems(faults) {
      const left = faults.filter((fault) => !place(rows, fault));
      rows.find((row) => row.hasProblem())?.control.focus();
      return left;
    },
    ready: () => Promise.all(rows.map((row) => row.control.pending?.())),
    focus: () => rows[0]?.control.focus(),
    fileField: (media) => fileField(fields, media),
    put(name, value) {
      const row = rows.find((one) => one.field.name === name);
      row.set(value);
      row.control.focus();
      changed();
    },
  };
}

function place(rows, fault) {
  const steps = fault.field.split(".");
  // The fault of a missing field names its parent, "input". The field's own name is in the description.
  const name = steps[1] ?? /^(\S+) is required/.exec(fault.description)?.[1];
  const row = rows.find((one) => one.field.name === name);
  row?.say(steps.length > 2 ? `Item ${Number(steps[2]) + 1}: ${fault.description}` : fault.description);
  return Boolean(row);
}

function fieldRow(field, changed) {
  const id = `field-${field.name}`;
  const isGroup = field.kind === "list" || field.kind === "file";
  const control = controlFor(
    field,
    { id, describedBy: `${id}-help ${id}-problem`, label: isGroup ? field.name : null },
    changed,
  );
  const problem = h("p", { class: "problem", id: `${id}-problem`, role: "alert" });
  const reset = h(
    "button",
    { type: "button", class: "small bare reset", hidden: true, "aria-label": `Reset ${field.name}` },
    "reset",
  );
  const head = h(
    "div",
    { class: "head" },
    isGroup ? h("span", { class: "name" }, field.name) : h("label", { htmlFor: id }, field.name),
    field.required && h("span", { class: "type required" }, "required"),
    h("span", { class: "type" }, typeName(field)),
    reset,
  );
  const element = h(
    "div",
    { class: "field", data: { name: field.name, kind: field.kind } },
    head,
    control.element,
    h("p", { class: "help", id: `${id}-help` }, help(field)),
    problem,
  );
  const row = {
    field,
    element,
    control,
    say(text) {
      problem.textContent = text;
      element.classList.toggle("wrong", Boolean(text));
      element.querySelector(`[id="${id}"]`)?.setAttribute("aria-invalid", text ? "true" : "false");
    },
    hasProblem: () => Boolean(problem.textContent),
    mark() {
      const value = control.get();
      const isSet = value !== undefined && !(field.initial !== undefined && same(value, field.initial));
      reset.hidden = !isSet;
      element.classList.toggle("is-set", isSet);
    },
    set(value) {
      control.set(value ?? undefined);
      row.mark();
      row.say("");
    },
  };
  reset.addEventListener("click", () => {
    row.set(undefined);
    control.focus();
    changed();
  });
  row.mark();
  return row;
}

function typeName(field) {
  if (field.kind === "list") return `list of ${typeName(field.item)}s`;
  return { text: "string", choice: "choice", json: "JSON" }[field.kind] ?? field.kind;
}

function help(field) {
  const facts = [];
  if (field.minimum !== undefined && field.maximum !== undefined) facts.push(`${field.minimum} to ${field.maximum}`);
  else if (field.minimum !== undefined) facts.push(`at least ${field.minimum}`);
  else if (field.maximum !== undefined) facts.push(`at most ${field.maximum}`);
  const initial = shown(field.initial);
  if (initial && initial.length <= 60) facts.push(`default ${initial}`); // a long default is only shown in its field
  if (field.deprecated) facts.push("deprecated");
  const text = field.help.trim();
  return [
    text && inline(text),
    text && facts.length > 0 && DOT,
    facts.length > 0 && h("span", { class: "facts" }, facts.join(DOT)),
  ];
}

const DOT = "\u00a0· "; // the no-break space prevents it from beginning a line

/** A value as JSON. A string without white space at its ends is shown as it is. */
const shown = (value) => (typeof value === "string" && value.trim() === value ? value : JSON.stringify(value));
