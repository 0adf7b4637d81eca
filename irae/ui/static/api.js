// Asks the server. Every failure is an ApiError with one sentence for the user.

export class ApiError extends Error {
  /** @param {number} status 0 when the server did not answer @param {string} sentence */
  constructor(status, sentence) {
    super(sentence);
    this.status = status;
  }
}

const ENDED = ["done", "failed", "stopped"];

let onLost = () => {};
let onFound = () => {};

/** Sets what is called when the server does not answer any more, and when it does again. */
export function watchServer(lost, found) {
  onLost = lost;
  onFound = found;
}

/** Begins a sentence with a capital, unless it begins with the name of a file or of irae. */
export function sentence(text) {
  const named = text.startsWith("irae") || /^[^:;]*\.\w+:/.test(text);
  return named ? text : text[0].toUpperCase() + text.slice(1);
}

/**
 * @param {string} method @param {string} path
 * @param {{body?: BodyInit, json?: object}} [options]
 * @returns {Promise<Response>}
 */
async function ask(method, path, { body, json } = {}) {
  const headers = json ? { "Content-Type": "application/json" } : {};
  let answer;
  try {
    answer = await fetch(path, { method, headers, body: json ? JSON.stringify(json) : body });
  } catch {
    onLost(false);
    throw new ApiError(0, "irae does not answer any more");
  }
  if (answer.status === 403) {
    onLost(true);
    throw new ApiError(403, "irae was started anew");
  }
  onFound();
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new ApiError(answer.status, told.error ?? `irae answered with ${answer.status}`);
  }
  return answer;
}

export const about = async () => (await ask("GET", "/api/about")).json();

export const bring = async (file, name) =>
  (await ask("POST", `/api/pictures?name=${encodeURIComponent(name)}`, { body: file })).json();

export const bringOpened = async (number) => (await ask("POST", `/api/opened/${number}`)).json();

export const remove = (id) => ask("DELETE", `/api/pictures/${id}`);

export const keep = (pictures) => ask("POST", "/api/keep", { json: { pictures } });

export const setMask = (id, png) => ask("PUT", `/api/pictures/${id}/mask`, { body: png });

export const maskOf = async (id) => (await ask("GET", `/api/pictures/${id}/mask`)).blob();

export const restore = async (id, options) =>
  (await (await ask("POST", `/api/pictures/${id}/restore`, { json: options })).json()).job;

/** Starts to draw what the model was unsure of in a result. */
export const drawDoubt = async (id) =>
  (await (await ask("POST", `/api/pictures/${id}/uncertainty`)).json()).job;

/** Starts to look for scratches, dust and hairs. */
export const findDamage = async (id) =>
  (await (await ask("POST", `/api/pictures/${id}/damage`)).json()).job;

export const damageOf = async (id) => (await ask("GET", `/api/pictures/${id}/damage`)).blob();

export const stop = (job) => ask("DELETE", `/api/jobs/${job}`);

export const result = async (id, format, quality) =>
  (await ask("GET", `/api/pictures/${id}/result?format=${format}&quality=${quality}`)).blob();

export const pack = async (pictures) =>
  (await (await ask("POST", "/api/archives", { json: { pictures } })).json()).id;

/** The whole restored picture as the browser shows it. */
export const shown = async (id) =>
  (await ask("GET", `/api/pictures/${id}/preview?of=after`)).blob();

/** The address of a region of a picture; `made` tells one result from the next. */
export function preview(id, of, made, region) {
  const { x, y, width, height, scale } = region;
  return `/api/pictures/${id}/preview?of=${of}&x=${x}&y=${y}&width=${width}&height=${height}`
    + `&scale=${scale}&made=${made}`;
}

/**
 * Follows a job to its end. The open stream is the sign of life on which the job depends.
 * @param {string} job @param {(state: object) => void} onNews
 * @returns {Promise<object>} its last state
 */
export function follow(job, onNews) {
  return new Promise((resolve, reject) => {
    const source = new EventSource(`/api/jobs/${job}/events`);
    for (const name of ["waiting", "running", ...ENDED]) {
      source.addEventListener(name, (event) => {
        const state = JSON.parse(event.data);
        if (ENDED.includes(name)) {
          source.close();
          resolve(state);
        } else {
          onNews(state);
        }
      });
    }
    source.onerror = async () => {
      try {
        // The browser connects again by itself, if there is a job to follow.
        await ask("GET", `/api/jobs/${job}`);
      } catch (error) {
        source.close();
        reject(error);
      }
    };
  });
}

/** Tells the server that the page is left; it deletes these pictures and ends their jobs. */
export function leave(pictures) {
  const body = JSON.stringify({ pictures });
  const headers = { "Content-Type": "application/json" };
  fetch("/api/leave", { method: "POST", headers, body, keepalive: true }).catch(() => {});
}
