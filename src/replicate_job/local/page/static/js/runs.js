/** Predictions in lists: a thumbnail, a text from the input, the model, the status and the age of each. */

import * as api from "./api.js";
import { h, icon } from "./dom.js";
import { canShow, mediaOf, nameOf } from "./files.js";
import { hasEnded } from "./follow.js";
import { ago, cut, fileName } from "./format.js";
import { filesIn } from "./output.js";

/** A row of a list: a link to the prediction's page. */
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

/** The most telling text of a prediction's input: a prompt, else the name of a file, else any text. */
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

/** The name of the file at `url`, or the input's name `input` if the file has no ending: it may be an id. */
function named(url, input) {
  const name = nameOf(url) ?? fileName(url, input);
  return name.includes(".") ? name : input;
}

/** The input without long values. */
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

/** The newest predictions of one model, or of all models if `slug` is empty: `{element, refresh}`.
 *
 * The prediction with the id `current()` is left out.
 */
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
      // the page works without this list, and other parts of it report errors of the server
    }
  }

  refresh();
  keepFresh(list, signal, { withModel: !slug });
  return { element, refresh };
}

/** Every 2 seconds, reads the predictions that have not ended, and replaces their rows after a change. */
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
