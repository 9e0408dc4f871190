// The hits of one query, page by page. Of each hit only its shape stays in memory; records of
// pages far from what is seen are forgotten and fetched again.

import * as server from "./server.js";

const PAGE = 100;
const MOST_PAGES = 10;
const TEXT_SHAPE = 1.25;
const UNKNOWN_SHAPE = 4 / 3;

// Width by height on the page; panoramas and scrolls are cropped.
function shapeOf(record) {
  if (record.kind === "text") return TEXT_SHAPE;
  const shape = record.width && record.height ? record.width / record.height : UNKNOWN_SHAPE;
  return Math.min(Math.max(shape, 0.5), 3);
}

export class Results {
  #params;
  #pages = new Map(); // number of a page to its records, the last used last
  #pending = new Map();
  #stop = new AbortController();

  constructor(params) {
    this.#params = params;
    this.shapes = [];
    this.isWhole = false;
    this.isRelevant = true;
    this.seconds = 0;
    this.leftOut = {}; // why libraries could not be searched, by their names
  }

  get count() {
    return this.shapes.length;
  }

  async more() {
    if (this.isWhole) return false;
    await this.#page(Math.ceil(this.count / PAGE));
    return true;
  }

  hit(index, whenHere) {
    const number = Math.floor(index / PAGE);
    const records = this.#pages.get(number);
    if (!records) {
      this.#page(number).then(whenHere, () => {});
      return null;
    }
    this.#pages.delete(number);
    this.#pages.set(number, records);
    return records[index % PAGE] ?? null;
  }

  async fetched(index) {
    while (index >= this.count && (await this.more()));
    if (index >= this.count) return null;
    const record = this.hit(index, () => {});
    if (record) return record;
    return (await this.#page(Math.floor(index / PAGE)))[index % PAGE];
  }

  indexOf(id) {
    for (const [number, records] of this.#pages) {
      const place = records.findIndex((each) => each.id === id);
      if (place >= 0) return number * PAGE + place;
    }
    return -1;
  }

  close() {
    this.#stop.abort();
  }

  #page(number) {
    const pending = this.#pending.get(number) ?? this.#fetch(number);
    this.#pending.set(number, pending);
    return pending.finally(() => this.#pending.delete(number));
  }

  async #fetch(number) {
    const offset = number * PAGE;
    const answer = await server.search(this.#params, offset, PAGE, this.#stop.signal);
    if (offset === this.count) {
      for (const record of answer.hits) this.shapes.push(shapeOf(record));
      this.isWhole = !answer.more;
    }
    if (number === 0) {
      this.isRelevant = answer.relevant;
      this.seconds = answer.seconds;
      this.leftOut = answer.left_out ?? {};
    }
    this.#pages.set(number, answer.hits);
    while (this.#pages.size > MOST_PAGES) this.#pages.delete(this.#pages.keys().next().value);
    return answer.hits;
  }
}

export class Records {
  constructor(records) {
    this.records = records;
    this.shapes = records.map(shapeOf);
    this.isWhole = true;
    this.isRelevant = true;
  }

  get count() {
    return this.records.length;
  }

  async more() {
    return false;
  }

  hit(index) {
    return this.records[index] ?? null;
  }

  async fetched(index) {
    return this.records[index] ?? null;
  }

  indexOf(id) {
    return this.records.findIndex((each) => each.id === id);
  }

  close() {}
}
