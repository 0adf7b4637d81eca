// The right side: what is known of the picture in the view, what came of it, and what can be done.

import * as keep from "./keep.js";
import * as settings from "./settings.js";

const get = (id) => /** @type {any} */ (document.getElementById(id));

/** Whether an item's result was made with other settings than those that are shown. */
export function isStale(item) {
  return Boolean(item.result)
    && JSON.stringify(item.chosen) !== JSON.stringify(settings.options());
}

/** What a picture suffers from and what Automatic does about it; other choices do something else. */
export const found = (item) => (settings.task() ? "" : item.found);

/** Everything that was said of a picture's result, or why there is none. */
export function outcome({ error, result }) {
  if (error) return error;
  return result ? [result.done, ...result.notes].join(" ") : "";
}

/** @param {import("./queue.js").Item} item @param {boolean} paints whether one paints on it now */
export function showPanel(item, paints) {
  const { result } = item;
  const holes = settings.task() === "inpaint";
  get("name").textContent = item.name;
  const kept = item.kept.length ? ` · ${item.kept.join(", ")} kept` : "";
  get("facts").textContent = `${item.width} × ${item.height} · ${item.format}${kept}`;
  get("found").textContent = found(item);
  get("found").hidden = !found(item);
  const hint = (holes && item.damage) || settings.hint();
  get("hint").hidden = !hint || (holes && !paints);
  get("hint").textContent = hint;
  showOutcome(item);
  const busy = item.state === "waiting" || item.state === "running";
  const stale = isStale(item);
  const changed = Boolean(result?.changed);
  const button = get("restore");
  button.textContent = holes ? "Fill" : "Restore";
  button.disabled = busy || (holes && item.mask.empty);
  button.classList.toggle("primary", !changed || stale);
  button.hidden = holes && !paints && !stale;
  get("save").hidden = get("copy").hidden = !changed;
  get("save").classList.toggle("primary", changed && !stale);
  if (changed) get("save").title = keep.savedName(item, settings.form());
  // After a filling, and to fill holes in a picture that was restored before.
  const filled = item.chosen?.task === "inpaint";
  const scratches = settings.task() === "scratches" && changed && Boolean(item.chosen.find_damage);
  get("go-on").hidden = !(scratches || (holes && changed && (!filled || !paints)));
  get("go-on").disabled = busy;
  get("go-on").textContent = filled || scratches ? "Go on with this" : "Paint on the result";
  get("find-damage").disabled = busy;
  get("paint-more").hidden = !(scratches || (holes && result && !paints));
  showDoubt(item, busy, changed);
}

function describe({ done, changed, seconds }) {
  return changed ? `${done} ${seconds} s` : done;
}

function showOutcome(item) {
  const { result } = item;
  get("done").hidden = !result && !item.error;
  get("done").textContent = item.error ?? (result ? describe(result) : "");
  get("done").classList.toggle("failed", Boolean(item.error));
  const notes = item.error ? [] : result?.notes ?? [];
  get("notes").hidden = !notes.length;
  get("notes").replaceChildren(...notes.map((note) => {
    const line = document.createElement("li");
    line.textContent = note;
    return line;
  }));
  const stale = isStale(item);
  get("stale").hidden = !stale;
  if (stale) get("stale").textContent = `This result was made with: ${settings.describe(item.chosen)}.`;
}

function showDoubt(item, busy, changed) {
  const button = get("doubt");
  const shown = Boolean(item.doubt && item.doubtShown);
  button.disabled = busy || !changed;
  button.setAttribute("aria-pressed", String(shown));
  get("doubt-note").textContent = shown ? explain(item.doubt)
    : item.doubt ? "" : "A map of what the model is unsure of in the result; it takes eight times as"
      + " long as restoring.";
}

/** Says what the colour means. */
export function explain({ full }) {
  return "The bluer, the less sure. The model restored eight turned and mirrored copies, which differ by"
    + ` ${full.toFixed(1)} of 255 levels where it is fully blue.`;
}
