"""The ledger: rows of many writers, none twice, none lost, and a cut one mended."""

import json
import subprocess
import sys

import pytest

from snn_helpers.batch.ledger import LEDGER, LedgerError, append_row, find_row, latest, read_rows, repair


def row(run_id, attempt=1, status="done", **more):
    return {"id": run_id, "attempt": attempt, "status": status, **more}


def test_rows_of_many_processes_all_arrive_whole(tmp_path):
    script = (
        "import sys\nfrom pathlib import Path\nfrom snn_helpers.batch.ledger import append_row\n"
        "for number in range(30):\n"
        "    row = {'id': f'{sys.argv[2]}-{number}', 'attempt': 1, 'status': 'done', 'x': 'y' * 5000}\n"
        "    append_row(Path(sys.argv[1]), row)"
    )
    writers = [subprocess.Popen([sys.executable, "-c", script, tmp_path, name]) for name in "abcd"]
    assert [writer.wait(60) for writer in writers] == [0] * 4
    rows = read_rows(tmp_path)
    assert sorted(one["id"] for one in rows) == sorted(f"{name}-{number}" for name in "abcd" for number in range(30))
    assert {len(one["x"]) for one in rows} == {5000}


def test_the_same_attempt_is_written_once_and_the_first_counts(tmp_path):
    assert append_row(tmp_path, row("a", seconds=1)) == row("a", seconds=1)
    assert append_row(tmp_path, row("a", seconds=2)) == row("a", seconds=1)
    append_row(tmp_path, row("a", 2, seconds=3))
    assert [one["seconds"] for one in read_rows(tmp_path)] == [1, 3]
    assert find_row(tmp_path, "a", 2) == row("a", 2, seconds=3)
    assert find_row(tmp_path, "a", 3) is None
    assert latest(read_rows(tmp_path)) == {"a": row("a", 2, seconds=3)}


@pytest.mark.parametrize("mend", [repair, lambda folder: append_row(folder, row("c"))], ids=["repair", "append"])
def test_row_cut_in_half_is_taken_out_and_kept_beside(tmp_path, mend):
    append_row(tmp_path, row("a"))
    with open(tmp_path / LEDGER, "a") as file:
        file.write('{"id": "b", "atte')
    assert [one["id"] for one in read_rows(tmp_path)] == ["a"], "a reader does not stumble over a row being written"
    mend(tmp_path)
    append_row(tmp_path, row("d"))
    assert [one["id"] for one in read_rows(tmp_path) if one["id"] != "c"] == ["a", "d"]
    assert (tmp_path / f"{LEDGER}.cut").read_text() == '{"id": "b", "atte\n'


def test_repair_says_what_it_did_and_nothing_when_all_is_well(tmp_path):
    assert repair(tmp_path) is None
    append_row(tmp_path, row("a"))
    assert repair(tmp_path) is None
    with open(tmp_path / LEDGER, "a") as file:
        file.write('{"id"')
    assert "the last row was cut off after 5 bytes" in repair(tmp_path)


@pytest.mark.parametrize("line", ["nonsense", "[1]", json.dumps({"id": "a"})])
def test_line_that_is_no_row_is_named(tmp_path, line):
    (tmp_path / LEDGER).write_text(json.dumps(row("a")) + "\n" + line + "\n")
    with pytest.raises(LedgerError, match="line 2"):
        read_rows(tmp_path)
