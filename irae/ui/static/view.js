// The picture: before and after with a divider between them, zoom and pan.

import { Tiles } from "./tiles.js";

const LARGEST = 32;
const NEAR = 24; // CSS pixels from the divider within which a press takes hold of it

export class View {
  constructor() {
    const get = (id) => document.getElementById(id);
    this.box = get("view");
    this.canvas = /** @type {HTMLCanvasElement} */ (get("canvas"));
    this.divider = get("divider");
    this.labels = [get("label-before"), get("label-after")];
    this.zoomText = get("zoom");
    this.picture = null;
    this.before = this.after = this.doubt = null;
    this.doubtful = false; // whether what the model was unsure of lies over the result
    this.split = 0.5; // the divider, as a share of the view's width
    this.original = false; // whether the original alone is shown
    this.scale = 1; // device pixels for one of the picture's
    this.centre = [0, 0]; // what is in the middle of the view, in the picture's pixels
    this.fitted = true;
    this.covered = [0, 0]; // by the bars at the top and the bottom, in CSS pixels
    this.painting = false;
    /** @type {(at: {scale: number, left: number, top: number}) => void} */
    this.onDraw = () => {};
    this.pending = false;
    new ResizeObserver(() => this.resize()).observe(this.box);
    this.listen();
  }

  /** Shows another picture, or none. */
  show(picture, made) {
    const same = picture && picture.id === this.picture?.id;
    this.picture = picture;
    if (!picture) return;
    const redraw = () => this.draw();
    if (!same) {
      this.before = new Tiles(picture, "before", "", redraw);
      this.after = null;
    }
    if (!made) {
      this.after = null;
    } else if (this.after?.made !== made) {
      const after = new Tiles(picture, "after", made, redraw);
      // A later result takes the place of the earlier one only when it can be seen.
      if (same && this.after) {
        after.ready.then(() => {
          if (this.picture === picture) this.after = after;
          this.draw();
        });
      } else {
        this.after = after;
      }
      if (!same || !this.after) this.split = 0.5;
    }
    this.canvas.setAttribute("aria-label",
      made ? `${picture.name}, before and after` : picture.name);
    if (!same) this.fit();
    this.draw();
  }

  /** Lays what the model was unsure of over the result, or takes it away. */
  showDoubt(doubt, shown) {
    this.doubtful = Boolean(doubt) && shown;
    if (doubt?.made !== this.doubt?.made) {
      this.doubt = doubt ? new Tiles(this.picture, "uncertainty", doubt.made, () => this.draw()) : null;
    }
    this.draw();
  }

  setPainting(painting) {
    this.painting = painting;
    this.draw();
  }

  get ratio() {
    return window.devicePixelRatio || 1;
  }

  resize() {
    const [width, height] = [this.box.clientWidth, this.box.clientHeight];
    if (!width || !height) return;
    this.canvas.width = Math.round(width * this.ratio);
    this.canvas.height = Math.round(height * this.ratio);
    if (this.fitted) this.fit();
    // At once: a canvas that was resized is empty.
    this.paint();
  }

  fitScale() {
    const { width, height } = this.picture;
    const margin = 16 * this.ratio;
    const free = this.canvas.height - (this.covered[0] + this.covered[1]) * this.ratio;
    const most = Math.min((this.canvas.width - margin) / width, (free - margin) / height);
    // Small pictures are enlarged a little, to be seen at all.
    return Math.max(1e-4, Math.min(most, 4 * this.ratio));
  }

  fit() {
    if (!this.picture) return;
    this.fitted = true;
    this.scale = this.fitScale();
    const shift = ((this.covered[0] - this.covered[1]) / 2) * this.ratio;
    this.centre = [this.picture.width / 2, this.picture.height / 2 - shift / this.scale];
    this.draw();
  }

  /** Sets what bars cover at the top and the bottom: a picture that fits lies between them. */
  setCovered(top, bottom) {
    if (top === this.covered[0] && bottom === this.covered[1]) return;
    this.covered = [top, bottom];
    if (this.fitted) this.fit();
  }

  /** Zooms; the given place of the view, in CSS pixels, stays where it is. */
  zoomTo(scale, x = this.box.clientWidth / 2, y = this.box.clientHeight / 2) {
    if (!this.picture) return;
    const [left, top] = this.toPicture(x, y);
    const fit = this.fitScale();
    this.scale = Math.min(LARGEST, Math.max(Math.min(fit, 1) / 4, scale));
    this.fitted = Math.abs(this.scale - fit) < 1e-9;
    const [nowLeft, nowTop] = this.toPicture(x, y);
    this.centre = [this.centre[0] + left - nowLeft, this.centre[1] + top - nowTop];
    this.moveBy(0, 0);
  }

  moveBy(x, y) {
    const { width, height } = this.picture;
    const step = this.ratio / this.scale;
    const within = (value, most) => Math.min(most, Math.max(0, value));
    this.centre = [within(this.centre[0] - x * step, width),
      within(this.centre[1] - y * step, height)];
    this.draw();
  }

  /** Where the picture's corner is on the canvas; whole pixels, so that 100 % is exact. */
  place() {
    return {
      scale: this.scale,
      left: Math.round(this.canvas.width / 2 - this.centre[0] * this.scale),
      top: Math.round(this.canvas.height / 2 - this.centre[1] * this.scale),
    };
  }

  /** From CSS pixels of the view to the picture's pixels. */
  toPicture(x, y) {
    const { scale, left, top } = this.place();
    return [(x * this.ratio - left) / scale, (y * this.ratio - top) / scale];
  }

  setSplit(split) {
    this.split = Math.min(1, Math.max(0, split));
    this.draw();
  }

  draw() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.paint();
    });
  }

  paint() {
    if (!this.picture) return;
    const ctx = this.canvas.getContext("2d");
    const at = this.place();
    const { width, height } = this.canvas;
    ctx.clearRect(0, 0, width, height);
    const both = this.after && !this.painting;
    const edge = both && !this.original ? Math.round(this.split * width) : width;
    const part = (tiles, from, to) => {
      ctx.save();
      ctx.beginPath();
      ctx.rect(from, 0, to - from, height);
      ctx.clip();
      const whole = tiles === this.doubt ? tiles.drawOver(ctx, at) : tiles.draw(ctx, at);
      ctx.restore();
      return whole;
    };
    const whole = [part(this.before, 0, edge), edge === width || part(this.after, edge, width)];
    if (edge < width && this.doubtful) whole.push(part(this.doubt, edge, width));
    this.box.setAttribute("aria-busy", String(!whole.every(Boolean)));
    this.zoomText.textContent = `${Math.round(this.scale * 100)} %`;
    this.divider.hidden = !both || this.original;
    this.divider.style.left = `${100 * this.split}%`;
    this.divider.setAttribute("aria-valuenow", String(Math.round(100 * this.split)));
    this.labels[0].hidden = !both;
    this.labels[1].hidden = !both || this.original;
    this.onDraw(at);
  }

  /** Whether the whole picture is in sight. */
  get whole() {
    return this.scale <= this.fitScale() * 1.001;
  }

  /** The place of a pointer in the view, in CSS pixels. */
  at(event) {
    const box = this.box.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  }

  listen() {
    this.listenToPointers();
    this.box.addEventListener("wheel", (event) => {
      event.preventDefault();
      // Lines or pages on some systems; a trackpad's pinch comes with ctrlKey and small steps.
      const unit = event.deltaMode === 0 ? 1 : 24;
      const step = event.deltaY * unit * (event.ctrlKey ? 0.01 : 0.0016);
      this.zoomTo(this.scale * Math.exp(-Math.max(-0.6, Math.min(0.6, step))), ...this.at(event));
    }, { passive: false });
    const press = (id, action) => document.getElementById(id).addEventListener("click", action);
    press("zoom-in", () => this.zoomTo(this.scale * 1.5));
    press("zoom-out", () => this.zoomTo(this.scale / 1.5));
    press("zoom-true", () => this.zoomTo(1));
    press("zoom-fit", () => this.fit());
  }

  listenToPointers() {
    const pointers = new Map();
    let holds = ""; // what a press has taken hold of: the divider or the picture
    let pinch = 0;
    this.box.addEventListener("pointerdown", (event) => {
      // Keys belong to the picture from now on, and not to the button that was pressed last.
      this.box.focus({ preventScroll: true });
      if (!this.picture || event.defaultPrevented) return;
      pointers.set(event.pointerId, this.at(event));
      this.box.setPointerCapture(event.pointerId);
      const [x] = this.at(event);
      const near = Math.abs(x - this.split * this.box.clientWidth) < NEAR;
      const divides = !this.divider.hidden && event.button === 0;
      holds = divides && (near || this.whole) ? "divider" : "picture";
      if (holds === "divider") this.setSplit(x / this.box.clientWidth);
      pinch = 0;
    });
    this.box.addEventListener("pointermove", (event) => {
      const last = pointers.get(event.pointerId);
      if (!last) return;
      const now = this.at(event);
      pointers.set(event.pointerId, now);
      if (pointers.size === 2) {
        const [[ax, ay], [bx, by]] = [...pointers.values()];
        const distance = Math.hypot(ax - bx, ay - by);
        if (pinch) this.zoomTo(this.scale * distance / pinch, (ax + bx) / 2, (ay + by) / 2);
        pinch = distance;
      } else if (holds === "divider") {
        this.setSplit(now[0] / this.box.clientWidth);
      } else {
        this.moveBy(now[0] - last[0], now[1] - last[1]);
      }
    });
    for (const name of ["pointerup", "pointercancel"]) {
      this.box.addEventListener(name, (event) => {
        pointers.delete(event.pointerId);
        pinch = 0;
      });
    }
  }
}
