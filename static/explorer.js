// Makes pages quicker to use; each of them works without it.
"use strict";

document.documentElement.classList.add("js");

const on = (type, act, capture) => document.addEventListener(type, act, capture);
const find = (id) => document.getElementById(id);
const all = (query) => [...document.querySelectorAll(query)];
const one = (query) => document.querySelector(query);

// Photos: chosen, dropped or pasted, they are sent at once.

function send(files) {
  const form = find("upload");
  const file = [...(files ?? [])].find((each) => each.type.startsWith("image/")) ?? files?.[0];
  if (!form || !file) return false;
  const alone = new DataTransfer();
  alone.items.add(file);
  form.querySelector("input").files = alone.files;
  form.requestSubmit();
  return true;
}

on("change", (event) => {
  if (event.target.matches("#upload input, [data-go]")) event.target.form.requestSubmit();
});
on("submit", (event) => {
  const form = event.target;
  if (form.elements.back) form.elements.back.value = location.href.slice(location.origin.length);
  if (form.dataset.forget) remember(recent().filter(({ id }) => id !== form.dataset.forget));
  if (form.id !== "upload") return;
  const large = [...form.elements].some((input) => input.files?.[0]?.size > form.dataset.limit);
  if (!large) return form.classList.add("busy");
  event.preventDefault();
  const refusal = find("problem").appendChild(document.createElement("p"));
  refusal.className = "problem";
  refusal.textContent = form.dataset.large;
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

// The photos that this browser has explored: only it knows them, and forgets them when told.

const RECENT = "deconvnet-recent";

function recent() {
  try {
    return JSON.parse(localStorage.getItem(RECENT)) ?? [];
  } catch {
    return []; // a browser may forbid it, or something else be written there
  }
}
function remember(photos) {
  try {
    localStorage.setItem(RECENT, JSON.stringify(photos.slice(0, 8)));
  } catch {} // full, or forbidden
}
function meet() {
  const photo = one("[data-photo]");
  if (!photo) return;
  const { photo: id, small } = photo.dataset;
  remember([{ id, small, link: location.pathname }, ...recent().filter((each) => each.id !== id)]);
}
function list() {
  const place = find("recent");
  if (!place) return;
  const photos = recent();
  place.hidden = !photos.length;
  place.querySelector("ul").replaceChildren(
    ...photos.map(({ id, small, link }, number) => {
      const entry = place.querySelector("template").content.cloneNode(true);
      const [anchor, picture] = [entry.querySelector("a"), entry.querySelector("img")];
      anchor.href = link;
      picture.src = small;
      picture.alt = picture.alt.replace("#", number + 1);
      picture.addEventListener("error", () => {
        anchor.parentElement.remove(); // the server has forgotten it
        remember(recent().filter((each) => each.id !== id));
      });
      return entry;
    }),
  );
}
on("click", (event) => {
  if (event.target.id !== "clear") return;
  remember([]);
  list();
});
window.addEventListener("pageshow", list);

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
// On the photo, arrow keys aim: `aim` holds shares of its width and height.

let pressed = {};
let aim = [0.5, 0.5];

on("click", (event) => {
  const picture = event.target;
  if (picture.type !== "image") return;
  const [width, height] = ["width", "height"].map((name) => Number(picture.getAttribute(name)));
  const scale = Math.min(picture.clientWidth / width, picture.clientHeight / height);
  const place = (offset, shown, size) => (offset - (shown - size * scale) / 2) / scale;
  const [x, y] = picture.id === "photo" ? aim : [0.5, 0.5];
  pressed = event.detail
    ? { x: place(event.offsetX, picture.clientWidth, width), y: place(event.offsetY, picture.clientHeight, height) }
    : { x: x * width, y: y * height }; // a key says no place
}, true);
on("htmx:config:request", (event) => {
  const { submitter, body } = event.detail.ctx.request;
  if (submitter?.type !== "image") return;
  body.delete(submitter.name);
  for (const axis of ["x", "y"]) body.set(`${submitter.name}.${axis}`, pressed[axis].toFixed(3));
});

function takeAim(key, far) {
  const [right, down] = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[key];
  const step = far ? 0.1 : 0.02;
  aim = [aim[0] + right * step, aim[1] + down * step].map((share) => Math.min(Math.max(share, 0), 0.999));
  const { width, height } = one(".lines").viewBox.baseVal;
  const [x, y] = [Math.floor(aim[0] * width), Math.floor(aim[1] * height)];
  find("cross").setAttribute("d", `M${x} 0V${height}M0 ${y}H${width}`);
  const words = find("aim");
  words.hidden = false;
  words.textContent = words.dataset.at.replace("#", x).replace("#", y);
}
on("focusout", (event) => {
  if (event.target.id !== "photo") return;
  find("cross")?.removeAttribute("d");
  if (find("aim")) find("aim").hidden = true;
});

// What the server is at: the photo on its way up, then projections on their way down.

function tell() {
  const line = find("busy");
  if (!line) return;
  const up = find("explorer").classList.contains("htmx-request");
  const pictures = all("img.signed:not([loading])");
  const here = pictures.filter((picture) => picture.complete).length;
  line.hidden = !up && here === pictures.length;
  line.textContent = up
    ? line.dataset.record
    : line.dataset.project.replace("#", here).replace("#", pictures.length);
}
for (const type of ["load", "error"]) on(type, (event) => event.target.matches?.(".signed") && tell(), true);
for (const type of ["DOMContentLoaded", "htmx:before:request", "htmx:after:swap", "htmx:finally:request"]) {
  on(type, () => setTimeout(tell));
}

// A page that waited for weights shows what they see once they are here.

on("end", (event) => {
  if (event.target.closest(".absent")) event.target.querySelector("[role=status] a")?.click();
});

// Copies.

on("click", async (event) => {
  const button = event.target.closest?.("[data-copy], [data-link]");
  if (!button) return;
  const { copy, link, done } = button.dataset;
  await navigator.clipboard.writeText(copy ?? new URL(link, location.href).href);
  const words = button.textContent;
  button.textContent = done;
  setTimeout(() => (button.textContent = words), 1500);
});

// The whole layer at a glance: its hundreds of links are text until they come near, or a key asks; on a
// wide screen they are near at once.

function unfold() {
  const glance = one(".folded");
  if (!glance) return;
  const cells = glance.querySelector("noscript");
  cells.outerHTML = cells.textContent;
  glance.classList.remove("folded");
}
on("DOMContentLoaded", () => {
  const rootMargin = matchMedia("(min-width: 60rem)").matches ? "9999px" : "600px";
  const near = new IntersectionObserver((seen) => seen.some((each) => each.isIntersecting) && unfold(), { rootMargin });
  all(".folded").forEach((glance) => near.observe(glance));
});

// Links and forms of a page that htmx swaps: each is shown to htmx when it is pressed, because to look
// at hundreds of them beforehand keeps a phone busy.

function boost(pressed) {
  if (!pressed?.closest("[hx-boost], [data-boost]")?.matches("[data-boost]")) return;
  pressed.setAttribute("hx-boost", "true");
  window.htmx?.process(pressed);
}
on("click", (event) => boost(event.target.closest?.("a")), true);
on("submit", (event) => boost(event.target), true);

// Keys. What is chosen in a row moves at once, so that the next press goes on from there however
// slow the server is; the page that comes says what is true.

const ROWS = ".strip, .cells, [data-row]";

function choose(link) {
  const row = link?.closest(ROWS);
  row?.querySelector("[aria-current]")?.removeAttribute("aria-current");
  if (row) link.setAttribute("aria-current", "true");
}
function step(query, by, around) {
  const links = all(`${query} a`);
  const here = links.findIndex((link) => link.hasAttribute("aria-current"));
  const next = here + by;
  return links[around ? (next + links.length) % links.length : here < 0 ? -1 : next];
}
function map(by) {
  unfold();
  return step(".cells", by) ?? one(`.turn [rel=${by < 0 ? "prev" : "next"}]`);
}

on("click", (event) => choose(event.target.closest?.("a")), true);
on("htmx:after:swap", (event) => {
  const { id } = event.detail.ctx.target;
  if (id === "problem") choose(all(".strip a").find(({ pathname }) => pathname === location.pathname));
  if (id !== "explorer") return;
  meet();
  if (more !== undefined && find("more")) find("more").open = more;
});
on("DOMContentLoaded", meet);

let more; // whether the reader opened or closed it

on("click", (event) => {
  const summary = event.target.closest?.("#more > summary");
  if (summary) more = !summary.parentElement.open;
});

on("keydown", (event) => {
  const { target, key } = event;
  if (event.altKey || event.ctrlKey || event.metaKey || event.isComposing) return;
  const arrow = /^Arrow(Left|Right|Up|Down)$/.test(key);
  if (target.id === "photo" && arrow) {
    event.preventDefault();
    return takeAim(key, event.shiftKey);
  }
  if (target.matches("input:not([type=image]), select, textarea, pre") || !find("explorer")) return;
  const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[key];
  const upright = key === "ArrowUp" || key === "ArrowDown";
  let link;
  if (upright ? !event.shiftKey && target.closest(".close, .cards, .cells") : arrow && event.shiftKey) link = map(by);
  else if (arrow && !upright) link = step(".strip", by);
  else if (key === "m") link = step("[data-row=method]", 1, true);
  else if (key === "s") link = step("[data-row=show]", 1, true);
  else if (key === "/") (one(".strip [aria-current]") ?? one(".strip a"))?.focus();
  else if (key === "?") find("keys")?.togglePopover();
  else return;
  event.preventDefault();
  link?.click();
});
