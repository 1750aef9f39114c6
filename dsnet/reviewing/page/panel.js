// What is known of the shown label, in words. Everything from a store is text, never markup.

import { sizesOf } from "./mending.js";
import { complaints, judged, number, plain, scoreName, VERDICTS } from "./words.js";

const find = (id) => document.getElementById(id);

/** Fill the panel; `entry` is the feed's, with `label` and `picture`. */
export function showFacts(entry, blind) {
  const label = entry.label ?? {};
  const scores = label.scores ?? {};
  find("key").textContent = plain(label.key ?? entry.key ?? "");
  // Of a path, what tells it from its neighbours.
  const source = (label.source ?? "").split(/[\\/]/).slice(-2).join("/");
  const about = [label.type, source].filter(Boolean).map(plain);
  if (label.status === "failed") about.push(`not labelled: ${plain(label.error)}`);
  find("about").textContent = about.join(" · ");
  showScore(scores, blind);
  const words = [...(blind ? [] : complaints(scores)), ...(label.notes ?? []).map(plain)];
  find("complaints").replaceChildren(...words.map((text) => make("li", text)));
  fillList(
    find("scores"),
    Object.entries(scores).map(([name, value]) => [scoreName(name), number(value)]),
  );
  const data = [...(label.source ? [["source", label.source]] : []), ...pairsOf(label.metadata)];
  fillList(
    find("data"),
    data.map(([name, value]) => [plain(name), plain(value)]),
  );
  showPast(label);
}

function showScore(scores, blind) {
  const box = find("score");
  const value = scores.expected_dice ?? scores.overall;
  if (blind || typeof value !== "number") {
    box.replaceChildren(
      make("p", blind ? "Scores are hidden in this review." : "No score is known."),
    );
    return;
  }
  const low = scores.expected_dice_low;
  const name = "expected_dice" in scores ? "expected Dice" : "overall quality";
  const line = make("p");
  line.append(make("b", number(value)), make("span", ` ${name}`));
  if (typeof low === "number")
    line.append(make("small", `nine such labels in ten exceed ${number(low)}`));
  box.replaceChildren(line, make("p", judged(scores)));
}

/** Sizes of the mark and of the outline; called again at every step of a drag. */
export function showSizes(mark, label, picture) {
  const rows = [];
  const sizes = sizesOf(mark, label?.spacing);
  if (sizes) {
    rows.push(["long axis", `${number(sizes.long, 1)} ${sizes.unit}`]);
    rows.push([
      "short axis",
      sizes.short === null ? "unknown" : `${number(sizes.short, 1)} ${sizes.unit}`,
    ]);
  } else {
    rows.push(["mark", "none"]);
  }
  if (picture?.alpha) {
    const [row, column] = label?.spacing ?? [1, 1];
    const unit = label?.spacing ? "mm²" : "px";
    rows.push(["area", `${number(picture.area * row * column, 0)} ${unit}`]);
  }
  fillList(find("sizes"), rows);
}

function showPast(label) {
  const made = (label.versions ?? []).map((version) => ({
    time: version.time,
    text: [version.what ?? "mended", version.made_by].filter(Boolean).map(plain).join(" by "),
    now: version.version === label.version,
  }));
  const said = (label.decisions ?? []).map((row) => ({
    time: row.time,
    text: [
      `${VERDICTS[row.verdict]?.sign ?? ""} ${row.verdict} by ${row.reader}`,
      row.reason,
      row.comment,
      row.kind === "undone" ? "taken back" : "",
    ]
      .filter(Boolean)
      .map(plain)
      .join(" · "),
  }));
  const rows = [...made.slice(1), ...said];
  const list = make("ul");
  for (const { text, now } of rows) list.append(make("li", now ? `${text} (shown)` : text));
  find("past").replaceChildren(...(rows.length ? [make("h3", "Before"), list] : []));
}

function pairsOf(metadata) {
  return Array.isArray(metadata) ? metadata : Object.entries(metadata ?? {});
}

function fillList(list, rows) {
  list.replaceChildren(...rows.flatMap(([name, value]) => [make("dt", name), make("dd", value)]));
}

function make(name, text = "") {
  return Object.assign(document.createElement(name), { textContent: text });
}
