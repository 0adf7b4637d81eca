// Leaving the page, the end of the server, and the hour after which pictures are deleted.

import * as api from "./api.js";
import { tell, withdraw } from "./messages.js";

const SOON = 10 * 60; // seconds before pictures are deleted at which the page says so
const LOOK = 15000; // milliseconds from one look at the server to the next

/**
 * @param {object} page
 * @param {() => import("./queue.js").Item[]} page.items
 * @param {() => boolean} page.unsaved whether something would be lost
 * @param {() => boolean} page.busy @param {() => number} page.keptSeconds
 */
export function watchLeaving({ items, unsaved, busy, keptSeconds }) {
  let used = Date.now();

  window.addEventListener("beforeunload", (event) => {
    if (unsaved()) event.preventDefault();
  });
  window.addEventListener("pagehide", () => {
    if (items().length) api.leave(items().map((item) => item.id));
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
    if (items().length) await api.keep(items().map((item) => item.id)).catch(() => {});
  }

  for (const name of ["pointerdown", "keydown"]) {
    document.addEventListener(name, () => {
      if (Date.now() - used > 60000) touch();
    });
  }
  setInterval(() => {
    api.about().catch(() => {});
    const left = keptSeconds() - (Date.now() - used) / 1000;
    if (items().length && left < SOON && !busy()) {
      const minutes = Math.max(1, Math.round(left / 60));
      tell(`The pictures here will be deleted in ${minutes} min unless you use them.`,
        { key: "hour", action: ["Keep them", touch] });
    }
  }, LOOK);
}
