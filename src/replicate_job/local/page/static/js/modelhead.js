/** The top of a model's page: what it is, and what it can be shown to do. */

import * as api from "./api.js";
import { h } from "./dom.js";
import { moment, standsIn } from "./format.js";
import { inline, markdown } from "./markdown.js";

/** `fill(input)` puts an example into the form; `pick(id)` shows another version, the newest where it is empty. */
export function head({ model, slug, signal, fill, pick }) {
  const extras = h("div", { class: "extras" });
  if (model) addExtras(extras, { model, slug, signal, fill, pick });
  return h("div", { class: "modelhead" }, h("h1", { tabIndex: -1 }, slugLine(slug)), model && about(model), extras);
}

export function slugLine(slug) {
  const [owner, name] = slug.split("/");
  return h("span", { class: "slug" }, h("span", { class: "owner" }, `${owner}/`), h("span", { class: "name" }, name));
}

/** Its description; `write` makes children of the Markdown that it may have. */
export function about(model, write = inline) {
  const text = model.description ?? "";
  if (!standsIn(text)) return h("p", { class: "description" }, write(text));
  const rest = text.replace(/^a stand-in,?\s*/i, "").replace(/^./, (first) => first.toUpperCase());
  return h("p", { class: "description" }, h("span", { class: "badge" }, "stand-in"), " ", write(rest));
}

/** The input to begin with: that of its own example, and never one that somebody has run before. */
export const exampleOf = (model) => model.example_input;

async function addExtras(extras, { model, slug, signal, fill, pick }) {
  const id = model.latest_version?.id ?? "";
  const version = h("span", {}, id && ["version ", h("code", { title: id }, short(id))]);
  extras.append(h("p", { class: "quiet" }, h("span", {}, model.is_official ? "official" : "community"), version));
  const [readme, versions] = await Promise.all([
    model.description ? api.readme(slug, signal).catch(() => "") : "", // its first paragraph
    model.is_official ? [] : api.versions(slug, signal).catch(() => []),
  ]);
  if (signal.aborted) return;
  if (versions.length > 1) version.replaceChildren(versionChoice(versions, model.pinned, pick));
  const example = exampleOf(model);
  if (example)
    extras.append(h("button", { type: "button", class: "small", onclick: () => fill(example) }, "Fill in the example"));
  if (readme.trim())
    extras.append(h("details", { class: "readme" }, h("summary", {}, "About this model"), markdown(readme)));
}

const short = (id) => id.slice(0, 12);

/** Newest first; the newest is what the model is, whatever its folder becomes. */
function versionChoice(versions, pinned, pick) {
  const label = (one, index) => `${short(one.id)} · ${index ? moment(one.created_at) : "newest"}`;
  const select = h(
    "select",
    { class: "versions small", "aria-label": "Version" },
    versions.map((one, index) => h("option", { value: index ? one.id : "" }, label(one, index))),
  );
  select.value = versions[0].id === pinned ? "" : (pinned ?? "");
  select.addEventListener("change", () => pick(select.value));
  return select;
}
