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

/** The text of its input that says most: a prompt, the name of a file, or any. */
export function asked(prediction) {
  const texts = Object.entries(prediction.input ?? {}).filter(([, value]) => typeof value === "string" && value);
  const called = (pattern) => texts.find(([key, value]) => pattern.test(key) && !isFile(value));
  const [name, text] =
    called(/^(prompt|text|query)$/) ??
    called(/prompt|text|query/) ??
    texts.find(([, value]) => isFile(value)) ??
    texts[0] ??
    [];
  if (text) return cut(isFile(text) ? named(text, name) : text.replace(/\s+/g, " "), 160);
  const short = plain(prediction.input ?? {});
  return Object.keys(short).length ? JSON.stringify(short) : "No input";
}

const isFile = (text) => /^(data:|https?:\/\/\S+$)/.test(text);

/** An address may end in an id, which says less than the name of the input. */
function named(url, input) {
  const name = nameOf(url) ?? fileName(url, input);
  return name.includes(".") ? name : input;
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
  keepFresh(list, signal, { withModel: !slug });
  return { element, refresh };
}

/** Rows of what still runs are read again, until it has ended. */
export async function keepFresh(list, signal, look) {
  while (!signal.aborted) {
    await new Promise((resolve) => setTimeout(resolve, 2000));
    if (document.hidden) continue;
    for (const row of list.querySelectorAll('[data-status="starting"], [data-status="processing"]')) {
      const found = await api.prediction(row.dataset.id, signal).catch(() => null);
      if (found && (hasEnded(found) || found.status !== row.dataset.status) && !row.matches(":focus"))
        row.replaceWith(runRow(found, look));
    }
  }
}
