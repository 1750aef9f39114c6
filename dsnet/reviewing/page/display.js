// How a picture is shown: layers, window, smoothing, slices. A reader's choice is remembered.

import { Picture } from "./picture.js";

const KEPT = "dsnet-display";
const FULL = [{ name: "whole", low: 0, high: 1 }];
// A window is dragged over its whole range by so many CSS pixels.
const DRAG = 500;
const LEAST_WIDTH = 0.02;
const find = (id) => document.getElementById(id);

export class Display {
  constructor(api, view, session) {
    Object.assign(this, { api, view });
    this.presets = session.presets?.length ? session.presets.slice(0, 4) : FULL;
    this.entry = null;
    this.step = 0;
    this.around = false;
    this.#remembered();
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
    this.#surround(entry);
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
    if (this.view.fitted) this.view.fit();
    if (this.entry) this.#surround(this.entry);
  }

  preset(number) {
    const preset = this.presets[number];
    if (preset) this.setWindow(preset.low, preset.high);
  }

  setWindow(low, high) {
    const width = Math.min(1, Math.max(LEAST_WIDTH, high - low));
    const level = Math.min(1, Math.max(0, (low + high) / 2));
    this.view.low = level - width / 2;
    this.view.high = level + width / 2;
    this.#apply();
  }

  /** Right and left change the width, up and down the level, as in a hospital's viewer. */
  dragWindow(dx, dy) {
    const { low, high } = this.view;
    const width = high - low + dx / DRAG;
    const level = (low + high) / 2 + dy / DRAG;
    this.setWindow(level - width / 2, level + width / 2);
  }

  /** One slice further; up to where the store or the series ends. */
  async slice(by) {
    const { entry } = this;
    const { below = 0, above = 0 } = entry?.label?.slices ?? {};
    const step = Math.max(-below, Math.min(above, this.step + by));
    if (!entry || step === this.step) return;
    this.step = step;
    entry.slices ??= new Map([[0, null]]);
    if (!entry.slices.has(step)) {
      const planes = await this.api.planes(`api/label/${entry.index}/neighbour?step=${step}`);
      entry.slices.set(step, new Picture(planes));
    }
    if (this.entry !== entry || this.step !== step) return;
    this.view.slice = entry.slices.get(step);
    const away = `${Math.abs(step)} ${step < 0 ? "below" : "above"}`;
    find("slice").textContent = step === 0 ? "this slice" : away;
    this.view.redraw();
  }

  async #surround(entry) {
    if (!this.around || !entry.label?.has_source) {
      this.view.around = null;
      this.view.redraw();
      return;
    }
    try {
      entry.around ??= await this.#fetchSurroundings(entry);
    } catch {
      return; // The label is whole without.
    }
    if (this.entry !== entry || !this.around) return;
    this.view.around = entry.around;
    this.view.redraw();
  }

  async #fetchSurroundings(entry) {
    const { width, height } = entry.picture;
    const margin = Math.round(Math.max(width, height) / 2);
    const planes = await this.api.planes(`api/label/${entry.index}/surroundings?margin=${margin}`);
    return Object.assign(new Picture(planes), { offset: planes.offset });
  }

  #controls() {
    for (const name of Object.keys(this.view.layers)) {
      find(`layer-${name}`).addEventListener("change", () => this.toggleLayer(name));
    }
    find("smooth").addEventListener("change", () => this.toggleSmooth());
    find("surroundings").addEventListener("change", () => this.toggleSurroundings());
    find("below").addEventListener("click", () => this.slice(-1).catch(() => {}));
    find("above").addEventListener("click", () => this.slice(1).catch(() => {}));
    const moved = () => {
      const [level, width] = [Number(find("level").value), Number(find("width").value)];
      this.setWindow(level - width / 2, level + width / 2);
    };
    find("level").addEventListener("input", moved);
    find("width").addEventListener("input", moved);
    this.presets.forEach(({ name }, i) => {
      const button = document.createElement("button");
      const key = document.createElement("kbd");
      key.textContent = String(i + 1);
      button.append(`${name} `, key);
      button.addEventListener("click", () => this.preset(i));
      find("presets").append(button);
    });
  }

  #apply() {
    const { view } = this;
    for (const [name, shown] of Object.entries(view.layers)) find(`layer-${name}`).checked = shown;
    find("smooth").checked = view.smooth;
    find("surroundings").checked = this.around;
    view.room = this.around ? 0.6 : 0.94;
    find("level").value = String((view.low + view.high) / 2);
    find("width").value = String(view.high - view.low);
    [...find("presets").children].forEach((button, i) => {
      const { low, high } = this.presets[i];
      const same = Math.abs(low - view.low) < 1e-6 && Math.abs(high - view.high) < 1e-6;
      button.setAttribute("aria-pressed", String(same));
    });
    view.redraw();
    const { layers, smooth, low, high } = view;
    try {
      localStorage.setItem(
        KEPT,
        JSON.stringify({ layers, smooth, low, high, around: this.around }),
      );
    } catch {
      // It is asked again next time.
    }
  }

  #remembered() {
    const { view } = this;
    [view.low, view.high] = [this.presets[0].low, this.presets[0].high];
    try {
      const kept = JSON.parse(localStorage.getItem(KEPT) ?? "{}");
      for (const name of Object.keys(view.layers)) {
        if (typeof kept.layers?.[name] === "boolean") view.layers[name] = kept.layers[name];
      }
      if (typeof kept.smooth === "boolean") view.smooth = kept.smooth;
      this.around = kept.around === true;
      if (kept.low < kept.high) [view.low, view.high] = [kept.low, kept.high];
    } catch {
      // As it is at first.
    }
  }
}
