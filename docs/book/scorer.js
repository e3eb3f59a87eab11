// Sphinx calls this for each result of a search. Its numbers are Sphinx's own; results in the glossary name their word.
var Scorer = {
  score: (result) => {
    const word = /^#term-([a-z].*)/i.exec(result[2] ?? "");
    if (word) result[3] = word[1].replaceAll("-", " ");
    return result[4];
  },
  objNameMatch: 11,
  objPartialMatch: 6,
  objPrio: { 0: 15, 1: 5, 2: -5 },
  objPrioDefault: 0,
  title: 15,
  partialTitle: 7,
  term: 5,
  partialTerm: 2,
};
