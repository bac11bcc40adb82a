"""The journal of a job: rows come back as they were, and only those that are whole and of this job."""

import os

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


ROWS_OF_THREE = [{"start": 0, "x": 0.1}, {"start": 5, "text": "é"}, {"start": 9}]


def test_rows_of_several_jobs_stand_in_one_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    Journal(path, "a job").append(ROWS_OF_THREE[:1])
    other = Journal(path, "another job")
    assert other.read() == []
    other.append(ROWS_OF_THREE[1:])
    assert Journal(path, "a job").read() == ROWS_OF_THREE[:1]
    assert other.read() == ROWS_OF_THREE[1:]


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_line_that_was_cut_off_does_not_count_and_the_next_ones_do(tmp_path, cut):
    journal = Journal(tmp_path / "rows.jsonl", "a job")
    journal.append(ROWS_OF_THREE)
    os.truncate(journal.path, journal.path.stat().st_size - cut)
    assert journal.read() == ROWS_OF_THREE[:2]
    journal.append(ROWS_OF_THREE[2:])
    assert journal.read() == ROWS_OF_THREE


@pytest.mark.parametrize(
    "garbage", [b"\0" * 50 + b"\n", b"{}\n", b'{"digest": "0123456789abcdef", "row": {}}\n', b"\xff\n"]
)
def test_damaged_lines_do_not_count(tmp_path, garbage):
    journal = Journal(tmp_path / "rows.jsonl", "a job")
    journal.append(ROWS_OF_THREE[:2])
    journal.path.write_bytes(journal.path.read_bytes() + garbage)
    assert journal.read() == ROWS_OF_THREE[:2]
    journal.path.write_bytes(journal.path.read_bytes().replace(b'"x": 0.1', b'"x": 0.2'))
    assert journal.read() == ROWS_OF_THREE[1:2]
