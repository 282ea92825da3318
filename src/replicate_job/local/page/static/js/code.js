/** The snippets of a form, which follow what is set in it. */

import { copyButton, h } from "./dom.js";
import { filesOf, KINDS, snippet } from "./snippets.js";

const KEY = "replicate-job snippet";

/** `{element, show(run)}`. */
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
  function draw() {
    if (!run) return;
    pre.textContent = snippet(kind, run);
    needs.replaceChildren(...needed(filesOf(run)));
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
    needs,
  );
  return {
    element,
    show(next) {
      run = next;
      draw();
    },
  };
}

/** What to have in the folder where a snippet is run. What this page alone has can be saved there. */
function needed(files) {
  if (!files.length) return [];
  const names = files.map(({ name, url }) => (url ? h("a", { href: url, download: name }, `Save ${name}`) : h("code", {}, name)));
  return ["Reads from the folder it runs in:", ...names];
}

/** Tabs for `[[key, label], …]`: one stop for Tab, arrows between them. */
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
