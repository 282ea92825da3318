/** Shows the output of a model: images, audio, video, text, other files, JSON. */

import { authorization } from "./api.js";
import { copyButton, h } from "./dom.js";
import { canLink, canShow, mediaOf } from "./files.js";
import { fileName } from "./format.js";
import { jsonView } from "./json.js";
import { mediaOfType } from "./media.js";

const EXCERPT = 20_000; // the most bytes of a text file that are shown
const TEXTS = ["transcription", "transcript", "text", "caption"]; // fields that are shown as the main text of an output
const LONG = 100_000; // the most characters shown of a text: a browser takes seconds to lay out a few megabytes

/** `{element, show}` for the output of one prediction. `show(output)` may be called again with a longer output. */
export function outputView({ id, words, useAsInput }) {
  const element = h("div", { class: "output", data: { testid: "output" } });
  const known = new Map(); // elements by address: they are used again, so that a player continues
  let text = null;
  let last = null;
  let shown = "";

  function show(output) {
    if (output === null || output === undefined) {
      element.replaceChildren();
      text = last = null;
      shown = "";
      return;
    }
    if (words && isWords(output)) return showText([output].flat());
    text = null;
    if (output === last) return;
    last = output;
    if (shown === (shown = JSON.stringify(output))) return; // nothing has changed: unfolded parts stay unfolded
    const files = filesIn(output);
    const parts = files.map((url) => known.get(url) ?? remember(url, useAsInput));
    element.replaceChildren(
      ...(parts.length ? [h("div", { class: "media", data: { count: parts.length } }, parts)] : []),
      ...(isOnlyFiles(output) ? [] : written(output)),
    );
  }

  function remember(url) {
    const figure = fileView(url, id, useAsInput);
    known.set(url, figure);
    return figure;
  }

  function showText(pieces) {
    const joined = pieces.join("");
    if (!joined) return;
    if (text) return text.show(joined);
    text = longText(joined);
    element.replaceChildren(text.element);
  }

  return { element, show };
}

/** The elements of an output that is not only files: its text, or its JSON, with the main text of its fields first. */
function written(output) {
  if (typeof output === "string") return [longText(output).element];
  const copy = copyButton(() => JSON.stringify(output, null, 2), "Copy JSON");
  const json = [jsonView(output), h("div", { class: "actions" }, copy)];
  const main = TEXTS.map((name) => output?.[name]).find((text) => typeof text === "string" && text.trim());
  if (!main) return json;
  return [longText(main.trim()).element, h("details", { class: "more" }, h("summary", {}, "The whole output"), json)];
}

const isWords = (output) =>
  typeof output === "string" || (Array.isArray(output) && output.every((item) => typeof item === "string"));

/** `{element, show}` for a text that may grow. The text after the first LONG characters is folded. */
function longText(first) {
  const node = document.createTextNode("");
  let whole = "";
  let limit = LONG;
  const more = h("button", { type: "button", class: "fold", onclick: unfold });
  const element = h(
    "div",
    {},
    h("div", { class: "text", data: { testid: "text" } }, node),
    h(
      "div",
      { class: "actions" },
      more,
      copyButton(() => whole),
    ),
  );

  function show(text) {
    whole = text;
    const shown = text.slice(0, limit);
    if (shown.startsWith(node.data)) node.appendData(shown.slice(node.data.length));
    else node.data = shown;
    more.hidden = text.length <= limit;
    more.textContent = `… ${(text.length - shown.length).toLocaleString()} more characters`;
  }

  function unfold() {
    limit = Number.POSITIVE_INFINITY;
    show(whole);
  }

  show(first);
  return { element, show };
}

/** The addresses of files in an output, in their order.
 *
 * They are this server's output files, data URLs of media, and http addresses with the ending of a known media type.
 */
export function filesIn(value, found = []) {
  if (typeof value === "string") {
    if (isFile(value) && !found.includes(value)) found.push(value);
  } else if (value && typeof value === "object") {
    for (const item of Object.values(value)) filesIn(item, found);
  }
  return found;
}

function isFile(text) {
  if (/^data:(image|audio|video)\//i.test(text)) return true;
  if (!/^https?:\/\/\S+$/.test(text)) return false;
  try {
    const { origin, pathname } = new URL(text);
    return (origin === location.origin && pathname.startsWith("/outputs/")) || mediaOf(text) !== "other";
  } catch {
    return false;
  }
}

const isOnlyFiles = (output) =>
  [output].flat().length > 0 && [output].flat().every((item) => typeof item === "string" && isFile(item));

function fileView(url, id, useAsInput) {
  const name = fileName(url);
  const place = h("div", { class: "shown" });
  const figure = h("figure", { class: "file-output" }, place);
  const put = (media) => {
    place.replaceChildren(...[player(media, url, name)].filter(Boolean));
    figure.dataset.media = media;
    const use = useAsInput?.(media, url);
    figure.append(
      h(
        "figcaption",
        {},
        h("span", { class: "name" }, name),
        h("span", { class: "actions" }, use, canLink(url) && links(url, name, media, `${id.slice(0, 8)}-${name}`)),
      ),
    );
  };
  const media = canShow(url) ? mediaOf(url) : "other";
  if (media === "other" && url.startsWith(location.origin)) askType(url).then(put);
  else put(media);
  return figure;
}

/** Links to open and to save a file. Names recur in each prediction, so `download` contains the prediction's id. */
const links = (url, name, media, download) => [
  media !== "other" &&
    h(
      "a",
      { href: url, target: "_blank", rel: "noopener noreferrer" },
      "Open",
      h("span", { class: "unseen" }, ` ${name}`),
    ),
  h("a", { href: url, download }, "Download", h("span", { class: "unseen" }, ` ${name}`)),
];

async function askType(url) {
  try {
    const answer = await fetch(url, { method: "HEAD" });
    return mediaOfType(answer.headers.get("content-type") ?? "");
  } catch {
    return "other";
  }
}

function player(media, url, name) {
  switch (media) {
    case "image":
      return h(
        "a",
        { href: url, target: "_blank", rel: "noopener noreferrer", class: "picture" },
        h("img", { src: url, alt: `Output ${name}`, decoding: "async" }),
      );
    case "audio":
      return h("audio", { src: url, controls: true, preload: "metadata", "aria-label": name });
    case "video":
      return h("video", { src: url, controls: true, preload: "metadata", "aria-label": name });
    case "text":
      return excerpt(url);
    default:
      return null;
  }
}

function excerpt(url) {
  const block = h("pre", { class: "excerpt", tabIndex: 0 }, "…");
  if (!url.startsWith(location.origin)) return null;
  fetch(url, { headers: { range: `bytes=0-${EXCERPT - 1}`, ...authorization() } })
    .then((answer) => answer.text())
    .then((text) => (block.textContent = text.length >= EXCERPT ? `${text}\n…` : text))
    .catch(() => block.remove());
  return block;
}
