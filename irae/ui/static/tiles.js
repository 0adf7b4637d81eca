// Regions of a picture as images: those in sight, and a small one of the whole.

import { preview } from "./api.js";

const SIDE = 512; // of a tile, in its own pixels
const BASE = 1024; // longest side of the small image of the whole
const KEPT = 160; // tiles in memory, of up to a megabyte each

export class Tiles {
  /**
   * @param {{id: string, width: number, height: number}} picture
   * @param {"before" | "after" | "uncertainty"} of @param {string} made
   * @param {() => void} onLoad called when something new can be drawn
   */
  constructor(picture, of, made, onLoad) {
    Object.assign(this, { picture, of, made, onLoad });
    /** @type {Map<string, HTMLImageElement>} */
    this.images = new Map();
    this.base = this.load(this.region(0, 0, picture.width, picture.height,
      Math.min(1, BASE / Math.max(picture.width, picture.height))));
    /** Fulfilled when the small image of the whole is there, or cannot be had. */
    this.ready = this.base.decode().catch(() => {});
  }

  region(x, y, width, height, scale) {
    return { x, y, width, height, scale };
  }

  load(region) {
    const image = new Image();
    image.onload = this.onLoad;
    image.src = preview(this.picture.id, this.of, this.made, region);
    return image;
  }

  /**
   * Draws what is in sight.
   * @param {CanvasRenderingContext2D} ctx
   * @param {{scale: number, left: number, top: number}} at the place of the picture's corner on the
   *   canvas, and the canvas's pixels for one of the picture
   * @returns {boolean} whether all that is in sight was there already
   */
  draw(ctx, { scale, left, top }) {
    const { width, height } = this.picture;
    const edge = (value, start) => Math.round(start + value * scale);
    ctx.imageSmoothingEnabled = scale < 1;
    ctx.imageSmoothingQuality = "high";
    let whole = this.base.complete;
    if (this.base.complete && this.base.naturalWidth) {
      const [x, y] = [edge(0, left), edge(0, top)];
      ctx.drawImage(this.base, x, y, edge(width, left) - x, edge(height, top) - y);
    }
    const level = Math.max(0, Math.floor(-Math.log2(scale) + 1e-9));
    const step = 2 ** level;
    // The small image may be sharp enough.
    if (scale <= BASE / Math.max(width, height) && scale < 1) return whole;
    const side = SIDE * step;
    const last = (size, canvas, start) => Math.min(size, (canvas - start) / scale) / side;
    const rows = [Math.max(0, Math.floor(-top / scale / side)), last(height, ctx.canvas.height, top)];
    const columns = [Math.max(0, Math.floor(-left / scale / side)),
      last(width, ctx.canvas.width, left)];
    for (let row = rows[0]; row < rows[1]; row += 1) {
      for (let column = columns[0]; column < columns[1]; column += 1) {
        const region = this.region(column * side, row * side,
          Math.min(side, width - column * side), Math.min(side, height - row * side), 1 / step);
        const image = this.tile(`${level}/${row}/${column}`, region);
        whole &&= image.complete;
        if (!image.complete || !image.naturalWidth) continue;
        const [x, y] = [edge(region.x, left), edge(region.y, top)];
        const size = [edge(region.x + region.width, left) - x,
          edge(region.y + region.height, top) - y];
        // Or the small image would be seen through one that is half transparent.
        if (this.of === "uncertainty") ctx.clearRect(x, y, ...size);
        ctx.drawImage(image, x, y, ...size);
      }
    }
    return whole;
  }

  /** Draws what is half transparent over what is there. */
  drawOver(ctx, at) {
    const { width, height } = ctx.canvas;
    if (this.layer?.width !== width || this.layer?.height !== height) {
      this.layer = new OffscreenCanvas(width, height);
    }
    const own = this.layer.getContext("2d");
    own.clearRect(0, 0, width, height);
    const whole = this.draw(own, at);
    ctx.drawImage(this.layer, 0, 0);
    return whole;
  }

  tile(key, region) {
    let image = this.images.get(key);
    if (image) {
      this.images.delete(key); // It is put at the end again, as the one that was used last.
    } else {
      image = this.load(region);
    }
    this.images.set(key, image);
    if (this.images.size > KEPT) this.images.delete(this.images.keys().next().value);
    return image;
  }
}
