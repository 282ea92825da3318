/** Predictions in lists: a picture or a word of each, its model, state and age. */

import * as api from "./api.js";
import { h, icon } from "./dom.js";
import { canShow, mediaOf, nameOf } from "./files.js";
import { hasEnded } from "./follow.js";
import { ago, cut, fileName } from "./format.js";
import { filesIn } from "./output.js";

/** A link to it, as a row with what was asked. */
export function runRow(prediction, { withModel = true } = {}) {
  return h(
    "a",
    { class: "run", href: `/p/${prediction.id}`, data: { id: prediction.id, status: prediction.status } },
    thumbnail(prediction),
    h(
      "span",
      { class: "words" },
      h("span", { class: "asked" }, asked(prediction)),
      h(
        "span",
        { class: "meta" },
        withModel && h("span", { class: "slug" }, prediction.model),
        h("span", { class: "state" }, h("span", { class: "dot" }), prediction.status),
        h("time", { dateTime: prediction.created_at }, ago(prediction.created_at)),
      ),
    ),
  );
}

/** The first text of its input. */
export function asked(prediction) {
  const texts = Object.entries(prediction.input ?? {});
  const [, value] =
    texts.find(([name, text]) => /prompt|text|query/.test(name) && typeof text === "string") ??
    texts.find(([, text]) => typeof text === "string" && !text.startsWith("data:")) ??
    [];
  if (/^https?:\/\/\S+$/.test(value ?? "")) return cut(nameOf(value) ?? fileName(value), 160);
  if (value) return cut(value.replace(/\s+/g, " "), 160);
  const short = plain(prediction.input ?? {});
  return Object.keys(short).length ? JSON.stringify(short) : "Nothing set";
}

/** The input without what would fill the page. */
const plain = (input) =>
  Object.fromEntries(Object.entries(input).filter(([, value]) => JSON.stringify(value).length < 60));

function thumbnail(prediction) {
  const files = filesIn(prediction.output);
  const picture = files.find((url) => canShow(url) && mediaOf(url) === "image");
  if (picture)
    return h("span", { class: "thumb" }, h("img", { src: picture, alt: "", loading: "lazy", decoding: "async" }));
  return h("span", { class: "thumb" }, icon(shapeOf(prediction, files)));
}

function shapeOf(prediction, files) {
  if (!hasEnded(prediction)) return "wait";
  if (prediction.status !== "succeeded") return prediction.status === "failed" ? "failed" : "none";
  const media = files.length ? mediaOf(files[0]) : null;
  if (media) return media === "other" ? "file" : media;
  return typeof prediction.output === "string" || [prediction.output].flat().every((item) => typeof item === "string")
    ? "text"
    : "json";
}

/** The newest of one model, or of all where `slug` is empty, without the `current()` one. `{element, refresh}`. */
export function recentRuns(slug, signal, { count = 8, current = () => "" } = {}) {
  const list = h("div", { class: "runlist" });
  const more = h("a", { href: slug ? `/history?model=${encodeURIComponent(slug)}` : "/history" }, "All");
  const element = h(
    "section",
    { class: "recent", hidden: true },
    h("div", { class: "bar" }, h("h2", {}, slug ? "Earlier runs" : "Last runs"), more),
    list,
  );

  async function refresh() {
    try {
      const { results } = await api.request("/v1/predictions", { signal });
      const mine = results.filter((one) => (!slug || one.model === slug) && one.id !== current()).slice(0, count);
      element.hidden = Boolean(slug) && mine.length === 0;
      more.hidden = mine.length === 0;
      list.replaceChildren(...mine.map((one) => runRow(one, { withModel: !slug })));
      if (!mine.length) list.append(h("p", { class: "empty" }, "Nothing has run yet. Pick a model."));
    } catch {
      // the list is a convenience; what is wrong with the server shows elsewhere
    }
  }

  refresh();
  return { element, refresh };
}
