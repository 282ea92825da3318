/** The control of a file, which a user chooses, drops, pastes or names by its address. It shows a preview. */

import { announce, h } from "./dom.js";
import { canShow, filesFrom, localOf, mediaOf, nameOf, urlOf } from "./files.js";
import { cut, fileName, size } from "./format.js";

export function fileControl(field, about, changed) {
  let value;
  let waiting = null;
  const picker = h("input", {
    type: "file",
    class: "unseen",
    tabIndex: -1,
    accept: [field.accept ?? ""].flat().join(","),
    "aria-hidden": "true",
  });
  const choose = h(
    "button",
    { type: "button", class: "small", "aria-label": `Choose a file for ${about.label}` },
    "Choose a file …",
  );
  const address = h("input", {
    type: "text",
    inputMode: "url",
    autocomplete: "off",
    spellcheck: false,
    placeholder: "or drop, paste, or type an address",
    "aria-label": `Address of a file for ${about.label}`,
  });
  const shown = h("div", { class: "given" });
  const zone = h(
    "div",
    { class: "file", id: about.id, role: "group", "aria-label": about.label, "aria-describedby": about.describedBy },
    h("div", { class: "pick" }, choose, picker, address),
    shown,
  );

  function put(url) {
    value = url;
    const isFile = Boolean(url && (url.startsWith("data:") || nameOf(url)));
    if (address.value !== url) address.value = url && !isFile ? url : "";
    zone.classList.toggle("has-file", isFile);
    shown.replaceChildren(...(url ? preview(url, field.name, clear) : []));
  }

  function clear() {
    put(undefined);
    choose.focus();
    changed();
  }

  async function take(file, coming = urlOf(file)) {
    shown.replaceChildren(h("p", { class: "quiet" }, `Reading ${file.name}, ${size(file.size)} …`));
    const mine = (waiting = coming);
    try {
      const url = await coming;
      if (waiting === mine) put(url);
      announce(`${file.name} is chosen`);
    } catch (error) {
      if (waiting === mine) shown.replaceChildren(h("p", { class: "problem" }, error.message));
    }
    waiting = null;
    changed();
  }

  choose.addEventListener("click", () => picker.click());
  picker.addEventListener("change", () => {
    if (picker.files[0]) take(picker.files[0]);
    picker.value = "";
  });
  address.addEventListener("input", () => {
    put(address.value.trim() || undefined);
    changed();
  });
  onFiles(zone, (files) => take(files[0]));
  return {
    element: zone,
    focus: () => (zone.classList.contains("has-file") ? choose : address).focus(),
    pending: () => waiting,
    take,
    get: () => value,
    set: (url) => put(typeof url === "string" && url ? url : undefined),
  };
}

function onFiles(zone, act) {
  const marked = (on) => (event) => {
    event.preventDefault();
    zone.classList.toggle("over", on);
  };
  zone.addEventListener("dragover", marked(true));
  zone.addEventListener("dragleave", marked(false));
  zone.addEventListener("drop", (event) => {
    marked(false)(event);
    const files = filesFrom(event.dataTransfer.files);
    if (files.length) act(files);
  });
  zone.addEventListener("paste", (event) => {
    const files = filesFrom(event.clipboardData?.files);
    if (!files.length) return;
    event.preventDefault();
    act(files);
  });
}

function preview(url, stem, clear) {
  const name = nameOf(url) ?? fileName(url, stem);
  const { media, url: source } = localOf(url) ?? { media: canShow(url) ? mediaOf(url) : "other", url };
  const remove = h(
    "button",
    { type: "button", class: "small bare", "aria-label": `Remove ${name}`, onclick: clear },
    "×",
  );
  const players = {
    image: () => h("img", { src: source, alt: "" }),
    audio: () => h("audio", { src: source, "aria-label": name, controls: true, preload: "metadata" }),
    video: () => h("video", { src: source, "aria-label": name, controls: true, preload: "metadata" }),
  };
  const bytes = url.startsWith("data:") ? `, ${size(Math.round(((url.length - url.indexOf(",") - 1) * 3) / 4))}` : "";
  return [players[media]?.() ?? null, h("span", { class: "name" }, cut(name, 60), bytes), remove].filter(Boolean);
}
