/** The page of a model or a prediction: a form on one side, a prediction on the other. */

import * as api from "./api.js";
import { codeView } from "./code.js";
import { announce, h, spaced } from "./dom.js";
import { nameOf } from "./files.js";
import { createForm } from "./form.js";
import { exampleOf, head } from "./modelhead.js";
import { panel } from "./panel.js";
import { rawInput } from "./rawinput.js";
import { go } from "./route.js";
import { recentRuns } from "./runs.js";
import { fieldsOf, outputKind, same } from "./schema.js";
import { useIn } from "./usein.js";

const CHANGED = "The model has changed: look at its form and run again.";
const NARROW = "(max-width: 900px)"; // as in views.css
const RUN_KEYS = /mac|iphone|ipad/i.test(navigator.platform) ? "⌘↵" : "Ctrl ↵";

/** The values of forms that were left before they were written into their history entry, by the entry's key. */
const unsaved = new Map();

const draftOf = (state) => unsaved.get(state.key) ?? state.draft;

/** `/owner/name`. The form has the values with which it was left, else those of the model's own example. */
export async function modelView({ parameters: [owner, name], signal, state, query }) {
  const model = await modelOf(`${owner}/${name}`, query, signal);
  return new Workbench({ model, signal, said: state.said }).view(draftOf(state) ?? exampleOf(model) ?? {});
}

/** The model. If the address has `?version=`, that version is its `latest_version`, and its id is `pinned`. */
async function modelOf(slug, query, signal) {
  const pinned = query.get("version") ?? "";
  const [model, version] = await Promise.all([api.model(slug, signal), pinned && api.version(slug, pinned, signal)]);
  return version ? { ...model, latest_version: version, pinned } : model;
}

/** `/p/id`. The prediction is shown even if its model is gone, or has another version now. */
export async function predictionView({ parameters: [id], signal, state, query }) {
  const prediction = await api.prediction(id, signal);
  const model = await modelOf(prediction.model, query, signal).catch((error) => {
    if (error.status !== 404 && error.status !== 422) throw error;
    return null;
  });
  return new Workbench({ model, prediction, signal }).view(draftOf(state) ?? prediction.input ?? {});
}

class Workbench {
  /** The view ends when `signal` is aborted. `model` is null if it is gone; `said` is a problem to show at first. */
  constructor({ model, prediction, signal, said = "" }) {
    Object.assign(this, { model, prediction, signal });
    const document = model?.latest_version?.openapi_schema;
    this.slug = model ? `${model.owner}/${model.name}` : prediction.model;
    this.fields = fieldsOf(document);
    this.output = outputKind(document);
    this.key = history.state.key;
    this.secrets = this.fields.filter((field) => field.kind === "secret").map((field) => field.name);
    this.running = null; // the panel of the prediction that is shown
    this.shown = new AbortController();
    this.stage = h("div", { class: "stage" }, h("p", { class: "empty" }, "The output appears here."));
    this.problem = h("p", { class: "problem", role: "alert" }, said);
    this.button = h("button", { class: "primary", type: "submit" }, "Run ", h("kbd", {}, RUN_KEYS));
    this.code = codeView();
    this.form = createForm(this.fields, () => this.edited());
    this.raw = rawInput(this.form, () => this.edited());
    this.runs = recentRuns(this.slug, signal, { current: () => this.running?.id });
    // Browsers limit writes to the history: one of them to 100 in 30 seconds.
    this.save = spaced(() => this.keep(), 500);
    signal.addEventListener("abort", () => this.leave());
  }

  view(draft) {
    this.form.set(draft);
    if (unsaved.has(this.key)) this.keep(); // written now, because a reload would lose unsaved values
    this.tell();
    if (this.prediction) this.show(this.prediction);
    addEventListener("pagehide", () => this.save.end(true), { signal: this.signal });
    document.addEventListener("keydown", (event) => this.pressed(event), { signal: this.signal });
    const { model, slug, signal } = this;
    const pick = (id) => go(placeOf(`/${slug}`, id), { state: { draft: this.draft() } });
    const header = head({ model, slug, signal, pick, fill: (input) => this.fill(input) });
    const left = h(
      "div",
      { class: "left" },
      model ? this.inputs() : h("p", { class: "notice" }, `${slug} is not here any more.`),
    );
    const right = h("div", { class: "right" }, this.stage, model && this.code.element, this.runs.element);
    return { title: titleOf(slug, this.prediction), element: h("div", { class: "workbench" }, header, left, right) };
  }

  inputs() {
    const reset = h("button", { type: "button" }, "Reset");
    reset.addEventListener("click", () => {
      this.fill({});
      this.form.focus();
    });
    const form = h("form", { class: "inputs", noValidate: true, "aria-label": "Input" });
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.run();
    });
    form.append(this.raw.tabs, this.form.element, this.raw.element);
    form.append(h("div", { class: "runbar" }, this.problem, this.button, reset));
    return form;
  }

  fill(input) {
    this.form.set(input);
    this.edited();
  }

  edited() {
    this.problem.textContent = "";
    this.tell();
    this.save();
  }

  /** Updates the JSON and the snippets from the form. */
  tell() {
    const input = this.form.values();
    this.raw.show(input);
    this.code.show({
      origin: location.origin,
      slug: this.slug,
      version: this.model?.latest_version?.id,
      official: this.model?.is_official,
      pinned: Boolean(this.model?.pinned),
      published: this.model?.published_version,
      fields: this.fields,
      input,
      output: this.output,
      nameOf,
      token: "authorization" in api.authorization(),
    });
  }

  /** The form's values, without secrets. */
  draft() {
    return Object.fromEntries(Object.entries(this.form.values()).filter(([name]) => !this.secrets.includes(name)));
  }

  /** Writes the form's values into the entry of the history. Values that are too large for it are not stored. */
  keep() {
    const draft = this.draft();
    unsaved.delete(this.key);
    try {
      history.replaceState({ ...history.state, draft }, "");
    } catch {
      history.replaceState({ ...history.state, draft: undefined }, "");
    }
  }

  leave() {
    // The current history entry already belongs to another view, so this form cannot be written into its own entry.
    unsaved.set(this.key, this.draft());
    this.save.end(false);
    this.shown.abort();
  }

  pressed(event) {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
      event.preventDefault();
      this.run();
    }
    // In a field, Escape acts on the field, and does not cancel the prediction.
    const isOfField = event.target.closest("input:not([type=range]), textarea, select, dialog");
    if (event.key === "Escape" && !isOfField && this.running?.isLive()) this.running.cancel();
  }

  async run() {
    if (this.button.disabled || !this.model) return;
    this.button.disabled = true;
    this.problem.textContent = "";
    try {
      await this.form.ready();
      if (this.raw.isWrong() || !(await this.isCurrent()) || this.form.incomplete()) return;
      const target = this.model.is_official ? this.slug : this.model.latest_version.id;
      this.began(await api.create(target, this.form.values()));
    } catch (error) {
      this.refused(error);
    } finally {
      this.button.disabled = false;
    }
  }

  /** Whether the form still fits the model, whose folder may have been edited.
   *
   * If not, the page shows the new form.
   */
  async isCurrent() {
    if (this.model.is_official || this.model.pinned) return true;
    const now = await api.model(this.slug, this.signal);
    const isSame = same(inputOf(now), inputOf(this.model));
    if (isSame) Object.assign(this.model, { latest_version: now.latest_version });
    else go(`/${this.slug}`, { state: { draft: this.draft(), said: CHANGED } });
    return isSame;
  }

  began(created) {
    this.save.end(true);
    go(placeOf(`/p/${created.id}`, this.model.pinned), { state: { draft: history.state?.draft }, render: false });
    this.key = history.state.key;
    document.title = `${titleOf(this.slug, created)} · replicate-job`;
    this.show(created);
    this.runs.refresh();
    const isNarrow = matchMedia(NARROW).matches;
    if (isNarrow) document.activeElement?.blur(); // closes the on-screen keyboard, which would cover the prediction
    const { top } = this.stage.getBoundingClientRect();
    if (isNarrow || top < 0 || top > innerHeight / 2) this.stage.scrollIntoView({ block: "start" });
  }

  refused(error) {
    const faults = error.fields ?? [];
    const left = this.form.problems(faults);
    this.problem.textContent = faults.length ? left.map((fault) => fault.description).join(" ") : error.message;
    announce(this.problem.textContent || "Some inputs are wrong.");
  }

  show(prediction) {
    this.shown.abort();
    this.shown = new AbortController();
    this.running = panel(prediction, {
      words: ["pieces", "text"].includes(this.output),
      secrets: this.secrets,
      useAsInput: this.model && ((media, url) => this.useButton(media, url)),
      ended: () => this.runs.refresh(),
      removed: () => this.removed(),
      signal: this.shown.signal,
    });
    this.stage.replaceChildren(this.running.element);
  }

  removed() {
    if (!this.model) return go("/history");
    go(placeOf(`/${this.slug}`, this.model.pinned), { state: { draft: this.draft() } });
  }

  useButton(media, url) {
    const name = this.form.fileField(media);
    const use = () => this.form.put(name, url);
    return [
      name && h("button", { type: "button", class: "small", onclick: use }, `Use as ${name}`),
      useIn(media, url, this.slug),
    ];
  }
}

/** The schemas that determine the form and how outputs are shown. */
const inputOf = (model) => model.latest_version?.openapi_schema?.components?.schemas;

const placeOf = (path, version) => (version ? `${path}?version=${version}` : path);

const titleOf = (slug, prediction) => (prediction ? `${prediction.id.slice(0, 8)} · ${slug}` : slug);
