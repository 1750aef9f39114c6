// What a reader changed of one label and has not kept yet: a mark, strokes, a threshold.

const HALF = 0.5;
// More points than this tell a stroke no better, and a request has its limits.
const MOST_POINTS = 400;

export class Mending {
  /**
   * `base` is the version that is mended; `onplanes(planes, milliseconds, since)` takes what the
   * server made of it, and when the change was made; `onerror(error)` what it refused;
   * `onchange()` is called after every change.
   */
  constructor(api, handlers) {
    this.api = api;
    this.handlers = handlers;
    this.asking = false;
    this.begin(null, null, null);
  }

  begin(index, base, mark) {
    this.index = index;
    this.base = base;
    this.original = mark && [...mark];
    this.state = { mark: null, strokes: [], threshold: HALF };
    this.steps = [];
    this.wanted = null;
    this.turn = (this.turn ?? 0) + 1;
  }

  get mark() {
    return this.state.mark ?? this.original;
  }

  get isEmpty() {
    const { mark, strokes, threshold } = this.state;
    return !mark && !strokes.length && threshold === HALF;
  }

  /** What the server needs to make the same label; null where nothing was changed. */
  body() {
    if (this.isEmpty) return null;
    const { mark, strokes, threshold } = this.state;
    const body = { base: this.base };
    if (mark) body.mark = mark.map((value) => (value === null ? null : round(value)));
    if (strokes.length) body.strokes = strokes;
    if (threshold !== HALF) body.threshold = threshold;
    return body;
  }

  /** Strokes that no answer shows yet. */
  get pendingStrokes() {
    return this.wanted || this.asking ? this.state.strokes.slice(-1) : [];
  }

  /** Before a change: what an undo goes back to. One drag is one step. */
  step() {
    this.steps.push(structuredClone(this.state));
  }

  undo() {
    if (!this.steps.length) return false;
    this.state = this.steps.pop();
    this.#changed();
    return true;
  }

  /** Drop every change. */
  discard() {
    if (this.isEmpty) return;
    this.step();
    this.state = { mark: null, strokes: [], threshold: HALF };
    this.#changed();
  }

  setMark(mark) {
    this.state.mark = mark;
    this.#changed();
  }

  moveEnd(end, [x, y]) {
    const mark = [...this.mark];
    [mark[2 * end], mark[2 * end + 1]] = [x, y];
    this.setMark(mark);
  }

  beginStroke(add, radius, point) {
    this.step();
    this.state.strokes.push({ add, radius: round(radius), points: [point.map(round)] });
    this.#changed();
  }

  extendStroke(point) {
    const { radius, points } = this.state.strokes.at(-1);
    const last = points.at(-1);
    const far = Math.hypot(point[0] - last[0], point[1] - last[1]);
    if (far < Math.max(0.5, radius / 3) || points.length >= MOST_POINTS) return;
    points.push(point.map(round));
    this.#changed();
  }

  setThreshold(threshold) {
    this.state.threshold = Math.min(0.95, Math.max(0.05, Math.round(threshold * 100) / 100));
    this.#changed();
  }

  /** Ask again: the server is back. */
  again() {
    if (!this.isEmpty) this.#preview();
  }

  /** What was left unfinished when the page closed. */
  draft() {
    return this.isEmpty ? null : { base: this.base, state: this.state };
  }

  restore({ state }) {
    this.steps = [structuredClone(this.state)];
    this.state = state;
    this.#changed();
  }

  #changed() {
    this.handlers.onchange();
    this.#preview();
  }

  /** One request is under way at most; what changed meanwhile is asked for after it, once. */
  async #preview() {
    this.since = performance.now();
    this.wanted = this.body();
    if (!this.wanted) this.handlers.onplanes(null, NaN);
    if (this.asking) return;
    while (this.wanted) {
      const { wanted: body, turn, index, since } = this;
      this.wanted = null;
      this.asking = true;
      const begun = performance.now();
      try {
        const planes = await this.api.planes(`api/label/${index}/preview`, { body });
        this.asking = false;
        // Another label is shown by now, or the change was taken back.
        if (turn !== this.turn || this.isEmpty) continue;
        this.handlers.onplanes(planes, performance.now() - begun, since);
      } catch (error) {
        this.asking = false;
        if (turn === this.turn) this.handlers.onerror(error);
      }
    }
  }
}

function round(value) {
  return Math.round(value * 100) / 100;
}

/** The two axes' lengths in mm, or in pixels where the spacing is unknown. */
export function sizesOf(mark, spacing) {
  if (!mark) return null;
  const [row, column] = spacing ?? [1, 1];
  const length = (x0, y0, x1, y1) => Math.hypot((x1 - x0) * column, (y1 - y0) * row);
  const short = mark[4] === null ? null : length(...mark.slice(4));
  return { long: length(...mark.slice(0, 4)), short, unit: spacing ? "mm" : "px" };
}
