"""Means over the clips of a page: what an evaluation of the same explanations says."""

import math
from dataclasses import replace

import pytest
from page_clips import clip_of

from interpretability.report.clip_means import MEASURED, clip_rows, clip_summary
from interpretability.report.comparison import class_table, comparison


def of(name, p, o, q, **more):
    classes = ({"label": "cat", "input": 1 - p, "explanation": 1 - o, "residual": 1 - q},)
    classes += ({"label": "dog", "input": p, "explanation": o, "residual": q},)
    return clip_of(name, **{"classes": classes, "explained": "dog", **more})


CLIPS = [
    of("a", 0.8, 0.4, 0.1),
    of("b", 0.5, 0.6, 0.5),
    of("a", 0.8, 0.8, 0.7, method="ig"),
    of("b", 0.5, 0.5, 0.4, method="ig"),
]


def test_rows_are_measured_by_the_definitions():
    rows = clip_rows(CLIPS)
    assert [row["ff"] for row in rows] == pytest.approx([0.7, 0.0, 0.1, 0.1])
    assert [row["ff_in"] for row in rows] == pytest.approx([0.4, -0.1, 0.0, 0.0])
    assert [row["ad"] for row in rows] == pytest.approx([50.0, 0.0, 0.0, 0.0], abs=1e-4)
    assert [row["ai"] for row in rows] == [0.0, 100.0, 0.0, 0.0]
    assert clip_rows([]) == []


def test_they_make_a_comparison_and_a_table_of_classes():
    rows = clip_rows(CLIPS)
    (table,) = comparison(clip_summary(rows), rows)
    assert table.heads == ("FF ↑", "FF-In ↓", "AD (%) ↓", "AI (%) ↑", "kept area")
    assert [name for name, _ in table.rows] == ["piq", "ig"]
    assert dict(table.rows)["piq"][0].value == pytest.approx(0.35)
    classes = class_table(rows, "piq")
    assert dict(classes.rows)["dog"][1].text == "2 of 2"
    unknown = clip_rows([replace(clip, true=(), correct=None) for clip in CLIPS])
    assert class_table(unknown, "piq").heads[:2] == ("explained", "FF ↑")


def test_what_is_undefined_is_not_measured():
    (row,) = clip_rows([of("a", 0.8, 0.4, 0.1, undefined=True)])
    assert all(math.isnan(row[name]) for name in MEASURED)
    means = clip_summary([row, *clip_rows(CLIPS[1:2])])["places"]["waveform"]["piq"]
    assert (means["ff"]["n"], means["ff"]["undefined"]) == (1, 1)
