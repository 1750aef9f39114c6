// Every key, once: what is pressed, what it says under `?`, and which action it calls.

export const KEYS = [
  ["Verdict", [
    [["a"], "A", "accept, and next", "accept"],
    [["r"], "R, 1–5", "reject for a reason, and next (Enter: for none)", "reject"],
    [["u"], "U", "unsure, and next", "unsure"],
    [["c"], "C", "write a comment; Enter goes back to the picture", "comment"],
    [["z"], "Z", "undo: the last mending, else the last verdict", "undo"],
    [["ArrowRight", "n"], "→ or N", "next label without a verdict", "skip"],
    [["ArrowLeft", "p"], "← or P", "back to the label before", "back"],
  ]],
  ["View", [
    [["h"], "H held", "hide everything drawn over the picture", null],
    [["m"], "M", "mark", "layer:mark"],
    [["b"], "B", "contour", "layer:contour"],
    [["s"], "S", "soft mask", "layer:soft"],
    [["t"], "T", "trimap", "layer:trimap"],
    [["1", "2", "3", "4"], "1–4",
      "window presets, of CT lung, soft tissue, bone, liver; drag on the picture for any other",
      "preset"],
    [["w"], "W", "window as stored", "stored"],
    [["i"], "I", "smooth or nearest pixels", "smooth"],
    [["v"], "V", "surroundings", "surroundings"],
    [["ArrowUp", "ArrowDown"], "↑ ↓", "slice above, slice below", "slice"],
    [["+", "=", "-"], "+ −", "zoom; also the wheel or two fingers", "zoom"],
    [["0"], "0", "whole picture", "fit"],
    [["ArrowUp+", "ArrowDown+", "ArrowLeft+", "ArrowRight+"], "Shift+↑",
      "move the picture, by any arrow; also Shift and drag", "pan"],
  ]],
  ["Mending", [
    [["g"], "G", "take the mark's next end; arrows move it, with Shift by 3 pixels", "grab"],
    [["d"], "D",
      "draw a new mark: drag the long axis, then the short one (Enter: a cross to move)", "draw"],
    [["e"], "E", "brush; arrows move it, Space paints, with Shift in larger steps", "brush"],
    [["x"], "X", "brush adds or removes", "side"],
    [[",", "."], ", .", "brush smaller, larger", "size"],
    [["[", "]"], "[ ]", "threshold of the soft mask lower, higher", "threshold"],
    [["k"], "K", "keep the mending as a version without a verdict", "keep"],
    [["Backspace"], "Backspace", "drop the mending", "discard"],
    [["Escape"], "Esc", "put the tool away", "escape"],
  ]],
  ["Page", [
    [["l"], "L", "list of labels", "list"],
    [["o"], "O", "overview: what was decided, how far readers agree", "overview"],
    [["?"], "?", "these keys", "help"],
  ]],
]; // prettier-ignore

const ACTIONS = new Map(
  KEYS.flatMap(([, rows]) =>
    rows.flatMap(([keys, , , action]) => keys.map((key) => [key, action])),
  ),
);

/** Call `act(action, key, event)` for every key that has an action; text fields keep theirs. */
export function watchKeys(act, hold) {
  addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    const target = event.target;
    if (target.closest("dialog[open]") || isTyping(target)) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    const isArrow = key.startsWith("Arrow");
    // Sliders, lists and menus move by arrows themselves.
    if (isArrow && target.closest("input, select, [role=listbox]")) return;
    if ([" ", "Enter"].includes(key) && target.closest("button, summary, input, a")) return;
    if (key === "h") {
      if (!event.repeat) hold(true);
    } else {
      const name = isArrow && event.shiftKey ? `${key}+` : key;
      if (!act(ACTIONS.get(name) ?? null, key, event)) return;
    }
    event.preventDefault();
  });
  addEventListener("keyup", (event) => {
    if (event.key.toLowerCase() === "h") hold(false);
  });
  addEventListener("blur", () => hold(false));
}

function isTyping(target) {
  return target.matches("textarea, select, input:not([type=range], [type=checkbox], [type=radio])");
}

/** The table of keys, for the help. */
export function keyTable(document) {
  const make = (name, text = "") =>
    Object.assign(document.createElement(name), { textContent: text });
  return KEYS.map(([group, rows]) => {
    const section = make("section");
    const list = make("dl");
    for (const [, shown, words] of rows) {
      const term = make("dt");
      term.append(make("kbd", shown));
      list.append(term, make("dd", words));
    }
    section.append(make("h3", group), list);
    return section;
  });
}
