// The labels that a reader goes through: where they have been, and the next ten fetched ahead.

import { Picture } from "./picture.js";

const AHEAD = 10;
// Requests at a time; a browser has six connections, and a verdict wants one.
const AT_ONCE = 4;
// Of those behind, so many stay at hand.
const BEHIND = 40;
const RENEW_MS = 20000;

export class Feed {
  /** `warm(entry)` makes what is drawn of a label first. */
  constructor(api, warm) {
    Object.assign(this, { api, warm });
    this.filter = {};
    this.trail = [];
    this.at = -1;
    this.ahead = [];
    this.last = null; // index of the label that came last
    this.exhausted = false;
    this.running = 0;
    this.waiting = [];
    this.filling = null;
    setInterval(() => this.renew(), RENEW_MS);
  }

  get current() {
    return this.trail[this.at] ?? null;
  }

  /** Begin anew, with other labels or in another order. */
  restart(filter = this.filter) {
    this.release();
    Object.assign(this, {
      filter: { ...filter },
      trail: [],
      at: -1,
      ahead: [],
      last: null,
      exhausted: false,
    });
    this.waiting = [];
  }

  /** The next label, or null where none is left. */
  async next() {
    if (this.at + 1 >= this.trail.length) {
      if (!this.ahead.length) {
        this.exhausted = false;
        await this.fill();
      }
      if (!this.ahead.length) return null;
      this.trail.push(this.ahead.shift());
      if (this.trail.length > BEHIND) this.trail.shift();
      this.at = this.trail.length - 1;
    } else {
      this.at += 1;
    }
    this.fill().catch(() => {}); // The lost server has been told; `next` asks again.
    return this.current;
  }

  /** Whether there is a label after all, where there was none. */
  async more() {
    this.exhausted = false;
    await this.fill();
    return this.ahead.length > 0;
  }

  previous() {
    if (this.at <= 0) return null;
    this.at -= 1;
    return this.current;
  }

  /** Go to one label; it stands after the one that was shown. */
  visit(index) {
    const known = this.trail.findIndex((entry) => entry.index === index);
    if (known >= 0) {
      this.at = known;
      return this.current;
    }
    const fetched = this.ahead.findIndex((entry) => entry.index === index);
    const [entry] = fetched >= 0 ? this.ahead.splice(fetched, 1) : [this.#load({ index }, true)];
    this.trail.splice(this.at + 1, 0, entry);
    this.at += 1;
    return entry;
  }

  /** Fetch label and planes of one entry again: it has another version now. */
  reload(entry) {
    entry.label = entry.picture = entry.error = null;
    this.#start(entry);
    return entry;
  }

  /** Ask for as many labels as are missing of ten. */
  fill() {
    this.filling ??= this.#fill().finally(() => (this.filling = null));
    return this.filling;
  }

  query(more) {
    const set = Object.entries({ ...this.filter, ...more }).filter(([, value]) => value !== "");
    return new URLSearchParams(set).toString();
  }

  renew() {
    const keys = this.#held();
    if (keys.length) this.api.json("api/lease", { body: { keys } }).catch(() => {});
  }

  release() {
    const keys = this.#held();
    if (!keys.length) return;
    this.api.json("api/release", { body: { keys }, keepalive: true }).catch(() => {});
  }

  #held() {
    return [this.current, ...this.ahead].flatMap((entry) => (entry?.key ? [entry.key] : []));
  }

  async #fill() {
    const filter = this.filter;
    let again = false;
    while (this.ahead.length < AHEAD && !this.exhausted) {
      const wanted = AHEAD - this.ahead.length;
      const query = this.query({ after: this.last ?? "", count: wanted });
      const { items } = await this.api.json(`api/queue?${query}`);
      // Begun anew meanwhile: whoever waits wants the labels that were asked for last.
      if (filter !== this.filter) return this.#fill();
      this.exhausted = items.length < wanted;
      // What was decided may not have reached the server yet.
      const decided = this.trail.filter((entry) => entry.verdict || entry === this.current);
      const known = new Set([...decided, ...this.ahead].map((entry) => entry.index));
      for (const item of items) {
        this.last = item.index;
        if (!known.has(item.index)) this.ahead.push(this.#load(item));
      }
      // From the start again, once, for what others gave back meanwhile.
      if (this.exhausted && this.last !== null && !this.ahead.length) {
        this.last = null;
        this.exhausted = again;
        again = true;
      }
    }
  }

  #load(item, first = false) {
    const entry = { ...item, label: null, picture: null, error: null };
    this.#start(entry, first);
    return entry;
  }

  #start(entry, first = false) {
    entry.ready = new Promise((resolve) => {
      const job = () => this.#fetch(entry).finally(resolve);
      if (first) this.waiting.unshift(job);
      else this.waiting.push(job);
    });
    this.#run();
  }

  #run() {
    while (this.running < AT_ONCE && this.waiting.length) {
      this.running += 1;
      this.waiting
        .shift()()
        .finally(() => {
          this.running -= 1;
          this.#run();
        });
    }
  }

  async #fetch(entry) {
    try {
      const label = await this.api.json(`api/label/${entry.index}`);
      const version = encodeURIComponent(label.version ?? "");
      const planes = await this.api.planes(`api/label/${entry.index}/planes?version=${version}`);
      entry.picture = new Picture(planes, label.hu ?? undefined);
      entry.key = label.key;
      entry.label = label;
      this.warm(entry);
    } catch (error) {
      entry.error = error;
    }
  }
}
