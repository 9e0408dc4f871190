// A pill for each field of the libraries, which opens its choices.

import * as address from "./address.js";
import { $, button, h, icon, showBelow } from "./dom.js";
import { clock, count, kindName, languageName, safe } from "./text.js";

const SIZES = [["640x480", "0.3 MP"], ["1280x720", "HD"], ["1920x1080", "Full HD"], ["3840x2160", "4K"]];
const LENGTHS = [["-10s", "up to 10 s"], ["10s-1m", "10 s to 1 min"], ["1m-10m", "1 to 10 min"], ["10m", "10 min or more"]];
export const ORDERS = { relevance: "best first", date: "newest first", path: "by path" };
const STARS = ["1", "2", "3", "4", "5"].map((each) => [each, "★".repeat(Number(each))]);
const ONLY = "exact words only";
const MOST_VALUES = 40;
const MOST_YEARS = 12;

let fields = {}; // records of fields by their names, of all libraries

const joined = (one = {}, other = {}) => {
  const values = { ...one };
  for (const [name, number] of Object.entries(other)) values[name] = (values[name] ?? 0) + number;
  return values;
};

export function use(records) {
  fields = {};
  for (const record of records) {
    for (const [name, field] of Object.entries(record.fields)) {
      const known = fields[name] ?? { values: {}, files: 0, ends: [] };
      fields[name] = {
        files: known.files + field.files,
        values: joined(known.values, field.values),
        ends: [...known.ends, field.least, field.most].filter((each) => each !== undefined),
      };
    }
  }
}

const PILLS = [
  { name: "words_only", field: "kind", label: "Exact words", show: () => ONLY, body: () => [quick("words_only", [["1", ONLY]])] },
  { name: "kind", field: "kind", label: "Kind", show: (v) => kindName(v), body: () => many("kind", fields.kind.values, kindName) },
  { name: "under", field: "path", label: "Folder", show: lastFolder, body: folders },
  { name: "after", field: "taken", label: "Date", names: ["after", "before"], show: (v, n) => `${n} ${v}`, body: dates },
  { name: "camera", field: "camera", label: "Camera" },
  { name: "near", field: "place", label: "Place", show: (v) => `near ${v}`, body: place },
  { name: "place", field: "city", label: "City or country", body: cities },
  { name: "min_size", field: "size", label: "Size", show: (v) => `from ${v}`, body: sizes },
  { name: "duration", field: "duration", label: "Length", body: lengths },
  { name: "orientation", field: "orientation", label: "Shape" },
  { name: "suffix", field: "suffix", label: "Suffix", body: () => many("suffix", fields.suffix.values) },
  { name: "language", field: "language", label: "Language", show: languageName },
  { name: "keyword", field: "keyword", label: "Keyword", body: () => many("keyword", fields.keyword.values) },
  { name: "rating", field: "rating", label: "Rating", show: (v) => `${v} stars or more`, body: () => [quick("rating", STARS)] },
  { name: "author", field: "author", label: "Author" },
  { name: "title", field: "title", label: "Title", show: (v) => `title: ${v}`, body: () => part("title", "Part of the title") },
  { name: "page", field: "page", label: "Page", show: (v) => `page ${v}`, body: () => part("page", "Page of a document", "12 or 3-8") },
  { name: "glob", field: "path", label: "Path pattern", body: patterns },
  { name: "sort", field: "kind", label: "Order", show: (v) => ORDERS[v] ?? v, body: orders },
];

const OTHERS = {
  min_relevance: (value) => `relevance from ${value}`,
  meaning_only: () => "meaning only",
};

export function labelOf(name) {
  const pill = PILLS.find((each) => (each.names ?? [each.name]).includes(name));
  return { show: OTHERS[name] ?? ((value) => value), ...pill };
}

// Errors name the options of the command line.
export const plain = (text) =>
  safe(text)
    .replace(/; see --[\w-]+/g, "")
    .replace(/--([a-z-]+)/g, (all, name) => labelOf(name.replaceAll("-", "_")).label ?? (address.QUERY.includes(name) ? name : all));

export const pill = (label, body, name = label) =>
  h(
    "button",
    { type: "button", class: "pill", "aria-haspopup": "dialog", onclick: (event) => open(event.currentTarget, name, body()) },
    label,
    icon("down"),
  );

export const pills = () =>
  PILLS.filter(({ field }) => fields[field]?.files).map(({ name, field, label, body }) =>
    pill(label, body ?? (() => one(name, fields[field].values))));

function open(opener, label, body) {
  const popover = $("choices");
  popover.setAttribute("aria-label", label);
  popover.replaceChildren(...body);
  popover.ontoggle = (event) => {
    const isLost = document.activeElement === document.body || popover.contains(document.activeElement);
    if (event.newState === "closed" && isLost) opener.focus();
  };
  showBelow(popover, opener);
  popover.querySelector("input, button, select")?.focus();
}

function done(change) {
  $("choices").hidePopover();
  change();
}

function choices(entries) {
  return h("div", { class: "list" }, ...entries);
}

const row = (input, text, number) =>
  h("label", { class: "choice" }, input, h("span", null, safe(text)), h("small", null, number.toLocaleString()));

function many(name, values, shown = (value) => value) {
  const present = address.query().getAll(name);
  const boxes = Object.entries(values).slice(0, MOST_VALUES).map(([value, number]) => {
    const box = h("input", { type: "checkbox", value });
    box.checked = present.includes(value);
    box.addEventListener("change", () => address.setAll(name, boxes.map(([each]) => each).filter((each) => each.checked).map((each) => each.value)));
    return [box, row(box, shown(value), number)];
  });
  return [choices(boxes.map(([, label]) => label))];
}

function one(name, values) {
  const entries = Object.entries(values).slice(0, MOST_VALUES).map(([value, number]) =>
    h(
      "button",
      {
        type: "button",
        class: "choice",
        "aria-pressed": String(address.query().get(name) === value),
        onclick: () => done(() => address.set(name, value)),
      },
      h("span", null, safe(value)),
      h("small", null, number.toLocaleString()),
    ),
  );
  return [choices(entries)];
}

export function line(label, example, apply, value = "") {
  const input = h("input", { type: "text", name: "value", placeholder: example, value, autocomplete: "off", "aria-label": label });
  const form = h("form", { class: "line" }, input, h("button", { type: "submit" }, "Set"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    done(() => apply(input.value.trim()));
  });
  return form;
}

const quick = (name, entries) => {
  const present = address.query().get(name);
  return h(
    "div",
    { class: "quick" },
    ...entries.map(([value, text]) =>
      button(text, { "aria-pressed": String(present === value), onclick: () => done(() => address.set(name, value)) }),
    ),
  );
};

function lastFolder(path) {
  return safe(path.replace(/\/+$/, "").split("/").pop() || path);
}

function folders() {
  return [
    ...many("under", fields.path.values),
    line("A folder or file", "/home/me/Photos/2023", (text) => address.add("under", text)),
  ];
}

function patterns() {
  return [
    h("p", { class: "quiet" }, "Files whose path fits, e.g. **/2023/*.jpg"),
    line("Pattern for paths", "**/2023/*.jpg", (text) => address.add("glob", text)),
  ];
}

function dates() {
  const [first, last] = [fields.taken.ends[0], fields.taken.ends.at(-1)].map((each) => Number(String(each).slice(0, 4)));
  const years = [];
  for (let year = last; year >= first && years.length < MOST_YEARS; year -= 1) years.push(year);
  const span = (year) => () =>
    done(() => address.go((params) => (params.set("after", String(year)), params.set("before", String(year + 1)))));
  const present = address.query();
  const [after, before] = ["after", "before"].map((name) =>
    h("input", { type: "date", name, value: /^\d{4}-\d\d-\d\d$/.test(present.get(name) ?? "") ? present.get(name) : "" }),
  );
  const form = h(
    "form",
    { class: "dates" },
    h("label", null, "From", after),
    h("label", null, "Before", before),
    h("button", { type: "submit" }, "Set"),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    done(() =>
      address.go((params) => {
        for (const input of [after, before]) {
          if (input.value) params.set(input.name, input.value);
          else params.delete(input.name);
        }
      }),
    );
  });
  const quickly = years.map((year) => button(String(year), { onclick: span(year) }));
  return [h("div", { class: "quick" }, ...quickly), form];
}

function place() {
  const corners = fields.place.ends;
  const middle = [0, 1].map((axis) => (Math.min(...corners.map((each) => each[axis])) + Math.max(...corners.map((each) => each[axis]))) / 2);
  const example = `${middle.map((each) => each.toFixed(2)).join(",")},5`;
  return [
    h("p", { class: "quiet" }, `Degrees north, degrees east, and kilometres. ${count(fields.place.files, "file has", "files have")} a place. “Near here” of a picture sets it too.`),
    line("Place", example, (text) => address.set("near", text), address.query().get("near") ?? ""),
  ];
}

const part = (name, label, example = "") =>
  [line(label, example, (text) => address.set(name, text), address.query().get(name) ?? "")];

function cities() {
  return [...one("place", { ...fields.country.values, ...fields.city.values }), ...part("place", "City, region or country", "Vienna")];
}

function orders() {
  const possible = Object.entries(ORDERS).filter(([value]) => value !== "relevance" || address.hasQuery());
  return [quick("sort", possible)];
}

function sizes() {
  return [
    quick("min_size", SIZES.map(([value, text]) => [value, `${text} (${value.replace("x", " × ")})`])),
    line("Least width and height", "1920x1080", (text) => address.set("min_size", text), address.query().get("min_size") ?? ""),
  ];
}

function lengths() {
  const longest = Math.max(...fields.duration.ends);
  return [
    h("p", { class: "quiet" }, `The longest video has ${clock(longest)}.`),
    quick("duration", LENGTHS),
    line("Length", "10s-2m", (text) => address.set("duration", text), address.query().get("duration") ?? ""),
  ];
}
