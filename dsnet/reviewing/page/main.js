// The page's beginning: who reads, where the server is, which key does what.

import { Api, takeAddress, tokenOf } from "./api.js";
import { keyTable, watchKeys } from "./keys.js";
import { showOverview } from "./overview.js";
import { Review } from "./review.js";
import { plain, plural } from "./words.js";

const NAME = "dsnet-reader";
const THEME = "dsnet-theme";
const RETRY_MS = 2000;
const ZOOM = 1.25;
const PAN = 40;
const LEVEL = 0.05;
const SIZE = 0.5;
const find = (id) => document.getElementById(id);

let review = null;
const address = takeAddress();
const api = new Api(address.token);
const notice = watchServer();
themes();
begin();

async function begin() {
  api.reader = await whoReads();
  const session = await untilAnswered();
  find("name").textContent = plain(api.reader);
  find("store").textContent = plain(session.store);
  document.title = `Review of ${plain(session.store)}`;
  review = new Review(api, session);
  review.onkept = (waiting) => notice.waiting(waiting);
  review.onrefused = (entry, message) => notice.refused(entry, message);
  window.dsnetReview = review;
  controls();
  menus(session);
  await review.moveOn(() => review.feed.next());
}

async function untilAnswered() {
  for (;;) {
    try {
      return await api.json("api/session");
    } catch (error) {
      // Not lost, but nothing to go on with: a damaged store, a name that cannot be.
      if (!error.passing) notice.told(`The review cannot begin: ${error.message}`);
      await notice.again();
    }
  }
}

/** Tells a lost server, and takes a new token; `again()` is when to ask anew. */
function watchServer() {
  let [waiting, timer, wake] = [0, 0, () => {}];
  let last = [0];
  const box = find("notice");
  const kept = () => {
    if (!waiting) return "";
    const are = waiting === 1 ? "is" : "are";
    return ` ${plural(waiting, "decision")} of yours ${are} kept in this browser and will be sent.`;
  };
  const show = (words, needsAddress, act) => {
    find("notice-words").textContent = words;
    find("notice-form").hidden = !needsAddress;
    find("notice-act").textContent = act;
    box.hidden = false;
  };
  const lost = (status, reason) => {
    const denied = status === 401 || status === 403;
    const words = denied
      ? "The server does not know this page: it was begun anew, or this is not the address " +
        "that it printed."
      : status >= 500
        ? `The server cannot go on: ${plain(reason)}.`
        : "The server does not answer. If it was stopped, start it again with " +
        `--port ${location.port}.`;
    last = [status, reason];
    show(words + kept(), denied, "Try now");
    box.dataset.kind = "lost";
    clearTimeout(timer);
    if (!denied) timer = setTimeout(retry, RETRY_MS);
  };
  const retry = async () => {
    wake();
    if (!review) return;
    try {
      await api.json("api/session");
      review.outbox.send();
      review.feed.renew();
      review.mending.again();
      review.feed.fill().catch(() => {});
      if (!review.shown) review.moveOn(() => review.feed.current ?? review.feed.next());
    } catch {
      // `lost` was called, and asks again.
    }
  };
  api.onanswer = (answered, status, reason) => {
    if (!answered) lost(status, reason);
    else if (box.dataset.kind === "lost") box.hidden = true;
    if (answered && box.dataset.kind === "lost") delete box.dataset.kind;
  };
  find("notice-act").addEventListener("click", () => {
    if (box.dataset.kind === "lost") retry();
    else box.hidden = true;
    wake();
  });
  find("notice-form").addEventListener("submit", (event) => {
    event.preventDefault();
    api.renew(tokenOf(find("address").value));
    find("address").value = "";
    retry();
  });
  return {
    told: (words) => show(plain(words), false, "Try again"),
    again: () => new Promise((resolve) => (wake = resolve)),
    waiting: (count) => {
      waiting = count;
      if (box.dataset.kind === "lost" && find("notice-form").hidden) lost(...last);
    },
    refused: (entry, message) => {
      const what = entry.body.verdict ?? "mending";
      show(
        `Not kept: ${what} of ${plain(entry.body.key ?? "a label")}: ${plain(message)}`,
        false,
        "Understood",
      );
    },
  };
}

/** The reader's name: of the address, of this browser, or asked. */
function whoReads(again = false) {
  const known = address.reader?.trim() || localStorage.getItem(NAME);
  if (known && !again) {
    localStorage.setItem(NAME, known);
    return Promise.resolve(known);
  }
  const dialog = find("who");
  find("reader").value = known ?? "";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("cancel", (event) => event.preventDefault());
    find("who-form").addEventListener("submit", () => {
      const name = find("reader").value.trim();
      localStorage.setItem(NAME, name);
      resolve(name);
    });
  });
}

function themes() {
  const root = document.documentElement;
  const kept = localStorage.getItem(THEME);
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;
  const dark = () =>
    (root.dataset.theme ??
      (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";
  const told = () => (find("theme").textContent = dark() ? "Light" : "Dark");
  find("theme").addEventListener("click", () => {
    root.dataset.theme = dark() ? "light" : "dark";
    localStorage.setItem(THEME, root.dataset.theme);
    told();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", told);
  told();
}

function controls() {
  const { mending } = review;
  const on = (id, act) => find(id).addEventListener("click", act);
  for (const id of ["accept", "unsure"])
    on(id, (event) => review.decide(id, null, event.timeStamp));
  on("reject", () => (review.asksReason ? review.closeReasons() : review.openReasons()));
  on("undo", () => review.undo());
  on("next", () => review.skip());
  on("back", () => review.back());
  on("keep", () => review.keep());
  on("discard", () => mending.discard());
  on("help", () => act("help"));
  on("list", () => act("list"));
  on("overview", () => act("overview"));
  on("name", async () => {
    address.reader = null;
    await whoReads(true);
    location.reload();
  });
  find("key-table").append(...keyTable(document));
  find("threshold").addEventListener("pointerdown", () => mending.step());
  find("threshold").addEventListener("input", () =>
    mending.setThreshold(Number(find("threshold").value)),
  );
  find("comment").addEventListener("keydown", (event) => {
    if (event.key === "Escape" || (event.key === "Enter" && !event.shiftKey)) {
      event.preventDefault();
      find("canvas").focus();
    }
  });
  const hold = (held) => {
    review.view.hidden = held;
    review.view.redraw();
  };
  watchKeys(act, hold);
  find("hide").addEventListener("pointerdown", (event) => {
    find("hide").setPointerCapture(event.pointerId);
    hold(true);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    find("hide").addEventListener(name, () => hold(false));
  }
  showList(matchMedia("(min-width: 1100px)").matches);
}

/** What a key does; false where it does nothing, and keeps what it means to the browser. */
function act(action, key, event) {
  if (review.asksReason) {
    const reason = review.session.reasons.find((each) => each.key === key);
    if (reason || key === "Enter") review.decide("reject", reason?.code ?? null, event.timeStamp);
    else {
      review.closeReasons();
      review.say("Not rejected.");
    }
    if (reason || key === "Enter" || key === "Escape") return true;
  }
  if (event && review.tools.key(key, event)) return true;
  const { display, tools, view, mending } = review;
  const sign = ["+", "=", "]", ".", "ArrowUp"].includes(key) ? 1 : -1;
  const actions = {
    accept: () => review.decide("accept", null, event.timeStamp),
    unsure: () => review.decide("unsure", null, event.timeStamp),
    reject: () => review.openReasons(),
    comment: () => find("comment").focus(),
    undo: () => review.undo(),
    skip: () => review.skip(event.timeStamp),
    back: () => review.back(),
    preset: () => display.windowing.preset(Number(key) - 1),
    stored: () => display.windowing.asStored(),
    smooth: () => display.toggleSmooth(),
    surroundings: () => display.toggleSurroundings(),
    slice: () => display.slice(sign).catch((error) => review.say(error.message)),
    zoom: () => view.zoom(ZOOM ** sign),
    fit: () => view.fit(),
    pan: () => view.pan(...PANS[key].map((each) => each * PAN)),
    grab: () => tools.grab(),
    draw: () => tools.choose("draw"),
    brush: () => tools.choose("brush"),
    side: () => tools.flip(),
    size: () => tools.resize(tools.radius + sign * SIZE),
    threshold: () => {
      mending.step();
      mending.setThreshold(mending.state.threshold + sign * LEVEL);
    },
    keep: () => review.keep(),
    discard: () => mending.discard(),
    escape: () => (tools.inHand ? tools.choose(tools.tool) : find("canvas").focus()),
    list: () => showList(document.body.dataset.list !== "shown"),
    overview: () => overview().catch((error) => review.say(error.message)),
    help: () => find("keys").showModal(),
  };
  if (action?.startsWith("layer:")) display.toggleLayer(action.slice(6));
  else if (action in actions) actions[action]();
  else return false;
  return true;
}

/** The answer may take seconds, where many labels were mended. */
async function overview() {
  review.say("Counting …");
  await review.outbox.settled();
  const told = await api.json("api/report");
  review.say("");
  showOverview(find("tables"), told, review.session.reasons);
  if (!find("decided").open) find("decided").showModal();
}

const ORDERS = { "expected-dice": "expected Dice" };
const PANS = { ArrowUp: [0, 1], ArrowDown: [0, -1], ArrowLeft: [1, 0], ArrowRight: [-1, 0] };

function showList(shown) {
  document.body.dataset.list = shown ? "shown" : "hidden";
  find("list").setAttribute("aria-expanded", String(shown));
}

/** Menus of order, type and source, each where there is a choice. */
function menus(session) {
  const choices = {
    order: session.orders ?? [],
    type: session.types ?? [],
    source: session.sources ?? [],
  };
  for (const [id, all] of Object.entries(choices)) {
    const menu = find(id);
    const names = all.map((each) => (typeof each === "string" ? each : each.name));
    menu.parentElement.hidden = names.length < 2;
    for (const name of id === "order" ? names : ["", ...names]) {
      const option = document.createElement("option");
      option.value = name;
      option.textContent = name === "" ? "all" : (ORDERS[name] ?? plain(name));
      menu.append(option);
    }
    if (id === "order") menu.value = session.order;
    menu.addEventListener("change", () => {
      const filter = { ...review.feed.filter, [id]: menu.value };
      review.moveOn(() => {
        review.feed.restart(filter);
        review.list.refresh();
        return review.feed.next();
      });
    });
  }
}
