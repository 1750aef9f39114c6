// How a picture is shown: layers, window, smoothing, slices. A reader's choice is remembered.

import { Picture } from "./picture.js";
import { Windowing } from "./windowing.js";

const KEPT = "dsnet-display";
const find = (id) => document.getElementById(id);

export class Display {
  constructor(api, view, session, say) {
    Object.assign(this, { api, view, range: session.hu_range });
    this.entry = null;
    this.step = 0;
    this.around = false;
    const kept = this.#remembered();
    const onchange = () => {
      this.#apply();
      this.#fill().catch(() => {}); // What the store has is shown.
    };
    this.windowing = new Windowing(view, session, kept, { onchange, say });
    this.#controls();
    this.#apply();
  }

  /** Take another label: its slices and surroundings come when they are asked for. */
  take(entry) {
    this.entry = entry;
    this.step = 0;
    const { below = 0, above = 0 } = entry.label?.slices ?? {};
    find("slices").hidden = !(below || above);
    find("slice").textContent = "this slice";
    find("surroundings").disabled = !entry.label?.has_source;
    this.windowing.take(entry.label);
    this.#room();
    this.hover(null);
    this.#fill().catch(() => {}); // The label is whole without.
  }

  /** Make what is drawn of a label that comes later. */
  warm(entry) {
    const window = this.windowing.of(entry.label);
    entry.picture.warm(...window);
    if (!this.windowing.beyond(entry.label)) return;
    this.#get(entry, "surroundings?margin=0").then((full) => full.grey(...window)).catch(() => {});
  }

  toggleLayer(name) {
    this.view.layers[name] = !this.view.layers[name];
    this.#apply();
  }

  toggleSmooth() {
    this.view.smooth = !this.view.smooth;
    this.#apply();
  }

  toggleSurroundings() {
    this.around = !this.around;
    this.#apply();
    this.#fill().catch(() => {});
  }

  /** What is under the pointer, in crop pixels, or null. */
  hover(point) {
    const { view, windowing } = this;
    const words = [windowing.told];
    if (point) {
      const [x, y] = point.map(Math.round);
      const [dx, dy] = view.around?.offset ?? [0, 0];
      const beside = view.slice ? null : view.around?.value(x - dx, y - dy);
      const value = view.shown?.value(x, y) ?? beside;
      if (value) words.unshift(`${windowing.words(value)} at column ${x}, row ${y}`);
    }
    find("readout").textContent = this.entry ? words.join(" · ") : "";
  }

  /** One slice further; up to where the store or the series ends. */
  async slice(by) {
    const { entry, step: before } = this;
    const { below = 0, above = 0 } = entry?.label?.slices ?? {};
    const step = Math.max(-below, Math.min(above, this.step + by));
    if (!entry || step === before) return;
    this.step = step;
    try {
      await this.#fill();
    } catch (error) {
      if (this.entry === entry && this.step === step) this.step = before;
      throw error;
    }
    if (this.entry !== entry || this.step !== step) return;
    const away = `${Math.abs(step)} ${step < 0 ? "below" : "above"}`;
    find("slice").textContent = step === 0 ? "this slice" : away;
  }

  /** Fetch what is to be seen besides the label's own planes, and show it. */
  async #fill() {
    const { entry, step, view } = this;
    if (!entry?.picture) return;
    const { label } = entry;
    const wide = this.windowing.beyond(label);
    const { width, height } = entry.picture;
    const margin = Math.round(Math.max(width, height) / 2);
    const [slice, full, around] = await Promise.all([
      step ? this.#get(entry, `neighbour?step=${step}`) : null,
      wide && !step ? this.#get(entry, "surroundings?margin=0") : null,
      // The label is whole without.
      this.around && label.has_source
        ? this.#get(entry, `surroundings?margin=${margin}`).catch(() => null)
        : null,
    ]);
    if (this.entry !== entry || this.step !== step || this.windowing.beyond(label) !== wide) return;
    Object.assign(view, { slice, full, around });
    view.redraw();
  }

  /** A picture from the label's source, once; in HU beyond the store's where that is wanted. */
  #get(entry, path) {
    const wide = this.windowing.beyond(entry.label);
    entry.fetched ??= new Map();
    const place = wide ? `${path}&hu=1` : path;
    if (!entry.fetched.has(place)) {
      const range = wide ? this.range : (entry.label.hu ?? undefined);
      const picture = this.api
        .planes(`api/label/${entry.index}/${place}`)
        .then((planes) => Object.assign(new Picture(planes, range), { offset: planes.offset }));
      entry.fetched.set(place, picture);
      picture.catch((error) => {
        entry.fetched.delete(place);
        // Another file, or none: the store's values are all that there is.
        if (wide && error.status === 404) this.#narrow(entry);
      });
    }
    return entry.fetched.get(place);
  }

  #narrow(entry) {
    entry.label.has_source = false;
    if (this.entry !== entry) return;
    this.windowing.take(entry.label);
    this.#fill().catch(() => {});
  }

  #controls() {
    for (const name of Object.keys(this.view.layers)) {
      find(`layer-${name}`).addEventListener("change", () => this.toggleLayer(name));
    }
    find("smooth").addEventListener("change", () => this.toggleSmooth());
    find("surroundings").addEventListener("change", () => this.toggleSurroundings());
    find("below").addEventListener("click", () => this.slice(-1).catch(() => {}));
    find("above").addEventListener("click", () => this.slice(1).catch(() => {}));
  }

  #apply() {
    const { view } = this;
    for (const [name, shown] of Object.entries(view.layers)) find(`layer-${name}`).checked = shown;
    find("smooth").checked = view.smooth;
    find("surroundings").checked = this.around;
    this.#room();
    this.hover(null);
    view.redraw();
    const { layers, smooth } = view;
    try {
      const kept = { layers, smooth, around: this.around, ...this.windowing.state };
      localStorage.setItem(KEPT, JSON.stringify(kept));
    } catch {
      // It is asked again next time.
    }
  }

  /** Surroundings need their share of the canvas, where there are any. */
  #room() {
    const room = this.around && this.entry?.label?.has_source ? 0.6 : 0.94;
    const another = room !== this.view.room;
    this.view.room = room;
    if (another && this.view.fitted) this.view.fit();
  }

  /** What was kept of the window. */
  #remembered() {
    const { view } = this;
    try {
      const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
      for (const name of Object.keys(view.layers)) {
        if (typeof kept.layers?.[name] === "boolean") view.layers[name] = kept.layers[name];
      }
      if (typeof kept.smooth === "boolean") view.smooth = kept.smooth;
      this.around = kept.around === true;
      return kept;
    } catch {
      return null; // As it is at first.
    }
  }
}
