// A video's card plays its moment without sound while the pointer or the focus is on it; if the
// browser cannot play it, stills of the moment take turns.

import { h, reducesMotion, share } from "./dom.js";
import { playAddress, thumbnail } from "./server.js";

const WAIT = 150; // ms before it begins, so that crossing a card loads nothing
const STILLS = 4;
const STILL_TIME = 800; // ms
const LONGEST = 60; // s of a moment without an end

let stop = () => {}; // ends the one that plays

export function preview(card, record, frame) {
  let waiting = 0;
  const begin = () => {
    clearTimeout(waiting);
    if (!reducesMotion()) waiting = setTimeout(() => play(record, frame), WAIT);
  };
  const end = () => {
    clearTimeout(waiting);
    stop();
  };
  card.addEventListener("pointerenter", begin);
  card.addEventListener("pointerleave", end);
  card.addEventListener("focusin", begin);
  card.addEventListener("focusout", end);
}

// Plays `[start, end)` over and over: of the whole file, or of a file of this moment alone.
export function keepWithin(video, { start = 0, end = start + LONGEST }) {
  const isWhole = () => video.duration > end - start + 1;
  video.addEventListener("loadedmetadata", () => {
    if (isWhole()) video.currentTime = start;
  });
  return { isWhole, from: () => (isWhole() ? start : 0), to: () => (isWhole() ? end : video.duration) };
}

function play(record, frame) {
  stop();
  const video = h("video", { playsinline: true, preload: "auto", src: playAddress(record.id, record) });
  video.muted = true;
  video.disableRemotePlayback = true;
  const span = keepWithin(video, record);
  video.addEventListener("timeupdate", () => {
    const length = span.to() - span.from();
    share(frame, (video.currentTime - span.from()) / length);
    if (video.currentTime >= span.to()) video.currentTime = span.from();
  });
  video.addEventListener("ended", () => {
    video.currentTime = span.from();
    video.play().catch(() => {});
  });
  video.addEventListener("canplay", () => video.play().catch(() => {}), { once: true });
  video.addEventListener("playing", () => video.classList.add("shown"));
  let turn = 0;
  const failed = () => {
    video.remove();
    turn = takeTurns(record, frame);
  };
  video.addEventListener("error", failed, { once: true });
  frame.append(video);
  frame.classList.add("playing");
  stop = () => {
    video.removeEventListener("error", failed);
    video.removeAttribute("src");
    video.load(); // ends the transfer
    video.remove();
    clearInterval(turn);
    frame.querySelector(".still")?.remove();
    frame.classList.remove("playing");
    stop = () => {};
  };
}

function takeTurns(record, frame) {
  const { start = 0, end = start + 8 } = record;
  const still = h("img", { class: "still", alt: "" });
  frame.append(still);
  let number = 0;
  const next = () => {
    number = (number + 1) % STILLS;
    const at = start + ((end - start) * number) / STILLS;
    still.src = thumbnail(record.id, 320, { start: at, end: Math.max(at, end) });
    share(frame, number / STILLS);
  };
  next();
  return setInterval(next, STILL_TIME);
}
