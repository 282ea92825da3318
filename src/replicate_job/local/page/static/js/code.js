/** The code snippets beside a form. They change with the form's values. */

import { copyButton, h } from "./dom.js";
import { filesOf, isElsewhere, KINDS, snippet } from "./snippets.js";

const KEY = "replicate-job snippet";
const PLACE = "replicate-job snippet runs";

/** Returns `{element, show(run)}`. `run` is described in snippets.js. */
export function codeView() {
  let run = null;
  let kind = Object.hasOwn(KINDS, localStorage.getItem(KEY)) ? localStorage.getItem(KEY) : "shell";
  const pre = h("pre", { class: "snippet", tabIndex: 0, data: { testid: "snippet" }, id: "snippet", role: "tabpanel" });
  const tabs = tabList(Object.entries(KINDS), kind, "The same from elsewhere", (picked) => {
    kind = picked;
    localStorage.setItem(KEY, picked);
    draw();
  });
  const needs = h("p", { class: "quiet actions" });
  const place = h(
    "select",
    { class: "small", "aria-label": "Runs on" },
    h("option", { value: "here" }, "On this machine"),
    h("option", { value: "away" }, "On Replicate"),
  );
  place.value = localStorage.getItem(PLACE) === "away" ? "away" : "here";
  place.addEventListener("change", () => {
    localStorage.setItem(PLACE, place.value);
    draw();
  });
  function draw() {
    if (!run) return;
    place.hidden = !isElsewhere(run);
    const shown = { ...run, away: !place.hidden && place.value === "away" };
    pre.textContent = snippet(kind, shown);
    needs.replaceChildren(...needed(filesOf(shown), shown.away));
  }
  const element = h(
    "section",
    { class: "code" },
    h(
      "div",
      { class: "bar" },
      tabs,
      copyButton(() => pre.textContent),
    ),
    pre,
    h("div", { class: "actions" }, place, needs),
  );
  return {
    element,
    show(next) {
      run = next;
      draw();
    },
  };
}

/** A note about what a snippet needs: the token, and the files in the folder where it runs.
 *
 * A file that exists only in this page has a link to save it.
 */
function needed(files, away) {
  const token = away ? ["with your token in ", h("code", {}, "REPLICATE_API_TOKEN")] : [];
  if (!files.length) return token;
  const names = files.map(({ name, url }) => (url ? h("a", { href: url, download: name }, `Save ${name}`) : h("code", {}, name)));
  return [...token, "Reads from the folder it runs in:", ...names];
}

/** Tabs for `entries`, `[[key, label], …]`. The Tab key stops once at all of them; arrow keys move between them. */
export function tabList(entries, first, label, picked) {
  const buttons = entries.map(([key, text]) =>
    h("button", { type: "button", role: "tab", class: "tab", data: { key } }, text),
  );
  const mark = (chosen) => {
    for (const button of buttons) {
      button.setAttribute("aria-selected", String(button === chosen));
      button.tabIndex = button === chosen ? 0 : -1;
    }
  };
  const pick = (button) => {
    mark(button);
    picked(button.dataset.key);
  };
  for (const [place, button] of buttons.entries()) {
    button.addEventListener("click", () => pick(button));
    button.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      const next = buttons[(place + step + buttons.length) % buttons.length];
      next.focus();
      pick(next);
    });
  }
  mark(buttons.find((button) => button.dataset.key === first));
  return h("div", { class: "tabs", role: "tablist", "aria-label": label }, buttons);
}
