/** Makes addresses of files on this computer, for use in an input. */

import { upload } from "./api.js";
import { dataType } from "./format.js";
import { mediaOfType, typeOf } from "./media.js";

const INLINE = 256_000; // bytes; larger files are uploaded, as the API recommends
const KEY = "replicate-job files";

/** Maps the address of each upload to `{url, media}`, with which this page shows the file. Lost on a reload. */
const local = new Map();

export const filesFrom = (list) => [...(list ?? [])];

/** The data URL of a file, or the address of its upload if the file is larger than INLINE. Its name is stored. */
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

// An address is identified by its length and end. A whole data URL is long, and the beginnings of data URLs are alike.
const markOf = (url) => `${url.length} ${url.slice(-60)}`;

function remember(url, name) {
  const names = known();
  names[markOf(url)] = name;
  try {
    sessionStorage.setItem(KEY, JSON.stringify(names));
  } catch {
    // the storage is full, and the page works without the name
  }
}

function known() {
  return JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
}

/** `{url, media}` of the file that was uploaded to this address; undefined after a reload. */
export const localOf = (url) => local.get(url);

/** The name of the file from which this address was made; undefined if it is not known. */
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

/** Whether this page may show the file at this address. Of a file at http on another origin, it shows only the name. */
export function canShow(url) {
  if (/^(data:(image|audio|video)\/|blob:)/i.test(url)) return true;
  try {
    const { origin, protocol } = new URL(url);
    return protocol === "https:" || origin === location.origin;
  } catch {
    return false;
  }
}

/** Whether a link to this address is safe. A link from a model must never run a script. */
export function canLink(url) {
  return /^(https?:|data:(image\/(?!svg)|audio\/|video\/|application\/octet-stream))/i.test(url);
}
