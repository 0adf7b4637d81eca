// Has pictures restored, one after another.

import * as api from "./api.js";

/**
 * @typedef {object} Item one picture on the page
 * @property {string} id @property {string} name @property {number} width @property {number} height
 * @property {string} state @property {string | null} error
 * @property {object | null} result what the server says of it
 * @property {string | null} made tells one result from the next
 * @property {object | null} chosen the options of the result
 * @property {boolean} saved @property {import("./mask.js").Mask} mask @property {boolean} sent
 */

export class Queue {
  /** @param {{change: (item: Item) => void, end: () => void}} does */
  constructor(does) {
    this.does = does;
    /** @type {{item: Item, options: object}[]} */
    this.waiting = [];
    this.current = null;
    this.total = this.finished = 0;
    this.news = null;
  }

  get busy() {
    return this.current !== null;
  }

  /** @param {Item[]} items @param {object} options */
  add(items, options) {
    for (const item of items) {
      if (item.state === "waiting" || item.state === "running") continue;
      this.waiting.push({ item, options });
      this.total += 1;
      this.set(item, "waiting");
    }
    if (!this.busy) this.run();
  }

  set(item, state, error = null) {
    Object.assign(item, { state, error });
    this.does.change(item);
  }

  async run() {
    while (this.waiting.length) {
      const { item, options } = this.waiting.shift();
      this.current = { item, job: null, stopped: false };
      try {
        await this.restore(item, options);
      } catch (error) {
        this.set(item, "failed", error.message);
        if (error.status === 0 || error.status === 403) this.drop();
      }
      this.finished += 1;
    }
    this.current = this.news = null;
    this.total = this.finished = 0;
    this.does.end();
  }

  async restore(item, options) {
    const { current } = this;
    if (options.task === "inpaint") await api.setMask(item.id, await item.mask.toPng());
    current.job = await api.restore(item.id, options);
    if (current.stopped) await api.stop(current.job);
    const last = await api.follow(current.job, (news) => {
      this.news = news;
      this.set(item, news.state === "running" ? "running" : "waiting");
    });
    this.news = null;
    if (last.state === "done") {
      Object.assign(item, { result: last.result, made: current.job, chosen: options, saved: false });
    }
    this.set(item, last.state, last.error ?? null);
  }

  /** Stops everything; what is done stays. */
  async stop() {
    this.drop();
    if (!this.current) return;
    this.current.stopped = true;
    if (this.current.job) await api.stop(this.current.job).catch(() => {});
  }

  drop(items = null) {
    const gone = this.waiting.filter(({ item }) => !items || items.includes(item));
    this.waiting = this.waiting.filter((each) => !gone.includes(each));
    this.total -= gone.length;
    for (const { item } of gone) this.set(item, item.result ? "done" : "ready");
  }

  /** How far it is, as a share and a sentence. */
  describe() {
    const { news } = this;
    const share = news?.share ?? 0;
    const parts = [];
    if (this.total > 1) parts.push(`${this.finished + 1} of ${this.total}`);
    if (news?.state === "waiting" && news.ahead > 0) parts.push("waiting for another picture");
    const left = news?.seconds_left ?? null;
    if (left !== null && share < 1) {
      // The others take as long for each of their pixels.
      const size = ({ item }) => item.width * item.height;
      const others = this.waiting.reduce((sum, each) => sum + size(each), 0);
      parts.push(`${duration(left * (1 + others / size(this.current) / (1 - share)))} left`);
    }
    const done = this.total > 1 ? (this.finished + share) / this.total : share;
    return { share: done, text: parts.join(" · ") || "Working" };
  }
}

function duration(seconds) {
  if (seconds < 100) return `${Math.max(1, Math.round(seconds))} s`;
  return `${Math.round(seconds / 60)} min`;
}
