// Makes experiments quicker to watch and to read; each page works without it.
"use strict";

document.documentElement.classList.add("js");

{
  const on = (type, act) => document.addEventListener(type, act);

  // A job that has ended shows what it found.

  on("end", (event) => event.target.id === "job" && location.reload());

  // The slider of an evolution shows another epoch of every map.

  const evolution = document.getElementById("evolution");
  if (evolution) {
    const epochs = evolution.dataset.epochs.split(" ");
    const slider = evolution.querySelector("input");
    const all = (selector) => evolution.querySelectorAll(selector);
    slider.parentElement.hidden = false;
    slider.addEventListener("input", () => {
      const at = Number(slider.value);
      for (const each of all("[data-at]")) each.hidden = Number(each.dataset.at) !== at;
      all(".epochs a").forEach((link, number) => {
        if (number === at) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      });
      evolution.querySelector("[data-epoch]").textContent = epochs[at];
      slider.setAttribute("aria-valuetext", slider.dataset.words.replace("#", epochs[at]));
    });
  }

  // The square of an occlusion follows the pointer and the arrow keys; its numbers are read there.

  const section = document.getElementById("occlusion");
  const language = document.documentElement.lang;
  const number = (value) => {
    const size = Math.abs(value);
    const digits = size >= 100 ? 0 : size >= 10 ? 1 : size >= 0.1 ? 2 : 4;
    const options = { minimumFractionDigits: digits, maximumFractionDigits: digits };
    return value ? value.toLocaleString(language, options).replace("-", "\u2212") : "0";
  };
  const words = {
    activation: number,
    probability: (value) => `${(100 * value).toLocaleString(language, { minimumFractionDigits: 1, maximumFractionDigits: 1 })} %`,
    best_label: (label) => label.replaceAll("_", " "),
  };
  let found, row, column;

  const nearest = (edges, wanted) => {
    const apart = edges.map((edge) => Math.abs(edge - wanted));
    return apart.indexOf(Math.min(...apart));
  };
  const write = (name, text) => {
    for (const each of section.querySelectorAll(`[data-read=${name}]`)) each.textContent = text;
  };

  function move(toRow, toColumn) {
    row = Math.min(Math.max(toRow, 0), found.tops.length - 1);
    column = Math.min(Math.max(toColumn, 0), found.lefts.length - 1);
    const [top, left] = [found.tops[row], found.lefts[column]];
    for (const rect of section.querySelectorAll("[data-square]")) {
      rect.setAttribute("x", left);
      rect.setAttribute("y", top);
    }
    write("top", top);
    write("left", left);
    for (const [name, say] of Object.entries(words)) {
      if (found[name]) write(name, say(found[name][row][column]));
    }
    section.querySelector("[name=top]").value = top;
    section.querySelector("[name=left]").value = left;
  }

  async function read() {
    const answer = await fetch(section.dataset.result, { headers: { accept: "application/json" } });
    if (!answer.ok) return;
    found = await answer.json();
    const at = (name) => Number(section.querySelector(`[data-read=${name}]`).textContent);
    row = found.tops.indexOf(at("top"));
    column = found.lefts.indexOf(at("left"));
    section.addEventListener("pointermove", (event) => {
      const panel = event.target.closest("input[type=image]");
      if (!panel) return;
      const side = panel.parentElement.querySelector("svg").viewBox.baseVal.width;
      const pixel = (offset) => (offset * side) / panel.clientWidth - found.square / 2;
      move(nearest(found.tops, pixel(event.offsetY)), nearest(found.lefts, pixel(event.offsetX)));
    });
    section.addEventListener("click", (event) => {
      if (event.target.type === "image") event.preventDefault(); // what it would do has been done
    });
    section.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step || event.target.type !== "image") return;
      event.preventDefault();
      event.stopPropagation();
      move(row + step[0], column + step[1]);
    });
    section.dataset.ready = "yes";
  }
  if (section) read();
  // A box is drawn on a photo by the pointer, moved by the arrow keys; the fields below say the same.

  const EDGES = ["top", "left", "bottom", "right"];
  for (const photo of document.querySelectorAll(".markable")) {
    const side = Number(photo.dataset.side);
    const fields = EDGES.map((edge) => photo.parentElement.querySelector(`[name=${edge}]`));
    const rect = photo.querySelector(".current");
    const within = (value) => Math.min(Math.max(Math.round(value), 0), side);
    const show = () => {
      const [top, left, bottom, right] = fields.map((field) => Number(field.value));
      const edges = { x: left, y: top, width: Math.max(right - left, 0), height: Math.max(bottom - top, 0) };
      for (const [name, value] of Object.entries(edges)) rect.setAttribute(name, value);
    };
    const mark = (box) => {
      fields.forEach((field, edge) => (field.value = within(box[edge])));
      show();
    };
    const place = (event) => {
      const frame = photo.getBoundingClientRect();
      return [event.clientY - frame.top, event.clientX - frame.left].map((at) => (at * side) / frame.width);
    };
    let from = null;
    photo.addEventListener("pointerdown", (event) => {
      from = place(event);
      photo.setPointerCapture(event.pointerId);
    });
    photo.addEventListener("pointermove", (event) => {
      if (!from) return;
      const to = place(event);
      const [upper, lower] = [Math.min, Math.max].map((pick) => [0, 1].map((axis) => pick(from[axis], to[axis])));
      mark([...upper, ...lower]);
    });
    for (const end of ["pointerup", "pointercancel"]) photo.addEventListener(end, () => (from = null));
    photo.addEventListener("keydown", (event) => {
      const step = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
      if (!step) return;
      event.preventDefault();
      event.stopPropagation();
      if (!fields[2].value) return mark([0.4, 0.4, 0.6, 0.6].map((share) => share * side));
      const pixels = side / 56;
      mark(fields.map((field, edge) => Number(field.value) + (event.shiftKey && edge < 2 ? 0 : pixels * step[edge % 2])));
    });
    for (const field of fields) field.addEventListener("input", show);
  }
}
