/** Makes elements without parsing markup, so that text from a model is never interpreted as HTML. */

/** Makes an element. Properties `on…` become listeners, and `data` becomes its dataset.
 *
 * Children are elements or strings. Children that are null, undefined or false are left out.
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name === "class") element.className = value;
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && !name.startsWith("aria")) element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(
    ...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false),
  );
  return element;
}

const SVG = "http://www.w3.org/2000/svg";

const SHAPES = {
  audio: "M9 18V6l10-2v12M9 18a3 2.500 0 1 1-6 0 3 2.500 0 0 1 6 0Zm10-2a3 2.500 0 1 1-6 0 3 2.500 0 0 1 6 0Z",
  video: "M4 5h16v14H4zM10 9l5 3-5 3z",
  text: "M5 6h14M5 11h14M5 16h8",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  json: "M9 4c-3 0-2 3-2 5s-1 3-3 3c2 0 3 1 3 3s-1 5 2 5m6-16c3 0 2 3 2 5s1 3 3 3c-2 0-3 1-3 3s1 5-2 5",
  failed: "M6 6l12 12M18 6 6 18",
  wait: "M12 7v5l3 3M21 12a9 9 0 1 1-18 0 9 9 0 0 1 18 0Z",
  none: "M6 12h12",
};

/** A line drawing that is hidden from screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", SHAPES[name]);
  svg.append(path);
  return svg;
}

/** A button that copies the result of `text()`, and announces whether that worked. */
export function copyButton(text, label = "Copy") {
  const button = h("button", { type: "button", class: "small" }, label);
  button.addEventListener("click", async () => {
    button.textContent = (await copy(text())) ? "Copied" : "Cannot copy";
    announce(button.textContent);
    setTimeout(() => (button.textContent = label), 1500);
  });
  return button;
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyBySelection(text); // pages over plain http have no clipboard, except on loopback addresses
  }
}

function copyBySelection(text) {
  const area = h("textarea", { value: text, class: "unseen" });
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  return done;
}

/** Announces a text to screen readers. */
export function announce(text) {
  document.getElementById("status").textContent = text;
}

/** Returns a function that calls `act`, but at most once in this many milliseconds.
 *
 * The first call acts at once. Calls during the pause after it are combined into one call at its end.
 */
export function spaced(act, milliseconds) {
  let timer = 0;
  let again = false;
  const fire = () => {
    again = false;
    timer = setTimeout(() => {
      timer = 0;
      if (again) fire();
    }, milliseconds);
    act();
  };
  const call = () => (timer ? (again = true) : fire());
  /** Ends the wait of a delayed call: `act` is called now if `happens` is true, else not at all. */
  call.end = (happens) => {
    if (again && happens) act();
    again = false;
  };
  return call;
}

/** Returns a function that calls `act`, but at most once in each animation frame. */
export function framed(act) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      act();
    });
  };
}
