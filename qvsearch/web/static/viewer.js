// One hit as large as the window: picture, moments, passage, and all about it.

import * as address from "./address.js";
import { possible, runKey } from "./actions.js";
import { details, duplicates } from "./details.js";
import { $, button, h, icon, marked, problem, reducesMotion, share, withWords, wordsOf } from "./dom.js";
import { draw as drawExplanation } from "./explanation.js";
import { keepWithin } from "./preview.js";
import * as server from "./server.js";
import * as selection from "./selection.js";
import { clock, describe, moment, multiline, nameOf, page, pathOf, percent, placeOf, safe } from "./text.js";

const LARGE = 1280; // pixels of the largest picture that the server makes
const NARROW = 0.09; // share of a video's length below which the times of a moment have no room
const SHOWN_BY_BROWSERS = /\.(jpe?g|png|webp|gif|avif)$/i;

let grid = null; // whose results Left and Right go through
let index = -1;
let record = null;
let shown = 0; // counts what was shown, so that late answers are known

const dialog = $("viewer");

export function begin(owner) {
  grid = owner;
  dialog.addEventListener("cancel", (event) => {
    event.preventDefault();
    close();
  });
  dialog.addEventListener("keydown", pressed);
  addEventListener("popstate", follow);
  follow();
}

export function view(next, withReason = false) {
  history.pushState({ isViewer: true }, "", `#${next.id}`);
  show(next, withReason);
}

async function follow() {
  const id = decodeURIComponent(location.hash.slice(1));
  if (!/^[0-9a-f]{17,64}$/.test(id)) return hide();
  if (dialog.open && record?.id === id) return undefined;
  const place = grid?.results?.indexOf(id) ?? -1;
  try {
    return show(place >= 0 ? await grid.results.fetched(place) : await server.itemRecord(id));
  } catch (error) {
    return failed(error.message);
  }
}

function failed(message) {
  if (!dialog.open) dialog.showModal();
  $("stage").replaceChildren(problem(safe(message)));
  $("about").replaceChildren(button("Close", { name: "close", text: "Close", onclick: close }));
}

export function close() {
  if (history.state?.isViewer) history.back();
  else {
    history.replaceState(null, "", location.pathname + location.search);
    hide();
  }
}

function hide() {
  if (!dialog.open) return;
  shown += 1;
  $("stage").replaceChildren(); // ends a video
  dialog.close();
  document.documentElement.classList.remove("viewing");
  if (index >= 0) grid?.focus(index);
  record = null;
}

async function step(by) {
  if (index < 0) return;
  const number = shown;
  const next = index + by < 0 ? null : await grid.results.fetched(index + by).catch(() => null);
  if (!next || number !== shown) return;
  history.replaceState(history.state, "", `#${next.id}`);
  show(next);
}

const withPlace = (next) => (next.segments ? { ...next.segments[0], ...next, moments: next.segments.slice(1) } : next);

function show(next, withReason = false) {
  record = withPlace(next);
  shown += 1;
  index = grid?.results?.indexOf(record.id) ?? -1;
  if (!dialog.open) dialog.showModal();
  document.documentElement.classList.add("viewing");
  dialog.setAttribute("aria-label", describe(record));
  const stage = { image: photo, video, text, document: pages }[record.kind];
  $("stage").replaceChildren(...stage(record));
  about(record);
  $("previous").hidden = index < 1;
  $("next").hidden = index < 0 || (grid.results.isWhole && index + 1 >= grid.results.count);
  $("stage").focus();
  if (withReason) explain();
  for (const near of [index + 1, index - 1]) prefetch(near);
}

function prefetch(near) {
  if (near < 0 || index < 0 || near >= grid.results.count) return;
  const other = grid.results.hit(near, () => {});
  if (other?.kind === "image" || other?.kind === "document") new Image().src = server.thumbnail(other.id, LARGE, other);
}

function about(next) {
  const number = shown;
  const actions = possible().map((action) =>
    button(action.label, {
      name: action.icon,
      text: action.label,
      title: `${action.label} (${action.key})`,
      "aria-pressed": action.isOn ? String(action.isOn(next)) : null,
      onclick: () => action.run(record, () => explain()),
    }),
  );
  const head = [h("h2", null, nameOf(next)), h("p", { class: "path" }, pathOf(next))];
  const sure = next.relevance ?? 0;
  const bar = share(h("span", { class: "relevance", "aria-hidden": "true" }), sure);
  const relevance = h("p", { class: "measure" }, `relevance ${percent(sure)}`, bar);
  const reason = h("section", { id: "reason", "aria-live": "polite" });
  const repeats = h("section", { id: "repeats" });
  const facts = details(next);
  $("about").replaceChildren(
    ...head,
    ...(next.relevance === undefined ? [] : [relevance]),
    h("div", { class: "actions" }, ...actions),
    ...(next.snippet && next.kind !== "text" ? [h("blockquote", null, marked(next.snippet, next.marks, multiline))] : []),
    reason,
    facts,
    repeats,
  );
  const draw = (whole) => number === shown && repeats.replaceChildren(...duplicates(whole));
  draw(next);
  if (!next.duplicates && next.latitude === undefined) return;
  // the item has more than the hit: its duplicates, and the name of its place
  server.itemRecord(next.id).then((whole) => {
    draw({ ...next, ...whole });
    if (number === shown && !facts.contains(document.activeElement)) facts.replaceWith(details({ ...whole, ...next }));
  }, () => {});
}

function press(buttons, one) {
  for (const each of buttons) each.setAttribute("aria-pressed", each === one);
}

const group = (label, choices) => h("div", { class: "quick", role: "group", "aria-label": label }, ...choices);

async function explain() {
  const number = shown;
  const section = $("reason");
  section.replaceChildren(h("p", { class: "quiet" }, "Asking why…"));
  section.scrollIntoView({ block: "nearest", behavior: reducesMotion() ? "instant" : "smooth" });
  try {
    const answer = await server.explanation(record.id, address.query());
    if (number === shown) section.replaceChildren(...drawExplanation(answer));
  } catch (error) {
    if (number === shown) section.replaceChildren(h("p", { class: "problem" }, safe(error.message)));
  }
}

// A motion photo is shown as it was found: as picture or film.
function photo(next) {
  if (next.duration === undefined) return picture(next);
  const first = Number(next.start !== undefined);
  const still = { ...next, start: undefined, end: undefined };
  const film = first ? next : { ...next, start: 0, end: next.duration };
  const stages = [() => [h("div", { class: "screen" }, picture(still))], () => video(film)];
  const turn = (place) => {
    press(choices, choices[place]);
    while (bar.previousSibling) bar.previousSibling.remove();
    bar.before(...stages[place]());
  };
  const choices = ["Picture", "Film"].map((name, place) => button(name, { onclick: () => turn(place) }));
  press(choices, choices[first]);
  const bar = group("Parts of this photo", choices);
  return [...stages[first](), bar];
}

function picture(next) {
  const number = shown;
  const image = h("img", { alt: describe(next), src: server.thumbnail(next.id, 320, next), class: "blurred" });
  const use = (source) => {
    const better = new Image();
    better.addEventListener("load", () => {
      if (number !== shown) return;
      image.src = source;
      image.classList.remove("blurred");
      image.classList.toggle("small", better.naturalWidth < 640);
      const isSmall = Math.max(next.width ?? 0, next.height ?? 0) <= LARGE;
      if (source.includes("thumbnail") && !isSmall && SHOWN_BY_BROWSERS.test(nameOf(next)) && isLarge()) {
        use(server.fileAddress(next.id));
      }
    });
    better.addEventListener("error", () => {
      if (number === shown && source.includes("thumbnail")) missing(next, source, image);
    });
    better.src = source;
  };
  use(server.thumbnail(next.id, LARGE, next));
  return [image];
}

const isLarge = () => Math.max($("stage").clientWidth, $("stage").clientHeight) * devicePixelRatio > LARGE;

async function missing(next, source, image) {
  const number = shown;
  const response = await fetch(source).catch(() => null);
  const answer = await response?.json().catch(() => null);
  const reason = answer?.error ?? "There is no picture of this file.";
  if (number !== shown) return;
  image.replaceWith(problem(icon(next.kind), h("span", null, safe(reason))));
}

function video(next) {
  const poster = server.thumbnail(next.id, LARGE, next);
  const screen = h("div", { class: "screen" });
  const note = h("p", { class: "note", role: "status" });
  const play = (at) => {
    const player = h("video", {
      controls: true,
      playsinline: true,
      poster,
      src: server.playAddress(next.id, at) + (at.start ? `#t=${at.start}` : ""),
      "aria-label": describe(next),
    });
    const span = keepWithin(player, at);
    player.addEventListener("loadedmetadata", () => {
      const isAll = next.kind === "image" || span.isWhole() || next.duration <= (at.end ?? 0) - at.start + 1;
      note.textContent = isAll ? "" : `Only ${moment(at)}, made for this browser. “Open” plays all.`;
    });
    player.addEventListener("error", () => stills(next, at, screen, note), { once: true });
    screen.replaceChildren(player);
    if (!reducesMotion()) player.play().catch(() => {});
  };
  const first = next.start === undefined ? { start: 0, end: Math.min(next.duration ?? 30, 30) } : next;
  play(first);
  const bar = moments(next, play);
  if (next.start === undefined) {
    // without a query the hit has no moments, but the file has
    server.itemRecord(next.id).then((whole) => bar.replaceWith(moments(withPlace(whole), play)), () => {});
  }
  return [screen, note, bar];
}

// The picture of a page, never the document: its scripts and links do not reach this page.
function pages(next) {
  const sheet = h("div", { class: "screen" });
  const found = [next, ...(next.moments ?? [])].filter((each) => each.relevance !== undefined);
  const hits = found.sort((one, other) => one.page - other.page);
  const label = h("span", { role: "status" });
  const choices = hits.map((at) =>
    button(`${page(at)}, relevance ${percent(at.relevance)}`, { text: page(at), onclick: () => turn(at.page) }),
  );
  const isThere = (number) => number >= 1 && (next.pages === undefined || number <= next.pages);
  const turn = (to) => {
    if (!isThere(to)) return;
    record = { ...next, page: to }; // so that “Open” opens this page
    const at = hits.find((each) => each.page === to);
    sheet.replaceChildren(...picture({ ...record, relevance: at?.relevance }));
    label.textContent = next.pages ? `page ${to} of ${next.pages}` : `page ${to}`;
    back.setAttribute("aria-disabled", !isThere(to - 1));
    on.setAttribute("aria-disabled", !isThere(to + 1));
    press(choices, choices[hits.indexOf(at)]);
  };
  const back = button("Previous page (Page Up)", { name: "left", "data-turns": "PageUp", onclick: () => turn(record.page - 1) });
  const on = button("Next page (Page Down)", { name: "right", "data-turns": "PageDown", onclick: () => turn(record.page + 1) });
  turn(next.page ?? 1);
  const bar = h("div", { class: "turning" }, back, label, on);
  if (choices.length < 2) return [sheet, bar];
  return [sheet, bar, group("Pages that fit", choices)];
}

function stills(next, at, screen, note) {
  const { start = 0, end = start + 8 } = at;
  const images = [0, 0.25, 0.5, 0.75].map((part) => {
    const time = start + (end - start) * part;
    return h("img", {
      alt: `still at ${clock(time)}`,
      src: server.thumbnail(next.id, 640, { start: time, end }),
    });
  });
  screen.replaceChildren(h("div", { class: "stills" }, ...images));
  const opens = next.kind === "video" ? " “Open” plays it in another program." : "";
  note.textContent = `This browser cannot play the video.${opens}`;
}

function moments(next, play) {
  const all = [next, ...(next.moments ?? [])].filter((each) => each.start !== undefined);
  all.sort((one, other) => one.start - other.start);
  const length = next.duration ?? Math.max(1, ...all.map((each) => each.end ?? each.start));
  const marks = all.map((each) => {
    const label = `${moment(each)}${each.relevance === undefined ? "" : `, relevance ${percent(each.relevance)}`}`;
    const part = ((each.end ?? each.start) - each.start) / length;
    const mark = button(label, {
      text: moment(each),
      class: part < NARROW && "narrow",
      onclick: () => {
        press(marks, mark);
        play(each);
      },
    });
    share(mark, each.start / length).style.setProperty("--length", part);
    mark.style.setProperty("--strength", 0.35 + 0.65 * (each.relevance ?? 1));
    return mark;
  });
  press(marks, marks[all.indexOf(next)]);
  return h("div", { class: "moments", role: "group", "aria-label": "Moments" }, ...marks);
}

function text(next) {
  const sheet = h("div", { class: "sheet", tabindex: "0" }, marked(next.snippet ?? "", next.marks, multiline));
  const places = [next, ...(next.moments ?? [])].filter((each) => each.lines || each.section !== undefined);
  const read = (at) => {
    press(choices, choices[places.indexOf(at)]);
    passage(next, at, sheet);
  };
  const choices = places.map((at) => button(placeOf(at), { onclick: () => read(at) }));
  read(next);
  return choices.length < 2 ? [sheet] : [sheet, group("Passages", choices)];
}

function passage(next, at, sheet) {
  const number = shown;
  const [first, last] = at.lines ?? [1, 1];
  const words = wordsOf(next);
  const shownLine = (line) => (line ? withWords(line, words, safe) : [" "]);
  server.passage(next.id, at.section === undefined ? { line: first } : { section: at.section }).then(
    (answer) => {
      if (number !== shown) return;
      const start = answer.lines?.[0];
      const rows = answer.text.replace(/\n$/, "").split("\n").map((text, place) => {
        if (start === undefined) return h("div", { class: "line" }, shownLine(text));
        const line = start + place;
        const isHit = line >= first && line <= last;
        const parts = [h("span", { class: "number", "aria-hidden": "true" }, line), ...shownLine(text)];
        return h(isHit ? "mark" : "div", { class: "line" }, ...parts);
      });
      sheet.replaceChildren(h("p", { class: "place" }, `${nameOf(next)}, ${placeOf(at) || "line 1"}`), ...rows);
      sheet.querySelector("mark")?.scrollIntoView({ block: "center" });
    },
    (error) => number === shown && sheet.append(h("p", { class: "problem" }, safe(error.message))),
  );
}

function pressed(event) {
  const isTyping = event.target.matches("input, textarea, video");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowLeft" || event.key === "ArrowRight") step(event.key === "ArrowLeft" ? -1 : 1);
  else if (event.key === " " && event.target.matches("#stage")) togglePlay();
  else if (turner(event.key)) turner(event.key).click();
  else if (event.key === "i") dialog.classList.toggle("bare");
  else if (!record || !runKey(event, record, () => explain())) return;
  event.preventDefault();
}

const turner = (key) => $("stage").querySelector(`[data-turns="${CSS.escape(key)}"]`);

function togglePlay() {
  const player = $("stage").querySelector("video");
  if (player?.paused) player.play().catch(() => {});
  else player?.pause();
}

selection.onChange(() => record && dialog.open && about(record));
$("previous").addEventListener("click", () => step(-1));
$("next").addEventListener("click", () => step(1));
$("leave").addEventListener("click", close);
$("panel").addEventListener("click", () => dialog.classList.toggle("bare"));
