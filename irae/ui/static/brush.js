// Painting: the tools, the pointer, and what lies over the picture while one paints.

import { Mask, drawLine } from "./mask.js";

const COLOUR = "#ff2d87"; // half transparent, by the style of its canvas
const STEP = 1.15; // of the keys [ and ]

export class Brush {
  /** @param {import("./view.js").View} view */
  constructor(view) {
    const get = (id) => document.getElementById(id);
    this.view = view;
    this.canvas = /** @type {HTMLCanvasElement} */ (get("strokes"));
    this.cursor = get("cursor");
    this.size = /** @type {HTMLInputElement} */ (get("brush-size"));
    this.tool = "paint";
    /** @type {Mask | null} */
    this.mask = null;
    this.active = false;
    this.spaceHeld = false;
    this.stroke = null;
    /** @type {() => void} called after each change of the mask */
    this.onChange = () => {};
    view.onDraw = () => this.redraw();
    this.listen();
  }

  /** Sets what is painted on; the strokes of a picture stay with it. */
  use(mask, active) {
    this.mask = mask;
    this.active = active && mask !== null;
    this.canvas.hidden = !this.active;
    this.view.box.classList.toggle("painting", this.active);
    if (!this.active) this.cursor.hidden = true;
    this.view.setPainting(this.active);
    this.update();
  }

  /** @param {import("./mask.js").Step} step */
  add(step) {
    this.mask.add(step);
    this.changed();
  }

  changed() {
    this.redraw();
    this.update();
    this.onChange();
  }

  update() {
    const set = (id, enabled) => { document.getElementById(id).disabled = !enabled; };
    set("undo", this.mask?.steps.length);
    set("redo", this.mask?.undone.length);
    for (const id of ["clear", "mask-save", "mask-grow"]) set(id, this.mask && !this.mask.empty);
  }

  /** The size of the brush in CSS pixels. */
  get diameter() {
    return Number(this.size.value);
  }

  redraw() {
    if (!this.active) return;
    const { canvas } = this;
    const [width, height] = [this.view.canvas.width, this.view.canvas.height];
    if (canvas.width !== width || canvas.height !== height) {
      canvas.width = width;
      canvas.height = height;
    }
    this.mask.draw(canvas.getContext("2d"), this.view.place(), COLOUR);
    if (this.stroke) this.drawNew(0);
  }

  /** Draws the stroke that is being painted from one of its points on. */
  drawNew(from) {
    const ctx = this.canvas.getContext("2d");
    const { scale, left, top } = this.view.place();
    ctx.save();
    ctx.setTransform(scale, 0, 0, scale, left, top);
    ctx.beginPath();
    ctx.rect(0, 0, this.mask.width, this.mask.height);
    ctx.clip();
    ctx.fillStyle = ctx.strokeStyle = COLOUR;
    const { stroke } = this;
    if (stroke.kind === "stroke") {
      ctx.globalCompositeOperation = stroke.erase ? "destination-out" : "source-over";
      drawLine(ctx, stroke.points.slice(from), stroke.size);
    } else {
      this.mask.drawStep(ctx, stroke, scale);
    }
    ctx.restore();
  }

  moveCursor(event) {
    const box = this.view.box.getBoundingClientRect();
    const round = this.tool !== "rectangle" && event.pointerType !== "touch";
    this.cursor.hidden = !this.active || !round || this.spaceHeld;
    const { style } = this.cursor;
    style.width = style.height = `${this.diameter}px`;
    style.transform = `translate(${event.clientX - box.left - this.diameter / 2}px,`
      + ` ${event.clientY - box.top - this.diameter / 2}px)`;
  }

  begin(event) {
    const [x, y] = this.at(event);
    const size = (this.diameter * this.view.ratio) / this.view.scale;
    this.start = [x, y];
    this.stroke = this.tool === "rectangle"
      ? { kind: "rectangle", x, y, width: 0, height: 0 }
      : { kind: "stroke", erase: this.tool === "erase", size, points: [x, y] };
    this.drawNew(0);
  }

  goOn(event) {
    const { stroke } = this;
    if (stroke.kind === "rectangle") {
      const [x, y] = this.at(event);
      stroke.x = Math.min(x, this.start[0]);
      stroke.y = Math.min(y, this.start[1]);
      stroke.width = Math.abs(x - this.start[0]);
      stroke.height = Math.abs(y - this.start[1]);
      this.redraw();
      return;
    }
    const from = stroke.points.length - 2;
    const events = event.getCoalescedEvents?.() ?? [];
    for (const each of events.length ? events : [event]) stroke.points.push(...this.at(each));
    this.drawNew(from);
  }

  end() {
    const { stroke } = this;
    this.stroke = null;
    if (stroke.kind === "stroke" || (stroke.width && stroke.height)) this.add(stroke);
    else this.redraw();
  }

  at(event) {
    const box = this.view.box.getBoundingClientRect();
    return this.view.toPicture(event.clientX - box.left, event.clientY - box.top);
  }

  listen() {
    const { box } = this.view;
    const touches = new Set();
    // Before the view's own, which pans and divides.
    box.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch") touches.add(event.pointerId);
      if (!this.active || this.spaceHeld || event.button !== 0) return;
      if (touches.size > 1) { // Two fingers zoom.
        this.stroke = null;
        this.redraw();
        return;
      }
      event.preventDefault();
      box.setPointerCapture(event.pointerId);
      this.begin(event);
    }, { capture: true });
    box.addEventListener("pointermove", (event) => {
      this.moveCursor(event);
      if (this.stroke) this.goOn(event);
    });
    for (const name of ["pointerup", "pointercancel"]) {
      box.addEventListener(name, (event) => {
        touches.delete(event.pointerId);
        if (this.stroke) this.end();
      });
    }
    box.addEventListener("pointerleave", () => { this.cursor.hidden = true; });
    for (const button of document.querySelectorAll(".tool")) {
      button.addEventListener("click", () => this.choose(button.dataset.tool));
    }
    const press = (id, action) => document.getElementById(id).addEventListener("click", action);
    press("undo", () => this.undo());
    press("redo", () => this.redo());
    press("clear", () => this.add({ kind: "clear" }));
    press("mask-grow", () => this.add({ kind: "grow", by: 4 }));
    press("mask-invert", () => this.add({ kind: "invert" }));
    document.getElementById("rectangle-form").addEventListener("submit", (event) => {
      event.preventDefault();
      const form = new FormData(/** @type {HTMLFormElement} */ (event.target));
      const step = { kind: "rectangle" };
      for (const name of ["x", "y", "width", "height"]) step[name] = Number(form.get(name));
      this.add(step);
    });
  }

  choose(tool) {
    this.tool = tool;
    for (const button of document.querySelectorAll(".tool")) {
      button.setAttribute("aria-pressed", String(button.dataset.tool === tool));
    }
  }

  undo() {
    this.mask?.undo();
    this.changed();
  }

  redo() {
    this.mask?.redo();
    this.changed();
  }

  /** Handles a key; returns whether it was one of the brush. */
  key(event) {
    if (!this.active) return false;
    const { key } = event;
    if ((event.ctrlKey || event.metaKey) && key.toLowerCase() === "z") {
      if (event.shiftKey) this.redo();
      else this.undo();
    } else if (key === "[" || key === "]") {
      this.size.value = String(Math.round(this.diameter * (key === "]" ? STEP : 1 / STEP)));
      this.cursor.style.width = this.cursor.style.height = `${this.diameter}px`;
    } else {
      return false;
    }
    return true;
  }
}

export { Mask };
