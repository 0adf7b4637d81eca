// What was painted, as a list of steps in the picture's pixels. It is drawn at the size of the
// screen while one paints, and at the picture's full size only when it is sent.

/**
 * @typedef {{kind: "stroke", erase: boolean, size: number, points: number[]}
 *   | {kind: "rectangle", x: number, y: number, width: number, height: number}
 *   | {kind: "image", image: CanvasImageSource, found?: boolean}
 *   | {kind: "invert"} | {kind: "grow", by: number} | {kind: "clear"}} Step
 */

const DIRECTIONS = 16;

export class Mask {
  /** @param {number} width of the picture @param {number} height */
  constructor(width, height) {
    Object.assign(this, { width, height });
    /** @type {Step[]} */
    this.steps = [];
    /** @type {Step[]} */
    this.undone = [];
  }

  /** Whether there can be anything white in it. */
  get empty() {
    return this.since().every((step) => step.kind === "grow" || step.erase);
  }

  since() {
    return this.steps.slice(this.steps.findLastIndex((step) => step.kind === "clear") + 1);
  }

  /** @param {Step} step */
  add(step) {
    this.steps.push(step);
    this.undone = [];
  }

  /** Whether damage that was found is on it. */
  get holdsFound() {
    return this.since().some((step) => step.found);
  }

  /** Takes away the damage that was found. */
  dropFound() {
    this.steps = this.steps.filter((step) => !step.found);
    this.undone = [];
  }

  undo() {
    if (this.steps.length) this.undone.push(this.steps.pop());
  }

  redo() {
    if (this.undone.length) this.steps.push(this.undone.pop());
  }

  /**
   * Draws all steps, opaque in one colour.
   * @param {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D} ctx
   * @param {{scale: number, left: number, top: number}} at @param {string} colour
   */
  draw(ctx, at, colour) {
    ctx.setTransform(1, 0, 0, 1, 0, 0);
    ctx.globalCompositeOperation = "source-over";
    ctx.clearRect(0, 0, ctx.canvas.width, ctx.canvas.height);
    ctx.save();
    ctx.setTransform(at.scale, 0, 0, at.scale, at.left, at.top);
    ctx.beginPath();
    ctx.rect(0, 0, this.width, this.height);
    ctx.clip();
    ctx.fillStyle = ctx.strokeStyle = colour;
    for (const step of this.since()) this.drawStep(ctx, step, at.scale);
    ctx.restore();
  }

  /** Draws one step; the context has the picture's pixels as its unit, and is clipped to it. */
  drawStep(ctx, step, scale) {
    ctx.globalCompositeOperation = step.erase ? "destination-out" : "source-over";
    if (step.kind === "stroke") {
      drawLine(ctx, step.points, step.size);
    } else if (step.kind === "rectangle") {
      ctx.fillRect(step.x, step.y, step.width, step.height);
    } else if (step.kind === "image") {
      ctx.drawImage(step.image, 0, 0, this.width, this.height);
      ctx.globalCompositeOperation = "source-in";
      ctx.fillRect(0, 0, this.width, this.height);
    } else if (step.kind === "invert") {
      ctx.globalCompositeOperation = "xor";
      ctx.fillRect(0, 0, this.width, this.height);
    } else if (step.kind === "grow") {
      grow(ctx, step.by * scale);
    }
  }

  /** @returns {Promise<Blob>} a PNG of the picture's size, white where it is painted */
  async toPng() {
    const canvas = new OffscreenCanvas(this.width, this.height);
    const ctx = canvas.getContext("2d");
    this.draw(ctx, { scale: 1, left: 0, top: 0 }, "white");
    ctx.globalCompositeOperation = "destination-over";
    ctx.fillStyle = "black";
    ctx.fillRect(0, 0, this.width, this.height);
    return canvas.convertToBlob({ type: "image/png" });
  }
}

/** Draws a line with round ends through points x, y, x, y, … */
export function drawLine(ctx, points, size) {
  ctx.lineWidth = size;
  ctx.lineCap = ctx.lineJoin = "round";
  ctx.beginPath();
  ctx.moveTo(points[0], points[1]);
  for (let i = 2; i < points.length; i += 2) ctx.lineTo(points[i], points[i + 1]);
  // A line of no length is drawn by some browsers only if it has some.
  if (points.length === 2) ctx.lineTo(points[0] + 0.01, points[1]);
  ctx.stroke();
}

/** Draws what is there again around itself, in rings of at most its thickness. */
function grow(ctx, radius) {
  if (radius < 0.5) return;
  const copy = new OffscreenCanvas(ctx.canvas.width, ctx.canvas.height);
  copy.getContext("2d").drawImage(ctx.canvas, 0, 0);
  ctx.save();
  ctx.setTransform(1, 0, 0, 1, 0, 0);
  ctx.globalCompositeOperation = "source-over";
  for (const ring of [radius, radius / 2]) {
    for (let turn = 0; turn < DIRECTIONS; turn += 1) {
      const angle = (2 * Math.PI * turn) / DIRECTIONS;
      ctx.drawImage(copy, ring * Math.cos(angle), ring * Math.sin(angle));
    }
  }
  ctx.restore();
}

/**
 * Makes a step of a mask that was read from a file: white or, in the colours of the picture,
 * bright is painted.
 * @param {Blob} png @returns {Promise<Step>}
 */
export async function maskStep(png) {
  const bitmap = await createImageBitmap(png);
  const image = new OffscreenCanvas(bitmap.width, bitmap.height);
  const ctx = image.getContext("2d");
  ctx.drawImage(bitmap, 0, 0);
  const pixels = ctx.getImageData(0, 0, bitmap.width, bitmap.height);
  const { data } = pixels;
  for (let i = 0; i < data.length; i += 4) {
    data[i + 3] = data[i] + data[i + 1] + data[i + 2] > 382 ? data[i + 3] : 0;
  }
  ctx.putImageData(pixels, 0, 0);
  return { kind: "image", image };
}
