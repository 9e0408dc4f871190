// The card of a hit in the grid.

import { menuButton, runKey } from "./actions.js";
import { h, icon, marked, named, onPlainClick, share } from "./dom.js";
import { preview } from "./preview.js";
import * as selection from "./selection.js";
import { sideFor, thumbnail } from "./server.js";
import { clock, count, describe, folderOf, moment, multiline, nameOf, page, percent, placeOf, safe } from "./text.js";

const MISSING = 410;
const SHORT = 130; // characters of a text in large letters

export function card(record, box, view) {
  const main = h("a", { class: "main", href: `#${record.id}`, draggable: "false" });
  const item = h("li", { class: `card ${record.kind}` }, main);
  item.classList.toggle("selected", selection.has(record.id));
  item.classList.toggle("gone", Boolean(record.gone));
  main.append(...(record.kind === "text" ? passage(record) : picture(record, box)), ...badges(record));
  main.append(h("span", { class: "caption", "aria-hidden": "true" }, nameOf(record)));
  const words = record.marks ? marked(record.snippet, record.marks, multiline) : record.path_marks && named(record);
  if (words && record.kind !== "text") main.append(h("span", { class: "words" }, words));
  if (record.relevance !== undefined) main.append(relevance(record));
  item.append(checkbox(record), menuButton(record, view));
  if (record.duplicates) item.append(repeats(record, view));
  if (record.kind === "video" || record.start !== undefined) preview(item, record, main);
  onPlainClick(main, () => view(record));
  main.addEventListener("keydown", (event) => {
    if (event.key === " ") selection.toggle(record);
    else if (!runKey(event, record, view)) return;
    event.preventDefault();
  });
  return item;
}

export function picture(record, { width, height }) {
  const image = h("img", {
    alt: describe(record),
    src: thumbnail(record.id, sideFor(Math.max(width, height)), record),
    decoding: "async",
    draggable: "false",
  });
  image.addEventListener("load", () => image.classList.add("shown"));
  image.addEventListener("error", () => image.replaceWith(withoutPicture(record, image.src)));
  return [image];
}

function withoutPicture(record, source) {
  const reason = h("span", { class: "reason" }, record.gone ? "missing" : "no picture");
  fetch(source).then(async (response) => {
    if (response.status === MISSING) reason.textContent = "missing or changed";
    const answer = await response.json().catch(() => null);
    if (answer?.error) reason.title = safe(answer.error);
  }, () => {});
  return h("span", { class: "nopicture" }, icon(record.kind), h("span", null, nameOf(record)), reason);
}

function passage(record) {
  const place = placeOf(record);
  const text = record.snippet ?? "";
  return [
    h("span", { class: "place" }, icon("text"), h("span", null, named(record), place && `, ${place}`)),
    h("span", { class: text.length < SHORT ? "snippet short" : "snippet" }, marked(text, record.marks, multiline)),
  ];
}

function badges(record) {
  if (record.gone) return [h("span", { class: "badge" }, "missing")];
  if (record.kind === "document") return [h("span", { class: "badge", "aria-hidden": "true" }, icon("document"), page(record))];
  if (record.kind !== "video" && record.start === undefined) return [];
  const shown = moment(record) || (record.duration ? clock(record.duration) : "");
  const bar = record.duration ? [timeline(record)] : [];
  return [h("span", { class: "badge", "aria-hidden": "true" }, icon("play"), shown), ...bar];
}

// The moments of a video on its length; the viewer has the one that can be clicked.
function timeline(record) {
  const all = [record, ...(record.moments ?? [])].filter((each) => each.start !== undefined);
  const marks = all.map((each) => {
    const mark = share(h("i", { class: each === record ? "best" : null }), each.start / record.duration);
    mark.style.setProperty("--length", ((each.end ?? each.start) - each.start) / record.duration);
    return mark;
  });
  return h("span", { class: "timeline", "aria-hidden": "true" }, ...marks);
}

function relevance(record) {
  const bar = h("span", { class: "relevance", title: `relevance ${percent(record.relevance)}` });
  return share(bar, record.relevance);
}

function checkbox(record) {
  const box = h("input", {
    type: "checkbox",
    class: "choose",
    "aria-label": `Select ${nameOf(record)}`,
    title: `Select ${nameOf(record)} (${folderOf(record)})`,
  });
  box.checked = selection.has(record.id);
  box.addEventListener("change", () => selection.toggle(record));
  return box;
}

function repeats(record, view) {
  const label = count(record.duplicates.length, "near-duplicate");
  return h(
    "button",
    { type: "button", class: "repeats", title: label, onclick: () => view(record, false) },
    icon("copies"),
    h("span", { "aria-hidden": "true" }, `+${record.duplicates.length}`),
    h("span", { class: "hidden" }, label),
  );
}
