// The page: holds its pictures, and puts the parts together.

import * as api from "./api.js";
import { Brush, Mask } from "./brush.js";
import { takePictures } from "./drop.js";
import * as keep from "./keep.js";
import { List } from "./list.js";
import { maskStep } from "./mask.js";
import { announce, tell, withdraw } from "./messages.js";
import { Queue } from "./queue.js";
import * as settings from "./settings.js";
import { View } from "./view.js";

const get = (id) => /** @type {any} */ (document.getElementById(id));
const SOON = 10 * 60; // seconds before pictures are deleted at which the page says so

/** @type {import("./queue.js").Item[]} */
let items = [];
let current = null;
let painting = true;
let bringing = 0;
let limits = { kept_seconds: 3600, suffixes: [], most_bytes: Infinity };
let used = Date.now();
let pointing = false; // whether the pointer was used last, and not Tab

const view = new View();
const brush = new Brush(view);
const list = new List({ open, remove, again: (item) => queue.add([item], settings.options()) });
const queue = new Queue({ change: onState, end: refresh });

// Bringing pictures

async function bring(brought) {
  const suffix = ({ name }) => name.slice(name.lastIndexOf(".")).toLowerCase();
  const hidden = ({ name }) => name.split("/").some((part) => part.startsWith("."));
  const taken = brought.filter((each) => !each.fromFolder
    || (limits.suffixes.includes(suffix(each)) && !hidden(each)));
  const passed = brought.filter((each) => each.fromFolder && !hidden(each)).length
    - taken.filter((each) => each.fromFolder).length;
  if (passed) tell(`${passed} ${passed === 1 ? "file of the folder is no picture" : "files of the folder are no pictures"}.`);
  await bringAll(taken.map(({ file, name }) => [name, () => sendFile(file, name)]));
}

async function sendFile(file, name) {
  if (file.size > limits.most_bytes) {
    throw new Error(`${name}: ${(file.size / 1e6).toFixed(1)} MB, more than this page takes`
      + ` (${limits.most_bytes / 1e6} MB); start irae ui with a larger --max-upload-mb`);
  }
  return api.bring(file, name);
}

/** @param {[string, () => Promise<object>][]} sources */
async function bringAll(sources) {
  let first = true;
  bringing += sources.length;
  for (const [name, source] of sources) {
    refresh();
    try {
      const item = newItem(await source());
      items.push(item);
      if (first) open(item);
      first = false;
      announce(`${item.name}: ${item.found}`);
    } catch (error) {
      const sentence = error.message.includes(name.split("/").at(-1)) ? error.message
        : `${name}: ${error.message}`;
      tell(sentence);
      announce(sentence);
    }
    bringing -= 1;
  }
  refresh();
}

function newItem(about) {
  return {
    ...about, state: "ready", error: null, result: null, made: null, chosen: null, saved: false,
    mask: new Mask(about.width, about.height), sent: false,
  };
}

// Showing

function open(item) {
  current = item;
  painting = !item?.result || item.chosen?.task !== "inpaint";
  refresh();
}

function refresh() {
  document.body.classList.toggle("empty", !items.length);
  get("welcome").hidden = items.length > 0 || bringing > 0;
  get("panel").hidden = get("view").hidden = get("zoombar").hidden = !current;
  view.show(current, current?.result ? current.made : null);
  const holes = current !== null && settings.task() === "inpaint";
  const paints = holes && (painting || !current.result);
  get("brushbar").hidden = !paints;
  get("hint").hidden = !paints;
  brush.use(holes ? current.mask : null, paints);
  const edge = get("brushbar").offsetTop + get("brushbar").offsetHeight;
  const { clientHeight } = get("stage");
  if (current) view.setCovered(paints ? edge : 0, clientHeight - get("zoombar").offsetTop);
  refreshWork();
  refreshList();
  if (current) refreshPanel(paints);
}

function refreshPanel(paints) {
  const { result } = current;
  get("name").textContent = current.name;
  const kept = current.kept.length ? ` · ${current.kept.join(", ")} kept` : "";
  get("facts").textContent = `${current.width} × ${current.height} · ${current.format}${kept}`;
  get("found").textContent = current.found;
  const holes = settings.task() === "inpaint";
  const busy = current.state === "waiting" || current.state === "running";
  const stale = result && JSON.stringify(current.chosen) !== JSON.stringify(settings.options());
  get("done").hidden = !result && !current.error;
  get("done").textContent = current.error ?? (result ? `${result.done} ${result.seconds} s` : "");
  get("done").classList.toggle("failed", Boolean(current.error));
  get("stale").hidden = !stale;
  if (stale) get("stale").textContent = `This result was made with: ${settings.describe(current.chosen)}.`;
  const button = get("restore");
  button.textContent = holes ? "Fill" : "Restore";
  button.disabled = busy || (holes && current.mask.empty);
  const changed = Boolean(result?.changed);
  get("save").hidden = get("copy").hidden = !changed;
  get("save").classList.toggle("primary", changed && !stale);
  button.classList.toggle("primary", !changed || Boolean(stale));
  button.hidden = holes && !paints && !stale;
  get("go-on").hidden = !(holes && changed && !paints);
  get("paint-more").hidden = !(holes && result && !paints);
  if (changed) get("save").title = keep.savedName(current, settings.form());
}

function refreshList() {
  const many = items.length > 1;
  get("list").hidden = !many;
  if (!many) return;
  list.show(items, current);
  const chosen = picked();
  const done = chosen.filter((item) => item.result?.changed).length;
  const some = list.selected.size > 1;
  const failed = items.filter((item) => item.state === "failed").length;
  get("list-text").textContent = some ? `${chosen.length} of ${items.length} selected`
    : `${items.length} pictures${failed ? `, ${failed} failed` : ""}`;
  get("restore-all").textContent = some ? `Restore ${chosen.length}` : "Restore all";
  get("restore-all").disabled = queue.busy || settings.task() === "inpaint";
  get("save-all").textContent = some ? "Save these as a zip" : "Save all as a zip";
  get("save-all").disabled = !done;
  get("remove-all").textContent = some ? `Remove ${chosen.length}` : "Remove all";
}

function refreshWork() {
  const busy = queue.busy || bringing > 0;
  get("work").hidden = !busy;
  if (!busy) return;
  const bar = get("work-bar");
  get("stop").hidden = !queue.busy;
  if (!queue.busy) {
    bar.removeAttribute("value");
    get("work-text").textContent = bringing > 1 ? `Reading, ${bringing} to go` : "Reading";
    return;
  }
  const { share, text } = queue.describe();
  bar.value = share;
  get("work-text").textContent = text;
}

function onState(item) {
  if (item.state === "running" || item.state === "waiting") {
    refreshWork();
    refreshList();
    if (item === current) refreshPanel(!get("brushbar").hidden);
    return;
  }
  if (item.state === "done") {
    if (item === current && item.chosen.task === "inpaint") painting = false;
    // So that Space shows the original and does not restore once more.
    if (item === current && document.activeElement === get("restore")) view.divider.focus();
  }
  announce(`${item.name}: ${item.error ?? (item.state === "done" ? item.result.done : item.state)}`);
  refresh();
  if (item === current && item.state === "done" && document.activeElement === document.body) {
    view.divider.focus({ preventScroll: true });
  }
}

/** The pictures that are selected; all if none or one is. */
function picked() {
  return list.selected.size > 1 ? items.filter((item) => list.selected.has(item)) : items;
}

// Doing

async function remove(gone) {
  const unsaved = gone.filter(isUnsaved).length;
  if (unsaved && !window.confirm(unsaved === 1
    ? "Its result is not saved. Remove it all the same?"
    : `${unsaved} results are not saved. Remove them all the same?`)) return;
  queue.drop(gone);
  const index = items.indexOf(current);
  items = items.filter((item) => !gone.includes(item));
  for (const item of gone) api.remove(item.id).catch(() => {});
  if (!items.includes(current)) open(items[Math.min(index, items.length - 1)] ?? null);
  else refresh();
}

/** Makes the result the picture that is worked on. */
async function goOn() {
  const item = current;
  const file = await api.result(item.id, "original", 95);
  const suffix = item.result.name.slice(item.result.name.lastIndexOf("."));
  const next = newItem(await api.bring(file, item.name.replace(/\.[^./]*$/, "") + suffix));
  next.unsaved = !item.saved;
  items = items.map((each) => (each === item ? next : each));
  api.remove(item.id).catch(() => {});
  open(next);
}

async function loadMask(file) {
  await api.setMask(current.id, file); // It is checked there.
  brush.add(await maskStep(await api.maskOf(current.id)));
}

async function saveMask() {
  const name = current.name.split("/").at(-1).replace(/\.[^.]*$/, "");
  keep.download(await current.mask.toPng(), `${name}.mask.png`);
}

/** Runs something that may fail, and says why it did. */
function attempt(action) {
  return async (...parts) => {
    try {
      await action(...parts);
    } catch (error) {
      tell(error.message);
      announce(error.message);
    }
    refresh();
  };
}

const press = (id, action) => get(id).addEventListener("click", attempt(action));
press("restore", () => queue.add([current], settings.options()));
press("restore-all", () => queue.add(picked(), settings.options()));
press("stop", () => queue.stop());
press("save", () => keep.save(current, settings.form()));
press("copy", async () => {
  await keep.copy(current);
  announce("Copied");
  get("copy").textContent = "Copied";
  setTimeout(() => { get("copy").textContent = "Copy"; }, 2000);
});
press("save-all", () => keep.saveAll(picked().filter((item) => item.result?.changed)));
press("remove-all", () => remove(picked()));
press("go-on", goOn);
press("paint-more", () => { painting = true; });
press("mask-save", saveMask);
press("example", async () => {
  const file = await (await fetch("/static/example.jpg")).blob();
  await bring([{ file, name: "example.jpg", fromFolder: false }]);
});
get("mask-load").addEventListener("click", () => get("mask-file").click());
get("mask-file").addEventListener("change", attempt(async () => {
  const [file] = get("mask-file").files;
  get("mask-file").value = "";
  if (file) await loadMask(file);
}));
brush.onChange = refresh;
settings.watchSettings(() => {
  painting = true;
  refresh();
});
takePictures(attempt(bring));

// Keys

document.addEventListener("keydown", (event) => {
  const { target } = event;
  const typing = target.matches("input:not([type=radio], [type=checkbox], [type=range]), select");
  if (!current || typing) return;
  if (brush.key(event)) {
    event.preventDefault();
    return;
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "Tab") pointing = false;
  if (event.key === "Escape") get("mask-menu").open = false;
  // Space presses buttons for those who came to them by Tab, and shows the original for those who
  // have the pointer on the picture, whichever button they pressed last.
  const pressable = target.matches("button, summary, input:not([type=radio]:checked)");
  if (event.key === " " && (!pressable || (pointing && view.box.matches(":hover")))) {
    event.preventDefault();
    holdSpace(true);
  } else if (event.key.startsWith("Arrow") && !target.matches("input")) {
    if (event.key === "ArrowLeft" || event.key === "ArrowRight") {
      event.preventDefault();
      view.setSplit(view.split + (event.key === "ArrowLeft" ? -0.02 : 0.02));
    }
  } else if (event.key === "+" || event.key === "=") {
    view.zoomTo(view.scale * 1.5);
  } else if (event.key === "-") {
    view.zoomTo(view.scale / 1.5);
  }
});
document.addEventListener("keyup", (event) => {
  if (event.key !== " " || !brush.spaceHeld) return;
  event.preventDefault();
  holdSpace(false);
});
document.addEventListener("pointermove", () => { pointing = true; });
window.addEventListener("blur", () => holdSpace(false));

function holdSpace(held) {
  if (brush.spaceHeld === held) return;
  brush.spaceHeld = held;
  view.original = held;
  view.box.classList.toggle("dragging", held);
  view.draw();
}

// Leaving, the end of the server, the hour

function isUnsaved(item) {
  const strokes = !item.mask.empty && item.chosen?.task !== "inpaint";
  return item.unsaved || strokes || (item.result?.changed && !item.saved);
}

window.addEventListener("beforeunload", (event) => {
  if (items.some(isUnsaved)) event.preventDefault();
});
window.addEventListener("pagehide", () => {
  if (items.length) api.leave(items.map((item) => item.id));
});
window.addEventListener("pageshow", (event) => {
  if (event.persisted) window.location.reload(); // Its pictures are deleted.
});

api.watchServer((anew) => {
  tell(anew
    ? "irae was started anew. Open the address that it printed; what you see here stays until you close this page."
    : "irae has ended or cannot be reached. What you see here stays until you close this page.",
  { key: "server" });
}, () => withdraw("server"));

async function touch() {
  used = Date.now();
  withdraw("hour");
  if (items.length) await api.keep(items.map((item) => item.id)).catch(() => {});
}

for (const name of ["pointerdown", "keydown"]) {
  document.addEventListener(name, () => {
    if (Date.now() - used > 60000) touch();
  });
}
setInterval(() => {
  api.about().catch(() => {});
  const left = limits.kept_seconds - (Date.now() - used) / 1000;
  if (items.length && left < SOON && !queue.busy) {
    const minutes = Math.max(1, Math.round(left / 60));
    tell(`The pictures here will be deleted in ${minutes} min unless you use them.`,
      { key: "hour", action: ["Keep them", touch] });
  }
}, 15000);

async function start() {
  // The token is in the cookie by now, and need not stay in sight.
  window.history.replaceState(null, "", "/");
  limits = await api.about();
  get("limits").textContent = "JPEG, PNG, TIFF, WebP, HEIC and others,"
    + ` up to ${limits.most_bytes / 1e6} MB and ${limits.most_pixels / 1e6} million pixels each.`;
  await bringAll(limits.opened.map((name, index) => [name, () => api.bringOpened(index)]));
}

attempt(start)();
