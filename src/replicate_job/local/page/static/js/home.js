/** `/`: the models of this server, and what ran last. */

import * as api from "./api.js";
import { h, spaced } from "./dom.js";
import { about, slugLine } from "./modelhead.js";
import { setQuery } from "./route.js";
import { recentRuns } from "./runs.js";

export async function homeView({ signal, query }) {
  const models = (await api.models(signal)).sort((a, b) => slugOf(a).localeCompare(slugOf(b)));
  const cards = models.map((model) => [model, card(model)]);
  const none = h("p", { class: "empty", hidden: true }, "No model has these words.");
  const search = h("input", {
    type: "search",
    value: query.get("q") ?? "",
    placeholder: "Search",
    "aria-label": "Search models",
    "aria-keyshortcuts": "/",
    autocomplete: "off",
  });

  const inAddress = spaced(() => setQuery({ q: search.value }), 500);
  signal.addEventListener("abort", () => inAddress.end(false));

  function filter() {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const [model, element] of cards) {
      const text = `${slugOf(model)} ${model.description ?? ""}`.toLowerCase();
      element.hidden = !words.every((word) => text.includes(word));
    }
    none.hidden = cards.some(([, element]) => !element.hidden);
    inAddress();
  }

  search.addEventListener("input", filter);
  filter();
  onSlash(search, signal);
  const list = h(
    "ul",
    { class: "models" },
    cards.map(([, element]) => element),
  );
  const left = h("section", {}, h("div", { class: "bar" }, h("h1", { tabIndex: -1 }, "Models"), search), list, none);
  return { title: "Models", element: h("div", { class: "home" }, left, recentRuns("", signal, { count: 12 }).element) };
}

const slugOf = (model) => `${model.owner}/${model.name}`;

function card(model) {
  const slug = slugOf(model);
  return h("li", {}, h("a", { class: "model", href: `/${slug}` }, slugLine(slug), about(model)));
}

/** `/` goes to the search. */
export function onSlash(search, signal) {
  document.addEventListener(
    "keydown",
    (event) => {
      if (event.key !== "/" || event.ctrlKey || event.metaKey || event.target.closest("input, textarea, select"))
        return;
      event.preventDefault();
      search.focus();
    },
    { signal },
  );
}
