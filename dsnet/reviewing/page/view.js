// The crop, large, on a canvas: zoom, pan, layers. It draws what it is told and decides nothing.

// Colours of Okabe and Ito's palette on a dark ground, in both themes.
export const COLOURS = {
  long: "#56b4e9", short: "#e69f00", contour: "#f0e442", halo: "rgba(0, 0, 0, 0.75)",
  add: "rgba(0, 158, 115, 0.55)", remove: "rgba(213, 94, 0, 0.6)", ground: "#0d0f11",
}; // prettier-ignore
const LEAST_SCALE = 0.5;
const MOST_SCALE = 80;
const END_RADIUS = 6;
const SCALE_BARS = [100, 50, 20, 10, 5, 2, 1];
// How far from a mark's end a finger or a mouse still takes it, in CSS pixels.
export const REACH = { mouse: 14, pen: 16, touch: 28 };

export class View {
  constructor(canvas) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d", { alpha: false });
    this.layers = { mark: true, trimap: false, soft: false, contour: true };
    this.hidden = false;
    this.smooth = true;
    this.room = 0.94; // share of the canvas that a fitted crop takes
    this.low = 0; // the window, in the unit of the pictures' ranges
    this.high = 1;
    this.scale = 1;
    this.shift = [0, 0];
    this.fitted = true;
    this.ondraw = () => {};
    this.onframe = null;
    this.show(null);
    new ResizeObserver(() => this.#resize()).observe(canvas);
  }

  /** Show a picture with its mark: eight numbers of which the last four may be null; or null. */
  show(picture, mark = null, spacing = null) {
    const another = picture?.width !== this.picture?.width;
    const shape = another || picture?.height !== this.picture?.height;
    Object.assign(this, {
      picture,
      mark,
      spacing,
      full: null, // the same crop with values beyond the stored window
      around: null,
      slice: null,
      strokes: [],
      brush: null,
    });
    if (shape || this.fitted) this.fit();
    this.redraw();
  }

  /** The picture whose grey values are seen at the crop's place. */
  get shown() {
    return this.slice ?? this.full ?? this.picture;
  }

  fit() {
    this.fitted = true;
    if (!this.picture) return;
    const [width, height] = this.#size();
    const most = Math.min(width / this.picture.width, height / this.picture.height);
    this.scale = this.room * most;
    this.shift = [
      (width - this.scale * this.picture.width) / 2,
      (height - this.scale * this.picture.height) / 2,
    ];
    this.redraw();
  }

  /** Zoom by a factor about a point of the canvas, or its middle. */
  zoom(factor, at = this.#size().map((side) => side / 2)) {
    const scale = Math.min(MOST_SCALE, Math.max(LEAST_SCALE, this.scale * factor));
    const ratio = scale / this.scale;
    this.shift = this.shift.map((shift, i) => at[i] - ratio * (at[i] - shift));
    this.scale = scale;
    this.fitted = false;
    this.redraw();
  }

  pan(dx, dy) {
    this.shift = [this.shift[0] + dx, this.shift[1] + dy];
    this.fitted = false;
    this.redraw();
  }

  /** Crop pixels, centres at integers, of a point of the canvas in CSS pixels; and back. */
  toImage([x, y]) {
    return [(x - this.shift[0]) / this.scale - 0.5, (y - this.shift[1]) / this.scale - 0.5];
  }

  toScreen([x, y]) {
    return [(x + 0.5) * this.scale + this.shift[0], (y + 0.5) * this.scale + this.shift[1]];
  }

  /** Number 0..3 of the mark's end under a point of the canvas, or -1. */
  endAt(point, pointer = "mouse") {
    if (!this.mark || !this.layers.mark || this.hidden || this.slice) return -1;
    let [best, nearest] = [-1, REACH[pointer] ?? REACH.mouse];
    for (const [i, end] of endsOf(this.mark).entries()) {
      const [x, y] = this.toScreen(end);
      const distance = Math.hypot(x - point[0], y - point[1]);
      if (distance < nearest) [best, nearest] = [i, distance];
    }
    return best;
  }

  redraw() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.draw();
    });
  }

  draw() {
    const { context, picture } = this;
    const ratio = devicePixelRatio || 1;
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    context.fillStyle = COLOURS.ground;
    context.fillRect(0, 0, ...this.#size());
    if (picture) this.#drawPicture(context, picture, ratio);
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (picture && this.spacing) this.#drawScale(this.spacing[1]);
    this.ondraw();
    this.onframe?.();
  }

  #drawPicture(context, picture, ratio) {
    const { scale, shift } = this;
    context.setTransform(ratio * scale, 0, 0, ratio * scale, ratio * shift[0], ratio * shift[1]);
    context.imageSmoothingEnabled = this.smooth;
    if (this.around && !this.slice) {
      context.globalAlpha = 0.55;
      context.drawImage(this.around.grey(this.low, this.high), ...this.around.offset);
      context.globalAlpha = 1;
    }
    const grey = this.shown.grey(this.low, this.high);
    if (grey) context.drawImage(grey, 0, 0);
    if (this.hidden) return;
    context.globalAlpha = this.slice ? 0.5 : 1;
    if (this.layers.soft && picture.heat()) context.drawImage(picture.heat(), 0, 0);
    context.imageSmoothingEnabled = false;
    if (this.layers.trimap && picture.trimapTint()) context.drawImage(picture.trimapTint(), 0, 0);
    // Pixel centres are integers from here on.
    context.translate(0.5, 0.5);
    if (this.layers.contour && picture.contour()) this.#outline(picture.contour());
    for (const stroke of this.strokes) this.#stroke(stroke);
    if (this.layers.mark && this.mark) this.#drawMark(this.mark);
    if (this.brush) this.#drawBrush(this.brush);
    context.globalAlpha = 1;
  }

  #outline(path) {
    const { context, scale } = this;
    context.lineCap = context.lineJoin = "round";
    for (const [colour, width] of [
      [COLOURS.halo, 4],
      [COLOURS.contour, 2],
    ]) {
      context.strokeStyle = colour;
      context.lineWidth = width / scale;
      context.stroke(path);
    }
  }

  #drawMark(mark) {
    const { context, scale } = this;
    const ends = endsOf(mark);
    for (let axis = 0; axis < ends.length / 2; axis++) {
      const [from, to] = ends.slice(2 * axis, 2 * axis + 2);
      const line = new Path2D();
      line.moveTo(...from);
      line.lineTo(...to);
      for (const [colour, width] of [
        [COLOURS.halo, 3.5],
        [COLOURS[axis ? "short" : "long"], 1.6],
      ]) {
        context.strokeStyle = colour;
        context.lineWidth = width / scale;
        context.stroke(line);
      }
    }
    for (const [i, end] of ends.entries()) {
      const circle = new Path2D();
      circle.arc(...end, END_RADIUS / scale, 0, 2 * Math.PI);
      context.fillStyle = "rgba(0, 0, 0, 0.35)";
      context.fill(circle);
      for (const [colour, width] of [
        [COLOURS.halo, 3.5],
        [COLOURS[i < 2 ? "long" : "short"], 2],
      ]) {
        context.strokeStyle = colour;
        context.lineWidth = width / scale;
        context.stroke(circle);
      }
    }
  }

  #stroke({ add, radius, points }) {
    const { context } = this;
    context.lineCap = context.lineJoin = "round";
    context.strokeStyle = add ? COLOURS.add : COLOURS.remove;
    context.lineWidth = 2 * radius;
    context.beginPath();
    context.moveTo(...points[0]);
    // A line of no length is drawn as a dot only where it is there.
    for (const point of points.length > 1 ? points.slice(1) : points) context.lineTo(...point);
    context.stroke();
  }

  #drawBrush({ at, radius, add }) {
    const { context, scale } = this;
    const shape = new Path2D();
    shape.arc(...at, radius, 0, 2 * Math.PI);
    const arm = Math.min(radius, 7 / scale);
    shape.moveTo(at[0] - arm, at[1]);
    shape.lineTo(at[0] + arm, at[1]);
    if (add) {
      shape.moveTo(at[0], at[1] - arm);
      shape.lineTo(at[0], at[1] + arm);
    }
    for (const [colour, width] of [
      [COLOURS.halo, 4],
      ["#ffffff", 1.5],
    ]) {
      context.strokeStyle = colour;
      context.lineWidth = width / scale;
      context.stroke(shape);
    }
  }

  /** A bar of 10 mm, or of what fits better, in the lower right. */
  #drawScale(columnMm) {
    const { context, scale } = this;
    const [width, height] = this.#size();
    const pixels = scale / columnMm; // of the screen, a millimetre
    const length = SCALE_BARS.find((mm) => mm * pixels < width / 4) ?? SCALE_BARS.at(-1);
    const [right, y] = [width - 16, height - 16];
    const text = `${length} mm`;
    context.font = "13px system-ui, sans-serif";
    context.textAlign = "right";
    context.lineCap = "butt";
    for (const [colour, extra] of [
      [COLOURS.halo, 3],
      ["#ffffff", 0],
    ]) {
      context.strokeStyle = colour;
      context.lineWidth = 2 + extra;
      context.beginPath();
      context.moveTo(right - length * pixels, y);
      context.lineTo(right, y);
      context.stroke();
    }
    context.lineWidth = 3;
    context.strokeStyle = COLOURS.halo;
    context.strokeText(text, right, y - 7);
    context.fillStyle = "#ffffff";
    context.fillText(text, right, y - 7);
  }

  #size() {
    return [this.canvas.clientWidth, this.canvas.clientHeight];
  }

  #resize() {
    const ratio = devicePixelRatio || 1;
    const [width, height] = this.#size();
    this.canvas.width = Math.max(1, Math.round(width * ratio));
    this.canvas.height = Math.max(1, Math.round(height * ratio));
    if (this.fitted) this.fit();
    this.draw();
  }
}

/** The two or four ends of a mark, as [x, y]. */
export function endsOf(mark) {
  const known = mark[4] === null || Number.isNaN(mark[4]) ? 2 : 4;
  return Array.from({ length: known }, (_, i) => [mark[2 * i], mark[2 * i + 1]]);
}
