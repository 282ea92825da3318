/** Formats times, sizes and names for people. */

import { endingOf } from "./media.js";

/** Seconds as `4 ms`, `0.4 s`, `12 s`, `3 min 5 s`. */
export function duration(seconds) {
  if (seconds < 0.095) return `${Math.max(Math.round(seconds * 1000), 0)} ms`;
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

/** How long ago an ISO time was; the date if that is a day or more. */
export function ago(time, now = Date.now()) {
  const seconds = Math.max((now - Date.parse(time)) / 1000, 0);
  if (seconds < 45) return "just now";
  if (seconds < 3600) return `${Math.max(Math.round(seconds / 60), 1)} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return new Date(time).toLocaleDateString(undefined, { day: "numeric", month: "short", year: "numeric" });
}

export function moment(time) {
  return new Date(time).toLocaleString();
}

export function size(bytes) {
  if (bytes < 1000) return `${bytes} bytes`;
  const units = ["kB", "MB", "GB"];
  let value = bytes;
  let unit = -1;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${value < 10 ? value.toFixed(1) : Math.round(value)} ${units[unit]}`;
}

/** The media type of a data URL; undefined for any other URL. */
export const dataType = (url) => /^data:([^;,]*)/i.exec(url)?.[1];

/** A file's name: the last part of its address; for a data URL, `stem` and the ending for its type. */
export function fileName(url, stem = "file") {
  const type = dataType(url);
  if (type !== undefined) return `${stem}.${endingOf(type)}`;
  const last = new URL(url, location.href).pathname.split("/").pop();
  try {
    return decodeURIComponent(last) || "file";
  } catch {
    return last || "file";
  }
}

export function cut(text, length) {
  return text.length > length ? `${text.slice(0, length - 1)}…` : text;
}

/** Whether a model's description says that it is a stand-in. */
export const standsIn = (description) => /^a stand-in\b/i.test(description ?? "");
