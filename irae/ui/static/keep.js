// Saves results: one, a copy in the clipboard, many as a zip.

import * as api from "./api.js";

const SUFFIXES = { png: ".png", jpeg: ".jpg", webp: ".webp" };

/** @param {Blob | string} what a file, or an address @param {string} name */
export function download(what, name) {
  const link = document.createElement("a");
  link.href = typeof what === "string" ? what : URL.createObjectURL(what);
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  if (typeof what !== "string") setTimeout(() => URL.revokeObjectURL(link.href), 60000);
}

/** The name under which a result is saved in a form. */
export function savedName(item, { format }) {
  const suffix = SUFFIXES[format];
  return suffix ? item.result.name.replace(/\.[^.]*$/, suffix) : item.result.name;
}

export async function save(item, form) {
  download(await api.result(item.id, form.format, form.quality), savedName(item, form));
  item.saved = true;
}

export async function saveAll(items) {
  const archive = await api.pack(items.map((item) => item.id));
  download(`/api/archives/${archive}`, "irae-restored.zip");
  for (const item of items) item.saved = true;
}

/** Puts the result into the clipboard, as a PNG of 8 bits. */
export async function copy(item) {
  // The promise inside keeps the press of the button valid while the picture is fetched.
  await navigator.clipboard.write([new ClipboardItem({ "image/png": api.shown(item.id) })]);
}
