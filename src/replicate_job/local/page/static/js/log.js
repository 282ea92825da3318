/** What a model printed, as a terminal would show it. Pure. */

const PROGRESS =
  /^(?<what>.*?)\s*(?<percent>\d{1,3})%\|[^|]*\|\s*(?<done>[\d.]+\w?)\/(?<all>[\d.]+\w?)\s*(?:\[(?<times>[^\]]*)\]?)?/;
const ESCAPES = /\u001b\[[0-9;?]*[A-Za-z]|\u001b\][^\u0007]*\u0007/g;

/** Lines: a carriage return writes over its line, and a progress bar over that bar's last state.
 *
 * A stream has no carriage returns, it ends lines there: so bars are known by their looks.
 */
export function foldLog(text) {
  const lines = [];
  let bar = -1; // where the last bar stands
  for (const raw of text.replace(ESCAPES, "").split("\n")) {
    const parts = raw.split("\r").filter((part) => part !== "");
    if (!parts.length) lines.push("");
    for (const [index, part] of parts.entries()) {
      const found = PROGRESS.exec(part);
      if (found) {
        if (lines.at(-1) === "") lines.pop(); // what a carriage return before the bar became
        if (bar >= 0 && sameBar(PROGRESS.exec(lines[bar]), found)) lines[bar] = found[0];
        else bar = lines.push(found[0]) - 1;
        const words = part.slice(found[0].length).trim();
        if (words) lines.push(words);
      } else if (index === parts.length - 1) lines.push(part);
    }
  }
  return lines.join("\n").replace(/^\n+|\n+$/g, "");
}

const sameBar = (a, b) =>
  a.groups.what === b.groups.what &&
  a.groups.all === b.groups.all &&
  Number(a.groups.percent) <= Number(b.groups.percent);

/** `{percent, what, count, left}` of the last progress bar of a log; null where there is none. */
export function progressOf(text) {
  for (const line of text
    .slice(-4000)
    .split(/[\r\n]/)
    .reverse()) {
    const found = PROGRESS.exec(line)?.groups;
    if (!found) continue;
    const left = /<([\d:]+)/.exec(found.times ?? "")?.[1] ?? "";
    return {
      percent: Math.min(Number(found.percent), 100),
      what: found.what.replace(/:$/, ""),
      count: `${found.done}/${found.all}`,
      left,
    };
  }
  return null;
}

/** The end of a text, from a line's beginning on. */
export function tailOf(text, length) {
  if (text.length <= length) return text;
  const from = text.indexOf("\n", text.length - length);
  return text.slice(from < 0 ? text.length - length : from + 1);
}
