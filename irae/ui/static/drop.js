// Takes pictures: dropped anywhere, chosen, or pasted.

/** @typedef {{file: File, name: string, fromFolder: boolean}} Brought */

const overlay = document.getElementById("drop-here");

/** @param {(brought: Brought[]) => void} onFiles */
export function takePictures(onFiles) {
  let depth = 0;
  const hasFiles = (event) => [...(event.dataTransfer?.types ?? [])].includes("Files");
  window.addEventListener("dragenter", (event) => {
    if (!hasFiles(event)) return;
    depth += 1;
    overlay.hidden = false;
  });
  window.addEventListener("dragleave", (event) => {
    if (!hasFiles(event)) return;
    depth -= 1;
    if (depth <= 0) overlay.hidden = true;
  });
  // Without these the browser would open the file in place of the page.
  window.addEventListener("dragover", (event) => event.preventDefault());
  window.addEventListener("drop", async (event) => {
    event.preventDefault();
    depth = 0;
    overlay.hidden = true;
    onFiles(await dropped(event.dataTransfer));
  });
  window.addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    onFiles(files.map((file) => ({ file, name: pastedName(file), fromFolder: false })));
  });
  for (const [id, input] of [["add", "files"], ["choose", "files"], ["choose-folder", "folder"]]) {
    const field = /** @type {HTMLInputElement} */ (document.getElementById(input));
    document.getElementById(id).addEventListener("click", () => field.click());
  }
  for (const id of ["files", "folder"]) {
    const field = /** @type {HTMLInputElement} */ (document.getElementById(id));
    field.addEventListener("change", () => {
      const files = [...field.files];
      field.value = "";
      onFiles(files.map((file) => ({
        file, name: file.webkitRelativePath || file.name, fromFolder: id === "folder",
      })));
    });
  }
}

/** @param {DataTransfer} transfer @returns {Promise<Brought[]>} */
async function dropped(transfer) {
  // All entries first: they are gone once the event is over.
  const entries = [...transfer.items]
    .filter((item) => item.kind === "file")
    .map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  const lists = await Promise.all(entries.filter(Boolean).map((entry) => expand(entry, false)));
  return lists.flat();
}

/** @returns {Promise<Brought[]>} */
async function expand(entry, fromFolder) {
  if (entry instanceof File) return [{ file: entry, name: entry.name, fromFolder }];
  const name = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) {
    const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
    return [{ file, name, fromFolder }];
  }
  const reader = entry.createReader();
  const inside = [];
  for (;;) {
    // Browsers give a hundred entries at a time.
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) break;
    inside.push(...some);
  }
  inside.sort((a, b) => a.name.localeCompare(b.name));
  const lists = [];
  for (const each of inside) lists.push(await expand(each, true));
  return lists.flat();
}

function pastedName(file) {
  const named = file.name && file.name !== "image.png";
  return named ? file.name : `pasted.${(file.type.split("/")[1] || "png").replace("jpeg", "jpg")}`;
}
