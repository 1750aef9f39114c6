// What a reader left unfinished of a label, in this browser until it is decided.

export class Drafts {
  constructor(storeId) {
    this.prefix = `dsnet-draft/${storeId}/`;
  }

  /** Keep `{ draft, comment }` of a label; where there is neither, forget what was kept. */
  write(key, { draft, comment }) {
    try {
      const name = this.prefix + key;
      if (draft || comment) localStorage.setItem(name, JSON.stringify({ draft, comment }));
      else localStorage.removeItem(name);
    } catch {
      // It stays on the page.
    }
  }

  forget(key) {
    this.write(key, {});
  }

  read(key) {
    try {
      return JSON.parse(localStorage.getItem(this.prefix + key)) ?? {};
    } catch {
      return {}; // Whatever it is, it is no draft.
    }
  }
}
