// Makes pages quicker to use; each of them works without it.
"use strict";

document.documentElement.classList.add("js");

const on = (type, act, capture) => document.addEventListener(type, act, capture);
const find = (id) => document.getElementById(id);

// Photos: chosen, dropped or pasted, they are sent at once.

function send(files) {
  const form = find("upload");
  const file = [...(files ?? [])].find((each) => each.type.startsWith("image/")) ?? files?.[0];
  if (!form || !file) return false;
  const one = new DataTransfer();
  one.items.add(file);
  form.querySelector("input").files = one.files;
  form.requestSubmit();
  return true;
}

on("change", (event) => {
  if (event.target.matches("#upload input")) event.target.form.requestSubmit();
});
on("submit", (event) => {
  const form = event.target;
  if (form.id !== "upload") return;
  const large = [...form.elements].some((input) => input.files?.[0]?.size > form.dataset.limit);
  if (!large) return form.classList.add("busy");
  event.preventDefault();
  const limit = Number(form.dataset.limit).toLocaleString("en");
  find("problem").innerHTML = `<p class="problem">The photo is larger than ${limit} bytes: send a smaller one.</p>`;
});
on("dragover", (event) => {
  if (!find("upload") || !event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  find("upload").classList.add("over");
});
on("dragleave", (event) => {
  if (!event.relatedTarget) find("upload")?.classList.remove("over");
});
on("drop", (event) => {
  find("upload")?.classList.remove("over");
  if (send(event.dataTransfer.files)) event.preventDefault();
});
on("paste", (event) => send(event.clipboardData.files));
window.addEventListener("pageshow", () => find("upload")?.classList.remove("busy"));

// A card under the pointer or focus shows its receptive field on the photo.

function point(event) {
  const box = find("pointed");
  const field = event.target.closest?.("[data-field]")?.dataset.field;
  if (!box) return;
  box.classList.toggle("on", Boolean(field));
  const edges = ["x", "y", "width", "height"];
  field?.split(" ").forEach((value, place) => box.setAttribute(edges[place], value));
}
on("pointerover", point);
on("focusin", point);

// Where a picture was pressed, as a browser would say it had the picture its nominal size.

let pressed = {};

on("click", (event) => {
  const picture = event.target;
  if (picture.type !== "image") return;
  const [width, height] = ["width", "height"].map((name) => Number(picture.getAttribute(name)));
  const scale = Math.min(picture.clientWidth / width, picture.clientHeight / height);
  const place = (offset, shown, size) => (offset - (shown - size * scale) / 2) / scale;
  pressed = event.detail
    ? { x: place(event.offsetX, picture.clientWidth, width), y: place(event.offsetY, picture.clientHeight, height) }
    : { x: width / 2, y: height / 2 }; // a key says no place
}, true);
on("htmx:config:request", (event) => {
  const { submitter, body } = event.detail.ctx.request;
  if (submitter?.type !== "image") return;
  body.delete(submitter.name);
  for (const axis of ["x", "y"]) body.set(`${submitter.name}.${axis}`, pressed[axis].toFixed(3));
});

// A page that waited for weights shows what they see once they are here.

on("end", (event) => {
  if (event.target.closest(".absent")) event.target.querySelector("[role=status] a")?.click();
});

// Copies.

on("click", async (event) => {
  const button = event.target.closest?.("[data-copy], [data-link]");
  if (!button) return;
  const { copy, link } = button.dataset;
  await navigator.clipboard.writeText(copy ?? new URL(link, location.href).href);
  const words = button.textContent;
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = words), 1500);
});

// Left and right walk the layers; the next press goes on from the layer that the last one asked for.

function choose(tab) {
  document.querySelector(".strip [aria-current]")?.removeAttribute("aria-current");
  tab?.setAttribute("aria-current", "true");
}
on("click", (event) => {
  const tab = event.target.closest?.(".strip a");
  if (tab && !event.defaultPrevented) choose(tab);
}, true);
on("htmx:after:swap", () => {
  const here = [...document.querySelectorAll(".strip a")];
  choose(here.find((tab) => tab.pathname === location.pathname));
});

on("keydown", (event) => {
  const step = { ArrowLeft: "previousElementSibling", ArrowRight: "nextElementSibling" }[event.key];
  const busy = event.target.matches("input, textarea, select, pre");
  if (!step || busy || event.altKey || event.ctrlKey || event.metaKey || event.shiftKey) return;
  const here = document.querySelector(".strip [aria-current]")?.parentElement;
  here?.[step]?.firstElementChild.click();
});
