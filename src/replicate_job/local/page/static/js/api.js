/** Replicate's HTTP API, as this page needs it. */

import { askForToken } from "./token.js";

const KEY = "replicate-job token";

/** What the API refused: `fields` are its `invalid_fields`. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.detail || body.title || `The server answered ${status}.`);
    this.status = status;
    this.title = body.title ?? "";
    this.fields = body.invalid_fields ?? [];
  }
}

/** The body of an answer. Asks once for a token where one is needed. Throws ApiError, or Error without a server. */
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

/** Items of a list, page after page, as far as they are asked for. */
export async function* pages(path, signal) {
  for (let next = path; next; ) {
    const page = await request(next, { signal });
    yield page.results;
    next = page.next && samePath(page.next);
  }
}

/** An address that the API gave, on the origin that this page came from. */
export function samePath(url) {
  const { pathname, search } = new URL(url, location.href);
  return pathname + search;
}

export async function models(signal) {
  const found = [];
  for await (const page of pages("/v1/models", signal)) found.push(...page);
  return found;
}

/** `built-in` or `yours`, with its `name` and `models`. */
export const collection = (slug, signal) => request(`/v1/collections/${slug}`, { signal });

export const model = (slug, signal) => request(`/v1/models/${slug}`, { signal });

export const version = (slug, id, signal) => request(`/v1/models/${slug}/versions/${id}`, { signal });

/** Newest first; none for an official model, which has no list. */
export async function versions(slug, signal) {
  return (await request(`/v1/models/${slug}/versions`, { signal })).results;
}

/** Its text; empty where there is none. */
export async function readme(slug, signal) {
  const answer = await fetch(`/v1/models/${slug}/readme`, { signal, headers: authorization() });
  const kind = answer.headers.get("content-type") ?? "";
  return answer.ok && !kind.includes("json") ? answer.text() : "";
}

export function authorization() {
  const token = sessionStorage.getItem(KEY);
  return token ? { authorization: `Bearer ${token}` } : {};
}

/** `owner/name` of an official model, or the id of a version. */
export function create(target, input) {
  return target.includes("/")
    ? request(`/v1/models/${target}/predictions`, { method: "POST", body: { input } })
    : request("/v1/predictions", { method: "POST", body: { version: target, input } });
}

export const prediction = (id, signal) => request(`/v1/predictions/${encodeURIComponent(id)}`, { signal });

export const cancel = (id) => request(`/v1/predictions/${encodeURIComponent(id)}/cancel`, { method: "POST" });

export const remove = (id) => request(`/v1/predictions/${encodeURIComponent(id)}`, { method: "DELETE" });

/** The address of a file, once it is there. */
export async function upload(file) {
  const body = new FormData();
  body.append("content", file, file.name);
  return (await request("/v1/files", { method: "POST", body })).urls.get;
}
