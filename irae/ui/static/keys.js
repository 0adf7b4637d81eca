// The keys of the page.

const PAN = 0.1; // of the view, for each press of Shift and an arrow

const PANS = {
  ArrowLeft: [PAN, 0], ArrowRight: [-PAN, 0], ArrowUp: [0, PAN], ArrowDown: [0, -PAN],
};

/**
 * @param {import("./view.js").View} view @param {import("./brush.js").Brush} brush
 * @param {() => boolean} ready whether there is a picture
 */
export function listenToKeys(view, brush, ready) {
  let pointing = false; // whether the pointer was used last, and not Tab

  function hold(held) {
    if (brush.spaceHeld === held) return;
    brush.spaceHeld = held;
    view.original = held;
    view.box.classList.toggle("dragging", held);
    view.draw();
  }

  document.addEventListener("keydown", (event) => {
    const { target, key } = event;
    const typing = target.matches("input:not([type=radio], [type=checkbox], [type=range]), select");
    if (!ready() || typing) return;
    if (brush.key(event)) {
      event.preventDefault();
      return;
    }
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (key === "Tab") pointing = false;
    if (key === "Escape") closeMenus();
    // Space presses buttons for those who came to them by Tab, and shows the original for those who
    // have the pointer on the picture, whichever button they pressed last.
    const pressable = target.matches("button, summary, input:not([type=radio]:checked)");
    if (key === " " && (!pressable || (pointing && view.box.matches(":hover")))) {
      event.preventDefault();
      hold(true);
    } else if (key.startsWith("Arrow") && !target.matches("input")) {
      if (event.shiftKey) {
        const [x, y] = PANS[key];
        event.preventDefault();
        view.moveBy(Math.round(x * view.box.clientWidth), Math.round(y * view.box.clientHeight));
      } else if (key === "ArrowLeft" || key === "ArrowRight") {
        event.preventDefault();
        view.setSplit(view.split + (key === "ArrowLeft" ? -0.02 : 0.02));
      }
    } else if (key === "+" || key === "=") {
      view.zoomTo(view.scale * 1.5);
    } else if (key === "-") {
      view.zoomTo(view.scale / 1.5);
    }
  });
  document.addEventListener("keyup", (event) => {
    if (event.key !== " " || !brush.spaceHeld) return;
    event.preventDefault();
    hold(false);
  });
  document.addEventListener("pointermove", () => { pointing = true; });
  window.addEventListener("blur", () => hold(false));
}

const maskMenu = () => /** @type {any} */ (document.getElementById("mask-menu"));

function closeMenus() {
  const menu = maskMenu();
  if (!menu.open) return;
  menu.open = false;
  menu.querySelector("summary").focus();
}

/**
 * Closes the menu, which covers a part of the picture, as soon as something else is used, and when a
 * mask is loaded or saved by it. Growing, inverting and rectangles leave it open to be done again.
 */
export function watchMenus() {
  const outside = ({ target }) => !maskMenu().contains(target);
  const close = () => { maskMenu().open = false; };
  // Before the stroke that begins by the same press, so that it is seen.
  document.addEventListener("pointerdown", (event) => {
    if (outside(event)) close();
  }, { capture: true });
  document.addEventListener("click", (event) => {
    if (outside(event) || event.target.matches("#mask-load, #mask-save")) close();
  });
}
