/** Changes the address, and so the view, without loading the page again. */

let render = () => {};
let entries = 0;

/** A key for an entry of the browser's history. It is also unique after a reload. */
const newKey = () => `${Date.now()}.${++entries}`;

/** Calls `act` now, and whenever the address has changed. `back` is false if the history's entry is new. */
export function start(act) {
  render = act;
  history.scrollRestoration = "manual";
  mark();
  addEventListener("popstate", () => {
    mark();
    render({ back: true });
  });
  document.addEventListener("click", follow);
  addEventListener("scrollend", keepScroll);
  act({ back: true });
}

function mark() {
  if (!history.state?.key) history.replaceState({ ...history.state, key: newKey() }, "");
}

/** Goes to an address in a new entry of the history. `render: false` if the page already shows its content. */
export function go(address, { state = {}, render: anew = true } = {}) {
  history.pushState({ ...state, key: newKey() }, "", address);
  if (anew) render({ back: false });
}

/** Puts filters into the address, without a new entry in the history. Empty values are left out. */
export function setQuery(values) {
  const kept = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  const query = kept.size ? `?${kept}` : "";
  if (query !== location.search) history.replaceState(history.state, "", location.pathname + query);
}

function keepScroll() {
  history.replaceState({ ...history.state, scroll: scrollY }, "");
}

/** Follows a link to one of the page's views. The browser handles all other clicks. */
function follow(event) {
  const link = event.target.closest("a[href]");
  const plain = event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  if (!link || !plain || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (!isView(link.pathname)) return;
  event.preventDefault();
  if (link.hash) {
    document.querySelector(link.hash)?.focus(); // an element of this page gets no new entry in the history
    return;
  }
  go(link.pathname + link.search);
}

const OTHERS = /^\/(v1|page|stream|files|inputs|outputs|covers)\//;

const isView = (path) => /^\/([^/]+(\/[^/]+)?)?$/.test(path) && !OTHERS.test(path);
