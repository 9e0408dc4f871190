// Values as people read them; names so that no character in them has an effect.

// controls, bidi marks and overrides, line separators, lone surrogates (as `safe_text` of Python)
const HARMFUL =
  /[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]|[\ud800-\udbff](?![\udc00-\udfff])|(?<![\ud800-\udbff])[\udc00-\udfff]/g;
const SHORT = { "\n": "\\n", "\t": "\\t", "\r": "\\r" };
const UNITS = ["bytes", "KB", "MB", "GB", "TB"];

export function safe(text) {
  return String(text).replace(HARMFUL, (character) => {
    const digits = character.charCodeAt(0).toString(16);
    return SHORT[character] ?? (digits.length < 3 ? `\\x${digits.padStart(2, "0")}` : `\\u${digits.padStart(4, "0")}`);
  });
}

export const multiline = (text) => safe(text).replaceAll("\\n", "\n");

function decoded(base64) {
  const bytes = Uint8Array.from(atob(base64), (each) => each.charCodeAt(0));
  const strict = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let text = "";
  for (let at = 0; at < bytes.length; ) {
    let size = 0;
    for (const length of [1, 2, 3, 4]) {
      try {
        text += safe(strict.decode(bytes.subarray(at, at + length)));
        size = length;
        break;
      } catch {
        // not a whole character yet
      }
    }
    if (!size) text += `\\x${bytes[at].toString(16).padStart(2, "0")}`;
    at += size || 1;
  }
  return text;
}

export function pathOf(record, field = "path") {
  if (record[field] !== undefined) return safe(record[field]);
  return record[`${field}_b64`] === undefined ? "" : decoded(record[`${field}_b64`]);
}

// The path to paste elsewhere: as it is, or as a shell's $'…' if it is not text.
export function exactPath(record) {
  if (record.path !== undefined && safe(record.path) === record.path) return record.path;
  const escaped = pathOf({ ...record, path: record.path?.replace(/[\\']/g, "\\$&") });
  return `$'${escaped}'`;
}

export const nameOf = (record) => pathOf(record).replace(/\/+$/, "").split("/").pop();
export const folderOf = (record) => pathOf(record).split("/").slice(0, -1).join("/") || "/";

export function clock(seconds) {
  const whole = Math.floor(seconds);
  const two = (number) => String(number).padStart(2, "0");
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60];
  return hours ? `${hours}:${two(minutes)}:${two(whole % 60)}` : `${minutes}:${two(whole % 60)}`;
}

export function moment(record) {
  if (record.start === undefined) return "";
  return record.end === undefined ? clock(record.start) : `${clock(record.start)}–${clock(record.end)}`;
}

export function lines(record) {
  if (!record.lines) return "";
  const [first, last] = record.lines;
  return first === last ? `line ${first}` : `lines ${first}–${last}`;
}

export const page = (record) => (typeof record.page === "number" ? `page ${record.page}` : "");

export const section = (record) => safe(record.section ?? "");

export const placeOf = (record) =>
  moment(record) || lines(record) || page(record) || section(record);

export function size(bytes) {
  const power = Math.min(Math.floor(Math.log(Math.max(bytes, 1)) / Math.log(1024)), UNITS.length - 1);
  const value = bytes / 1024 ** power;
  return `${power && value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString()} ${UNITS[power]}`;
}

export const percent = (share) => `${Math.round(share * 100)} %`;

export function count(number, thing, things = `${thing}s`) {
  return `${number.toLocaleString()} ${number === 1 ? thing : things}`;
}

export const date = (text) => (text ? safe(text).replace("T", " ").replace(/(:\d\d):\d\d.*$/, "$1") : "");

const KINDS = { image: "picture", video: "video", text: "text", document: "document" };
export const kindName = (kind) => KINDS[kind] ?? safe(kind);

const LANGUAGES = new Intl.DisplayNames(["en"], { type: "language" });

export function languageName(tag) {
  try {
    return safe(LANGUAGES.of(tag));
  } catch {
    return safe(tag); // an address may have anything
  }
}

export function describe(record) {
  const parts = [`${kindName(record.kind)} ${nameOf(record)}`, placeOf(record)];
  if (record.relevance !== undefined) parts.push(`relevance ${percent(record.relevance)}`);
  if (record.gone) parts.push("missing");
  return parts.filter(Boolean).join(", ");
}
