/** The requests to Replicate's HTTP API that this page needs. */

import { askForToken } from "./token.js";

const KEY = "replicate-job token";

/** An error that the API answered. `fields` are the `invalid_fields` of the answer. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.title = body.title ?? "";
    this.fields = body.invalid_fields ?? [];
  }
}

/** Sends a request and returns the answer's body; null if the body is not JSON.
 *
 * If the server needs a token, the user is asked for it. Throws ApiError, or Error if the server does not answer.
 */
export async function request(path, { method = "GET", body, signal } = {}) {
  const asked = { method, headers: {}, signal };
  if (body instanceof FormData) asked.body = body;
  else if (body !== undefined) {
    asked.body = JSON.stringify(body);
    asked.headers["content-type"] = "application/json";
  }
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    if (token) asked.headers.authorization = `Bearer ${token}`;
    const answer = await send(path, asked);
    const found = await readJson(answer);
    if (answer.ok) return found;
    if (answer.status !== 401) throw new ApiError(answer.status, found ?? {});
    if (token === sessionStorage.getItem(KEY)) {
      sessionStorage.setItem(KEY, await askForToken(Boolean(token)));
    }
  }
}

async function send(path, asked) {
  try {
    return await fetch(path, asked);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is it still running?");
  }
}

async function readJson(answer) {
  try {
    return await answer.json();
  } catch {
    return null;
  }
}

/** Yields the items of each page of a list. A page is requested only when it is needed. */
export async function* pages(path, signal) {
  for (let next = path; next; ) {
    const page = await request(next, { signal });
    yield page.results;
    next = page.next && samePath(page.next);
  }
}

/** The path and query of an address that the API returned. They are requested from this page's own origin. */
export function samePath(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

export async function models(signal) {
  const found = [];
  for await (const page of pages("/v1/models", signal)) found.push(...page);
  return found;
}

/** A collection, with its `name` and `models`. `slug` is `built-in` or `yours`. */
export const collection = (slug, signal) => request(`/v1/collections/${slug}`, { signal });

export const model = (slug, signal) => request(`/v1/models/${slug}`, { signal });

export const version = (slug, id, signal) => request(`/v1/models/${slug}/versions/${id}`, { signal });

/** The versions of a model, newest first. Throws ApiError for an official model, whose versions are not listed. */
export async function versions(slug, signal) {
  return (await request(`/v1/models/${slug}/versions`, { signal })).results;
}

/** The text of a model's README; empty if the model has none. */
export async function readme(slug, signal) {
  const answer = await fetch(`/v1/models/${slug}/readme`, { signal, headers: authorization() });
  const kind = answer.headers.get("content-type") ?? "";
  return answer.ok && !kind.includes("json") ? answer.text() : "";
}

export function authorization() {
  const token = sessionStorage.getItem(KEY);
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** Creates a prediction. `target` is the `owner/name` of an official model, or the id of a version. */
export function create(target, input) {
  return target.includes("/")
    ? request(`/v1/models/${target}/predictions`, { method: "POST", body: { input } })
    : request("/v1/predictions", { method: "POST", body: { version: target, input } });
}

export const prediction = (id, signal) => request(`/v1/predictions/${encodeURIComponent(id)}`, { signal });

export const cancel = (id) => request(`/v1/predictions/${encodeURIComponent(id)}/cancel`, { method: "POST" });

export const remove = (id) => request(`/v1/predictions/${encodeURIComponent(id)}`, { method: "DELETE" });

/** Uploads a file and returns its address. */
export async function upload(file) {
  const body = new FormData();
  body.append("content", file, file.name);
  return (await request("/v1/files", { method: "POST", body })).urls.get;
}
