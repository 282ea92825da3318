/** Shows the text that a model printed as a terminal would. These functions have no side effects. */

const PROGRESS =
  /^(?<what>.*?)\s*(?<percent>\d{1,3})%\|[^|]*\|\s*(?<done>[\d.]+\w?)\/(?<all>[\d.]+\w?)\s*(?:\[(?<times>[^\]]*)\]?)?/;
const ESCAPES = /\u001b\[[0-9;?]*[A-Za-z]|\u001b\][^\u0007]*\u0007/g;

/** The log without overwritten text.
 *
 * Text after a carriage return replaces its line, and a progress bar replaces the previous state of the same bar. A
 * stream has line ends in place of carriage returns, so progress bars are recognized by their form.
 */
export function foldLog(text) {
  const lines = [];
  let bar = -1; // the index of the line with the last bar; -1 if there is none
  for (const raw of text.replace(ESCAPES, "").split("\n")) {
    const parts = raw.split("\r").filter((part) => part !== "");
    if (!parts.length) lines.push("");
    for (const [index, part] of parts.entries()) {
      const found = PROGRESS.exec(part);
      if (found) {
        if (lines.at(-1) === "") lines.pop(); // the empty line that a carriage return before the bar has become
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

/** `{percent, what, count, left}` of the last progress bar in a log; null if there is none. */
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

/** The last `length` characters of a text, from the beginning of a line if possible. */
export function tailOf(text, length) {
  if (text.length <= length) return text;
  const from = text.indexOf("\n", text.length - length);
  return text.slice(from < 0 ? text.length - length : from + 1);
}
