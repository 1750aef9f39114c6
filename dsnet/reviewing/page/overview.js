// What the readers decided, and how far they agree: tables of what `--report` prints.

import { number, plain } from "./words.js";

const OUTCOMES = ["accepted", "mended", "unsure", "rejected"];

/** Fill `box` with what `/api/report` told; `reasons` are the session's. */
export function showOverview(box, told, reasons) {
  const { labels, readers, pairs, mended } = told;
  const words = Object.fromEntries(reasons.map(({ code, text }) => [code, text]));
  const said = Object.entries(told.reasons).sort(([, a], [, b]) => b - a);
  const dice = [mended.dice_mean, mended.dice_median, mended.dice_least];
  box.replaceChildren(
    table("Labels", Object.keys(labels), [Object.values(labels)]),
    table(
      "Readers",
      ["reader", "verdicts", "accept", "reject", "unsure", "mended", "median s"],
      readers.map((r) => [
        r.name,
        ...[r.verdicts, r.accept, r.reject, r.unsure, r.mended],
        number(r.median_seconds, 1),
      ]),
    ),
    table(
      "Agreement (Cohen’s kappa)",
      ["readers", "labels of both", "agreed", "kappa"],
      pairs.map((p) => [p.readers.join(" and "), p.labels, number(p.agreed), number(p.kappa)]),
    ),
    table(
      "Rejected for",
      ["reason", "verdicts"],
      said.map(([code, count]) => [words[code] ?? code, count]),
    ),
    table(
      "Dice of mended with proposed",
      ["labels", "mean", "median", "least"],
      mended.labels ? [[mended.labels, ...dice.map((value) => number(value))]] : [],
    ),
    table(
      "Verdicts by expected Dice",
      ["expected Dice", ...OUTCOMES, "accepted as made"],
      told.calibration
        .filter((bin) => bin.verdicts)
        .map((bin) => [
          `${number(bin.low)}–${number(bin.high)}`,
          ...OUTCOMES.map((name) => bin[name]),
          `${number(bin.share)} (${number(bin.share_low)}–${number(bin.share_high)})`,
        ]),
    ),
  );
}

/** A table with its title; nothing where it has no row. */
function table(title, heads, rows) {
  if (!rows.length) return "";
  const whole = make("table");
  const top = make("tr");
  top.append(...heads.map((text) => Object.assign(make("th", text), { scope: "col" })));
  const body = rows.map((cells) => {
    const row = make("tr");
    row.append(...cells.map((cell) => make("td", cell)));
    return row;
  });
  whole.append(make("caption", title), top, ...body);
  return whole;
}

function make(name, text = "") {
  return Object.assign(document.createElement(name), { textContent: plain(text) });
}
