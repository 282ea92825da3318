/** Files of this computer as addresses that an input can have. */

import { upload } from "./api.js";
import { dataType } from "./format.js";
import { mediaOfType, typeOf } from "./media.js";

const INLINE = 256_000; // bytes; the API wants larger files uploaded
const KEY = "replicate-job files";

/** Uploaded files as this page can show them, by the address of the upload. They go with the page. */
const local = new Map();

export const filesFrom = (list) => [...(list ?? [])];

/** A data URL, or for a larger file the address of its upload. Its name is remembered. */
export async function urlOf(file) {
  const url = file.size <= INLINE ? await dataUrl(file) : await upload(file);
  if (file.size > INLINE) local.set(url, { url: URL.createObjectURL(file), media: mediaOfType(file.type) });
  remember(url, file.name);
  return url;
}

function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result === "data:" ? "data:application/octet-stream;base64," : reader.result);
    reader.onerror = () => reject(new Error(`${file.name} cannot be read`));
    reader.readAsDataURL(file);
  });
}

// By its length and end: the whole of a data URL is long, and its beginning says little.
const markOf = (url) => `${url.length} ${url.slice(-60)}`;

function remember(url, name) {
  const names = known();
  names[markOf(url)] = name;
  try {
    sessionStorage.setItem(KEY, JSON.stringify(names));
  } catch {
    // no room: the name is a convenience
  }
}

function known() {
  return JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
}

/** `{url, media}` of the file that was uploaded to this address; undefined after a reload. */
export const localOf = (url) => local.get(url);

/** The name of the file that this address came from; undefined where it is not known. */
export const nameOf = (url) => known()[markOf(url)];

/** `image`, `audio`, `video`, `text` or `other`, by a data URL's type or an address's ending. */
export const mediaOf = (url) => mediaOfType(dataType(url) ?? typeOf(pathOf(url)));

function pathOf(url) {
  try {
    return new URL(url, location.href).pathname;
  } catch {
    return "";
  }
}

/** Whether this page may show what is there; http addresses elsewhere are named only. */
export function canShow(url) {
  if (/^(data:(image|audio|video)\/|blob:)/i.test(url)) return true;
  try {
    const { origin, protocol } = new URL(url);
    return protocol === "https:" || origin === location.origin;
  } catch {
    return false;
  }
}

/** Whether a link may lead there: never script, whatever a model wrote. */
export function canLink(url) {
  return /^(https?:|data:(image\/(?!svg)|audio\/|video\/|application\/octet-stream))/i.test(url);
}
