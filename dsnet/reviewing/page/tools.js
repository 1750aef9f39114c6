// The tools in a reader's hand: an end of the mark, the brush, a new mark; by pointer and by keys.

import { watchPointers } from "./gestures.js";
import { endsOf } from "./view.js";

const NAMES = [
  "long axis, first end",
  "long axis, second end",
  "short axis, first end",
  "short axis, second end",
];
const STEP = { plain: 0.5, large: 3 };
const LEAST_AXIS = 1;
const SIZES = [0.5, 20];
const WORDS = {
  look: "",
  brush: "Brush: paint, or arrows and Space. X adds or removes, Esc ends.",
  draw: "New mark: drag the long axis. Enter sets a cross to move, Esc ends.",
  short: "New mark: drag the short axis, or Esc to leave it unknown.",
};
const find = (id) => document.getElementById(id);

export class Tools {
  /** `mending` takes the changes; `window(dx, dy)` a drag that is none of them, `hover(point)`. */
  constructor(view, mending, { window, hover }) {
    Object.assign(this, { view, mending, tell: hover });
    this.tool = "look";
    this.radius = 3;
    this.add = true;
    this.at = null;
    this.drawn = [];
    this.held = -1;
    this.buttons = NAMES.map((name, end) => this.#endButton(name, end));
    find("ends").append(...this.buttons);
    watchPointers(view.canvas, view, {
      tool: () => this.tool,
      end: (end, point) => this.#drag(end, point),
      ended: () => this.#letGo(),
      stroke: (phase, point) => this.#stroke(phase, point),
      axis: (phase, point) => this.#axis(phase, point),
      hover: (point, end) => this.#hover(point, end),
      window,
    });
    find("brush").addEventListener("click", () => this.choose("brush"));
    find("draw").addEventListener("click", () => this.choose("draw"));
    find("side").addEventListener("click", () => this.flip());
    find("size").addEventListener("input", () => this.resize(Number(find("size").value)));
    this.#told();
  }

  /** Take a tool, or put it away where it is in hand. */
  choose(tool) {
    this.tool = this.tool === tool ? "look" : tool;
    this.drawn = [];
    if (this.tool === "brush") this.at ??= this.#middle();
    this.#told();
    if (this.tool !== "look") this.view.canvas.focus({ preventScroll: true });
  }

  /** Another label comes. */
  reset() {
    this.held = -1;
    this.drawn = [];
    this.tool = "look";
    this.at = null;
    this.#told();
  }

  get inHand() {
    return this.tool !== "look";
  }

  flip() {
    this.add = !this.add;
    this.#told();
  }

  resize(radius) {
    this.radius = Math.min(SIZES[1], Math.max(SIZES[0], radius));
    this.#told();
  }

  grab() {
    const ends = this.mending.mark ? endsOf(this.mending.mark).length : 0;
    if (!ends) return;
    const now = this.buttons.indexOf(document.activeElement);
    this.buttons[(now + 1) % ends].focus();
  }

  /** Arrows, Space and Enter for the tool in hand; false where they mean something else. */
  key(key, event) {
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const end = this.buttons.indexOf(document.activeElement);
    const step = event.shiftKey ? STEP.large : STEP.plain;
    if (key in moves && end >= 0) {
      const by = moves[key].map((each) => each * step);
      if (!event.repeat) this.mending.step();
      const [x, y] = endsOf(this.mending.mark)[end];
      this.mending.moveEnd(end, [x + by[0], y + by[1]]);
      return true;
    }
    if (this.tool === "brush" && key in moves) {
      const size = event.shiftKey ? 3 * this.radius : Math.max(1, this.radius / 2);
      this.at = this.at.map((each, i) => each + moves[key][i] * size);
      this.#told();
      return true;
    }
    if (this.tool === "brush" && key === " ") {
      this.mending.beginStroke(this.add, this.radius, this.at);
      return true;
    }
    if (this.tool === "draw" && key === "Enter") {
      this.#cross();
      return true;
    }
    return false;
  }

  /** Where the ends are on the screen; called after every drawing. */
  place() {
    const { view } = this;
    const shown = view.mark && view.layers.mark && !view.hidden && !view.slice;
    const ends = shown ? endsOf(view.mark) : [];
    this.buttons.forEach((button, i) => {
      button.hidden = i >= ends.length;
      if (button.hidden) return;
      const [x, y] = view.toScreen(ends[i]);
      button.style.transform = `translate(${x}px, ${y}px)`;
      const words = `${NAMES[i]}: column ${ends[i][0].toFixed(1)}, row ${ends[i][1].toFixed(1)}`;
      button.setAttribute("aria-label", words);
    });
  }

  #endButton(name, end) {
    const button = document.createElement("button");
    button.className = "end";
    button.hidden = true;
    button.dataset.end = String(end);
    button.setAttribute("aria-roledescription", "end of the mark, moved by arrows");
    return button;
  }

  #drag(end, point) {
    if (this.held !== end) {
      this.held = end;
      this.mending.step();
    }
    this.mending.moveEnd(end, point);
  }

  #letGo() {
    this.held = -1;
  }

  #stroke(phase, point) {
    if (phase === "begin") this.mending.beginStroke(this.add, this.radius, point);
    if (phase === "move") this.mending.extendStroke(point);
    if (point) this.#hover(point, -1);
  }

  /** The long axis, then the short one, each from where the pointer comes down to where it lifts. */
  #axis(phase, point) {
    if (phase === "begin") {
      this.from = point;
      if (!this.drawn.length) this.mending.step();
      return;
    }
    if (phase === "move") {
      this.to = point;
      if (Math.hypot(point[0] - this.from[0], point[1] - this.from[1]) < LEAST_AXIS) return;
      const axis = [...this.from, ...point];
      this.mending.setMark([...this.drawn, ...axis, ...(this.drawn.length ? [] : NO_AXIS)]);
      return;
    }
    const mark = this.mending.state.mark;
    if (!mark) return;
    if (!this.drawn.length) this.drawn = mark.slice(0, 4);
    else if (mark[4] !== null) this.choose("draw");
    this.#told();
  }

  /** A cross in the middle, for a reader who has keys alone. */
  #cross() {
    const { width, height } = this.view.picture;
    const [x, y] = this.#middle();
    const half = Math.min(width, height) / 8;
    this.mending.step();
    this.mending.setMark([x - half, y, x + half, y, x, y - half * 0.75, x, y + half * 0.75]);
    this.choose("draw");
    this.place();
    requestAnimationFrame(() => this.grab());
  }

  #hover(point, end) {
    this.view.canvas.dataset.over = end >= 0 ? "end" : "";
    this.tell(point);
    if (this.tool !== "brush") return;
    if (point) this.at = point;
    this.#told();
  }

  #middle() {
    const { width, height } = this.view.picture ?? { width: 0, height: 0 };
    return [(width - 1) / 2, (height - 1) / 2];
  }

  #told() {
    const { view } = this;
    view.brush =
      this.tool === "brush" && this.at ? { at: this.at, radius: this.radius, add: this.add } : null;
    view.canvas.dataset.tool = this.tool;
    const short = this.tool === "draw" && this.drawn.length;
    find("tool").textContent = WORDS[short ? "short" : this.tool];
    find("brush").setAttribute("aria-pressed", String(this.tool === "brush"));
    find("draw").setAttribute("aria-pressed", String(this.tool === "draw"));
    find("side").firstChild.textContent = this.add ? "Adds " : "Removes ";
    find("side").setAttribute("aria-pressed", String(!this.add));
    find("size").value = String(this.radius);
    find("size").nextElementSibling.textContent = `${this.radius} px`;
    view.redraw();
  }
}

const NO_AXIS = [null, null, null, null];
