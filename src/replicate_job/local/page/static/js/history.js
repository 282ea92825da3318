/** `/history`: all predictions, newest first.
 *
 * Pages of the list are loaded when they are needed. A filter first searches the loaded predictions, then loads more.
 */

import * as api from "./api.js";
import { h } from "./dom.js";
import { hasEnded } from "./follow.js";
import { onSlash } from "./home.js";
import { setQuery } from "./route.js";
import { keepFresh, runRow } from "./runs.js";

const BATCH = 24; // the number of matches that one step adds

export async function historyView({ signal, query }) {
  const filters = filterBar(query, restart);
  const list = h("div", { class: "runlist" });
  const note = h("p", { class: "quiet", role: "status" });
  const more = h("button", { type: "button", onclick: () => step() }, "Show more");
  const source = { loaded: [], pages: null, whole: false };
  const shown = { place: 0, count: 0, busy: false };

  function load() {
    Object.assign(source, { loaded: [], pages: api.pages("/v1/predictions", signal), whole: false });
  }

  async function next() {
    while (shown.place >= source.loaded.length && !source.whole) {
      const { value, done } = await source.pages.next();
      if (done) source.whole = true;
      else {
        source.loaded.push(...value);
        filters.know(source.loaded);
      }
    }
    return source.loaded[shown.place++];
  }

  async function step() {
    if (shown.busy) return;
    shown.busy = true;
    const wanted = filters.wanted();
    try {
      for (let found = 0; found < BATCH; ) {
        const prediction = await next();
        if (!prediction) break;
        if (!wanted(prediction)) continue;
        list.append(runRow(prediction));
        found += 1;
        shown.count += 1;
      }
      tell();
    } catch (error) {
      if (!signal.aborted) note.textContent = error.message;
    } finally {
      shown.busy = false;
    }
  }

  function tell() {
    const over = source.whole && shown.place >= source.loaded.length;
    more.hidden = over;
    if (!over) note.textContent = `${shown.count} of the ${shown.place} newest`;
    else
      note.textContent = shown.count
        ? `${shown.count} in all`
        : source.loaded.length
          ? "No prediction is like that."
          : "Nothing has run yet.";
  }

  async function restart() {
    while (shown.busy) await new Promise((resolve) => setTimeout(resolve, 20));
    Object.assign(shown, { place: 0, count: 0 });
    // A prediction that had not ended when it was loaded may have another status by now.
    if (!source.loaded.every(hasEnded)) load();
    list.replaceChildren();
    await step();
  }

  load();
  await step();
  onSlash(filters.search, signal);
  endless(more, step, signal);
  keepFresh(list, signal);
  const bar = h("div", { class: "bar" }, h("h1", { tabIndex: -1 }, "History"), filters.element);
  return {
    title: "History",
    element: h("div", { class: "history" }, bar, list, h("div", { class: "end" }, note, more)),
  };
}

function filterBar(query, changed) {
  const models = h("select", { "aria-label": "Model" }, h("option", { value: "" }, "All models"));
  const states = h(
    "select",
    { "aria-label": "Status" },
    h("option", { value: "" }, "Any status"),
    ["starting", "processing", "succeeded", "failed", "canceled", "aborted"].map((name) =>
      h("option", { value: name }, name),
    ),
  );
  const search = h("input", {
    type: "search",
    placeholder: "Search inputs",
    "aria-label": "Search inputs",
    value: query.get("q") ?? "",
    autocomplete: "off",
  });
  const names = new Set();
  const know = (slugs) => {
    for (const slug of slugs.filter(Boolean)) {
      if (!names.has(slug)) models.append(h("option", { value: slug }, slug));
      names.add(slug);
    }
  };
  know([query.get("model")]);
  models.value = query.get("model") ?? "";
  states.value = query.get("status") ?? "";
  let pause = 0;
  const apply = () => {
    setQuery({ model: models.value, status: states.value, q: search.value });
    changed();
  };
  models.addEventListener("change", apply);
  states.addEventListener("change", apply);
  search.addEventListener("input", () => {
    clearTimeout(pause);
    pause = setTimeout(apply, 150);
  });
  return {
    element: h("div", { class: "filters" }, models, states, search),
    search,
    know: (loaded) => know(loaded.map((one) => one.model)),
    wanted() {
      const [model, status, words] = [
        models.value,
        states.value,
        search.value.toLowerCase().split(/\s+/).filter(Boolean),
      ];
      return (one) =>
        (!model || one.model === model) && (!status || one.status === status) && (!words.length || matches(one, words));
    },
  };
}

function matches(prediction, words) {
  const input = JSON.stringify(prediction.input ?? {}, (_, value) =>
    typeof value === "string" && value.startsWith("data:") ? "" : value,
  );
  const text = `${prediction.id} ${prediction.model} ${input} ${prediction.error ?? ""}`.toLowerCase();
  return words.every((word) => text.includes(word));
}

function endless(more, step, signal) {
  const seen = new IntersectionObserver(
    (entries) => entries.some((entry) => entry.isIntersecting) && !more.hidden && step(),
    { rootMargin: "400px" },
  );
  seen.observe(more);
  signal.addEventListener("abort", () => seen.disconnect());
}
