/*
 * The order of what a search finds, for Sphinx' own search. A page that has what was typed in a
 * title comes first: before names of the reference, and how to do something before why it works.
 * What looks like a name (wait_for, TimeoutError) finds that name first.
 */
const typed = new URLSearchParams(location.search).get("q") ?? "";
const isName = /[a-z0-9][_.]|[a-z][A-Z]/.test(typed.trim());
const words = typed.toLowerCase().match(/\w+/g) ?? [];

var Scorer = {
  score: ([page, title, anchor, , score, , kind]) => {
    if (kind === "object") return score + (isName ? 100 : 0);
    if (kind === "index") return isName ? 50 : 13; // of the glossary
    // Without what a plural or a verb's form ends with.
    const named = words.every((word) => title.toLowerCase().includes(word.replace(/(s|es|ing)$/, "")));
    if (named && !anchor) score += 3;
    if (page.startsWith("howto/") || ["installation", "tutorial"].includes(page)) return score + 4;
    return page.startsWith("explanation/") ? score + 2 : score;
  },
  objNameMatch: 8,
  objPartialMatch: 6,
  objPrio: {0: 8, 1: 8, 2: 0},
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
