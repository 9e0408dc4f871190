// Builds elements. Data only ever becomes text or an attribute, never markup.

import { nameOf, safe } from "./text.js";

const SVG = "http://www.w3.org/2000/svg";

export const $ = (id) => document.getElementById(id);

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((each) => each !== null && each !== undefined));
  return element;
}

export function h(tag, attributes, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

export function marked(text, marks, shown) {
  const characters = Array.from(text);
  const ends = [...(marks ?? []), [characters.length, characters.length]];
  return ends.flatMap(([start, end], place) => [
    shown(characters.slice(place ? ends[place - 1][1] : 0, start).join("")),
    start < end ? h("mark", null, shown(characters.slice(start, end).join(""))) : null,
  ]);
}

export function withWords(text, words, shown) {
  if (!words.length) return [shown(text)];
  const whole = words.map((each) => (APART.test(each) ? `(?<![\\p{L}\\p{N}])${escaped(each)}(?![\\p{L}\\p{N}])` : escaped(each)));
  const marks = [...text.matchAll(new RegExp(whole.join("|"), "giu"))].map((found) =>
    [found.index, found.index + found[0].length].map((end) => Array.from(text.slice(0, end)).length));
  return marked(text, marks, shown);
}

const APART = /^[\p{sc=Latin}\p{sc=Greek}\p{sc=Cyrillic}\p{N}]+$/u; // scripts with spaces between words
const escaped = (text) => text.replace(/[\\^$.*+?()[\]{}|/]/g, "\\$&");

export function wordsOf({ snippet, marks }) {
  const characters = Array.from(snippet ?? "");
  return [...new Set((marks ?? []).map(([start, end]) => characters.slice(start, end).join("")))];
}

// The name of a file, from the first folder on that has words of the query.
export function named(record) {
  const { path, path_marks: marks } = record;
  if (!marks) return [nameOf(record)];
  return withWords(path.slice(path.lastIndexOf("/", marks[0][0]) + 1), wordsOf({ snippet: path, marks }), safe);
}

// Other clicks open a link in another tab or window.
export function onPlainClick(link, run) {
  link.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    run();
  });
}

export const problem = (...parts) => h("p", { class: "problem", role: "alert" }, ...parts);

export function svg(tag, attributes, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

export function icon(name) {
  return svg("svg", { class: "icon", "aria-hidden": "true" }, svg("use", { href: `#i-${name}` }));
}

export function button(label, { name, text = "", ...attributes }) {
  const shown = text || label;
  const title = attributes.title ?? label;
  return h(
    "button",
    { type: "button", ...attributes, title, "aria-label": text && text !== label ? label : null },
    name ? icon(name) : null,
    h("span", { class: name && !text ? "hidden" : null }, shown),
  );
}

// The Content-Security-Policy forbids style attributes, not these properties.
export function place(element, { x, y, width, height }) {
  element.style.transform = `translate(${x}px, ${y}px)`;
  element.style.width = `${width}px`;
  element.style.height = `${height}px`;
}

export function share(element, value) {
  element.style.setProperty("--share", value);
  return element;
}

export function reducesMotion() {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}

export function showBelow(popover, anchor) {
  popover.showPopover();
  const at = anchor.getBoundingClientRect();
  const { width, height } = popover.getBoundingClientRect();
  const left = Math.max(8, Math.min(at.left, innerWidth - width - 8));
  const fits = at.bottom + 6 + height < innerHeight || at.top < height;
  const top = fits ? Math.min(at.bottom + 6, Math.max(8, innerHeight - height - 8)) : at.top - height - 6;
  popover.style.left = `${left}px`;
  popover.style.top = `${top}px`;
}

// Names the page; that of a search has its words in the box.
export function entitle(text) {
  $("title").textContent = text;
  $("title").className = "title";
  document.title = `${text} qvsearch`;
}

let fading = 0;

export function say(text, isError = false) {
  const toast = $("toast");
  toast.textContent = text;
  toast.className = isError ? "toast shown bad" : "toast shown";
  clearTimeout(fading);
  fading = setTimeout(() => toast.classList.remove("shown"), isError ? 8000 : 3000);
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // pages without https have only this way
    const area = h("textarea", { class: "hidden", "aria-hidden": "true" });
    (document.querySelector("dialog[open]") ?? document.body).append(area);
    area.value = text;
    area.select();
    const isDone = document.execCommand("copy");
    area.remove();
    if (!isDone) return say("the browser does not let pages copy here", true);
  }
  return say(`${what} copied`);
}

export function download(name, text) {
  const address = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  h("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 60000);
}
