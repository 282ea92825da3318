/** Asks the user for the token of a server that was started with one. */

import { h } from "./dom.js";

let asking = null;

/** The token that the user types. Concurrent calls share a dialog. `wrong` is whether the previous one was refused. */
export function askForToken(wrong) {
  asking ??= ask(wrong).finally(() => (asking = null));
  return asking;
}

function ask(wrong) {
  const field = h("input", { type: "password", name: "token", required: true, autocomplete: "current-password" });
  const form = h(
    "form",
    { method: "dialog" },
    h("h2", {}, "This server needs a token"),
    h(
      "p",
      { class: wrong ? "problem" : "quiet" },
      wrong ? "That token was refused." : "The one that it was started with. Kept until this tab is closed.",
    ),
    h("label", {}, "Token", field),
    h("button", { class: "primary" }, "Continue"),
  );
  const dialog = h("dialog", { class: "token" }, form);
  document.body.append(dialog);
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      dialog.remove();
      resolve(field.value.trim());
    });
  });
}
