/** A text field with the form's values as JSON, which can be edited in place of the form. */

import { h } from "./dom.js";

/** Returns `{tabs, element, show, isWrong}`. `edited` is called after each edit that is a JSON object. */
export function rawInput(form, edited) {
  const area = h("textarea", {
    class: "code raw",
    spellcheck: false,
    rows: 14,
    "aria-label": "Input as JSON",
    "aria-describedby": "raw-problem",
  });
  const fault = h("p", { class: "problem", id: "raw-problem", role: "alert" });
  const element = h("div", { class: "rawinput", hidden: true }, area, fault);
  const [asForm, asJson] = [tab("Form", () => turn(false)), tab("JSON", () => turn(true))];
  asForm.setAttribute("aria-pressed", "true");

  function turn(on) {
    asForm.setAttribute("aria-pressed", String(!on));
    asJson.setAttribute("aria-pressed", String(on));
    element.hidden = !on;
    form.element.hidden = on;
    fault.textContent = "";
    area.value = written(form.values());
    (on ? area : asForm).focus();
  }

  area.addEventListener("input", () => {
    const given = readObject(area.value);
    fault.textContent = given ? "" : "This is not a JSON object.";
    if (!given) return;
    form.set(given);
    edited();
  });
  return {
    tabs: h("div", { class: "bar" }, h("h2", {}, "Input"), h("div", { class: "tabs" }, asForm, asJson)),
    element,
    isWrong: () => Boolean(fault.textContent),
    show(input) {
      if (document.activeElement !== area) area.value = written(input);
    },
  };
}

const tab = (label, onclick) => h("button", { type: "button", class: "tab", "aria-pressed": "false", onclick }, label);

const written = (input) => JSON.stringify(input, null, 2);

function readObject(text) {
  try {
    const found = JSON.parse(text);
    return found !== null && typeof found === "object" && !Array.isArray(found) ? found : null;
  } catch {
    return null;
  }
}
