// The strip of pictures: each opens in the view, Ctrl or Shift selects.

import { preview } from "./api.js";

const STATES = {
  ready: "", waiting: "waiting", running: "working", done: "done", failed: "failed",
  stopped: "stopped",
};

function describe({ state, result }) {
  if (state !== "done") return STATES[state];
  if (!result.changed) return "left as it is";
  return result.notes.length ? "done, see note" : "done";
}

export class List {
  /** @param {{open: Function, remove: Function, again: Function}} does */
  constructor(does) {
    this.does = does;
    this.strip = document.getElementById("strip");
    this.selected = new Set();
    this.anchor = null;
    this.rows = new Map();
  }

  /** Shows the pictures as they are now. */
  show(items, current) {
    for (const [item, row] of this.rows) {
      if (items.includes(item)) continue;
      row.remove();
      this.rows.delete(item);
      this.selected.delete(item);
    }
    items.forEach((item, index) => {
      let row = this.rows.get(item);
      if (!row) {
        row = this.make(item);
        this.rows.set(item, row);
      }
      if (this.strip.children[index] !== row) this.strip.insertBefore(row, this.strip.children[index]);
      this.fill(row, item, item === current);
    });
    this.items = items;
  }

  make(item) {
    const row = document.createElement("li");
    const open = document.createElement("button");
    open.type = "button";
    open.className = "thumb";
    const image = document.createElement("img");
    image.alt = "";
    const name = document.createElement("span");
    name.className = "name";
    const state = document.createElement("span");
    state.className = "state";
    open.append(image, name, state);
    open.addEventListener("click", (event) => this.click(item, event));
    const again = document.createElement("button");
    again.type = "button";
    again.className = "again";
    again.textContent = "Try again";
    again.addEventListener("click", () => this.does.again(item));
    const remove = document.createElement("button");
    remove.type = "button";
    remove.className = "close";
    remove.textContent = "×";
    remove.addEventListener("click", () => this.does.remove([item]));
    row.append(open, again, remove);
    return row;
  }

  fill(row, item, current) {
    const [open, again, remove] = row.children;
    const [image, name, state] = open.children;
    const scale = Math.min(1, 240 / Math.max(item.width, item.height));
    const address = preview(item.id, item.result ? "after" : "before", item.made ?? "",
      { x: 0, y: 0, width: item.width, height: item.height, scale });
    if (image.getAttribute("src") !== address) image.src = address;
    name.textContent = item.name;
    state.textContent = describe(item);
    row.title = [item.error ?? item.name, ...(item.result?.notes ?? [])].join("\n");
    row.dataset.state = item.state;
    open.setAttribute("aria-current", String(current));
    open.classList.toggle("selected", this.selected.has(item));
    again.hidden = item.state !== "failed" && item.state !== "stopped";
    again.setAttribute("aria-label", `Try ${item.name} again`);
    remove.setAttribute("aria-label", `Take ${item.name} off the list`);
  }

  click(item, event) {
    if (event.shiftKey && this.anchor) {
      const [a, b] = [this.items.indexOf(this.anchor), this.items.indexOf(item)].sort((x, y) => x - y);
      this.selected = new Set(this.items.slice(a, b + 1));
    } else if (event.ctrlKey || event.metaKey) {
      if (!this.selected.delete(item)) this.selected.add(item);
      this.anchor = item;
    } else {
      this.selected.clear();
      this.anchor = item;
    }
    this.does.open(item);
  }
}
