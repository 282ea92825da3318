/** Makes elements from the Markdown that READMEs need. HTML in the Markdown is shown as text. */

import { h } from "./dom.js";
import { canLink } from "./files.js";

export function markdown(text) {
  const blocks = [];
  const lines = text.replaceAll("\r\n", "\n").split("\n");
  while (lines.length) blocks.push(block(lines));
  return h("div", { class: "markdown" }, blocks);
}

function block(lines) {
  const line = lines.shift();
  if (line.trim() === "") return null;
  const heading = /^(#{1,6})\s+(.*?)\s*#*$/.exec(line);
  if (heading) return h(`h${Math.min(heading[1].length + 1, 6)}`, {}, inline(heading[2]));
  if (/^(```|~~~)/.test(line)) return fence(lines, line.slice(0, 3));
  if (/^\s*\|/.test(line)) return h("pre", {}, [line, ...taken(lines, (next) => /^\s*\|/.test(next))].join("\n"));
  const item = /^\s*([-*+]|\d+[.)])\s+(.*)$/.exec(line);
  if (item) return list(lines, item);
  const rest = taken(lines, (next) => next.trim() !== "" && !/^(#|```|~~~|\s*[-*+]\s)/.test(next));
  return h("p", {}, inline([line, ...rest].join(" ")));
}

function fence(lines, mark) {
  const body = taken(lines, (next) => !next.startsWith(mark));
  lines.shift();
  return h("pre", {}, body.join("\n"));
}

function list(lines, first) {
  const items = [first[2]];
  while (lines.length && lines[0].trim() !== "") {
    const next = /^\s*([-*+]|\d+[.)])\s+(.*)$/.exec(lines[0]);
    if (next) items.push(next[2]);
    else items[items.length - 1] += ` ${lines[0].trim()}`;
    lines.shift();
  }
  return h(
    /\d/.test(first[1]) ? "ol" : "ul",
    {},
    items.map((item) => h("li", {}, inline(item))),
  );
}

function taken(lines, wanted) {
  const found = [];
  while (lines.length && wanted(lines[0])) found.push(lines.shift());
  return found;
}

const SPANS = /`([^`]+)`|\*\*([^*]+)\*\*|!?\[([^\]]*)\]\(([^)\s]+)[^)]*\)|(https?:\/\/[^\s<>)]+[^\s<>).,;:])/g;

/** The children of one paragraph: texts, code, strong text and links. */
export function inline(text) {
  const parts = [];
  let from = 0;
  for (const found of text.matchAll(SPANS)) {
    parts.push(text.slice(from, found.index));
    const [, code, strong, label, target, bare] = found;
    if (code) parts.push(h("code", {}, code));
    else if (strong) parts.push(h("strong", {}, strong));
    else parts.push(link(target ?? bare, label ?? bare));
    from = found.index + found[0].length;
  }
  return [...parts, text.slice(from)].filter((part) => part !== "");
}

/** The text of one paragraph without its markup. */
export const plain = (text) => h("p", {}, inline(text)).textContent;

const link = (target, label) =>
  /^https?:/.test(target) && canLink(target)
    ? h("a", { href: target, target: "_blank", rel: "noopener noreferrer" }, label)
    : label;
