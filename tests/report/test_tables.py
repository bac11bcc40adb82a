"""Tables: Markdown to the letter, and a short one that fits a terminal."""

import re

import pytest

from interpretability.metrics.suite import METRICS
from interpretability.report.tables import (
    MEANINGS,
    OF_BOXES,
    TERMINAL_WIDTH,
    caption,
    clip_table,
    columns,
    evaluation_document,
    markdown_table,
    methods_table,
    metrics_table,
    notes_list,
    section,
    short_table,
)


def interval(mean, low, high, undefined=0, n=40):
    return {"mean": mean, "low": low, "high": high, "n": n, "undefined": undefined}


def summary_of(**more):
    return {"clips": 40, "silent": 0, **{name: interval(0.5, 0.4, 0.6) for name in METRICS}, **more}


def test_table_golden():
    piq = {
        "clips": 39,
        "silent": 1,
        "fid_in": interval(0.944, 0.9, 1.0),
        "ad": interval(6.42, 4.96, 8.0),
        "ff": interval(-0.001, -0.02, 0.5),
        "sps": interval(0.7, 0.6, 0.8, undefined=2, n=37),
        "kept_area": interval(0.2, 0.2, 0.2),
    }
    zeros = piq | {"silent": 0, "clips": 40, "sps": interval(None, None, None, undefined=40, n=0)}
    table = metrics_table([("PIQ", piq), ("M = 0 | floor", zeros)], ["fid_in", "ff", "ad", "sps", "kept_area"])
    assert table.splitlines() == [
        "| method | n | Fid-In ↑ | FF ↑ | AD (%) ↓ | SPS ↑ | kept area |",
        "| :--- | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| PIQ | 39 (+1 silent) | 0.94 [0.90, 1.00] | 0.00 [-0.02, 0.50] | 6.4 [5.0, 8.0] "
        "| 0.70 [0.60, 0.80] (2 undefined) | 0.20 [0.20, 0.20] |",
        "| M = 0 \\| floor | 40 | 0.94 [0.90, 1.00] | 0.00 [-0.02, 0.50] | 6.4 [5.0, 8.0] "
        "| – (40 undefined) | 0.20 [0.20, 0.20] |",
    ]


def test_a_summary_of_nothing_but_silence():
    nothing = {name: interval(None, None, None, n=0) for name in METRICS}
    row = metrics_table([("PIQ", {"clips": 0, "silent": 1, **nothing})]).splitlines()[-1]
    assert row == f"| PIQ | 0 (+1 silent) |{' – |' * len(METRICS)}"


def test_what_settings_decide_is_not_ranked_in_the_table():
    amt = {
        "clips": 40,
        "silent": 0,
        "ad": interval(6.42, 4.96, 8.0),
        "sps": interval(0.8, 0.8, 0.8, undefined=2),
        "comp": interval(9.7, 9.7, 9.7),
        "kept_area": interval(0.2, 0.2, 0.2),
        "fixed": ["sps", "comp"],
    }
    nowhere = {**amt, "sps": interval(None, None, None, undefined=40, n=0), "fixed": ["sps"]}
    table = metrics_table([("AMT", amt), ("nowhere", nowhere)], ["ad", "sps", "comp", "kept_area"])
    assert table.splitlines()[2:] == [
        "| AMT | 40 | 6.4 [5.0, 8.0] | fixed (2 undefined) | fixed | 0.20 [0.20, 0.20] |",
        "| nowhere | 40 | 6.4 [5.0, 8.0] | – (40 undefined) | 9.70 [9.70, 9.70] | 0.20 [0.20, 0.20] |",
    ]
    assert "fixed" not in columns([summary_of(fixed=["sps"])])


def test_table_has_every_metric_with_its_direction():
    lines = metrics_table([("one", summary_of()), ("two", summary_of())]).splitlines()
    assert len(lines) == 4
    assert {line.count("|") for line in lines} == {len(METRICS) + 3}
    for info in METRICS.values():
        assert info.label in lines[0]
    assert lines[0].count("↑") == sum(info.better == "high" for info in METRICS.values())
    assert lines[0].count("↓") == sum(info.better == "low" for info in METRICS.values())
    with pytest.raises(ValueError, match="unknown metrics auc"):
        metrics_table([], ["auc"])


def test_a_metric_that_an_older_summary_does_not_have_is_a_dash():
    old = summary_of()
    del old["ad"]
    table = metrics_table([("new", summary_of()), ("old", old)])
    head, _, new, older = ([cell.strip() for cell in line.split("|")] for line in table.splitlines())
    column = head.index("AD (%) ↓")
    assert (new[column] != "–", older[column]) == (True, "–")
    assert new[:1] + new[2:column] + new[column + 1 :] == older[:1] + older[2:column] + older[column + 1 :]


def test_localisation_is_shown_where_it_is_defined_and_own_scores_where_there_are_any():
    plain = summary_of()
    nowhere = summary_of(iou=interval(None, None, None, undefined=40, n=0))
    l2i = summary_of(fid_top1=interval(0.9, 0.8, 1.0), n_components=interval(3, 2, 4))
    located = summary_of(auroc=interval(0.75, 0.7, 0.8), median_ag=3.0)
    assert columns([plain]) == columns([nowhere]) == columns([]) == list(METRICS)
    assert columns([plain, l2i, located]) == [*METRICS, "auroc", "fid_top1", "n_components"]
    lines = metrics_table([("plain", plain), ("L2I", l2i), ("located", located), ("nowhere", nowhere)]).splitlines()
    assert lines[0].endswith("| kept area | AUROC ↑ | top-1 fidelity ↑ | n components |")
    assert [line.split(" | ", len(METRICS) + 2)[-1] for line in lines[2:]] == [
        "– | – | – |",
        "– | 0.90 [0.80, 1.00] | 3.00 [2.00, 4.00] |",
        "0.75 [0.70, 0.80] | – | – |",
        "– | – | – |",
    ]
    assert "IoU ↑ |" in metrics_table([("nowhere", nowhere)], ["iou"])


# ---- Documents ----


def evaluation_of(located=True, **rows):
    """The summary of an evaluation in two places, the second with other numbers."""
    rows = rows or {"piq": 0.95, "energy, same area": 0.6, "M = 1": 1.0}
    more = {"energy_precision": interval(0.8, 0.7, 0.9)} if located else {}
    shifted = {"spectrogram": 0.0, "waveform": -0.1}
    return {
        "provenance": {
            "commit": "e" * 40,
            "seed": 7,
            "classifier": "c" * 64,
            "data": {"name": "ESC-10", "folds": {"train": [1], "test": [4, 5]}},
        },
        "n": 40,
        "accuracy": 0.9,
        "companions": ["energy, same area"] if "energy, same area" in rows else [],
        "notes": {"piq": ["one", "two"]},
        "places": {
            place: {name: summary_of(fid_in=interval(x + shift, 0, 1), **more) for name, x in rows.items()}
            for place, shift in shifted.items()
        },
    }


def test_markdown_to_the_letter():
    assert markdown_table(["a", "b"], [["x|y", ""], ["", "1"]], left=(1,)).splitlines() == [
        "| a | b |",
        "| ---: | :--- |",
        "| x\\|y | |",
        "| | 1 |",
    ]


def test_caption_names_what_is_known():
    line = caption(evaluation_of()["provenance"], n=40, accuracy=0.9)
    assert line == (
        "data: ESC-10; test folds: 4, 5; n: 40; seed: 7; classifier: cccccccccccc; "
        "classifier's accuracy on these clips: 0.900; commit: eeeeeeeeeeee. "
        "Means over clips with 95 % bootstrap intervals.\n"
    )
    assert caption({}, n=3, accuracy=None) == "n: 3. Means over clips with 95 % bootstrap intervals.\n"


def test_the_document_of_an_evaluation():
    summary = evaluation_of()
    rows = {place: list(rows.items()) for place, rows in summary["places"].items()}
    assert evaluation_document(summary) == "\n".join(
        [
            caption(summary["provenance"], 40, 0.9),
            f"**Measured on the masked spectrogram**\n\n{metrics_table(rows['spectrogram'])}\n",
            section("waveform", rows["waveform"]),
            "**Notes**\n\n- piq: one; two.\n",
        ]
    )
    assert "**Measured on the masked sound, analysed again (what is heard)**" in evaluation_document(summary)
    assert "Notes" not in evaluation_document({**summary, "notes": {}})
    assert notes_list(summary["notes"]) in evaluation_document(summary)


# ---- The short table ----


def test_documents_say_where_the_truth_is_boxes():
    summary = {"provenance": {}, "n": 2, "accuracy": 0.5, "places": {"waveform": {"PIQ": {"clips": 2}}}, "notes": {}}
    summary |= {"companions": []}
    for text in (evaluation_document(summary), short_table(summary)):
        assert "boxes" not in text
    summary |= {"truth": "boxes"}
    assert f"**The truth**\n\n{OF_BOXES}\n" in evaluation_document(summary)
    assert "boxes that people drew, not for known sources" in short_table(summary)


def test_short_table_to_the_letter():
    assert short_table(evaluation_of()).splitlines() == [
        "Means over 40 clips, masked spectrogram:",
        "                                                                       energy",
        "                   Fid-In ↑  FF ↑  AD (%) ↓  AI (%) ↑  kept area  precision ↑",
        "piq                    0.95  0.50       0.5       0.5       0.50         0.80",
        "energy, same area      0.60  0.50       0.5       0.5       0.50         0.80",
        "",
        "Means over 40 clips, masked sound, analysed again (what is heard):",
        "                                                                       energy",
        "                   Fid-In ↑  FF ↑  AD (%) ↓  AI (%) ↑  kept area  precision ↑",
        "piq                    0.85  0.50       0.5       0.5       0.50         0.80",
        "energy, same area      0.50  0.50       0.5       0.5       0.50         0.80",
    ]


def test_short_table_without_the_truth_or_baselines_of_the_same_area():
    text = short_table(evaluation_of(located=False))
    assert "precision" not in text
    assert "M = 1" not in text
    text = short_table(evaluation_of(**{"amt": 0.5, "M = 1": 1.0}))
    assert [line.split()[0] for line in text.splitlines() if line.endswith("0.80")] == ["amt", "M"] * 2


def test_short_table_fits_a_terminal_and_says_what_is_fixed_or_undefined():
    summary = evaluation_of(**{"a method with a very long name of its own": 0.5, "energy, same area": 0.4})
    for rows in summary["places"].values():
        first, other = rows.values()
        first["fixed"] = ["kept_area"]
        first["ad"] = interval(None, None, None, undefined=40, n=0)
        del other["energy_precision"]
    lines = short_table(summary).splitlines()
    assert max(map(len, lines)) == TERMINAL_WIDTH
    assert lines[3].startswith("a method with a ver…")
    assert lines[3].split()[-6:] == ["0.50", "0.50", "–", "0.5", "fixed", "0.80"]
    assert lines[4].split()[-6:] == ["0.40", "0.50", "0.5", "0.5", "0.50", "–"]


def test_the_table_of_a_clip_explains_itself_and_sets_each_number_beside_those_of_baselines():
    explanation = {
        "fid_in": 1.0,
        "ad": 12.345,
        "sps": None,
        "p": 0.9,
        "o": 0.8,
        "q": 0.01,
        "silent": 0.0,
        "saturated": 0.0,
    }
    measured = {name: dict(explanation, o=o) for name, o in (("explanation", 0.8), ("energy", 0.7), ("random", -0.0))}
    lines = clip_table(measured | {"explanation": explanation | {"n_components": 3.0}}).splitlines()
    heads = ["Measured as heard, at one area", "explanation loudest bins", "random bins"]
    assert re.split(r"\s{2,}", lines[0]) == heads
    assert [re.split(r"\s{2,}", line) for line in lines[1:]] == [
        ["heard as the class (Fid-In) ↑", "1", "1", "1"],
        ["probability of the class, alone", "0.8", "0.7", "0"],
        ["probability of the class, without it", "0.01", "0.01", "0.01"],
        ["relative drop alone (AD, %) ↓", "12.3", "12.3", "12.3"],
        ["sparseness (SPS) ↑", "–", "–", "–"],
        ["n components", "3", "–", "–"],
    ]
    assert max(map(len, lines)) <= 80


def test_fid_in_of_classes_that_do_not_compete_is_not_called_being_heard():
    # A class that is heard neither in the sound nor in its explanation has Fid-In 1.
    measured = {"explanation": {"fid_in": 1.0}, "energy": {"fid_in": 0.0}, "random": {"fid_in": 1.0}}
    line = clip_table(measured, task="multi").splitlines()[1]
    assert re.split(r"\s{2,}", line) == ["heard, or not, as before (Fid-In) ↑", "1", "0", "1"]


def test_every_metric_of_a_clip_has_a_meaning():
    assert METRICS.keys() <= MEANINGS.keys()


def test_methods_stand_side_by_side():
    known = {"explained": "dog", "explained_probability": 0.7512, "kept_area": 0.1, "alone": 0.5, "without": 0.01}
    rows = [
        {**known, "method": "saliency", "undefined": False},
        {**known, "method": "x" * 90, "explained": "a class of a long name " * 5, "undefined": True},
    ]
    title, head, first, second = methods_table(rows).splitlines()
    assert title == "Side by side, as heard:"
    assert head.split() == ["class", "its", "probability", "kept", "area", "alone", "without"]
    assert first.split() == ["saliency", "dog", "0.751", "0.1", "0.5", "0.01"]
    assert second.split()[-3:] == ["–"] * 3
    assert all(len(line) <= TERMINAL_WIDTH for line in (head, first, second))
