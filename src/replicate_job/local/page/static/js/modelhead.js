/** The top of a model's page: name, description, version, example and README. */

import * as api from "./api.js";
import { h } from "./dom.js";
import { moment, standsIn } from "./format.js";
import { inline, markdown } from "./markdown.js";

/** `fill(input)` puts an example into the form. `pick(id)` shows another version; an empty id means the newest one. */
export function head({ model, slug, signal, fill, pick }) {
  const extras = h("div", { class: "extras" });
  if (model) addExtras(extras, { model, slug, signal, fill, pick });
  return h("div", { class: "modelhead" }, h("h1", { tabIndex: -1 }, slugLine(slug)), model && about(model), extras);
}

export function slugLine(slug) {
  const [owner, name] = slug.split("/");
  return h("span", { class: "slug" }, h("span", { class: "owner" }, `${owner}/`), h("span", { class: "name" }, name));
}

/** A model's description. `write` makes its children from Markdown. */
export function about(model, write = inline) {
  const text = model.description ?? "";
  if (!standsIn(text)) return h("p", { class: "description" }, write(text));
  const rest = text.replace(/^a stand-in,?\s*/i, "").replace(/^./, (first) => first.toUpperCase());
  return h("p", { class: "description" }, h("span", { class: "badge" }, "stand-in"), " ", write(rest));
}

/** The initial input: that of the model's `example.json`, and never the input of an earlier prediction. */
export const exampleOf = (model) => model.example_input;

async function addExtras(extras, { model, slug, signal, fill, pick }) {
  const id = model.latest_version?.id ?? "";
  const version = h("span", {}, id && ["version ", h("code", { title: id }, short(id))]);
  extras.append(h("p", { class: "quiet" }, h("span", {}, model.is_official ? "official" : "community"), version));
  const [readme, versions] = await Promise.all([
    model.description ? api.readme(slug, signal).catch(() => "") : "", // a model without a description has no README
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

/** A select element of versions, newest first. The newest has the value "", so it follows edits of the folder. */
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
