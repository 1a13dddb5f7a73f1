// Keeps the downloads on the page up to date while any of them is running, then stops asking.
// The page works without this: reload it instead.
"use strict";

const PAUSE = 400; // milliseconds between two questions
const PAUSE_AFTER_ERROR = 3000;
const news = document.getElementById("news");

async function poll() {
  let pause = PAUSE;
  try {
    const answer = await fetch(document.body.dataset.jobs, { signal: AbortSignal.timeout(10000) });
    if (!answer.ok) throw new Error(answer.statusText);
    const jobs = new Map((await answer.json()).jobs.map((job) => [job.id, job]));
    say("");
    runningCards().forEach((card) => update(card, jobs.get(card.dataset.id)));
  } catch (error) {
    say("The server does not answer. Trying again.", "trouble");
    pause = PAUSE_AFTER_ERROR;
  }
  if (runningCards().length) setTimeout(poll, pause);
}

function runningCards() {
  return [...document.querySelectorAll("[data-running=true]")];
}

function update(card, job) {
  if (!job) {
    location.reload(); // the server was started anew, or the job cleared in another tab
  } else {
    // The server wrote this card, and escaped what is in it.
    const holder = document.createElement("template");
    holder.innerHTML = job.card;
    const fresh = holder.content.querySelector("article");
    if (job.state === card.dataset.state) {
      // Only the numbers, in place: replacing the card would take the focus off its button.
      refreshProgress(card.querySelector("progress"), fresh.querySelector("progress"));
      card.querySelector(".size").textContent = fresh.querySelector(".size").textContent;
    } else {
      const hadFocus = card.contains(document.activeElement);
      card.replaceWith(fresh);
      if (hadFocus) fresh.focus();
      say(`${job.title || job.url}: ${job.state}`);
    }
  }
}

function refreshProgress(bar, fresh) {
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

if (runningCards().length) poll();
// A page that the browser kept in memory comes back as it was, with its timers gone.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
