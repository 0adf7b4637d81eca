"use strict";

const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// Every picture is in the page once, in its card; all else that shows it is filled from there.
function pictureOf(strip, number) {
  return strip.querySelector(`.card[data-number="${number}"] .whole img`);
}

function startWindow(strip) {
  const share = { x: Number(strip.dataset.shareX), y: Number(strip.dataset.shareY) };
  const place = { x: Number(strip.dataset.left), y: Number(strip.dataset.top) };

  function draw() {
    for (const mark of strip.querySelectorAll(".window")) {
      mark.style.left = `${place.x * 100}%`;
      mark.style.top = `${place.y * 100}%`;
      mark.style.width = `${share.x * 100}%`;
      mark.style.height = `${share.y * 100}%`;
    }
    for (const image of strip.querySelectorAll(".zoom img")) {
      image.style.width = `${100 / share.x}%`;
      image.style.height = `${100 / share.y}%`;
      image.style.left = `${(-place.x / share.x) * 100}%`;
      image.style.top = `${(-place.y / share.y) * 100}%`;
    }
  }

  function moveTo(x, y) {
    place.x = clamp(x, 0, 1 - share.x);
    place.y = clamp(y, 0, 1 - share.y);
    draw();
  }

  const steps = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  for (const whole of strip.querySelectorAll(".whole")) {
    const follow = (event) => {
      const box = whole.getBoundingClientRect();
      moveTo(
        (event.clientX - box.left) / box.width - share.x / 2,
        (event.clientY - box.top) / box.height - share.y / 2,
      );
    };
    whole.addEventListener("pointerdown", follow);
    whole.addEventListener("pointermove", (event) => {
      if (event.buttons & 1) follow(event);
    });
    whole.addEventListener("keydown", (event) => {
      const step = steps[event.key];
      if (!step) return;
      event.preventDefault();
      moveTo(place.x + (step[0] * share.x) / 4, place.y + (step[1] * share.y) / 4);
    });
    const zoomed = whole.parentElement.querySelector(".zoom img");
    zoomed.src = whole.querySelector("img").src;
  }
  strip.classList.add("moving");
  draw();
}

function startSlider(strip) {
  const slider = strip.querySelector(".slider");
  const stage = slider.querySelector(".stage");
  const under = stage.querySelector(".under");
  const over = stage.querySelector(".over");
  const divider = stage.querySelector(".divider");
  const left = slider.querySelector(".left");
  const right = slider.querySelector(".right");
  const scale = slider.querySelector(".scale");

  const width = Number(strip.dataset.width);

  // A whole number, so that all pixels come out equally large.
  function fitting() {
    return clamp(Math.floor(Math.min(slider.clientWidth - 8, 512) / width), 1, 8);
  }

  function show() {
    under.src = pictureOf(strip, left.value).src;
    over.src = pictureOf(strip, right.value).src;
    stage.style.setProperty("--split", `${divider.value}%`);
    stage.style.setProperty("--width", width);
    stage.style.setProperty("--scale", scale.value === "fit" ? fitting() : scale.value);
    const names = [left, right].map((list) => list.selectedOptions[0].text);
    divider.setAttribute("aria-valuetext", `${divider.value} % ${names[0]}, then ${names[1]}`);
  }

  for (const control of [divider, left, right, scale]) control.addEventListener("input", show);
  window.addEventListener("resize", show);
  slider.hidden = false;
  show();
}

for (const strip of document.querySelectorAll(".strip")) {
  startWindow(strip);
  startSlider(strip);
}
