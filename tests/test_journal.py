"""The journal of a job: rows come back as they were, and only those that are whole and of this job."""

import pytest

from interpretability.journal import Journal

ROWS = [{"clip": "a", "value": 0.1}, {"clip": "b \u2028 \"'", "value": None}]


def test_rows_come_back(tmp_path):
    journal = Journal(tmp_path / "rows.jsonl", "a job")
    assert journal.read() == []
    journal.write(ROWS[:1])
    journal.append(ROWS[1:])
    assert journal.read() == ROWS
    journal.write(ROWS[1:])
    assert journal.read() == ROWS[1:]
    journal.remove()
    journal.remove()
    assert journal.read() == []


def test_rows_of_another_job_do_not_count(tmp_path):
    Journal(tmp_path / "rows.jsonl", "a job").write(ROWS)
    assert Journal(tmp_path / "rows.jsonl", "another job").read() == []


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-10],
        lambda content: content[:-1],
        lambda content: content.replace(b"0.1", b"0.2") + b"null\n\xff\xfe\n[1]\n{}\n",
    ],
)
def test_a_line_that_is_cut_off_or_changed_does_not_count(damage, tmp_path):
    journal = Journal(tmp_path / "rows.jsonl", "a job")
    journal.write(ROWS)
    journal.path.write_bytes(damage(journal.path.read_bytes()))
    assert len(journal.read()) == 1
    assert journal.read()[0] in ROWS
