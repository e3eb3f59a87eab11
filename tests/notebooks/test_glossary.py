"""The glossary holds the words of the field: each in bold in the notebook that it names, and not used before."""

import re
from pathlib import Path
from typing import NamedTuple

import nbformat
import pytest
from contract import MUST_EXPLAIN, has_bold, running_text

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
GLOSSARY = (ROOT / "docs/glossary.md").read_text(encoding="utf-8")
TEXTS = {path.stem: running_text(nbformat.read(path, as_version=4)) for path in NOTEBOOKS}


class Term(NamedTuple):
    """A row of the glossary."""

    word: str
    symbol: str
    unit: str
    meaning: str
    notebook: str


def terms_of(text):
    """Return the rows of the glossary's table."""
    rows = [re.split(r"(?<!\\)\|", line.strip().strip("|")) for line in text.splitlines() if line.startswith("| ")]
    return [Term(*(part.strip() for part in row)) for row in rows[1:]]


def pattern_of(word):
    """Return the pattern of a glossary's word, in the singular or the plural."""
    return MUST_EXPLAIN.get(word, rf"{re.escape(word)}(?:s|es)?")


def faults_of(term, texts):
    """Return what is wrong with a row, given {notebook: its explaining prose} in the order of the series."""
    if term.notebook not in texts:
        return [f"there is no notebook {term.notebook}"]
    faults = [] if has_bold(texts[term.notebook], pattern_of(term.word)) else [f"not in bold in {term.notebook}"]
    return faults + [
        f"used in {name} without being explained there"
        for name, text in texts.items()
        if name < term.notebook and re.search(rf"\b{pattern_of(term.word)}(?!\w)", text, flags=re.IGNORECASE)
    ]


TERMS = terms_of(GLOSSARY)


@pytest.mark.parametrize("term", TERMS, ids=lambda term: f"{term.notebook}-{term.word}")
def test_term_is_explained_in_its_notebook_and_not_used_before(term):
    assert faults_of(term, TEXTS) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_words_of_the_field_that_a_notebook_uses_are_in_the_glossary(path):
    words = {term.word for term in TERMS}
    used = {word for word, pattern in MUST_EXPLAIN.items() if has_bold(TEXTS[path.stem], pattern)}
    assert used <= words


def test_glossary_is_a_sorted_table_of_sentences():
    words = [term.word.lower() for term in TERMS]
    assert words == sorted(set(words))
    assert [term.word for term in TERMS if not re.fullmatch(r"[A-ZΔ].{15,}\.", term.meaning)] == []
    assert [term.word for term in TERMS if "" in term] == [], "a cell without a value holds -"


ROW = Term("spike train", "S", "-", "The list of the times at which a neuron fires.", "02_b")


@pytest.mark.parametrize(
    ("texts", "fault"),
    [
        ({"01_a": "Nothing.", "02_b": "A spike train is a list."}, "not in bold in 02_b"),
        ({"01_a": "Nothing."}, "no notebook 02_b"),
        ({"01_a": "Two spike trains.", "02_b": "A **spike train** is a list."}, "used in 01_a"),
        ({"01_a": "A **spike train** here.", "02_b": "A **spike train** is a list."}, "used in 01_a"),
    ],
)
def test_planted_fault_of_a_row_is_caught(texts, fault):
    assert any(fault in found for found in faults_of(ROW, texts))


def test_row_that_is_right_passes():
    texts = {"01_a": "Nothing.", "02_b": "A **spike train** is a list.", "03_c": "Spike trains again."}
    assert faults_of(ROW, texts) == []


def test_rows_are_read_from_a_table():
    text = "# Words\n\n| word | symbol | unit | meaning | notebook |\n|---|---|---|---|---|\n"
    text += "| spike train | S | - | The list of the times at which a neuron fires. | 02_b |\n"
    assert terms_of(text) == [ROW]
