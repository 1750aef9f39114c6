// A reader's way through the labels: what is shown, what is decided, what is taken back.

import { Display } from "./display.js";
import { Drafts } from "./drafts.js";
import { Feed } from "./feed.js";
import { LabelList } from "./list.js";
import { Mending } from "./mending.js";
import { Outbox } from "./outbox.js";
import { showFacts, showSizes } from "./panel.js";
import { Stopwatch } from "./stopwatch.js";
import { drawStrip, progressWords } from "./strip.js";
import { Tools } from "./tools.js";
import { number, plain, plural, VERDICTS } from "./words.js";
import { View } from "./view.js";

const SESSION_MS = 8000;
const WAIT_MS = 3000;
const TOLD = ["count", "reviewed", "mine", "rate_per_hour", "seconds_left", "histogram"];
const find = (id) => document.getElementById(id);

export class Review {
  constructor(api, session) {
    this.api = api;
    this.session = session;
    this.timings = { opened: null, change: [], drag: [] }; // ms, for tests and benches
    this.spoken = 0;
    this.done = []; // ids and labels of this page's verdicts, for undo
    this.mendsToUndo = new Map(); // by the id of an undo, what its verdict had mended
    this.queue = Promise.resolve();
    this.view = new View(find("canvas"));
    this.mending = new Mending(api, {
      onchange: () => this.#mended(),
      onplanes: (...answer) => this.#previewed(...answer),
      onerror: (error) => this.say(error.message),
    });
    this.display = new Display(api, this.view, session, (words) => this.say(words));
    this.tools = new Tools(this.view, this.mending, {
      window: (dx, dy) => this.display.windowing.drag(dx, dy),
      hover: (point) => this.display.hover(point),
    });
    this.view.ondraw = () => this.tools.place();
    this.drafts = new Drafts(session.store_id ?? session.store);
    this.feed = new Feed(api, (entry) => this.display.warm(entry));
    this.list = new LabelList(api, find("rows"), this.feed, (item) => this.jump(item));
    this.outbox = new Outbox(api, session.store_id ?? session.store, {
      onchange: (waiting) => this.#kept(waiting),
      ondone: (entry, answer) => this.#answered(entry, answer),
      onrefused: (entry, message) => this.#refused(entry, message),
    });
    this.watch = new Stopwatch(() => this.#saveDraft());
    this.#reasons();
    this.#told(session);
    // What others give back, and what a run appends to the store, comes to a reader who waits.
    setInterval(() => this.waits && this.#askAgain().catch(() => {}), WAIT_MS);
    addEventListener("pagehide", () => {
      this.#saveDraft();
      this.feed.release();
    });
    addEventListener("pageshow", (event) => event.persisted && this.feed.fill().catch(() => {}));
  }

  /** One key is verdict and next. */
  decide(verdict, reason = null, begun = performance.now()) {
    const entry = this.shown;
    if (!entry?.label) {
      this.say("Nothing is shown yet.");
      return;
    }
    const { index, label } = entry;
    // What is rejected or left open is the label as it was proposed, or as it was kept.
    const mend = verdict === "reject" ? null : this.mending.body();
    if (verdict === "accept" && label.has_mask === false && !mend) {
      this.say("There is no mask to accept: draw a mark, or reject.");
      return;
    }
    const body = {
      verdict,
      reason,
      key: label.key,
      version: label.version,
      seconds: this.watch.seconds,
    };
    body.comment = find("comment").value.trim();
    if (mend) body.mend = mend;
    const draft = this.#unfinished();
    this.drafts.forget(label.key);
    this.mending.begin(null, null, null);
    const id = this.outbox.put(`api/label/${index}/verdict`, body);
    this.done.push({ id, index, key: label.key, draft, base: mend && label.version });
    Object.assign(entry, { verdict, stale: true });
    // No second verdict until the next label is seen.
    this.shown = null;
    this.list.decided(index, verdict);
    this.closeReasons();
    this.moveOn(() => this.feed.next(), begun, `${VERDICTS[verdict].done} ${plain(label.key)}.`);
  }

  /** The last mending, else the last verdict: of this page, then of the reader's earlier ones. */
  undo() {
    if (this.mending.undo()) {
      this.say("Took back the last mending.");
      return;
    }
    const last = this.done.pop();
    const id = this.outbox.put("api/undo", { decision: last?.id ?? null });
    if (last?.base) this.mendsToUndo.set(id, last);
    if (last?.draft) this.drafts.write(last.key, last.draft);
    if (last) this.#goBack(last.index);
  }

  skip() {
    if (!this.mending.isEmpty) this.keep();
    this.moveOn(() => this.feed.next());
  }

  back() {
    this.moveOn(() => this.feed.previous() ?? this.shown);
  }

  jump(item) {
    this.moveOn(() => {
      const entry = this.feed.visit(item.index);
      entry.position ??= item.position;
      return entry;
    });
  }

  /** Keep what was mended as a version, without a verdict. */
  keep() {
    const mend = this.mending.body();
    if (!mend) return this.say("Nothing was mended.");
    const { index, label } = this.shown;
    const comment = find("comment").value.trim();
    const id = this.outbox.put(`api/label/${index}/mend`, { ...mend, key: label.key, comment });
    this.done.push({ id, index });
    this.drafts.forget(label.key);
    this.shown.stale = true;
    this.mending.steps = [];
    return this.say("Kept as a version.");
  }

  openReasons() {
    find("reasons").hidden = false;
    find("reject").setAttribute("aria-expanded", "true");
    this.say("Why? A number, or Enter without a reason, Esc to go back.");
  }

  closeReasons() {
    find("reasons").hidden = true;
    find("reject").setAttribute("aria-expanded", "false");
  }

  get asksReason() {
    return !find("reasons").hidden;
  }

  /** Go to where `choose` leads; one move after the other, as fast as keys come. */
  moveOn(choose, begun = performance.now(), said = "") {
    this.#saveDraft();
    this.queue = this.queue
      .then(async () => this.#show(await choose(), begun, said))
      .catch((error) => this.say(error.message));
    return this.queue;
  }

  async #show(entry, begun, said) {
    if (!entry) {
      this.waits = true;
      this.#empty(`${said} Nothing is left here for you.`);
      return;
    }
    // The server must have what was decided before it is asked what the label is now.
    if ((entry.stale && (await this.outbox.settled())) || entry.error) {
      entry.stale = false;
      this.shown = null;
      this.feed.reload(entry);
    }
    if (!entry.label && !entry.error) {
      this.say(`${said} Fetching …`);
      await entry.ready;
    }
    if (entry !== this.feed.current) return;
    if (entry.error) {
      this.shown = null;
      this.#empty(entry.error.message);
      this.list.mark(entry);
      return;
    }
    const { label, picture } = entry;
    this.shown = entry;
    this.waits = false;
    find("empty").hidden = true;
    this.tools.reset();
    this.closeReasons();
    find("comment").value = find("over").textContent = "";
    picture.replace(picture.planes);
    this.view.onframe = () => this.#drawn((now) => this.timings.change.push(now - begun));
    this.view.show(picture, label.mark, label.spacing);
    this.mending.begin(entry.index, label.version, label.mark);
    this.display.take(entry);
    this.watch.start();
    this.#restoreDraft();
    // What is beside the picture is filled in after it is seen.
    const { spoken } = this;
    requestAnimationFrame(() => setTimeout(() => this.#describe(entry, said, spoken)));
  }

  #describe(entry, said, spoken) {
    if (entry !== this.shown) return;
    const { blind } = this.session;
    const { label, picture } = entry;
    showFacts(entry, blind);
    showSizes(this.mending.mark, label, picture);
    this.#controls();
    this.list.mark(entry);
    const dice = blind ? null : (entry.expected_dice ?? label.scores?.expected_dice ?? null);
    this.score = dice;
    drawStrip(find("strip"), this.session.histogram, dice);
    const score = typeof dice === "number" ? `, expected Dice ${number(dice)}` : "";
    find("canvas").setAttribute("aria-label", `Label ${plain(label.key)}${score}`);
    // What a key said meanwhile is newer.
    if (spoken === this.spoken) this.say(`${said} Label ${plain(label.key)}${score}.`.trim());
  }

  #empty(words) {
    this.shown = null;
    this.view.show(null);
    this.mending.begin(null, null, null);
    find("empty").textContent = words.trim();
    find("empty").hidden = false;
    for (const id of ["key", "about", "score", "complaints", "sizes", "past"])
      find(id).replaceChildren();
    this.say(words.trim());
    this.#refresh(true);
  }

  /** The frame is on its way to the screen: a message comes after it. */
  #drawn(took) {
    this.view.onframe = null;
    const channel = new MessageChannel();
    channel.port1.onmessage = () => {
      const now = performance.now();
      this.timings.opened ??= now;
      took(now);
      channel.port1.close();
    };
    channel.port2.postMessage(0);
  }

  #mended() {
    const { mending, view } = this;
    view.mark = mending.mark;
    view.strokes = mending.pendingStrokes;
    this.#controls();
    showSizes(mending.mark, this.shown?.label, this.shown?.picture);
    this.#saveDraft();
    view.redraw();
  }

  #controls() {
    const { threshold } = this.mending.state;
    find("threshold").value = String(threshold);
    find("threshold").nextElementSibling.textContent = threshold.toFixed(2);
    find("mended").hidden = this.mending.isEmpty;
  }

  #previewed(planes, taken, since) {
    const { picture, label } = this.shown ?? {};
    if (!picture) return;
    picture.replace(planes ?? picture.planes);
    this.view.strokes = this.mending.pendingStrokes;
    const server = planes?.milliseconds;
    const solving = server ? `, ${number(server, 1)} ms of it labelling` : "";
    find("over").textContent = planes ? `${number(taken, 0)} ms${solving}` : "";
    if (planes) {
      const time = { trip: taken, server };
      this.view.onframe = () =>
        this.#drawn((now) => this.timings.drag.push({ ...time, shown: now - since }));
    }
    showSizes(this.mending.mark, label, picture);
    this.view.redraw();
  }

  #goBack(index) {
    const said = "Took back what was decided.";
    this.moveOn(
      () => Object.assign(this.feed.visit(index), { verdict: null, stale: true }),
      performance.now(),
      said,
    );
  }

  #answered(entry, answer) {
    if (entry.path === "api/undo") {
      this.list.decided(answer.index, null);
      this.#takenBack(entry.id, answer);
    } else if (entry.path.endsWith("/mend") && this.shown?.stale) {
      this.moveOn(() => this.feed.current);
    }
    this.#told(answer);
    this.#refresh();
  }

  /** One key is undone by one key: the version that a verdict made goes with it. */
  async #takenBack(id, { index, kind, decision }) {
    const { current } = this.feed;
    const mended = this.mendsToUndo.get(id);
    this.mendsToUndo.delete(id);
    if (kind === "verdict" && mended && decision.version !== mended.base) {
      const { versions } = await this.api.json(`api/label/${index}`);
      const made = versions.find((each) => each.version === decision.version);
      if (made) this.mendsToUndo.set(this.outbox.put("api/undo", { decision: made.id }), mended);
    } else if (current?.index !== index || kind === "mend") {
      this.#goBack(index);
      // After what `#goBack` keeps of the label that was shown.
      if (mended) this.drafts.write(mended.key, mended.draft);
    }
  }

  #refused(entry, message) {
    this.say(message);
    if (!entry || (entry.path === "api/undo" && !entry.body.decision)) return;
    this.onrefused?.(entry, message);
  }

  #kept(waiting) {
    find("kept").hidden = waiting < 2 && !this.lost;
    find("kept").textContent = waiting
      ? `${plural(waiting, "decision")} kept here, not sent yet`
      : "";
    this.onkept?.(waiting);
  }

  #told(answer) {
    const more = (answer.count ?? 0) - this.session.count;
    for (const name of TOLD) if (answer[name] !== undefined) this.session[name] = answer[name];
    find("progress").textContent = progressWords(this.session);
    if (answer.histogram !== undefined)
      drawStrip(find("strip"), this.session.histogram, this.score);
    if (this.list.count === 0) this.list.setCount(this.session.count);
    if (more > 0) {
      this.list.refresh();
      this.say(`${plural(more, "label")} ${more === 1 ? "has" : "have"} come to the store.`);
    }
  }

  async #askAgain() {
    if (!(await this.feed.more()) || !this.waits) return;
    this.moveOn(() => this.feed.next());
    this.#refresh(true);
  }

  async #refresh(now = false) {
    const due = (this.asked ?? 0) + SESSION_MS < performance.now();
    if (!due && !now) return;
    this.asked = performance.now();
    try {
      this.#told(await this.api.json("api/session"));
    } catch {
      // The next verdict's answer tells.
    }
  }

  say(words) {
    this.spoken += 1;
    find("said").textContent = words;
  }

  #reasons() {
    const none = { key: "⏎", code: null, text: "no reason" };
    const buttons = [...(this.session.reasons ?? []), none].map(({ key, code, text }) => {
      const button = document.createElement("button");
      const sign = document.createElement("kbd");
      sign.textContent = key;
      button.append(sign, ` ${text}`);
      button.addEventListener("click", () => this.decide("reject", code));
      return button;
    });
    find("reasons").append(...buttons);
  }

  #unfinished() {
    return { draft: this.mending.draft(), comment: find("comment").value };
  }

  #saveDraft() {
    if (this.shown?.label) this.drafts.write(this.shown.label.key, this.#unfinished());
  }

  #restoreDraft() {
    const { key, version } = this.shown.label;
    const { draft, comment } = this.drafts.read(key);
    find("comment").value = comment ?? "";
    if (draft?.base === version) this.mending.restore(draft);
  }
}
