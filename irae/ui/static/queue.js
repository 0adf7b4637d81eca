// Has things done with pictures, one after another: restoring them, drawing how sure that is, and
// looking for damage.

import * as api from "./api.js";
import { maskStep } from "./mask.js";

/**
 * @typedef {object} Item one picture on the page
 * @property {string} id @property {string} name @property {number} width @property {number} height
 * @property {string} state @property {string | null} error
 * @property {object | null} result what the server says of it
 * @property {string | null} made tells one result from the next
 * @property {object | null} chosen the options of the result
 * @property {{made: string, full: number} | null} doubt what the model was unsure of in it
 * @property {string | null} damage what was found when one looked for damage
 * @property {boolean} saved @property {import("./mask.js").Mask} mask
 * @property {() => Promise<object>} source brings it to the server, again if need be
 */

/**
 * @typedef {object} Task
 * @property {(item: Item) => Promise<string>} begin starts a job and returns its id
 * @property {(item: Item, result: object, job: string) => void | Promise<void>} done takes what came of it
 * @property {string} [text] what is done, where it is not restoring; the state of the picture is
 *   then as before when it has ended
 */

/** Restores pictures. @param {object} options @returns {Task} */
export function restoring(options) {
  return {
    async begin(item) {
      if (options.task === "inpaint") await api.setMask(item.id, await item.mask.toPng());
      return api.restore(item.id, options);
    },
    done(item, result, job) {
      Object.assign(item, { result, made: job, chosen: options, saved: false, doubt: null });
    },
  };
}

/**
 * Draws what the model was unsure of.
 * @param {(item: Item) => void} tell @returns {Task}
 */
export function doubting(tell) {
  return {
    text: "Checking how sure it is",
    begin: (item) => api.drawDoubt(item.id),
    done(item, result, job) {
      item.doubt = { ...result, made: job };
      tell(item);
    },
  };
}

/**
 * Looks for damage, and puts it on the picture as if it had been painted.
 * @param {(sentence: string) => void} tell @returns {Task}
 */
export function finding(tell) {
  return {
    text: "Looking for damage",
    begin: (item) => api.findDamage(item.id),
    async done(item, result) {
      if (result.fills) await addFound(item);
      item.damage = result.found;
      tell(`${item.name}: ${result.found}`);
    },
  };
}

/** Puts the damage that was found in a picture on it, as if it had been painted. @param {Item} item */
export async function addFound(item) {
  item.mask.add({ ...await maskStep(await api.damageOf(item.id)), found: true });
}

export class Queue {
  /**
   * @param {{change: (item: Item, side: boolean) => void, end: () => void, fail: (sentence: string) => void,
   *   renew: (item: Item) => Promise<void>}} does
   */
  constructor(does) {
    this.does = does;
    /** @type {{item: Item, task: Task, before: string}[]} */
    this.waiting = [];
    this.current = null;
    this.total = this.finished = 0;
    this.news = null;
  }

  get busy() {
    return this.current !== null;
  }

  /** @param {Item[]} items @param {Task} task */
  add(items, task) {
    for (const item of items) {
      if (item.state === "waiting" || item.state === "running") continue;
      this.waiting.push({ item, task, before: item.state });
      this.total += 1;
      this.set(item, "waiting", task);
    }
    if (!this.busy) this.run();
  }

  /** Notes the state of an item, on which something other than restoring may be done. */
  set(item, state, task, error = null) {
    Object.assign(item, { state, error });
    this.does.change(item, Boolean(task.text));
  }

  async run() {
    while (this.waiting.length) {
      const entry = this.waiting.shift();
      this.current = { ...entry, job: null, stopped: false };
      try {
        await this.work(entry);
      } catch (error) {
        this.end(entry, "failed", error.message);
        if (error.status === 0 || error.status === 403) this.drop();
      }
      this.finished += 1;
    }
    this.current = this.news = null;
    this.total = this.finished = 0;
    this.does.end();
  }

  async work(entry) {
    const { current } = this;
    const { item, task } = entry;
    current.job = await this.begin(item, task);
    if (current.stopped) await api.stop(current.job);
    const last = await api.follow(current.job, (news) => {
      this.news = news;
      this.set(item, news.state === "running" ? "running" : "waiting", task);
    });
    this.news = null;
    if (last.state === "done") await task.done(item, last.result, current.job);
    this.end(entry, last.state, last.error ?? null);
  }

  async begin(item, task) {
    try {
      return await task.begin(item);
    } catch (error) {
      if (error.status !== 404) throw error;
      // The hour is over, but the browser still has the file.
      await this.does.renew(item);
      return task.begin(item);
    }
  }

  end({ item, task, before }, state, error) {
    if (error && task.text) this.does.fail(`${item.name}: ${error}`);
    if (task.text) this.set(item, before, task);
    else this.set(item, state, task, error && api.sentence(error));
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
    for (const { item, task } of gone) this.set(item, item.result ? "done" : "ready", task);
  }

  /** How far it is, as a share and a sentence; the share is null where nobody knows. */
  describe() {
    const { news } = this;
    const share = news?.share ?? 0;
    const parts = [];
    if (this.total > 1) parts.push(`${this.finished + 1} of ${this.total}`);
    if (this.current.task.text) parts.push(this.current.task.text);
    if (news?.state === "waiting" && news.ahead > 0) parts.push("Waiting for another picture");
    const left = news?.seconds_left ?? null;
    if (left !== null && share < 1) {
      // The others take as long for each of their pixels.
      const size = ({ item }) => item.width * item.height;
      const others = this.waiting.reduce((sum, each) => sum + size(each), 0);
      parts.push(`${duration(left * (1 + others / size(this.current) / (1 - share)))} left`);
    }
    const done = this.total > 1 ? (this.finished + share) / this.total : share;
    return { share: done || null, text: parts.join(" · ") || "Working" };
  }
}

function duration(seconds) {
  if (seconds < 100) return `${Math.max(1, Math.round(seconds))} s`;
  return `${Math.round(seconds / 60)} min`;
}
