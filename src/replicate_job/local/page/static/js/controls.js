/** A control for each kind of field: `{element, focus, get, set}`.
 *
 * `get` returns undefined if the input should not contain the field.
 */

import { h } from "./dom.js";
import { fileControl } from "./filepick.js";
import { listControl } from "./list.js";

/** Makes the control of a field. `changed` is called after each edit.
 *
 * `about` has the `id`, `describedBy` and `label` of the element that gets the focus.
 */
export function controlFor(field, about, changed) {
  return MAKERS[field.kind](field, about, changed);
}

const MAKERS = {
  text: textControl,
  integer: numberControl,
  number: numberControl,
  boolean: (field, about, changed) =>
    field.initial === undefined
      ? choiceControl({ ...field, choices: [true, false] }, about, changed)
      : switchControl(field, about, changed),
  choice: choiceControl,
  secret: secretControl,
  json: jsonControl,
  file: fileControl,
  list: (field, about, changed) => listControl(field, about, changed, controlFor),
};

function marks(field, about) {
  return {
    id: about.id,
    "aria-describedby": about.describedBy,
    "aria-label": about.label,
    "aria-required": field.required ? "true" : null,
  };
}

function textControl(field, about, changed) {
  const initial = field.initial ?? "";
  const look = { ...marks(field, about), rows: 1, spellcheck: true, class: "grows" };
  const read = (text) => (text === "" && initial === "" ? undefined : text);
  return areaControl(look, { initial, write: String, read }, changed);
}

function jsonControl(field, about, changed) {
  const write = (value) => JSON.stringify(value, null, 2);
  const initial = field.initial === undefined ? "" : write(field.initial);
  const look = { ...marks(field, about), rows: 2, spellcheck: false, class: "code grows", placeholder: "JSON" };
  return areaControl(look, { initial, write, read: readJson }, changed);
}

/** A control for text of any length. `write(value)` converts a value to text, and `read(text)` converts it back. */
function areaControl(look, { initial, write, read }, changed) {
  const area = h("textarea", { ...look, value: initial, oninput: edited });
  function edited() {
    grow(area);
    changed();
  }
  return {
    element: area,
    focus: () => area.focus(),
    get: () => read(area.value),
    set(value) {
      area.value = value === undefined ? initial : write(value);
      grow(area);
    },
  };
}

/** Sets the height of a text field to that of its content, in browsers without `field-sizing`. */
function grow(area) {
  if (CSS.supports("field-sizing", "content")) return;
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

function numberControl(field, about, changed) {
  const shown = field.initial === undefined ? "" : String(field.initial);
  const mode = field.kind === "integer" ? "numeric" : "decimal";
  const input = h("input", {
    ...marks(field, about),
    type: "text",
    inputMode: mode,
    autocomplete: "off",
    value: shown,
    class: "number",
  });
  const slider = sliderFor(field, about);
  const show = (text) => {
    if (slider) slider.value = text === "" || Number.isNaN(Number(text)) ? (field.initial ?? field.minimum) : text;
  };
  input.addEventListener("input", () => {
    show(input.value);
    changed();
  });
  slider?.addEventListener("input", () => {
    input.value = slider.value;
    changed();
  });
  show(shown);
  return {
    element: slider ? h("div", { class: "ranged" }, slider, input) : input,
    focus: () => input.focus(),
    get: () => readNumber(input.value),
    set(value) {
      input.value = value === undefined ? shown : String(value ?? "");
      show(input.value);
    },
  };
}

/** The number in a text. A text that is not a number is returned unchanged, so that the server reports the error. */
function readNumber(text) {
  if (text.trim() === "") return undefined;
  const number = Number(text);
  return Number.isFinite(number) ? number : text;
}

function sliderFor(field, about) {
  const { minimum, maximum } = field;
  if (typeof minimum !== "number" || typeof maximum !== "number" || !(maximum > minimum) || maximum - minimum > 100_000)
    return null;
  const step = field.kind === "integer" ? 1 : 10 ** (Math.floor(Math.log10(maximum - minimum)) - 2);
  const slider = h("input", { type: "range", "aria-label": `${about.label ?? field.name}, slider` });
  Object.assign(slider, { min: minimum, max: maximum, step, value: field.initial ?? minimum });
  return slider;
}

function switchControl(field, about, changed) {
  const said = h("span", { "aria-hidden": "true" }); // hidden from screen readers, which read the switch itself
  const box = h("input", { ...marks(field, about), type: "checkbox", role: "switch", checked: field.initial });
  const tell = () => (said.textContent = box.checked ? "true" : "false");
  box.addEventListener("change", () => {
    tell();
    changed();
  });
  tell();
  return {
    element: h("label", { class: "switch" }, box, said),
    focus: () => box.focus(),
    get: () => box.checked,
    set(value) {
      box.checked = value === undefined || value === null ? field.initial : Boolean(value);
      tell();
    },
  };
}

function choiceControl(field, about, changed) {
  const unset =
    field.initial === undefined ? [h("option", { value: "" }, field.required ? "Choose …" : "not set")] : [];
  const options = field.choices.map((choice, index) => h("option", { value: String(index) }, String(choice)));
  const select = h("select", { ...marks(field, about), onchange: changed }, unset, options);
  const pick = (value) => {
    const index = field.choices.indexOf(value);
    select.value = index < 0 ? "" : String(index);
  };
  pick(field.initial);
  return {
    element: select,
    focus: () => select.focus(),
    get: () => (select.value === "" ? undefined : field.choices[Number(select.value)]),
    set: (value) => pick(value === undefined ? field.initial : value),
  };
}

function secretControl(field, about, changed) {
  const input = h("input", { ...marks(field, about), type: "password", autocomplete: "off", oninput: changed });
  return {
    element: input,
    focus: () => input.focus(),
    get: () => input.value || undefined,
    set: (value) => (input.value = value ?? ""),
  };
}

function readJson(text) {
  if (text.trim() === "") return undefined;
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
