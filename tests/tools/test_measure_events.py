"""``tools/measure_events.py``: the truth, what is measured against it, the choice of settings, and what is refused."""

import math
from dataclasses import replace

import numpy as np
import pytest
import tiny
import torch

from interpretability.explanation import Interpretation
from interpretability.frontend import MaskedPair
from interpretability.methods.base import Interpreter
from interpretability.methods.baselines import EnergyMask
from interpretability.metrics.regions import box_iou, time_iou
from interpretability.probabilities import probabilities


def test_the_true_box_holds_99_percent_of_the_energy_in_time_and_in_frequency(tool):
    source = np.zeros((100, 33))
    source[20:40, 5:10] = 1.0
    source[:, 20] = 0.01  # 0.01 % of the energy
    box = tool.true_box(source, tiny.SMALL)
    assert box == pytest.approx((19.5 * 0.004, 39.5 * 0.004, 4.5 * 125, 9.5 * 125))
    assert tool.true_box(np.zeros((100, 33)), tiny.SMALL) is None


class Nothing(Interpreter):
    """Has no explanation."""

    NAME = "nothing"
    trainable = False

    def interpret(self, batch):
        return Interpretation(torch.zeros_like(batch.spectrogram.magnitude), undefined=torch.tensor([True]))


def tone(first, last, hertz, n=16000):
    wav = torch.zeros(n)
    wav[first:last] = torch.sin(2 * torch.pi * hertz * torch.arange(last - first) / 16000)
    return wav


def test_each_method_is_measured_against_the_source_alone(tool):
    classifier = tiny.listening_classifier(["cat", "dog", "rain"])
    source = tone(4000, 8000, 1000.0)
    clip = {"id": "a", "signal": source + tone(10000, 14000, 4000.0) + 0.01 * tiny.noise(16000), "label": "dog"}
    methods = {"loud": EnergyMask(classifier, area=0.05), "nothing": Nothing(classifier)}
    (explained,) = tool.explain_all(classifier, methods, [{**clip, "target_signal": source}])
    rows = {row["method"]: row for row in tool.measure(classifier, explained, tool.START)}
    assert list(rows) == ["loud", "nothing", "NMF, components of the clip", tool.TRUTH]
    assert [rows[tool.TRUTH][key] for key in ("box_iou", "time_iou", "frame_f1", "n_events")] == [1.0] * 4
    assert all(rows["nothing"][key] is None for key in tool.COLUMNS)
    # Two tones are equally loud, one of them is the source.
    loud = rows["loud"]
    assert loud["n_events"] == 2.0
    assert loud["time_iou"] == pytest.approx(0.5, abs=0.05)
    assert loud["frame_f1"] == pytest.approx(2 / 3, abs=0.05)
    assert 0.3 < loud["box_iou"] < 0.6
    # The first event is the one that the class loses most without: it is one of the tones, or the other.
    first = EnergyMask(classifier, area=0.05).explain(clip["signal"][None]).events(settings=tool.START)[0]
    expected = time_iou([(first.start, first.end, first.low, first.high)], [explained.truth])
    assert loud["first_time_iou"] == pytest.approx(expected)
    assert min(abs(loud["first_time_iou"] - value) for value in (0, 1)) < 0.1
    # What is left of the class without all boxes.
    boxes = tool.events_of(explained.kept("loud"), classifier.frontend.settings, tool.START)
    times, hertz = tool.axes_of(explained.kept("loud"), classifier.frontend.settings)
    inside = sum(
        ((times >= start) & (times <= end))[:, None] & (hertz >= low) & (hertz <= high)
        for start, end, low, high in boxes
    )
    pair = MaskedPair.of(explained.batch.clips, inside[None].float())
    left = probabilities(classifier.classify_pair(pair, "waveform").outside)[0, int(explained.batch.target)]
    whole = probabilities(explained.batch.output.logits)[0, int(explained.batch.target)]
    assert loud["effect"] == pytest.approx(float(whole - left), abs=1e-5)
    assert loud["area"] == pytest.approx(float(inside.double().mean()))
    facts = {"data": "toy", "split": "test", "n": 1, "clips": 1, "seed": 0, "classifier": "c" * 64, "commit": "d" * 40}
    text = tool.document(list(rows.values()), facts)
    assert "| the true box | 1.000 [1.000, 1.000] | 1.000 [1.000, 1.000] |" in text
    assert "nothing: 1 without an explanation or a source." in text


def test_a_class_that_the_clip_has_not_has_no_truth(tool):
    classifier = tiny.listening_classifier(["cat", "dog", "rain"], task="multi")
    source = tone(4000, 8000, 1000.0)
    logits = classifier.analyse(source[None]).output.logits[0].sigmoid().tolist()
    classifier.use_thresholds([logits[0] / 2, logits[1] / 2, (1 + logits[2]) / 2])
    clip = {"id": "a", "signal": source, "labels": ["dog"], "target_signals": {"dog": source}}
    both = list(tool.explain_all(classifier, {"loud": EnergyMask(classifier, area=0.05)}, [clip]))
    assert [one.truth is None for one in both] == [True, False]
    rows = [{row["method"]: row for row in tool.measure(classifier, one, tool.START)} for one in both]
    assert [part["loud"]["class"] for part in rows] == ["cat", "dog"]
    assert rows[0]["loud"]["box_iou"] is None
    assert rows[0]["loud"]["effect"] is not None
    assert rows[1]["loud"]["box_iou"] > 0.5


def test_the_settings_with_the_best_boxes_are_chosen(tool, monkeypatch, capsys):
    """Bursts with gaps of 0.12 s, beside a fainter sound of something else, which has a fifth of the energy."""
    kept = np.zeros((200, 33))
    for start in (20, 60, 100):
        kept[start : start + 10, 5:9] = 1.0
    kept[170:190, 28:31] = 0.7
    truth = [(20 * 0.004, 110 * 0.004, 4.5 * 125, 8.5 * 125)]
    grid = {"gap_seconds": (0.0, 0.13, 0.5), "least_share": (0.05, 0.3), "held_share": (0.1, 1.0)}
    monkeypatch.setattr(tool, "GRID", grid)
    start = replace(tool.START, smooth_seconds=0.0, smooth_hertz=0.0, gap_seconds=0.0, held_share=1.0)
    monkeypatch.setattr(tool, "START", start)
    result = tool.choose({"a": [kept], "b": [kept]}, truth, tiny.SMALL)
    assert result["chosen"]["gap_seconds"] == 0.13
    assert result["chosen"]["least_share"] == 0.3
    events = tool.events_of(kept, tiny.SMALL, replace(start, gap_seconds=0.13, least_share=0.3))
    assert result["mean"] == pytest.approx((box_iou(events, truth) + time_iou(events, truth)) / 2)
    assert result["mean"] == max(trial["mean"] for trial in result["trials"])
    assert capsys.readouterr().out.count("\n") == len(result["trials"])


@pytest.mark.slow
def test_what_cannot_be_measured_is_refused_in_one_line(tool, tiny_classifier_folder, tiny_esc50, tmp_path, capsys):
    run = str(tiny_classifier_folder.parent)
    for more, words in (
        ([], "its clips come without the sound of each source alone"),
        (["piq"], "got 'piq', expected NAME=INTERPRETER_RUN"),
        ([f"piq={tmp_path / 'none'}"], f"no run folder at {tmp_path / 'none'}"),
    ):
        assert tool.main([run, *more, "--data_folder", str(tiny_esc50), "--out", str(tmp_path / "out")]) != 0
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert words in line
    assert not (tmp_path / "out").exists()


def test_an_interpreter_of_another_classifier_is_recognised(tool):
    labels = ["cat", "dog"]
    first, other = tiny.listening_classifier(labels), tiny.listening_classifier(labels)
    assert tool.same_weights(first, other)
    other.head.bias.data += 1
    assert not tool.same_weights(first, other)


def test_cells_without_a_value_are_dashes(tool):
    assert tool._cell(tool.Interval(None, None, None, 0, 3), 2) == "–"
    assert tool._cell(tool.Interval(-0.5, -0.75, 0.25, 3, 0), 2, "+") == "-0.50 [-0.75, +0.25]"
    assert math.isnan(tool.fits([], (0.001, 0.002, 0, 1), np.array([5.0]))["frame_f1"])
