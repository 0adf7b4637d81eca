// What is chosen on the right: the fields of the request, and the form of the saved file.

const get = (id) => /** @type {any} */ (document.getElementById(id));

const NAMES = { "": "Automatic", photo: "Photo", denoise: "Noise", jpeg: "JPEG", inpaint: "Holes", scratches: "Scratches" };
const HINTS = {
  inpaint: "Paint over what is to be filled.",
  scratches: "Finds scratches, dust, hairs and stamps, and fills them. All else stays as it is.",
};

/** @param {() => void} onChange */
export function watchSettings(onChange) {
  get("panel").addEventListener("input", () => {
    update();
    onChange();
  });
  update();
}

function update() {
  get("strength-row").hidden = get("strength-note").hidden = get("ensemble-row").hidden = fills();
  get("strength-note").textContent = strength() === 0
    ? "0: the picture is left as it is." : "0 leaves the picture as it is, 1 restores it fully.";
  get("quality-row").hidden = get("format").value !== "jpeg";
  get("format-note").hidden = !["jpeg", "webp"].includes(get("format").value);
}

/** Whether holes are filled: they have no pixels for a strength. */
const fills = () => ["inpaint", "scratches"].includes(task());

/** Says what the choice does, where its name does not. */
export const hint = () => HINTS[task()] ?? "";

/** Chooses what to restore, as if it had been clicked. */
export function choose(name) {
  /** @type {any} */ (document.querySelector(`input[name=task][value="${name}"]`)).checked = true;
  update();
}

export const task = () => document.querySelector("input[name=task]:checked").value;

/** An empty field is 1; what is out of range is brought into it. */
function strength() {
  const field = get("strength");
  const value = field.value === "" ? 1 : Number(field.value);
  return Math.min(1, Math.max(0, Number.isFinite(value) ? value : 1));
}

/** The body of a request to restore. */
export function options() {
  const chosen = task();
  if (chosen === "scratches") return { task: null, find_damage: true };
  if (chosen === "inpaint") return { task: chosen };
  return { task: chosen || null, strength: strength(), ensemble: get("ensemble").checked };
}

/** Says what was chosen for a result. */
export function describe({ task: chosen, find_damage: finds, strength: weight = 1, ensemble = false }) {
  const parts = [NAMES[finds ? "scratches" : chosen ?? ""]];
  if (weight !== 1) parts.push(`strength ${weight}`);
  if (ensemble) parts.push("eight times");
  return parts.join(", ");
}

/** The form of the saved file: the query of `/result`. */
export function form() {
  const quality = Math.round(Number(get("quality").value));
  return { format: get("format").value, quality: Math.min(100, Math.max(1, quality || 95)) };
}
