// Keeps the page current: fetches the page again and replaces the parts that have changed. Only the
// server renders the page. Without this script, the page reloads itself (see its noscript element).
"use strict";

const interval = 3000, maxInterval = 30000, requestTimeout = 10000; // ms
const lang = document.documentElement.lang;
const clock = new Intl.DateTimeFormat(lang, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
let wait = interval, timer = 0, refreshing = false;

// localizeTimes shows the times of a part in the reader's time zone.
function localizeTimes(part) {
  for (const time of part.querySelectorAll("time[datetime]")) {
    time.title = time.dateTime;
    time.textContent = clock.format(new Date(time.dateTime));
  }
}

// update replaces the parts that have changed. It restores the focus on a link in a replaced part.
function update(fresh) {
  for (const part of document.querySelectorAll("[data-live]")) {
    const next = fresh.getElementById(part.id);
    if (!next) {
      continue;
    }
    localizeTimes(next);
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

// showState shows a text in place of the time of the last update.
function showState(text) {
  const when = document.querySelector("[data-when]");
  if (when) {
    when.textContent = text;
  }
}

async function refresh() {
  if (document.hidden || refreshing) {
    return;
  }
  refreshing = true;
  try {
    const here = location.origin + location.pathname + location.search; // href may contain a key
    const answer = await fetch(here, { cache: "no-store", credentials: "same-origin", signal: AbortSignal.timeout(requestTimeout) });
    if (answer.status === 401 || answer.status === 403) {
      showState(document.body.dataset.signin);
      return; // stop refreshing
    }
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const structure = (page) => [...page.querySelectorAll("[data-live]")].map((part) => part.id).join();
    if (answer.headers.get("Content-Type")?.startsWith("text/html") && structure(fresh) !== structure(document)) {
      location.reload(); // Redis has become available or unavailable
      return;
    }
    if (!answer.ok) {
      throw new Error(answer.statusText);
    }
    update(fresh);
    wait = interval;
  } catch {
    showState(document.body.dataset.stale);
    wait = Math.min(maxInterval, wait * 2);
  } finally {
    refreshing = false;
  }
  timer = setTimeout(refresh, wait);
}

document.addEventListener("visibilitychange", () => {
  clearTimeout(timer);
  if (!document.hidden) {
    refresh();
  }
});
localizeTimes(document);
timer = setTimeout(refresh, interval);
