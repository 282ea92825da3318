/** A prediction, followed to its end: its stream for words as they come, the API for everything else. */

import * as api from "./api.js";

const KEPT = 400_000; // characters of a log that this page holds
const ENDS = new Set(["succeeded", "failed", "canceled", "aborted"]);

/** Milliseconds to wait before an output that grows is read again: reading it takes a tenth of the time at most. */
export const pauseAfter = (reads, took) => Math.min(Math.max(250 * 1.2 ** reads, 9 * took), 5000);

export const hasEnded = (prediction) => ENDS.has(prediction.status);

/** Calls `changed(prediction)` at every change, and `lost(reason)` while the server does not answer.
 *
 * Until its end, or until `signal`. `words`: its output is text to join.
 *
 * The stream repeats all that was, so a page that comes late, or again, shows the same.
 */
export function follow(first, { words, changed, lost, signal }) {
  let current = first;
  let begun = false;
  let timer = 0;
  let due = 0;
  let reading = false;
  let over = false; // by the stream
  let grown = false; // since the last read, by the stream
  let reads = 0; // one after the other of an output that grew
  let took = 0; // milliseconds, the last time
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
      // The stream is ahead of what was just read, until the end is told.
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
