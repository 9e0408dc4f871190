// The address of the page is the query: it has the names that the server reads, so that a search
// can be kept, shared, and gone back to.

export const QUERY = ["q", "not", "without", "like", "unlike", "upload"];
export const FILTERS = [
  "kind", "under", "glob", "after", "before", "camera", "near", "min_size", "duration", "orientation",
  "place", "suffix", "title", "author", "keyword", "rating", "page", "language", "library",
];
const NAMES = new Set([...QUERY, ...FILTERS, "all", "min_relevance", "sort", "task", "words_only", "meaning_only"]);

const listeners = [];

export const onQuery = (listener) => listeners.push(listener);

export function query() {
  const kept = new URLSearchParams();
  for (const [name, value] of new URLSearchParams(location.search)) {
    if (NAMES.has(name) && value !== "") kept.append(name, value);
  }
  return kept;
}

export const hasQuery = (params = query()) => QUERY.some((name) => params.has(name));

function shown() {
  for (const each of listeners) each();
}

export function go(change) {
  const params = query();
  for (const name of ["all", "min_relevance"]) params.delete(name); // of one query, not of the next
  change(params);
  const text = params.toString();
  if (location.pathname !== "/") return void (location.href = `/?${text}`);
  if (text !== query().toString()) history.pushState(null, "", text ? `/?${text}` : "/");
  return shown();
}

export const set = (name, value) =>
  go((params) => (value ? params.set(name, value) : params.delete(name)));
export const add = (name, value) =>
  go((params) => {
    if (!params.getAll(name).includes(value)) params.append(name, value);
  });
export const remove = (name, value) => go((params) => params.delete(name, value));
export const setAll = (name, values) =>
  go((params) => {
    params.delete(name);
    for (const value of values) params.append(name, value);
  });

let last = query().toString();
addEventListener("popstate", () => {
  const now = query().toString();
  if (now !== last) shown();
  last = now;
});
listeners.push(() => (last = query().toString()));
