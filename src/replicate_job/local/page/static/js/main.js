/** The page's entry point: finds the view for an address, and shows it. */

import { announce, h } from "./dom.js";
import { historyView } from "./history.js";
import { homeView } from "./home.js";
import { start } from "./route.js";
import { modelView, predictionView } from "./workbench.js";

const VIEWS = [
  [/^\/$/, homeView],
  [/^\/history$/, historyView],
  [/^\/p\/([^/]+)$/, predictionView],
  [/^\/([^/]+)\/([^/]+)$/, modelView],
];

const main = document.getElementById("main");
let leaving = new AbortController();

async function render({ back }) {
  leaving.abort();
  leaving = new AbortController();
  const { signal } = leaving;
  markPlace();
  const [pattern, view] = VIEWS.find(([one]) => one.test(location.pathname)) ?? [/$/, missingView];
  const parameters = pattern.exec(location.pathname).slice(1).map(decodeURIComponent);
  const state = history.state ?? {};
  let found;
  try {
    found = await view({ parameters, signal, state, query: new URLSearchParams(location.search) });
  } catch (error) {
    if (signal.aborted) return;
    found = failed(error);
  }
  if (signal.aborted) return;
  document.title = `${found.title} · replicate-job`;
  main.replaceChildren(found.element);
  scrollTo(0, back ? (state.scroll ?? 0) : 0);
  if (!back) (main.querySelector("h1") ?? main).focus({ preventScroll: true });
}

function markPlace() {
  for (const link of document.querySelectorAll(".top nav a")) {
    if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function failed(error) {
  if (error.status === 404) return missingView();
  announce(error.message);
  return {
    title: "Problem",
    element: h(
      "div",
      { class: "notice", role: "alert" },
      h("h1", { tabIndex: -1 }, "This did not work"),
      h("p", {}, error.message),
      h("button", { type: "button", onclick: () => location.reload() }, "Try again"),
    ),
  };
}

function missingView() {
  return {
    title: "Not found",
    element: h(
      "div",
      { class: "notice" },
      h("h1", { tabIndex: -1 }, "There is nothing here"),
      h("p", {}, "No model and no prediction of this server has this address."),
      h("p", { class: "actions" }, h("a", { href: "/" }, "All models"), h("a", { href: "/history" }, "History")),
    ),
  };
}

start(render);
