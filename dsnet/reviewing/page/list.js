// The labels in the review's order: a list of any length, of which only what is seen is there.

import { number, plain, VERDICTS } from "./words.js";

const ROW = 30;
const BLOCK = 200;
// Letters of a key that a row has room for.
const LONGEST = 18;
const KEPT_BLOCKS = 12;
// Browsers draw nothing right beyond some 30 million pixels.
const MOST_PIXELS = 15_000_000;

// What all readers' verdicts come to, as one's own.
const ALL = { accepted: "accept", rejected: "reject", unsure: "unsure" };

export class LabelList {
  /** `box` scrolls; `onchoose(item)` is told which label was chosen. */
  constructor(api, box, feed, onchoose) {
    Object.assign(this, { api, box, feed, onchoose });
    this.space = box.querySelector("[data-space]");
    this.rows = box.querySelector("[data-rows]");
    this.blocks = new Map();
    this.current = null;
    this.cursor = 0;
    this.setCount(0);
    box.addEventListener("scroll", () => this.draw());
    box.addEventListener("keydown", (event) => this.#key(event));
    new ResizeObserver(() => this.draw()).observe(box);
  }

  setCount(count) {
    this.count = count;
    this.height = Math.min(count * ROW, MOST_PIXELS);
    this.space.style.height = `${this.height}px`;
    this.draw();
  }

  /** Forget what is known: another order, or verdicts have come in. */
  refresh() {
    this.blocks.clear();
    this.draw();
  }

  /** The label that is shown, and where it stands in the order. */
  mark(entry) {
    this.current = entry?.index ?? null;
    if (typeof entry?.position === "number") {
      this.cursor = entry.position;
      this.#reveal(entry.position);
    }
    this.draw();
  }

  decided(index, verdict) {
    for (const block of this.blocks.values()) {
      const item = block.items?.find((each) => each.index === index);
      if (item) item.mine = verdict;
    }
    this.draw();
  }

  draw() {
    this.pending ||= requestAnimationFrame(() => {
      this.pending = 0;
      this.#draw();
    });
  }

  get #first() {
    const most = Math.max(1, this.height - this.box.clientHeight);
    const hidden = Math.max(0, this.count - this.box.clientHeight / ROW);
    const exact = this.height < this.count * ROW;
    return exact ? (this.box.scrollTop / most) * hidden : this.box.scrollTop / ROW;
  }

  #draw() {
    if (!this.box.clientHeight) return;
    const first = Math.max(0, Math.floor(this.#first));
    const last = Math.min(this.count, first + Math.ceil(this.box.clientHeight / ROW) + 1);
    const offset = this.box.scrollTop - (this.#first - first) * ROW;
    const made = [];
    for (let place = first; place < last; place++) {
      const row = this.#row(place, this.#item(place));
      row.style.transform = `translateY(${offset + (place - first) * ROW}px)`;
      made.push(row);
    }
    this.rows.replaceChildren(...made);
    const active = this.cursor >= first && this.cursor < last;
    if (active) this.box.setAttribute("aria-activedescendant", `label-${this.cursor}`);
    else this.box.removeAttribute("aria-activedescendant");
  }

  #row(place, item) {
    const row = document.createElement("div");
    row.id = `label-${place}`;
    row.className = "row";
    row.setAttribute("role", "option");
    row.setAttribute("aria-posinset", place + 1);
    row.setAttribute("aria-setsize", this.count);
    row.setAttribute("aria-selected", String(item !== null && item.index === this.current));
    if (place === this.cursor) row.dataset.cursor = "";
    if (!item) {
      row.textContent = "…";
      return row;
    }
    const verdict = item.mine ?? ALL[item.verdict];
    const name = plain(item.key);
    const cells = [VERDICTS[verdict]?.sign ?? "", shortened(name), item.expected_dice];
    cells[2] = typeof cells[2] === "number" ? number(cells[2]) : "";
    for (const [i, part] of ["sign", "key", "score"].entries()) {
      const cell = document.createElement("span");
      cell.className = part;
      cell.textContent = cells[i];
      row.append(cell);
    }
    if (verdict) row.dataset.verdict = verdict;
    row.setAttribute("aria-label", [name, cells[2], verdict].filter(Boolean).join(", "));
    row.title = name;
    row.addEventListener("click", () => this.onchoose(item));
    return row;
  }

  #item(place) {
    const start = Math.floor(place / BLOCK) * BLOCK;
    let block = this.blocks.get(start);
    if (!block) {
      block = { items: null };
      this.blocks.set(start, block);
      if (this.blocks.size > KEPT_BLOCKS) this.blocks.delete(this.blocks.keys().next().value);
      this.#fetch(start, block);
    }
    return block.items?.[place - start] ?? null;
  }

  async #fetch(start, block) {
    try {
      const query = this.feed.query({ start, count: BLOCK });
      const { items, count } = await this.api.json(`api/list?${query}`);
      block.items = items;
      if (count !== this.count) this.setCount(count);
      this.draw();
    } catch {
      // The page tells that the server is lost; scrolling asks again.
      setTimeout(() => this.blocks.delete(start), 2000);
    }
  }

  #reveal(place) {
    const first = this.#first;
    const shown = this.box.clientHeight / ROW;
    if (!shown || (place >= first && place < first + shown - 1)) return;
    const most = Math.max(1, this.height - this.box.clientHeight);
    const hidden = Math.max(1, this.count - shown);
    const wanted = Math.max(0, place - shown / 3);
    const squeezed = this.height < this.count * ROW;
    this.box.scrollTop = squeezed ? (wanted / hidden) * most : wanted * ROW;
  }

  #key(event) {
    const page = Math.floor(this.box.clientHeight / ROW) - 1;
    const steps = {
      ArrowUp: -1,
      ArrowDown: 1,
      PageUp: -page,
      PageDown: page,
      Home: -Infinity,
      End: Infinity,
    };
    if (event.key in steps) {
      const place = this.cursor + steps[event.key];
      this.cursor = Math.min(this.count - 1, Math.max(0, place));
      this.#reveal(this.cursor);
      this.draw();
    } else if (event.key === "Enter") {
      const item = this.#item(this.cursor);
      if (item) this.onchoose(item);
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  }
}

/** A long key with its end, which tells it from its neighbours. */
function shortened(key) {
  const letters = [...key];
  return letters.length <= LONGEST
    ? key
    : `${letters.slice(0, 6).join("")}…${letters.slice(-11).join("")}`;
}
