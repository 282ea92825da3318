/** Addresses: which view belongs to one, and going there without loading the page anew. */

let render = () => {};
let entries = 0;

/** A key for an entry of the browser's history, also after a reload. */
const newKey = () => `${Date.now()}.${++entries}`;

/** `render()` is called whenever the address has changed. */
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

/** `render: false` where the page shows already what belongs there. */
export function go(address, { state = {}, render: anew = true } = {}) {
  history.pushState({ ...state, key: newKey() }, "", address);
  if (anew) render({ back: false });
}

/** Put filters into the address, without a new entry in the history; empty ones are left out. */
export function setQuery(values) {
  const kept = new URLSearchParams(Object.entries(values).filter(([, value]) => value));
  const query = kept.size ? `?${kept}` : "";
  if (query !== location.search) history.replaceState(history.state, "", location.pathname + query);
}

function keepScroll() {
  history.replaceState({ ...history.state, scroll: scrollY }, "");
}

/** Links within the page; whatever else a click meant is left to the browser. */
function follow(event) {
  const link = event.target.closest("a[href]");
  const plain = event.button === 0 && !(event.ctrlKey || event.metaKey || event.shiftKey || event.altKey);
  if (!link || !plain || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (!isView(link.pathname)) return;
  event.preventDefault();
  if (link.hash) {
    document.querySelector(link.hash)?.focus(); // a place on this page is no new entry of the history
    return;
  }
  go(link.pathname + link.search);
}

const OTHERS = /^\/(v1|page|stream|files|inputs|outputs|covers)\//;

const isView = (path) => /^\/([^/]+(\/[^/]+)?)?$/.test(path) && !OTHERS.test(path);
