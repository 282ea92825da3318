/** Uses an output file of one model as an input of another model. */

import * as api from "./api.js";
import { announce, h } from "./dom.js";
import { go } from "./route.js";
import { fieldsOf, fileField } from "./schema.js";

/** A button that becomes a select element with the models that accept the file. The model `slug` has made the file. */
export function useIn(media, url, slug) {
  const button = h("button", { type: "button", class: "small", onclick: offer }, "Use in …");

  async function offer() {
    button.disabled = true;
    try {
      const takers = await takersOf(media, slug);
      if (takers.length) return replace(choice(takers));
      button.textContent = `No other model takes ${media === "other" ? "files" : media}`;
    } catch (error) {
      button.textContent = error.message;
    }
    announce(button.textContent);
  }

  function replace(select) {
    button.replaceWith(select);
    select.focus();
  }

  function choice(takers) {
    const options = takers.map(([name]) => h("option", { value: name }, name));
    const none = h("option", { value: "" }, "Use in …");
    const select = h("select", { "aria-label": "Use in", class: "small" }, none, options);
    select.addEventListener("change", () => {
      const [name, field] = takers.find(([one]) => one === select.value);
      go(`/${name}`, { state: { draft: { [field]: url } } });
    });
    return select;
  }

  return button;
}

/** `[slug, field]` of each other model with a field for a file of this kind. */
async function takersOf(media, slug) {
  const found = (await api.models()).map((model) => [
    `${model.owner}/${model.name}`,
    fileField(fieldsOf(model.latest_version?.openapi_schema), media),
  ]);
  return found.filter(([name, field]) => field && name !== slug).sort(([a], [b]) => a.localeCompare(b));
}
