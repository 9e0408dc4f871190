// What is known of a file, and the files that repeat it.

import * as address from "./address.js";
import { button, h } from "./dom.js";
import { thumbnail } from "./server.js";
import { clock, count, date, folderOf, kindName, languageName, lines, moment, pathOf, safe, section, size } from "./text.js";

const FROM = { xmp: "from an .xmp file", json: "from a .json file", name: "from its name" };

const shown = (value) => (value ? safe(value) : "");

export function details(record) {
  const coordinates = record.latitude === undefined ? "" : `${record.latitude.toFixed(5)}, ${record.longitude.toFixed(5)}`;
  const place = [shown(record.place), coordinates].filter(Boolean).join(" · ");
  const rows = [
    ["Kind", record.page === true ? "page or screenshot" : kindName(record.kind)],
    ["Moment", moment(record)],
    ["Passage", lines(record) || section(record)],
    ["Title", shown(record.title)],
    ["Author", shown(record.author)],
    ["Keywords", (record.keywords ?? []).map(safe).join(", ")],
    ["Rating", record.rating ? count(record.rating, "star") : ""],
    ["Language", record.language ? languageName(record.language) : ""],
    ["Pages", record.pages ? record.pages.toLocaleString() : ""],
    ["Size", record.width ? `${record.width} × ${record.height}` : ""],
    ["Length", record.duration ? clock(record.duration) : ""],
    ["Bytes", record.bytes === undefined ? "" : size(record.bytes)],
    ["Taken", record.taken ? `${date(record.taken)}${FROM[record.taken_from] ? ` (${FROM[record.taken_from]})` : ""}` : ""],
    ["Camera", shown(record.camera)],
    ["Place", place],
    ["Changed", date(record.mtime?.replace("Z", ""))],
    ["Library", pathOf(record, "library")],
  ].filter(([, value]) => value);
  const list = rows.flatMap(([name, value]) => [h("dt", null, name), h("dd", null, value)]);
  const narrower = []; // a name that is not text fits no address
  if (record.path !== undefined) narrower.push(button("This folder", { onclick: () => address.setAll("under", [folderOf(record)]) }));
  if (place) {
    const near = `${record.latitude},${record.longitude},5`;
    narrower.push(button("Near here", { onclick: () => address.set("near", near) }));
  }
  const only = narrower.length ? [h("p", { class: "narrower" }, "Search only in ", ...narrower)] : [];
  return h("section", null, h("dl", null, ...list), ...only);
}

export function duplicates(record) {
  const others = record.duplicates ?? [];
  if (!others.length) return [];
  const items = others.map((each) => {
    const text = pathOf(each);
    if (!each.id) return h("li", null, h("span", { class: "path" }, text));
    const image = h("img", { alt: "", src: thumbnail(each.id, 320), loading: "lazy" });
    return h("li", null, h("a", { href: `#${each.id}` }, image, h("span", { class: "path" }, text)));
  });
  return [h("h3", null, count(others.length, "near-duplicate")), h("ul", null, ...items)];
}
