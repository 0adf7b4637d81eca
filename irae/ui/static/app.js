// The page: holds its pictures, and puts the parts together.

import * as api from "./api.js";
import { Brush, Mask } from "./brush.js";
import { takePictures } from "./drop.js";
import * as keep from "./keep.js";
import { List } from "./list.js";
import { maskStep } from "./mask.js";
import { announce, tell, withdraw } from "./messages.js";
import { listenToKeys, watchMenus } from "./keys.js";
import { watchLeaving } from "./leaving.js";
import { explain, found, outcome, showPanel } from "./panel.js";
import { Queue, addFound, doubting, finding, restoring } from "./queue.js";
import * as settings from "./settings.js";
import { View } from "./view.js";

const get = (id) => /** @type {any} */ (document.getElementById(id));

/** @type {import("./queue.js").Item[]} */
let items = [];
let current = null;
let painting = true;
let bringing = 0;
let limits = { kept_seconds: 3600, suffixes: [], most_bytes: Infinity };

const view = new View();
const brush = new Brush(view);
const list = new List({ open, remove, again: (item) => queue.add([item], restoring(settings.options())) });
const queue = new Queue({ change: onState, end: refresh, fail: complain, renew });

// Bringing pictures

async function bring(brought) {
  const suffix = ({ name }) => name.slice(name.lastIndexOf(".")).toLowerCase();
  const hidden = ({ name }) => name.split("/").some((part) => part.startsWith("."));
  const taken = brought.filter((each) => !each.fromFolder
    || (limits.suffixes.includes(suffix(each)) && !hidden(each)));
  const passed = brought.filter((each) => each.fromFolder && !hidden(each)).length
    - taken.filter((each) => each.fromFolder).length;
  if (passed) tell(`${passed} ${passed === 1 ? "file of the folder is no picture" : "files of the folder are no pictures"}.`);
  await bringAll(taken.map(({ file, name }) => ({ name, source: () => sendFile(file, name) })));
}

async function sendFile(file, name) {
  if (file.size > limits.most_bytes) {
    throw new Error(`${name}: ${(file.size / 1e6).toFixed(1)} MB, more than this page takes`
      + ` (${limits.most_bytes / 1e6} MB); start irae ui with a larger --max-upload-mb`);
  }
  return api.bring(file, name);
}

/** @param {{name: string, source: () => Promise<object>}[]} sources */
async function bringAll(sources) {
  let first = true;
  bringing += sources.length;
  for (const { name, source } of sources) {
    refresh();
    try {
      const item = newItem(await source(), source);
      items.push(item);
      if (first) open(item);
      first = false;
      announce(`${item.name}: ${found(item) || "added"}`);
    } catch (error) {
      const sentence = error.message.includes(name.split("/").at(-1)) ? error.message
        : `${name}: ${error.message}`;
      complain(sentence);
    }
    bringing -= 1;
  }
  refresh();
}

function newItem(about, source) {
  return {
    ...about, source, state: "ready", error: null, result: null, made: null, chosen: null,
    saved: false, damage: null, doubt: null, doubtShown: false, mask: new Mask(about.width, about.height),
  };
}

/** Brings a picture again that the server has deleted; its strokes stay. */
async function renew(item) {
  const about = await item.source();
  Object.assign(item, about, { result: null, made: null, chosen: null, doubt: null });
}

function complain(sentence) {
  tell(sentence);
  announce(sentence);
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
  view.showDoubt(current?.doubt ?? null, Boolean(current?.doubtShown));
  const holes = current !== null && settings.task() === "inpaint";
  const paints = holes && (painting || !current.result);
  get("brushbar").hidden = !paints;
  brush.use(holes ? current.mask : null, paints);
  const edge = get("brushbar").offsetTop + get("brushbar").offsetHeight;
  const { clientHeight } = get("stage");
  if (current) view.setCovered(paints ? edge : 0, clientHeight - get("zoombar").offsetTop);
  refreshWork();
  refreshList();
  if (current) showPanel(current, paints);
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
  // Small pictures are restored in one piece.
  if (share === null) bar.removeAttribute("value");
  else bar.value = share;
  get("work-text").textContent = text;
}

function onState(item, side) {
  if (item.state === "running" || item.state === "waiting") {
    refreshWork();
    refreshList();
    if (item === current) showPanel(item, !get("brushbar").hidden);
    return;
  }
  if (item.state === "done" && !side) {
    if (item === current && item.chosen.task === "inpaint") painting = false;
    // So that Space shows the original and does not restore once more.
    if (item === current && document.activeElement === get("restore")) view.divider.focus();
  }
  refresh();
  if (side) return;
  announce(`${item.name}: ${item.state === "done" ? outcome(item) : item.error ?? item.state}`);
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
  const unsaved = gone.filter(isUnsaved);
  const lost = unsaved.some((item) => item.unsaved || item.result?.changed) ? "result" : "strokes";
  if (unsaved.length && !window.confirm(unsaved.length === 1
    ? `The ${lost} of ${unsaved[0].name} ${lost === "result" ? "is" : "are"} not saved. Remove it all the same?`
    : `${unsaved.length} pictures have results or strokes that are not saved. Remove them all the same?`)) return;
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
  const name = item.name.replace(/\.[^./]*$/, "") + suffix;
  const source = () => api.bring(file, name);
  const next = newItem(await source(), source);
  next.unsaved = !item.saved;
  // What was painted since is still to be filled.
  if (item.chosen.task !== "inpaint") next.mask = item.mask;
  if (item.chosen.find_damage) next.mask.dropFound();
  items = items.map((each) => (each === item ? next : each));
  api.remove(item.id).catch(() => {});
  open(next);
}

/** Goes back to the brush, after *Scratches* with what it found, so that this can be corrected. */
async function paintMore() {
  if (settings.task() === "scratches") {
    if (!current.mask.holdsFound) await addFound(current);
    settings.choose("inpaint");
  }
  painting = true;
}

/** Shows or hides what the model was unsure of; the first time the server has to draw it. */
function toggleDoubt() {
  const item = current;
  item.doubtShown = !(item.doubt && item.doubtShown);
  if (item.doubt && item.doubtShown) announce(explain(item.doubt));
  if (!item.doubt) queue.add([item], doubting(({ doubt }) => announce(explain(doubt))));
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
      complain(api.sentence(error.message));
    }
    refresh();
  };
}

const press = (id, action) => get(id).addEventListener("click", attempt(action));
press("restore", () => queue.add([current], restoring(settings.options())));
press("restore-all", () => queue.add(picked(), restoring(settings.options())));
press("doubt", toggleDoubt);
press("find-damage", () => queue.add([current], finding(announce)));
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
press("paint-more", paintMore);
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

listenToKeys(view, brush, () => current !== null);
watchMenus();

function isUnsaved(item) {
  const strokes = !item.mask.empty && item.chosen?.task !== "inpaint";
  return item.unsaved || strokes || (item.result?.changed && !item.saved);
}

watchLeaving({
  items: () => items,
  unsaved: () => items.some(isUnsaved),
  busy: () => queue.busy,
  keptSeconds: () => limits.kept_seconds,
});

async function start() {
  // The token is in the cookie by now, and need not stay in sight.
  window.history.replaceState(null, "", "/");
  limits = await api.about();
  const heic = limits.suffixes.includes(".heic") ? ", HEIC" : "";
  get("limits").textContent = `JPEG, PNG, TIFF, WebP${heic} and others,`
    + ` up to ${limits.most_bytes / 1e6} MB and ${limits.most_pixels / 1e6} million pixels each.`;
  await bringAll(limits.opened.map((name, index) => ({
    name, source: () => api.bringOpened(index),
  })));
}

attempt(start)();
