"""Tables of the page: intervals on the scale of their column, and the best only where chance is excluded."""

import pytest
from page_clips import lines_of, summary_of

from interpretability.report.comparison import LEAST_CLIPS, class_table, comparison, meanings

#: Of four methods, a value for each of 12 clips: b is better than a by a little on each; c varies much; d is as b.
FF = {
    "a": [0.5 + 0.01 * (k % 5) for k in range(12)],
    "b": [0.6 + 0.01 * (k % 5) for k in range(12)],
    "c": [float(k % 2) for k in range(12)],
    "d": [0.6 + 0.01 * (k % 5) for k in range(12)],
}


def lines(methods):
    return lines_of({method: FF[method] for method in methods})


def best(table, column="FF ↑"):
    place = table.heads.index(column)
    return [name for name, cells in table.rows if cells[place].best]


@pytest.mark.parametrize(
    ("methods", "companions", "expected"),
    [
        ("ba", (), ["b"]),  # the first one, by the differences of the summary
        ("ab", (), ["b"]),  # another one
        ("bc", (), []),  # the mean is higher, the difference is not beyond chance
        ("bd", (), []),  # the same
        ("cab", (), []),
        ("cab", ("a",), []),
        ("abd", ("d",), ["d"]),  # b is not compared: it was not made from the masks of a
        ("a", (), []),
    ],
)
def test_the_best_is_marked_only_beyond_chance(methods, companions, expected):
    rows = lines(methods)
    heard, masked = comparison(summary_of(rows, companions), rows)
    assert "what is heard" in heard.title
    assert best(heard) == expected
    # Without the lines, and so without the differences between others, only the first can be the best.
    without_lines = best(comparison(summary_of(rows, companions))[0])
    assert without_lines == [name for name in expected if name == methods[0] or len(methods) == 2 or companions]
    assert not best(heard, "kept area")
    assert not best(heard, "AD (%) ↓")
    assert masked.heads == heard.heads


def test_of_a_few_clips_nothing_is_said_to_be_the_best():
    few = lines_of({method: FF[method][: LEAST_CLIPS - 1] for method in "ba"})
    assert comparison(summary_of(few), few)[0].rows
    assert not best(comparison(summary_of(few), few)[0])
    assert not best(comparison({**summary_of(few), "paired": {}}, few)[0])
    enough = lines_of({method: FF[method][:LEAST_CLIPS] for method in "ba"})
    assert best(comparison({**summary_of(enough), "paired": {}}, enough)[0]) == ["b"]


def test_what_settings_decide_is_neither_ranked_nor_drawn():
    rows = lines("ba")
    table = comparison(summary_of(rows, fixed={"b": ["ff"]}), rows)[0]
    cell = dict(table.rows)["b"][table.heads.index("FF ↑")]
    assert (cell.text, cell.value, cell.at, cell.best) == ("fixed", None, None, False)
    assert not best(table)


def test_means_and_intervals_lie_on_the_scale_of_their_column():
    rows = lines("abc")
    summary = summary_of(rows)
    table = comparison(summary, rows)[0]
    place = table.heads.index("FF ↑")
    cells = {name: cells[place] for name, cells in table.rows}
    means = {name: row["ff"] for name, row in summary["places"]["waveform"].items()}
    low, high = min(m["low"] for m in means.values()), max(m["high"] for m in means.values())
    for name, cell in cells.items():
        assert cell.value == means[name]["mean"]
        assert cell.at == pytest.approx(100 * (means[name]["mean"] - low) / (high - low), abs=0.01)
        assert cell.left <= cell.at <= cell.left + cell.width
        assert 0 <= cell.left <= cell.left + cell.width <= 100.02
    flat = dict(table.rows)["a"][table.heads.index("AD (%) ↓")]
    assert (flat.left, flat.width, flat.at) == (50.0, 0.0, 50.0)


def test_classes_have_their_counts_and_what_is_heard_in_their_place():
    table = class_table(lines("ab"), "b")
    assert table.heads[:2] == ("explained", "heard as it")
    rows = dict(table.rows)
    assert list(rows) == ["class 0", "class 1", "class 2"]
    # Of clips 0, 2, …, 10 every third one is heard as class 0; 4 and 10 as class 1, 2 and 8 as class 2.
    assert rows["class 0"][:2][1].text.startswith("2 of 6, else mostly class ")
    assert rows["class 0"][0].text == "4"
    assert rows["class 2"][1].text == "–"
    ff = [value for k, value in enumerate(FF["b"]) if k % 3 == 1]
    assert rows["class 1"][table.heads.index("FF ↑")].value == pytest.approx(sum(ff) / len(ff))
    assert class_table(lines("ab"), "c") is None


def test_clips_of_several_labels_have_no_share_that_is_right():
    several = [{**row, "true": [row["true"]], "predicted": [row["predicted"]]} for row in lines("a")]
    assert class_table(several, "a").heads[:2] == ("explained", "Fid-In ↑")


def test_every_metric_of_the_table_is_said_in_a_sentence():
    known = dict(meanings(summary_of(lines("a"))))
    assert known["FF"] == "Faithfulness (FF): probability lost when the explanation is removed."
    assert [label for label, text in known.items() if not text.rstrip().endswith((".", "?"))] == []
    assert len(known) == 10
