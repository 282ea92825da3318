/** Follows a prediction to its end. The log and text output come from its stream, all other fields from the API. */

import * as api from "./api.js";

const KEPT = 400_000; // a log of more than twice as many characters is cut to its last KEPT ones
const ENDS = new Set(["succeeded", "failed", "canceled", "aborted"]);

/** Milliseconds until a growing output is read again, 5 seconds at most.
 *
 * Below that limit, reading takes at most a tenth of the time.
 */
export const pauseAfter = (reads, took) => Math.min(Math.max(250 * 1.2 ** reads, 9 * took), 5000);

export const hasEnded = (prediction) => ENDS.has(prediction.status);

/** Calls `changed(prediction)` at every change, and `lost(reason)` while the server does not answer.
 *
 * `reason` is empty when the server answers again. The calls end with the prediction, or when `signal` is aborted.
 * `words` is whether the output is text in pieces to be joined.
 *
 * The stream begins with all earlier events, so a page that is opened late, or again, shows the same.
 */
export function follow(first, { words, changed, lost, signal }) {
  let current = first;
  let begun = false;
  let timer = 0;
  let due = 0;
  let reading = false;
  let over = false; // whether the stream has reported the end
  let grown = false; // whether the stream has reported output since the last read
  let reads = 0; // the number of successive reads for which the output had grown
  let took = 0; // milliseconds that the last read took
  const tell = () => !signal.aborted && changed(current);

  async function refresh() {
    if (reading) return;
    clearTimeout(timer);
    due = 0;
    reads = grown ? reads + 1 : 0;
    grown = false;
    reading = true;
    const asked = performance.now();
    try {
      const found = await api.prediction(first.id, signal);
      took = performance.now() - asked;
      lost("");
      // Until the end, the log and text of the stream are newer than those that were just read.
      const live = begun && !hasEnded(found);
      current = live ? { ...found, logs: current.logs, output: words ? current.output : found.output } : found;
      tell();
    } catch (error) {
      if (signal.aborted) return;
      over = false;
      lost(error.message);
    } finally {
      reading = false;
    }
    if (hasEnded(current)) source?.close();
    else if (over) again(50);
    else if (grown) again(pauseAfter(reads, took));
    else again(current.status === "starting" ? 500 : 3000);
  }

  function again(milliseconds) {
    const at = performance.now() + milliseconds;
    if (signal.aborted || reading || (due && due <= at)) return;
    clearTimeout(timer);
    due = at;
    timer = setTimeout(refresh, milliseconds);
  }

  function heard() {
    if (!begun) current = { ...current, logs: "", output: words ? [] : current.output };
    begun = true;
    if (current.status === "starting") again(0);
  }

  tell();
  if (hasEnded(first)) return;
  const source = first.urls.stream ? new EventSource(api.samePath(first.urls.stream)) : null;
  source?.addEventListener("logs", (event) => {
    heard();
    const logs = current.logs + event.data;
    current = { ...current, logs: logs.length > 2 * KEPT ? logs.slice(-KEPT) : logs };
    tell();
  });
  source?.addEventListener("output", (event) => {
    heard();
    if (!words) {
      grown = true;
      return again(pauseAfter(reads, took));
    }
    current.output.push(event.data);
    tell();
  });
  source?.addEventListener("done", () => {
    source.close();
    over = true;
    refresh();
  });
  source?.addEventListener("error", (event) => {
    if (event.data === undefined && source.readyState === EventSource.CLOSED) again(1000);
  });
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    source?.close();
  });
  again(300);
}
