// Keeps the page current: it fetches the page anew and takes over the parts that differ. What there is to see is made
// in one place, by the server; without this script the page loads itself anew (see its noscript).
"use strict";

const every = 3000, slowest = 30000, patience = 10000; // ms
const lang = document.documentElement.lang;
const clock = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
let wait = every, timer = 0, asking = false;

// local turns the moments of a part into the reader's own time.
function local(part) {
  for (const time of part.querySelectorAll("time[datetime]")) {
    time.title = time.dateTime;
    time.textContent = clock.format(new Date(time.dateTime));
  }
}

// show takes over what has changed. Focus within a part that goes away is given to its successor.
function show(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (!next) {
      continue;
    }
    local(next);
    if (part.innerHTML === next.innerHTML) {
      continue;
    }
    const links = [...part.querySelectorAll("a")], focused = links.indexOf(document.activeElement);
    part.innerHTML = next.innerHTML;
    if (focused >= 0) {
      part.querySelectorAll("a")[focused]?.focus();
    }
  }
  document.body.dataset.seen = String(Date.now());
}

function say(text) {
  const when = document.querySelector("[data-when]");
  if (when) {
    when.textContent = text;
  }
}

async function refresh() {
  if (document.hidden || asking) {
    return;
  }
  asking = true;
  try {
    const here = location.origin + location.pathname + location.search; // href might hold a key
    const answer = await fetch(here, { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(patience) });
    if (answer.status === 401 || answer.status === 403) {
      say(document.body.dataset.signin);
      return; // and ask no more
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const structure = (page) => [...page.querySelectorAll("[data-live]")].map((part) => part.id).join();
    if (answer.headers.get("Content-Type")?.startsWith("text/html") && structure(fresh) !== structure(document)) {
      location.reload(); // Redis has come back, or gone
      return;
    }
    if (!answer.ok) {
      throw new Error(answer.statusText);
    }
    show(fresh);
    wait = every;
  } catch {
    say(document.body.dataset.stale);
    wait = Math.min(slowest, wait * 2);
  } finally {
    asking = false;
  }
  timer = setTimeout(refresh, wait);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden) {
    refresh();
  }
});
local(document);
timer = setTimeout(refresh, every);
