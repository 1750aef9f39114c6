// Window and level: in HU where the label's window is known, else in grey values of 0 to 1.

// A window is dragged over its whole range by so many CSS pixels; no faster in HU than 2 a pixel.
const DRAG = 500;
const FASTEST_HU = 2;
const WHOLE = [{ name: "as stored", low: 0, high: 1 }];
const UNITS = {
  hu: { least: 2, step: 1, digits: 0 },
  grey: { least: 0.02, step: 0.01, digits: 2 },
};
const find = (id) => document.getElementById(id);

export class Windowing {
  /** `onchange()` is called after every change; `kept` is what `state` was. */
  constructor(view, session, kept, { onchange, say }) {
    Object.assign(this, { view, onchange, say });
    this.presets = {
      hu: session.hu_presets ?? [],
      grey: session.presets?.length ? session.presets.slice(0, 4) : WHOLE,
    };
    this.reach = session.hu_range ?? null; // what a source at hand can tell
    this.label = null;
    // Null in HU: each label's own window.
    const { low, high } = this.presets.grey[0];
    this.state = { hu: null, grey: { low, high } };
    for (const unit of ["hu", "grey"]) {
      const { low: least, high: most } = kept?.[unit] ?? {};
      if (Number.isFinite(least) && Number.isFinite(most) && least < most)
        this.state[unit] = { low: least, high: most };
    }
    this.#controls();
    this.take(null);
  }

  get unit() {
    return this.label?.hu ? "hu" : "grey";
  }

  /** [low, high] that a label is shown with. */
  of(label) {
    if (!label?.hu) return [this.state.grey.low, this.state.grey.high];
    const chosen = this.state.hu;
    return chosen ? [chosen.low, chosen.high] : label.hu;
  }

  /** Whether a label's window shows values that the store does not have and its source has. */
  beyond(label) {
    if (!label?.hu || !label.has_source || !this.reach) return false;
    const [low, high] = this.of(label);
    return low < label.hu[0] - 0.5 || high > label.hu[1] + 0.5;
  }

  take(label) {
    this.label = label;
    this.#buttons();
    this.#show();
  }

  preset(number) {
    const preset = this.presets[this.unit][number];
    if (!preset) return;
    if (this.#lies(preset)) this.set(preset.low, preset.high);
    else this.say(`No ${preset.name} window here: ${this.#stored()}`);
  }

  asStored() {
    if (this.unit === "hu") this.state.hu = null;
    else this.state.grey = { low: 0, high: 1 };
    this.#changed();
  }

  set(low, high) {
    const [least, most] = this.#bounds();
    const width = Math.min(most - least, Math.max(UNITS[this.unit].least, high - low));
    const level = Math.min(most, Math.max(least, (low + high) / 2));
    this.state[this.unit] = { low: level - width / 2, high: level + width / 2 };
    this.#changed();
  }

  /** Right and left change the width, up and down the level, as in a hospital's viewer. */
  drag(dx, dy) {
    const [low, high] = this.of(this.label);
    const [least, most] = this.#bounds();
    const each = (most - least) / DRAG;
    const speed = this.unit === "hu" ? Math.min(FASTEST_HU, each) : each;
    const width = Math.max(UNITS[this.unit].least, high - low + dx * speed);
    const level = (low + high) / 2 + dy * speed;
    this.set(level - width / 2, level + width / 2);
  }

  /** "−35 HU", of what `Picture.value` gives: with its sign where it is cut off. */
  words([value, cut]) {
    if (this.unit === "grey") return `grey ${this.#number(value)}`;
    const sign = cut < 0 ? "≤ " : cut > 0 ? "≥ " : "";
    return `${sign}${this.#number(value)} HU`;
  }

  /** "W 400 L 40 HU". */
  get told() {
    const [low, high] = this.of(this.label);
    const unit = this.unit === "hu" ? " HU" : "";
    return `W ${this.#number(high - low)} L ${this.#number((low + high) / 2)}${unit}`;
  }

  #number(value) {
    const { digits } = UNITS[this.unit];
    const text = value.toFixed(digits);
    return Number(text) === 0 ? (0).toFixed(digits) : text.replace("-", "−");
  }

  /** What level and width may be. */
  #bounds() {
    if (this.unit === "grey") return [0, 1];
    const { hu, has_source: source } = this.label;
    return source && this.reach ? this.reach : hu;
  }

  /** Whether a preset shows anything of what is known. */
  #lies({ low, high }) {
    const [least, most] = this.#bounds();
    return low < most && high > least;
  }

  #stored() {
    const [low, high] = this.label.hu.map((each) => this.#number(each));
    return `the store has ${low} to ${high} HU.`;
  }

  #changed() {
    this.#show();
    this.onchange();
  }

  #show() {
    const { view, unit, label } = this;
    [view.low, view.high] = this.of(label);
    const [least, most] = this.#bounds();
    const { least: narrow, step } = UNITS[unit];
    const level = (view.low + view.high) / 2;
    this.#slide("level", least, most, step, level);
    this.#slide("width", narrow, most - least, step, view.high - view.low);
    [...find("presets").children].forEach((button, i) => {
      const { low, high } = this.presets[unit][i] ?? {};
      const same = Math.abs(low - view.low) + Math.abs(high - view.high) < 1e-6;
      // "as stored", the last one, may be the window of another one, too.
      const asStored = unit === "hu" && !this.state.hu;
      button.setAttribute("aria-pressed", String(asStored ? low === undefined : same));
    });
    const cut = unit === "hu" && !this.beyond(label);
    const outside = cut && (view.low < label.hu[0] - 0.5 || view.high > label.hu[1] + 0.5);
    const words = outside ? `Beyond it all is black or white: ${this.#stored()}` : "";
    find("stored").textContent = words;
  }

  #slide(id, min, max, step, value) {
    const slider = find(id);
    Object.assign(slider, { min: String(min), max: String(max), step: String(step) });
    slider.value = String(value);
    slider.nextElementSibling.textContent =
      this.#number(value) + (this.unit === "hu" ? " HU" : "");
  }

  #controls() {
    const moved = () => {
      const [level, width] = [Number(find("level").value), Number(find("width").value)];
      this.set(level - width / 2, level + width / 2);
    };
    find("level").addEventListener("input", moved);
    find("width").addEventListener("input", moved);
  }

  #buttons() {
    const { unit } = this;
    const made = this.presets[unit].map((preset, i) =>
      this.#button(preset.name, String(i + 1), () => this.preset(i), this.#lies(preset)),
    );
    if (unit === "hu") made.push(this.#button("as stored", "W", () => this.asStored(), true));
    const same = find("presets").dataset.unit === unit;
    if (same && made.every((b, i) => b.disabled === find("presets").children[i].disabled)) return;
    find("presets").dataset.unit = unit;
    find("presets").replaceChildren(...made);
  }

  #button(name, key, act, lies) {
    const button = document.createElement("button");
    const sign = document.createElement("kbd");
    sign.textContent = key;
    button.append(`${name} `, sign);
    button.disabled = !lies;
    button.addEventListener("click", act);
    return button;
  }
}
