// One label's planes as what a canvas draws: grey image, heat map, trimap's tints, contour.

// Viridis at nine equal steps: told apart by a reader who is colour-blind, and in grey.
const VIRIDIS = [
  [68, 1, 84], [71, 44, 122], [59, 81, 139], [44, 113, 142], [33, 144, 141],
  [39, 173, 129], [92, 200, 99], [170, 220, 50], [253, 231, 37],
]; // prettier-ignore
const HEAT_OPACITY = 0.5;
// Of Okabe and Ito's palette: reddish purple is unknown, bluish green is sure lesion.
const UNKNOWN_TINT = [204, 121, 167, 120];
const FOREGROUND_TINT = [0, 158, 115, 110];
const FOREGROUND = 255;
const UNKNOWN = 128;
const HALF = 127.5;

const heatTable = tableOf((value) => {
  const place = (value / 255) * (VIRIDIS.length - 1);
  const low = Math.min(Math.floor(place), VIRIDIS.length - 2);
  const share = place - low;
  const colour = VIRIDIS[low].map((a, i) => a + share * (VIRIDIS[low + 1][i] - a));
  // Nothing of lesion shows nothing; the rest is seen at once, whatever its colour.
  return [...colour, value === 0 ? 0 : 255 * HEAT_OPACITY * Math.min(1, 0.35 + value / 160)];
});
const greys = tableOf((value) => [value, value, value, 255]);
const clamped = (shown) => Math.round(Math.min(255, Math.max(0, shown)));
const trimapTable = tableOf((value) =>
  value === FOREGROUND ? FOREGROUND_TINT : value === UNKNOWN ? UNKNOWN_TINT : [0, 0, 0, 0],
);

const FULL = 65535; // of the image's values
const GREY = [0, 1];

export class Picture {
  /** `range` is what the image's least and largest value are, in HU or 0 and 1. */
  constructor(planes, range = GREY) {
    this.range = range;
    this.height = planes.height;
    this.width = planes.width;
    this.image = planes.image ?? null;
    this.planes = planes; // as they came
    this.windowed = { grey: null, low: NaN, high: NaN };
    this.replace(planes);
  }

  /** Take another label of the same image. */
  replace({ alpha, trimap }) {
    this.alpha = alpha ?? null;
    this.trimap = trimap ?? null;
    this.made = {};
  }

  /** Make now what is drawn first, so that the change to this label only draws. */
  warm(low, high) {
    this.grey(low, high);
    this.contour();
  }

  /** The value at a pixel, in the range's unit: [value, -1, 0 or 1 where it is cut off]. */
  value(x, y) {
    if (!this.image || x < 0 || y < 0 || x >= this.width || y >= this.height) return null;
    const code = this.image[y * this.width + x];
    const [low, high] = this.range;
    return [low + (code / FULL) * (high - low), (code === FULL) - (code === 0)];
  }

  /** The image with [low, high], in the range's unit, shown as black to white. */
  grey(low, high) {
    if (!this.image) return null;
    const known = this.windowed;
    if (known.low !== low || known.high !== high) {
      const [least, most] = this.range;
      const [from, to] = [low, high].map((each) => (each - least) / (most - least));
      const grey = windowed(this, from, to, known.grey);
      this.windowed = { grey, low, high };
    }
    return this.windowed.grey;
  }

  heat() {
    return (this.made.heat ??= this.alpha && tinted(this.alpha, this, heatTable));
  }

  trimapTint() {
    return (this.made.trimap ??= this.trimap && tinted(this.trimap, this, trimapTable));
  }

  /** Path where the soft mask crosses one half, in pixels whose centres are integers. */
  contour() {
    return (this.made.contour ??= this.alpha && contourOf(this.alpha, this));
  }

  /** Pixels that are lesion. */
  get area() {
    let count = 0;
    for (const value of this.alpha ?? []) count += value > HALF;
    return count;
  }
}

/** A canvas of grey values, of which [low, high] of 0..1 is black to white. */
function windowed({ image, width, height }, low, high, canvas) {
  const slope = 255 / Math.max(high - low, 1e-6);
  return painted(width, height, canvas, (pixels) => {
    for (let i = 0; i < pixels.length; i++) {
      pixels[i] = greys[clamped(slope * (image[i] / FULL - low))];
    }
  });
}

function tableOf(colour) {
  const table = new Uint32Array(256);
  const bytes = new Uint8ClampedArray(table.buffer);
  for (let value = 0; value < 256; value++) bytes.set(colour(value), 4 * value);
  return table;
}

function tinted(plane, { width, height }, table) {
  return painted(width, height, null, (pixels) => {
    for (let i = 0; i < plane.length; i++) pixels[i] = table[plane[i]];
  });
}

function painted(width, height, canvas, paint) {
  canvas ??= document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const data = new ImageData(width, height);
  paint(new Uint32Array(data.data.buffer));
  canvas.getContext("2d").putImageData(data, 0, 0);
  return canvas;
}

/**
 * Marching squares. Each square of four neighbouring pixel centres gives at most two line pieces,
 * its corners counted from the upper left, clockwise. Beyond the border is no lesion.
 */
function contourOf(alpha, { width, height }) {
  const at = (x, y) => (x < 0 || y < 0 || x >= width || y >= height ? 0 : alpha[y * width + x]);
  const path = new Path2D();
  for (let y = -1; y < height; y++) {
    for (let x = -1; x < width; x++) {
      const [a, b, c, d] = [at(x, y), at(x + 1, y), at(x + 1, y + 1), at(x, y + 1)];
      const kind = (a > HALF) | ((b > HALF) << 1) | ((c > HALF) << 2) | ((d > HALF) << 3);
      if (kind === 0 || kind === 15) continue;
      const cross = (from, to) => (HALF - from) / (to - from);
      const sides = [
        () => [x + cross(a, b), y],
        () => [x + 1, y + cross(b, c)],
        () => [x + cross(d, c), y + 1],
        () => [x, y + cross(a, d)],
      ];
      for (const [from, to] of PIECES[kind]) {
        path.moveTo(...sides[from]());
        path.lineTo(...sides[to]());
      }
    }
  }
  return path;
}

// Sides that a piece joins: 0 above, 1 right, 2 below, 3 left. Two opposite corners stay apart.
const PIECES = [
  [], [[3, 0]], [[0, 1]], [[3, 1]], [[1, 2]], [[3, 0], [1, 2]], [[0, 2]], [[3, 2]],
  [[2, 3]], [[0, 2]], [[0, 1], [2, 3]], [[1, 2]], [[3, 1]], [[0, 1]], [[3, 0]], [],
]; // prettier-ignore
