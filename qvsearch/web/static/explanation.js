// Draws what `explain` says of a file, for each part of the query.

import { h, share, svg } from "./dom.js";
import { plain } from "./filters.js";
import { count, pathOf, percent, placeOf, safe } from "./text.js";

const WIDTH = 240;
const HEIGHT = 26;
const MOST_SEGMENTS = 3;

export function draw(explanation) {
  const { relevance, cut, rank, items, reason } = explanation;
  const parts = [h("h3", null, "Why")];
  if (rank !== undefined) parts.push(h("p", null, `Place ${rank} of ${count(items, "file")}.`));
  if (reason) parts.push(h("p", null, plain(reason)));
  for (const each of explanation.hidden_by ?? []) parts.push(h("p", null, `Hidden by ${plain(each)}.`));
  const folded = pathOf(explanation, "folded_into");
  if (folded) parts.push(h("p", null, `A near-duplicate of ${folded}.`));
  if (relevance !== undefined) parts.push(threshold(relevance, cut));
  for (const segment of (explanation.segments ?? []).slice(0, MOST_SEGMENTS)) parts.push(...partsOf(segment));
  return parts;
}

function threshold(relevance, cut) {
  const text = `Relevance ${percent(relevance)}; hits are shown from ${percent(cut)}.`;
  const bar = share(h("span", { class: "relevance wide", "aria-hidden": "true" }), relevance);
  bar.append(share(h("i", { class: "cut" }), cut));
  return h("div", null, h("p", null, text), bar);
}

function partsOf(segment) {
  const place = placeOf(segment);
  const head = place ? [h("h4", null, place[0].toUpperCase() + place.slice(1))] : [];
  const words = (segment.words ?? []).map(safe).join(", ");
  const own = words ? [h("p", null, `Has the words: ${words} (by these alone ${percent(segment.words_relevance)}).`)] : [];
  return [...head, ...own, ...segment.terms.map(term)];
}

function term(each) {
  const isLeftOut = each.weight < 0;
  const weight = Math.abs(each.weight) === 1 ? "" : `, weight ${Math.abs(each.weight)}`;
  const name = `${isLeftOut ? "not " : ""}${safe(each.term)}`;
  const relevance = each.relevance === undefined ? "" : `: ${percent(each.relevance)}`;
  return h(
    "figure",
    { class: "term" },
    h("figcaption", null, h("b", null, name), `${relevance}${weight}`),
    each.score === undefined ? null : scale(each),
  );
}

// The cosine of the file among those of all files of its kind: their middle, their best, and what
// unrelated queries get.
function scale({ score, best, median, spread, baseline }) {
  const known = [score, best, median - 2 * spread, baseline].filter(Number.isFinite);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const x = (value) => 4 + ((value - low) / (high - low || 1)) * (WIDTH - 8);
  const tick = (value, name, text) =>
    Number.isFinite(value)
      ? svg("line", { class: name, x1: x(value), x2: x(value), y1: 4, y2: HEIGHT - 4 }, svg("title", null, text))
      : null;
  const [left, right] = [x(median - spread), x(median + spread)];
  const usual = svg("rect", { class: "usual", x: left, y: 9, width: Math.max(right - left, 1), height: 8, rx: 2 });
  const text =
    `cosine ${score.toFixed(3)}; usual ${median.toFixed(3)} ± ${spread.toFixed(3)}; ` +
    `best ${best.toFixed(3)}; with unrelated queries ${baseline.toFixed(3)}`;
  return h(
    "div",
    null,
    svg(
      "svg",
      { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", "aria-label": text },
      svg("line", { class: "axis", x1: 0, x2: WIDTH, y1: HEIGHT / 2, y2: HEIGHT / 2 }),
      usual,
      tick(baseline, "baseline", "with unrelated queries"),
      tick(best, "best", "the best of all files"),
      svg("circle", { class: "here", cx: x(score), cy: HEIGHT / 2, r: 5 }, svg("title", null, "this file")),
    ),
    h("p", { class: "quiet" }, text),
  );
}
