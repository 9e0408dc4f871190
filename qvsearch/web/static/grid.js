// A justified grid: rows as wide as the page, in the order of the ranking. Only the rows near the
// window are elements, however many hits there are.

import { h, place, reducesMotion } from "./dom.js";

const GAP = 4;
const AHEAD = 1.5; // windows of rows that are elements above and below
const STEPS = { ArrowLeft: -1, ArrowRight: 1 };

function reach(card, isReached) {
  for (const each of card?.querySelectorAll("a, button, input") ?? []) each.tabIndex = isReached ? 0 : -1;
}

export class Grid {
  #list;
  #makeCard;
  #failed;
  #results = null;
  #rows = [];
  #cards = new Map(); // index of a hit to its element
  #width = 0;
  #isDrawing = false;
  #loading = null; // the results whose next page is being fetched
  current = 0; // the hit that Tab reaches

  constructor(list, makeCard, failed) {
    this.#list = list;
    this.#makeCard = makeCard;
    this.#failed = failed;
    addEventListener("scroll", () => this.#soon(), { passive: true });
    new ResizeObserver(() => this.#resized()).observe(list.parentElement);
    list.addEventListener("keydown", (event) => this.#moved(event));
    list.addEventListener("focusin", (event) => {
      const index = Number(event.target.closest("li")?.dataset.index);
      if (Number.isInteger(index)) this.#setCurrent(index);
    });
  }

  get results() {
    return this.#results;
  }

  show(results) {
    this.#results = results;
    this.#rows = [];
    for (const card of this.#cards.values()) card.remove();
    this.#cards.clear();
    this.current = 0;
    this.#width = this.#list.clientWidth;
    this.#layOut();
    this.#draw();
  }

  redraw(index) {
    const old = this.#cards.get(index);
    if (!old) return;
    const hadFocus = old.contains(document.activeElement);
    old.remove();
    this.#cards.delete(index);
    this.#draw();
    if (hadFocus) this.focus(index);
  }

  redrawAll() {
    for (const index of [...this.#cards.keys()]) this.redraw(index);
  }

  focus(index) {
    if (!this.#results || index < 0 || index >= this.#results.count) return;
    this.#setCurrent(index);
    const row = this.#rows[this.#rowOf(index)];
    this.#scrollTo(row);
    this.#draw();
    this.#cards.get(index)?.querySelector(".main")?.focus({ preventScroll: true });
  }

  #setCurrent(index) {
    if (index === this.current) return;
    reach(this.#cards.get(this.current), false);
    this.current = index;
    reach(this.#cards.get(index), true);
  }

  #scrollTo(row, isFirst = false) {
    const top = this.#list.getBoundingClientRect().top + row.top;
    const head = document.querySelector(".head").getBoundingClientRect().bottom + GAP;
    const foot = innerHeight - 12;
    const least = top < head ? top - head : Math.max(0, Math.min(top + row.height - foot, top - head));
    const by = isFirst ? top - head : least;
    if (by) scrollBy({ top: by, behavior: reducesMotion() ? "instant" : "auto" });
  }

  get #rowHeight() {
    return Math.min(Math.max(110 + this.#width * 0.075, 120), 360);
  }

  #layOut() {
    if (this.#rows.length) this.#rows.pop(); // the last one may not have been full
    const { shapes, isWhole } = this.#results;
    const before = this.#rows.at(-1);
    let first = before ? before.end : 0;
    let top = before ? before.top + before.height + GAP : 0;
    let total = 0;
    const close = (end, height) => {
      this.#rows.push({ top, height, first, end });
      [first, top, total] = [end, top + height + GAP, 0];
    };
    for (let index = first; index < shapes.length; index += 1) {
      total += shapes[index];
      const height = (this.#width - GAP * (index - first)) / total;
      if (height <= this.#rowHeight * 1.12) close(index + 1, Math.min(height, this.#rowHeight * 1.5));
    }
    if (first < shapes.length) close(shapes.length, this.#rowHeight);
    const isFull = this.#rows.length > 0;
    this.#list.style.height = isFull ? `${top - GAP}px` : "0";
    this.#list.setAttribute("aria-busy", !isWhole);
  }

  #resized() {
    if (!this.#results || this.#list.clientWidth === this.#width) return;
    const anchor = this.#rows[this.#firstSeen()]?.first ?? 0;
    const isScrolled = this.#list.getBoundingClientRect().top < 0;
    this.#width = this.#list.clientWidth;
    this.#rows = [];
    for (const card of this.#cards.values()) card.remove();
    this.#cards.clear();
    this.#layOut();
    if (isScrolled) this.#scrollTo(this.#rows[this.#rowOf(anchor)], true);
    this.#draw();
  }

  #rowOf(index) {
    let [low, high] = [0, this.#rows.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#rows[middle].first <= index) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  #rowAt(y) {
    let [low, high] = [0, this.#rows.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#rows[middle].top + this.#rows[middle].height < y) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #firstSeen() {
    return this.#rowAt(-this.#list.getBoundingClientRect().top);
  }

  #soon() {
    if (this.#isDrawing || !this.#results) return;
    this.#isDrawing = true;
    requestAnimationFrame(() => {
      this.#isDrawing = false;
      this.#draw();
    });
  }

  #draw() {
    const above = -this.#list.getBoundingClientRect().top;
    const rows = [];
    for (let number = this.#rowAt(above - AHEAD * innerHeight); number < this.#rows.length; number += 1) {
      if (this.#rows[number].top > above + (1 + AHEAD) * innerHeight) break;
      rows.push(this.#rows[number]);
    }
    const own = this.#rows[this.#rowOf(this.current)];
    if (own && !rows.includes(own)) rows.push(own); // the focus must not be lost by scrolling
    const seen = new Set();
    for (const row of rows) this.#drawRow(row, seen);
    for (const [index, card] of this.#cards) {
      if (seen.has(index)) continue;
      card.remove();
      this.#cards.delete(index);
    }
    this.#loadMore(above);
  }

  #drawRow(row, seen) {
    let x = 0;
    for (let index = row.first; index < row.end; index += 1) {
      const width = this.#results.shapes[index] * row.height;
      const box = { x, y: row.top, width, height: row.height };
      x += width + GAP;
      seen.add(index);
      const card = this.#cards.get(index) ?? this.#newCard(index, box);
      place(card, box);
    }
  }

  #newCard(index, box) {
    const results = this.#results;
    const record = results.hit(index, () => {
      if (results === this.#results && this.#cards.get(index)?.matches(".empty")) this.redraw(index);
    });
    const card = record ? this.#makeCard(record, index, box) : h("li", { class: "card empty" });
    card.dataset.index = index;
    card.setAttribute("aria-posinset", index + 1);
    card.setAttribute("aria-setsize", results.isWhole ? results.count : -1);
    reach(card, index === this.current);
    this.#cards.set(index, card);
    // ranked, as screen readers go by the order of elements
    const next = [...this.#list.children].find((each) => Number(each.dataset.index) > index);
    this.#list.insertBefore(card, next ?? null);
    return card;
  }

  async #loadMore(above) {
    const end = this.#rows.at(-1);
    const results = this.#results;
    if (this.#loading === results || results.isWhole) return;
    if (end && end.top > above + 3 * innerHeight) return;
    this.#loading = results;
    try {
      await results.more();
    } catch (error) {
      if (error.name !== "AbortError") this.#failed(error);
      return;
    } finally {
      if (this.#loading === results) this.#loading = null;
    }
    if (results !== this.#results) return;
    this.#layOut();
    this.#draw();
  }

  #moved(event) {
    if (!event.target.matches(".main") || event.ctrlKey || event.metaKey || event.altKey) return;
    const index = this.#next(event.key);
    if (index === null) return;
    event.preventDefault();
    this.focus(index);
  }

  #next(key) {
    if (key in STEPS) return this.current + STEPS[key];
    if (key === "Home") return 0;
    if (key === "End") return this.#results.count - 1;
    const by = { ArrowUp: -1, ArrowDown: 1, PageUp: -3, PageDown: 3 }[key];
    if (!by) return null;
    const here = this.#rowOf(this.current);
    const row = this.#rows[Math.min(Math.max(here + by, 0), this.#rows.length - 1)];
    if (row === this.#rows[here]) return null;
    return this.#nearest(row, this.#middle(this.#rows[here], this.current));
  }

  #middle(row, index) {
    let x = 0;
    for (let each = row.first; each < index; each += 1) x += this.#results.shapes[each] * row.height + GAP;
    return x + (this.#results.shapes[index] * row.height) / 2;
  }

  #nearest(row, x) {
    let best = row.first;
    for (let index = row.first; index < row.end; index += 1) {
      const isNearer = Math.abs(this.#middle(row, index) - x) < Math.abs(this.#middle(row, best) - x);
      if (isNearer) best = index;
    }
    return best;
  }
}
