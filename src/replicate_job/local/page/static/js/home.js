/** `/`: the models of this server, and its latest predictions. */

import * as api from "./api.js";
import { h, spaced } from "./dom.js";
import { plain } from "./markdown.js";
import { about, slugLine } from "./modelhead.js";
import { setQuery } from "./route.js";
import { recentRuns } from "./runs.js";

export async function homeView({ signal, query }) {
  const groups = (await Promise.all(["yours", "built-in"].map((slug) => api.collection(slug, signal)))).map(group);
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
    none.hidden = groups.map((each) => each.filter(words)).some(Boolean);
    inAddress();
  }

  search.addEventListener("input", filter);
  filter();
  onSlash(search, signal);
  const bar = h("div", { class: "bar" }, h("h1", { tabIndex: -1 }, "Models"), search);
  const left = h(
    "div",
    {},
    bar,
    groups.map((each) => each.element),
    none,
  );
  return { title: "Models", element: h("div", { class: "home" }, left, recentRuns("", signal, { count: 12 }).element) };
}

const slugOf = (model) => `${model.owner}/${model.name}`;

/** The models of one collection.
 *
 * `filter(words)` shows the models that contain all words, and returns whether there are any.
 */
function group({ name, slug, models }) {
  const cards = models.map((model) => [model, card(model)]);
  const list = h(
    "ul",
    { class: "models" },
    cards.map(([, element]) => element),
  );
  const element = h("section", { "aria-labelledby": `group-${slug}` }, h("h2", { id: `group-${slug}` }, name), list);
  return {
    element,
    filter(words) {
      for (const [model, one] of cards) {
        const text = `${slugOf(model)} ${model.description ?? ""}`.toLowerCase();
        one.hidden = !words.every((word) => text.includes(word));
      }
      element.hidden = cards.every(([, one]) => one.hidden);
      return !element.hidden;
    },
  };
}

function card(model) {
  const slug = slugOf(model);
  const cover = model.cover_image_url && api.samePath(model.cover_image_url);
  return h(
    "li",
    {},
    h(
      "a",
      { class: "model", href: `/${slug}` },
      cover && h("img", { class: "cover", src: cover, alt: `A picture that ${slug} made`, width: 640, height: 360 }),
      slugLine(slug),
      about(model, plain),
    ),
  );
}

/** Focuses the search field when the key `/` is pressed. */
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
