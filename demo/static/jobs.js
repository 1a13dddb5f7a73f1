// Keeps the downloads on the page up to date while any of them is running, by the events that the
// server streams; then stops listening. The page works without this: reload it instead.
"use strict";

const PAUSE_AFTER_REFUSAL = 2000; // milliseconds
const PATIENCE = 1500; // before trouble is said: the server ends a stream now and then
const news = document.getElementById("news");
let stream = null;
let trouble = null;

function listen() {
  if (!runningCards().length) return;
  let isFirst = true;
  stream = new EventSource(document.body.dataset.events);
  stream.onopen = () => {
    isFirst = true; // all downloads are told, and then those that have changed
    clearTimeout(trouble);
    trouble = null;
    say("");
  };
  stream.onmessage = (event) => {
    const jobs = new Map(JSON.parse(event.data).jobs.map((job) => [job.id, job]));
    for (const card of runningCards()) {
      const job = jobs.get(card.dataset.id);
      if (job) update(card, job);
      else if (isFirst) location.reload(); // it was cleared in another tab
    }
    isFirst = false;
    if (!runningCards().length) close();
  };
  stream.onerror = () => {
    trouble ??= setTimeout(
      () => say("The server does not answer. Trying again.", "trouble"),
      PATIENCE,
    );
    if (stream.readyState === EventSource.CLOSED) setTimeout(listen, PAUSE_AFTER_REFUSAL);
  };
}

function close() {
  stream.close();
  clearTimeout(trouble);
  trouble = null;
}

function runningCards() {
  return [...document.querySelectorAll("[data-running=true]")];
}

function update(card, job) {
  // The server wrote this card, and escaped what is in it.
  const holder = document.createElement("template");
  holder.innerHTML = job.card;
  const fresh = holder.content.querySelector("article");
  if (job.state === card.dataset.state) {
    // Only the numbers, in place: replacing the card would take the focus off its button.
    const size = fresh.querySelector(".size").textContent;
    refreshProgress(card.querySelector("progress"), fresh.querySelector("progress"), size);
    card.querySelector(".size").textContent = size;
  } else {
    const hadFocus = card.contains(document.activeElement);
    card.replaceWith(fresh);
    if (hadFocus) fresh.focus();
    say(`${job.title || job.url}: ${job.state}`);
  }
}

function refreshProgress(bar, fresh, size) {
  bar.setAttribute("aria-valuetext", size);
  if (fresh.hasAttribute("value")) {
    bar.max = fresh.max;
    bar.value = fresh.value;
  }
}

function say(text, kind = "") {
  // An equal text is left alone, for a screen reader would read it again.
  if (text && news.textContent !== text) news.textContent = text;
  news.className = `news ${kind}`;
}

listen();
// A page that the browser kept in memory comes back as it was, with its stream gone.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
