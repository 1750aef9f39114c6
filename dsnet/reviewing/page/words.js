// What numbers and codes mean, in words.

// Names of `dsnet.labeling.quality.QUALITY_SCORES`, short.
const SCORES = {
  expected_dice: "expected Dice",
  expected_dice_low: "Dice it exceeds in nine of ten",
  axes_agreement: "extent along the axes agrees with the mark",
  mark_inside: "share of the mark that is covered",
  mask_agreement: "agrees with the drawn mask",
  rater_agreement: "the raters agree",
  known_fraction: "share of the lesion that is sure",
  edge_contrast: "contrast at the edge",
  in_one_piece: "is in one piece",
  border_clearance: "clear of the crop's border",
  cut: "the outline was found on the image",
  mark_soundness: "the mark is sound",
  solver_convergence: "the solver finished",
  overall: "overall quality",
};
// Below this a score is worth a sentence; they are spread too differently for one number.
const LOW = {
  axes_agreement: [0.8, "The outline's extent differs from the mark's axes."],
  mark_inside: [0.85, "Part of the mark lies outside the outline."],
  mask_agreement: [0.8, "The outline differs from the mask that was drawn."],
  rater_agreement: [0.6, "The raters differ."],
  known_fraction: [0.3, "Little of the lesion is sure."],
  edge_contrast: [0.4, "The edge has little contrast."],
  in_one_piece: [0.98, "The outline is in several pieces."],
  border_clearance: [0.98, "The outline touches the crop's border."],
  cut: [0.5, "No outline was found on the image: this is the axes' ellipse."],
  mark_soundness: [0.9, "There is something odd about the mark."],
  solver_convergence: [0.9, "The solver stopped early."],
};

export const VERDICTS = {
  accept: { sign: "✓", done: "Accepted" },
  reject: { sign: "✕", done: "Rejected" },
  unsure: { sign: "?", done: "Unsure" },
};

export function scoreName(code) {
  return SCORES[code] ?? code.replaceAll("_", " ");
}

/** One sentence on the score that labels are sorted by. */
export function judged(scores) {
  const dice = scores.expected_dice;
  if (dice === undefined || dice === null) {
    const overall = scores.overall;
    if (overall === undefined || overall === null) return "No score is known.";
    return overall < 0.6 ? "Low quality: look closely." : "Quality as usual.";
  }
  if (dice >= 0.9) return "Likely as careful readers would draw it.";
  if (dice >= 0.8) return "Probably close; the edge may be off.";
  return "Doubtful: look closely.";
}

/** A sentence for each score that is low. */
export function complaints(scores) {
  return Object.entries(LOW).flatMap(([name, [least, words]]) =>
    typeof scores[name] === "number" && scores[name] < least ? [words] : [],
  );
}

export function number(value, digits = 2) {
  return typeof value === "number" && Number.isFinite(value) ? value.toFixed(digits) : "–";
}

/** Seconds as a person says them. */
export function duration(seconds) {
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 5400) return `${Math.round(seconds / 60)} min`;
  const hours = seconds / 3600;
  return hours < 100 ? `${hours.toFixed(1)} h` : `${Math.round(hours / 24)} days`;
}

export function plural(count, word) {
  return `${count.toLocaleString("en")} ${word}${count === 1 ? "" : "s"}`;
}

/** Text without what would turn it around or hide it: controls, and marks of direction. */
export function plain(text) {
  return String(text).replace(
    /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g,
    "\ufffd",
  );
}
