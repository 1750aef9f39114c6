// How far the review is: a strip of the expected Dice of what is left and what was decided.

import { duration, plural } from "./words.js";

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 1000;
const HEIGHT = 40;
const GAP = 2;

/** Draw the strip; `score` is the shown label's, or null. */
export function drawStrip(box, histogram, score) {
  box.replaceChildren();
  box.hidden = !histogram;
  if (!histogram) return;
  const { edges, left, decided } = histogram;
  // Bins below the first label's tell nothing.
  const first = Math.max(
    0,
    left.findIndex((count, i) => count + decided[i] > 0),
  );
  const [low, high] = [edges[first], edges.at(-1)];
  const place = (value) => ((value - low) / (high - low)) * WIDTH;
  const most = Math.max(1, ...left.map((count, i) => count + decided[i]));
  const picture = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none" });
  for (let i = first; i < left.length; i++) {
    const [x, width] = [place(edges[i]), place(edges[i + 1]) - place(edges[i]) - GAP];
    let y = HEIGHT;
    for (const [name, count] of [
      ["decided", decided[i]],
      ["left", left[i]],
    ]) {
      // A single label among thousands is still seen.
      const height = count ? Math.max(2, (count / most) * HEIGHT) : 0;
      y -= height;
      const attributes = { class: name, x, y, width, height };
      picture.append(make("rect", attributes));
    }
  }
  if (typeof score === "number") {
    const x = place(Math.max(low, score));
    picture.append(make("line", { class: "now", x1: x, x2: x, y1: 0, y2: HEIGHT }));
  }
  const sum = (counts) => counts.reduce((a, b) => a + b, 0);
  picture.setAttribute("role", "img");
  picture.setAttribute(
    "aria-label",
    `Expected Dice from ${low} to ${high}: ${sum(decided)} decided, ${sum(left)} left`,
  );
  const scale = document.createElement("div");
  scale.className = "scale";
  for (const [name, text] of [
    ["", `expected Dice ${low}`],
    ["decided", "decided"],
    ["left", "left"],
    ["", String(high)],
  ]) {
    const word = document.createElement("span");
    word.className = name;
    word.textContent = text;
    scale.append(word);
  }
  box.append(picture, scale);
}

/** "12 of 60 · 14 a minute · 3 min left", of a session or of a verdict's answer. */
export function progressWords({ count, mine, reviewed, rate_per_hour: rate, seconds_left: left }) {
  const words = [`${(mine ?? 0).toLocaleString("en")} by you`];
  words.push(`${(reviewed ?? 0).toLocaleString("en")} of ${plural(count, "label")} decided`);
  if (rate)
    words.push(rate >= 90 ? `${Math.round(rate / 60)} a minute` : `${Math.round(rate)} an hour`);
  if (rate && left > 0) words.push(`${duration(left)} left`);
  return words.join(" · ");
}

function make(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
