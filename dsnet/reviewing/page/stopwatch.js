// How long a reader looks at a label: not while the page is hidden, a minute at most at a stretch.

// Of a label that lies before nobody: a reader who went for coffee.
const IDLE_MS = 60000;

export class Stopwatch {
  /** `onhide()` is called when the page is hidden. */
  constructor(onhide) {
    this.start();
    document.addEventListener("visibilitychange", () => {
      if (document.hidden && this.since !== null) {
        this.spent += performance.now() - this.since;
        this.since = null;
        onhide();
      } else if (!document.hidden) {
        this.since ??= performance.now();
      }
    });
  }

  /** Begin anew. */
  start() {
    this.spent = 0;
    this.since = document.hidden ? null : performance.now();
  }

  get seconds() {
    const now = this.since === null ? 0 : Math.min(performance.now() - this.since, IDLE_MS);
    return Math.round((this.spent + now) / 10) / 100;
  }
}
