// The server's interface, as /api describes it.

class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

async function answer(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(0, "The server does not answer. Is “qvsearch serve” still running?");
  }
  const isJson = response.headers.get("content-type")?.startsWith("application/json");
  const record = isJson ? await response.json() : null;
  if (!response.ok) {
    throw new Refused(response.status, record?.error ?? `The server answered ${response.status}.`);
  }
  return { record, status: response.status };
}

export const get = async (address, signal) => (await answer(address, { signal })).record;

export async function getWhenDone(address, waiting, signal) {
  for (;;) {
    const { record, status } = await answer(address, { signal });
    if (status !== 202) return record;
    waiting(record);
    await new Promise((done) => setTimeout(done, 700));
    if (signal?.aborted) throw new DOMException("", "AbortError");
  }
}

export const post = async (address, body, type) =>
  (await answer(address, { method: "POST", body, headers: type ? { "Content-Type": type } : {} })).record;

const item = (id) => `/api/items/${encodeURIComponent(id)}`;
const media = (id) => `/media/${encodeURIComponent(id)}`;
const span = ({ start, end, page }) => {
  const params = new URLSearchParams();
  if (start !== undefined) params.set("start", start);
  if (end !== undefined) params.set("end", end);
  if (typeof page === "number") params.set("page", page);
  return params;
};

export function search(params, offset, limit, signal) {
  const asked = new URLSearchParams(params);
  asked.set("offset", offset);
  asked.set("limit", limit);
  return get(`/api/search?${asked}`, signal);
}

export const itemRecord = (id, signal) => get(item(id), signal);
export const explanation = (id, params) => get(`${item(id)}/explain?${params}`);
export const passage = (id, at) => get(`${item(id)}/text?${new URLSearchParams(at)}`);
export const open = ({ id, start, page }) => post(`${item(id)}/open?${span({ start, page })}`);
export const reveal = (id) => post(`${item(id)}/reveal`);
export const upload = (file, type) => post("/api/uploads", file, type);

export const fileAddress = (id) => `${media(id)}/file`;
export const playAddress = (id, at) => `${media(id)}/play?${span(at)}`;
export const uploadAddress = (token) => `/api/uploads/${encodeURIComponent(token)}`;

export function thumbnail(id, side, at = {}) {
  const params = span(at);
  params.set("side", side);
  return `${media(id)}/thumbnail?${params}`;
}

export const sideFor = (pixels) => [320, 640].find((side) => pixels * devicePixelRatio <= side * 1.25) ?? 1280;
