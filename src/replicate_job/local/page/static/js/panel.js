/** Shows one prediction while it runs and after its end: status, progress, output, log, facts. */

import * as api from "./api.js";
import { announce, copyButton, framed, h } from "./dom.js";
import { follow, hasEnded } from "./follow.js";
import { ago, cut, duration, moment } from "./format.js";
import { jsonView } from "./json.js";
import { foldLog, progressOf, tailOf } from "./log.js";
import { outputView } from "./output.js";

const STAND_IN = /^Stand-in: (.*)$/gm; // lines of a log in which a stand-in reports what it left out
const SHOWN = 100_000; // the most characters of the log that are shown

/** The panel of the prediction `first`: `{id, element, cancel, isLive}`.
 *
 * `about` has `words` (whether the output is text), `useAsInput(media, url)` (makes buttons for an output file),
 * `secrets` (names of inputs to hide), the callbacks `ended(prediction)` and `removed()`, and `signal`, which ends the
 * updates.
 */
export function panel(first, about) {
  let current = first;
  const parts = {
    status: statusLine(),
    bar: progressBar(),
    output: outputView({ id: first.id, ...about }),
    log: logView(first),
    facts: h("dl", { class: "facts" }),
    input: h("div"),
  };
  const cancelButton = h(
    "button",
    { type: "button", class: "cancel", onclick: cancel },
    "Cancel ",
    h("kbd", {}, "Esc"),
  );
  const deleteButton = confirmed("Delete", "Delete it for good?", remove);
  const left = h("p", { class: "left-out quiet", hidden: true, data: { testid: "left-out" } });
  const problem = h("div", { class: "failure", role: "alert", hidden: true });
  const lost = h("p", { class: "problem", role: "alert" });
  const gone = h("p", { class: "quiet", hidden: true }, "Its input, output and log have been removed.");
  const element = h(
    "article",
    { class: "prediction", data: { id: first.id }, "aria-label": `Prediction ${first.id}` },
    h("header", {}, parts.status.element, cancelButton, deleteButton),
    lost,
    gone,
    parts.bar.element,
    problem,
    parts.output.element,
    left,
    parts.log.element,
    h("details", { class: "more" }, h("summary", {}, "Details"), parts.facts, parts.input),
  );

  async function cancel() {
    if (hasEnded(current)) return;
    cancelButton.disabled = true;
    try {
      await api.cancel(current.id);
    } catch (error) {
      lost.textContent = error.message;
      cancelButton.disabled = false;
    }
  }

  async function remove() {
    try {
      await api.remove(current.id);
      announce("Deleted");
      about.removed();
    } catch (error) {
      lost.textContent = error.message;
    }
  }

  const draw = framed(() => {
    const over = hasEnded(current);
    element.dataset.status = current.status;
    parts.status.show(current);
    cancelButton.hidden = over;
    deleteButton.hidden = !over;
    const leftOut = [...(current.logs ?? "").matchAll(STAND_IN)].map(([, text]) => text);
    left.hidden = leftOut.length === 0;
    left.textContent = leftOut.length ? `Stand-in: ${leftOut.join(". ")}.` : "";
    parts.bar.show(over ? null : progressOf(current.logs ?? ""));
    gone.hidden = !current.data_removed;
    problem.hidden = !current.error;
    problem.textContent = current.error ?? "";
    parts.output.show(current.output);
    parts.log.show(current);
    parts.facts.replaceChildren(...facts(current));
    parts.input.replaceChildren(h("h3", {}, "Input"), jsonView(hidden(current.input, about.secrets)));
  });

  let said = "";
  function changed(prediction) {
    current = prediction;
    if (prediction.status !== said) {
      if (said || !hasEnded(prediction)) announce(SAID[prediction.status] ?? prediction.status);
      if (said && hasEnded(prediction)) about.ended(prediction);
      said = prediction.status;
    }
    draw();
  }

  // A screen reader reads an alert again when its text is set, even to the same text.
  const tellLost = (text) => lost.textContent === text || (lost.textContent = text);
  follow(first, { words: about.words, changed, lost: tellLost, signal: about.signal });
  const clock = setInterval(() => !hasEnded(current) && parts.status.tick(), 100);
  about.signal.addEventListener("abort", () => clearInterval(clock));
  explainWait(() => current, parts.status, about.signal);
  return { id: first.id, element, cancel, isLive: () => !hasEnded(current) };
}

/** A button that asks `question` at the first click, and calls `act` at the second. */
function confirmed(label, question, act) {
  const button = h("button", { type: "button", class: "small", hidden: true }, label);
  const calm = () => (button.textContent = label);
  button.addEventListener("click", () => {
    if (button.textContent === question) return act();
    button.textContent = question;
    announce(question);
  });
  button.addEventListener("blur", calm);
  return button;
}

const SAID = {
  starting: "Starting",
  processing: "Running",
  succeeded: "Succeeded",
  failed: "Failed",
  canceled: "Canceled",
  aborted: "Aborted: it had not begun in time",
};

function statusLine() {
  const name = h("strong", { data: { testid: "status" } });
  const time = h("span", { class: "time" });
  const why = h("span", { class: "why" });
  const element = h("div", { class: "status" }, h("span", { class: "dot" }), name, time, why);
  let current = null;
  const tick = () => {
    if (!current) return;
    const from = Date.parse(current.started_at ?? current.created_at);
    time.textContent = duration(Math.max((Date.now() - from) / 1000, 0.1));
  };
  return {
    element,
    tick,
    explain: (text) => (why.textContent = text),
    show(prediction) {
      current = prediction;
      name.textContent = prediction.status;
      if (prediction.status !== "starting") why.textContent = "";
      if (!hasEnded(prediction)) return tick();
      const spent = prediction.metrics?.predict_time;
      time.textContent = [spent !== undefined && duration(spent), ago(prediction.completed_at ?? prediction.created_at)]
        .filter(Boolean)
        .join(" · ");
    },
  };
}

/** Shows why a prediction has not begun after 0.7 seconds: other predictions, or the model's preparation. */
async function explainWait(get, status, signal) {
  const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
  for (await pause(700); get().status === "starting" && !signal.aborted; await pause(2000)) {
    const mine = get();
    const line = mine.logs?.trim().split("\n").at(-1);
    try {
      const { results } = await api.request("/v1/predictions", { signal });
      const before = results.filter(
        (one) => one.model === mine.model && !hasEnded(one) && one.id !== mine.id && one.created_at < mine.created_at,
      );
      if (get().status !== "starting") return;
      if (before.length) status.explain(`${before.length} before it`);
      else status.explain(line ? cut(line, 90) : "The model is being made ready. Its first run takes longest.");
    } catch {
      return;
    }
  }
}

function progressBar() {
  const bar = h("progress", { max: 100, "aria-label": "Progress" });
  const said = h("span", {});
  const element = h("div", { class: "progress", hidden: true, data: { testid: "progress" } }, bar, said);
  return {
    element,
    show(progress) {
      element.hidden = !progress;
      if (!progress) return;
      bar.value = progress.percent;
      said.textContent = [
        `${progress.percent} %`,
        progress.what,
        progress.count,
        progress.left && `${progress.left} left`,
      ]
        .filter(Boolean)
        .join(" · ");
    },
  };
}

function logView(first) {
  const pre = h("pre", { class: "log", tabIndex: 0, data: { testid: "log" } });
  const note = h("p", { class: "quiet", hidden: true }, "The log's beginning is left out here.");
  const download = h("button", { type: "button", class: "small", onclick: () => saveLog(first.id) }, "Download");
  const details = h(
    "details",
    { class: "logs", hidden: true },
    h("summary", {}, "Log"),
    note,
    pre,
    h(
      "div",
      { class: "actions" },
      copyButton(() => pre.textContent),
      download,
    ),
  );
  let before = "";
  let touched = false;
  details.addEventListener("click", () => (touched = true));
  return {
    element: details,
    show(prediction) {
      const logs = prediction.logs ?? "";
      details.hidden = !logs;
      if (!touched) details.open = !hasEnded(prediction) || prediction.status === "failed";
      if (logs === before) return;
      before = logs;
      note.hidden = logs.length <= SHOWN;
      const following = pre.scrollHeight - pre.scrollTop - pre.clientHeight < 40;
      pre.textContent = foldLog(tailOf(logs, SHOWN));
      if (following) pre.scrollTop = pre.scrollHeight;
    },
  };
}

async function saveLog(id) {
  const { logs } = await api.prediction(id);
  const url = URL.createObjectURL(new Blob([logs ?? ""], { type: "text/plain" }));
  h("a", { href: url, download: `${id}.log` }).click();
  URL.revokeObjectURL(url);
}

function facts(prediction) {
  const rows = [
    ["ID", prediction.id],
    ["Model", prediction.model],
    ["Version", prediction.version !== "hidden" && prediction.version],
    ["Created", moment(prediction.created_at)],
    ["Predict time", prediction.metrics?.predict_time !== undefined && duration(prediction.metrics.predict_time)],
    ["Total time", prediction.metrics?.total_time !== undefined && duration(prediction.metrics.total_time)],
    ["Deadline", prediction.deadline && moment(prediction.deadline)],
  ];
  return rows.filter(([, value]) => value).map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)));
}

function hidden(input, secrets) {
  return Object.fromEntries(
    Object.entries(input ?? {}).map(([name, value]) => [name, secrets.includes(name) ? "••••••" : value]),
  );
}
