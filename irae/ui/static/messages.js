// Messages that stay until they are read, and announcements for screen readers.

const box = document.getElementById("messages");
const status = document.getElementById("status");

/** Announces a sentence without showing it. */
export function announce(sentence) {
  status.textContent = sentence;
}

/**
 * Shows a sentence until it is closed.
 * @param {string} sentence
 * @param {{key?: string, action?: [string, () => void]}} [options] a message takes the place of an
 *   earlier one with the same key; the action is a button
 */
export function tell(sentence, { key = sentence, action } = {}) {
  withdraw(key);
  const line = document.createElement("div");
  line.className = "message";
  line.dataset.key = key;
  const text = document.createElement("span");
  text.textContent = sentence;
  line.append(text);
  if (action) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = action[0];
    button.addEventListener("click", () => {
      line.remove();
      action[1]();
    });
    line.append(button);
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "close";
  close.textContent = "×";
  close.setAttribute("aria-label", "Close this message");
  close.addEventListener("click", () => line.remove());
  line.append(close);
  box.append(line);
}

/** Takes a message away that is not true any more. */
export function withdraw(key) {
  for (const line of [...box.children]) {
    if (line.dataset.key === key) line.remove();
  }
}
