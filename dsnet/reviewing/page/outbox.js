// What was decided, kept in this browser until the server has it, and sent in order.
//
// One entry of localStorage for each, so that two tabs never write over one another. Every entry
// has an id of its own: the server takes the same one twice without a second row.

import { Refused } from "./api.js";

const RETRY_MS = [500, 1000, 2000, 4000];
const SETTLE_MS = 3000;
// Chromium takes no more of all requests together that outlive their page.
const KEEPALIVE_BYTES = 60000;

export class Outbox {
  /** `onchange(waiting)`, `ondone(entry, answer)`, `onrefused(entry, message)`. */
  constructor(api, storeId, handlers) {
    this.api = api;
    this.prefix = `dsnet-outbox/${storeId}/`;
    this.handlers = handlers;
    this.sending = false;
    this.tries = 0;
    this.count = 0;
    this.timer = 0;
    this.settling = [];
    this.entries = this.#kept();
    this.handlers.onchange(this.entries.length);
    addEventListener("pagehide", () => this.#sendAllAtOnce());
    addEventListener("online", () => this.send());
    this.send();
  }

  get waiting() {
    return this.entries.length;
  }

  /** Keep and send; returns the id, which is the decision's. */
  put(path, body) {
    const id = newId();
    const time = Date.now();
    const place = `${time.toString(36).padStart(9, "0")}-${String(this.count++).padStart(6, "0")}`;
    const entry = { name: `${this.prefix}${place}-${id}`, id, path, body, time };
    entry.reader = this.api.reader;
    this.entries.push(entry);
    try {
      localStorage.setItem(entry.name, JSON.stringify(entry));
    } catch {
      this.handlers.onrefused(null, "This browser keeps nothing: do not close the page early.");
    }
    this.handlers.onchange(this.entries.length);
    this.send();
    return id;
  }

  /** Whether everything was sent, in a moment at most. */
  async settled() {
    const late = performance.now() + SETTLE_MS;
    while (this.entries.length && this.tries === 0 && performance.now() < late) {
      await new Promise((resolve) => this.settling.push(resolve));
    }
    return this.entries.length === 0;
  }

  /** Send what waits, one after the other; called again by itself while the server is away. */
  async send() {
    clearTimeout(this.timer);
    if (this.sending) return;
    this.sending = true;
    while (this.entries.length) {
      const entry = this.entries[0];
      try {
        const answer = await (await this.#post(entry)).json();
        this.tries = 0;
        this.#drop(entry);
        this.handlers.ondone(entry, answer);
      } catch (error) {
        if (error instanceof Refused && !error.passing) {
          this.#drop(entry);
          this.handlers.onrefused(entry, error.message);
          continue;
        }
        const wait = RETRY_MS[Math.min(this.tries++, RETRY_MS.length - 1)];
        this.timer = setTimeout(() => this.send(), wait);
        break;
      }
    }
    this.sending = false;
    this.settling.splice(0).forEach((resolve) => resolve());
  }

  #post({ id, path, body, time, reader }) {
    const age = Math.max(0, (Date.now() - time) / 1000);
    const whole = { ...body, id, age };
    const keepalive = JSON.stringify(whole).length < KEEPALIVE_BYTES;
    return this.api.request(path, { body: whole, keepalive, reader });
  }

  /** The page goes: what the server has not confirmed stays here and is sent again on return. */
  #sendAllAtOnce() {
    for (const entry of this.entries) this.#post(entry).catch(() => {});
  }

  #drop(entry) {
    this.entries = this.entries.filter((other) => other !== entry);
    try {
      localStorage.removeItem(entry.name);
    } catch {
      // It was not kept either.
    }
    this.handlers.onchange(this.entries.length);
  }

  #kept() {
    const found = [];
    for (let i = 0; i < localStorage.length; i++) {
      const name = localStorage.key(i);
      if (!name.startsWith(this.prefix)) continue;
      try {
        found.push({ ...JSON.parse(localStorage.getItem(name)), name });
      } catch {
        // Not ours to send.
      }
    }
    return found.sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}

function newId() {
  // crypto.randomUUID is not there on plain http beyond this machine.
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
