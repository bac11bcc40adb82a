"""The protocol: every clip, method and place once; the same numbers in any batch; resumable; traceable."""

import json
import math
import re
import shutil
from types import SimpleNamespace

import pytest
import tiny
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from tiny import LABELS

from interpretability import evaluation
from interpretability.cases import choose_cases, clips_about
from interpretability.classifiers.calls import counted
from interpretability.classifiers.targeted import targeted
from interpretability.data.batches import make_datasets
from interpretability.data.scenes import make_scene
from interpretability.data.sounds import LABELS as SYNTHETIC_LABELS
from interpretability.data.sounds import make_clip
from interpretability.data.synthetic import prepare_synthetic
from interpretability.errors import UserError
from interpretability.evaluation import evaluate
from interpretability.frontend import PLACES
from interpretability.matched import ANOTHER_LABEL
from interpretability.methods.base import Interpreter
from interpretability.methods.baselines import ConstantMask, EnergyMask, RandomMask, matched_baselines
from interpretability.methods.perturbation import Answers
from interpretability.methods.rise import RISE
from interpretability.metrics.localisation import energy_precision
from interpretability.metrics.statistics import bootstrap_mean
from interpretability.metrics.suite import LOCALISATION, METRICS, MetricSuite

PROVENANCE = {
    "commit": "0123456789abcdef",
    "seed": 7,
    "classifier": "feedfacecafe0000",
    "suite": "clean",
    "data": {"name": "made up", "folds": {"test": [5]}},
}


@pytest.fixture(scope="module")
def classifier():
    return tiny.listening_classifier(LABELS)


def dataset(n_clips=7, silent=()):
    generator = torch.Generator().manual_seed(0)
    clips, wavs = {}, {}
    for i in range(n_clips):
        wav = torch.randn(3000 + 700 * i, generator=generator) * torch.linspace(0, 1, 3000 + 700 * i) ** i
        wavs[f"clip{i}"] = wav * 0 if i in silent else wav
        clips[f"clip{i}"] = {"label": LABELS[i % 3]}
    data = DynamicItemDataset(clips)
    data.add_dynamic_item(lambda name: wavs[name], takes="id", provides="signal")
    data.set_output_keys(["id", "signal", "label"])
    return data


def methods(classifier):
    return {
        "M = 1": ConstantMask(classifier, value=1.0),
        "M = 0": ConstantMask(classifier, value=0.0),
        "random": RandomMask(classifier, area=0.2, seed=7),
        "energy": EnergyMask(classifier, area=0.2),
    }


def run(classifier, folder, **settings):
    settings = {"batch_size": 3, "progress": False, **settings}
    return evaluate(classifier, methods(classifier), dataset(), folder, PROVENANCE, **settings)


def lines(folder):
    return [json.loads(line) for line in (folder / "clips.jsonl").read_text().splitlines()]


def test_every_clip_method_and_place_once_with_provenance(classifier, tmp_path):
    result = run(classifier, tmp_path)
    rows = lines(tmp_path)
    assert len(rows) == 7 * 4 * 2
    assert len({(r["clip"], r["method"], r["place"]) for r in rows}) == len(rows)
    for row in rows:
        assert row["commit"] == "0123456789abcdef"
        assert (row["seed"], row["suite"], row["data"], row["test_folds"], row["n"]) == (7, "clean", "made up", [5], 7)
        assert row["classifier"] == "feedfacecafe0000"
        assert row["settings"]["apply"] == "log"
    assert {r["settings"]["method"] for r in rows if r["method"] == "energy"} == {"energy"}
    assert result.summary == json.loads((tmp_path / "summary.json").read_text())
    assert result.summary["provenance"] == PROVENANCE
    assert result.summary["n"] == 7
    assert result.table == (tmp_path / "table.md").read_text()
    assert not (tmp_path / "clips.partial.jsonl").exists()
    for word in ("n: 7", "seed: 7", "test folds: 5", "| random |", "what is heard"):
        assert word in result.table


def test_quiet_clips_are_levelled_as_in_training(classifier, tmp_path):
    """The level rule holds in evaluation: a clip at a hundredth of its level gives the same numbers."""

    def scaled(gain):
        data = dataset()
        original = [data[i] for i in range(len(data))]
        return [{**item, "signal": item["signal"] * gain} for item in original], data.data_ids

    class Items(list):
        data_ids: tuple = ()

    results = []
    for gain in (1.0, 0.01):
        items = Items(scaled(gain)[0])
        items.data_ids = scaled(gain)[1]
        evaluate(classifier, methods(classifier), items, tmp_path / str(gain), PROVENANCE, progress=False)
        results.append(lines(tmp_path / str(gain)))
    for loud, quiet in zip(*results, strict=True):
        assert quiet["ff"] == pytest.approx(loud["ff"], abs=1e-4)
        assert quiet["p"] == pytest.approx(loud["p"], abs=1e-4)


def test_the_two_places_differ_and_the_predicted_class_is_explained(classifier, tmp_path):
    run(classifier, tmp_path)
    rows = lines(tmp_path)
    values = {(r["clip"], r["place"]): r["o"] for r in rows if r["method"] == "random"}
    differences = [abs(values[f"clip{i}", "spectrogram"] - values[f"clip{i}", "waveform"]) for i in range(7)]
    assert max(differences) > 1e-3
    assert all(row["explained"] == row["predicted"] for row in rows)
    assert any(row["explained"] != row["true"] for row in rows)  # an untrained classifier is wrong often enough


def test_paired_differences(classifier, tmp_path):
    summary = run(classifier, tmp_path).summary
    pair = summary["paired"]["waveform"]["M = 1 - energy"]
    whole, energy = (summary["places"]["waveform"][name] for name in ("M = 1", "energy"))
    assert pair["ff"]["mean"] == pytest.approx(whole["ff"]["mean"] - energy["ff"]["mean"])
    assert pair["ff"]["low"] <= pair["ff"]["mean"] <= pair["ff"]["high"]
    assert pair["kept_area"]["mean"] == pytest.approx(0.8, abs=1e-3)
    assert summary["paired"]["waveform"]["M = 1 - M = 0"]["sps"]["undefined"] == 7


class Scored(ConstantMask):
    """Has scores of its own, under these names."""

    names = ("fid_top1", "n_components")

    def interpret(self, batch):
        interpretation = super().interpret(batch)
        peak = batch.spectrogram.magnitude.amax((1, 2))  # of the clip alone
        interpretation.scores |= {name: peak * (k + 1) for k, name in enumerate(self.names)}
        return interpretation


def test_scores_of_the_methods_own_stand_beside_the_metrics(classifier, tmp_path):
    rows = {"scored": Scored(classifier, value=1.0), "energy": EnergyMask(classifier, area=0.2)}
    result = evaluate(classifier, rows, dataset(), tmp_path, PROVENANCE, progress=False)
    scored = [row for row in lines(tmp_path) if row["method"] == "scored" and row["place"] == "waveform"]
    assert all(row["n_components"] == pytest.approx(2 * row["fid_top1"]) for row in scored)
    assert len({row["fid_top1"] for row in scored}) == 7
    assert all("fid_top1" not in row for row in lines(tmp_path) if row["method"] == "energy")
    for place in PLACES:
        results = result.summary["places"][place]
        assert results["scored"]["n_components"]["mean"] == pytest.approx(sum(r["n_components"] for r in scored) / 7)
        assert "n_components" not in results["energy"]
        assert "n_components" not in result.summary["paired"][place]["scored - energy"]
    assert result.table.count("| kept area | top-1 fidelity ↑ | n components |") == 2
    for line in result.table.splitlines():
        if line.startswith("| energy |"):
            assert line.endswith("| – | – |")


class Remarkable(EnergyMask):
    """Has no explanation of clips with fewer frames than ``least``, and notes for its reader."""

    least = 22
    remarks, fixed = ("the same for every class",), ("sps", "comp")

    @property
    def notes(self):
        return self.remarks

    @property
    def fixed_metrics(self):
        return self.fixed

    def interpret(self, batch):
        interpretation = super().interpret(batch)
        interpretation.undefined = batch.spectrogram.valid.sum(1) < self.least
        interpretation.mask[interpretation.undefined] = 0
        return interpretation


def test_clips_without_an_explanation_are_counted_and_not_measured(classifier, tmp_path):
    rows = {"remarkable": Remarkable(classifier, area=0.2), "energy": EnergyMask(classifier, area=0.2)}
    result = evaluate(
        classifier, rows, dataset(), tmp_path, PROVENANCE, batch_size=3, progress=False, companions=matched_baselines(7)
    )
    by_place = {(row["method"], row["place"], row["clip"]): row for row in lines(tmp_path)}
    for (method, place, clip), row in by_place.items():
        whole = by_place["energy", place, clip]
        assert row["p"] == whole["p"]
        if method == "energy" or clip not in ("clip0", "clip1"):
            assert all(row[name] is not None for name in METRICS)
        else:  # of the baselines at its area too: there is no area
            assert [row[name] for name in (*METRICS, "o", "q")] == [None] * (len(METRICS) + 2)
        if method == "remarkable" and clip not in ("clip0", "clip1"):
            assert {name: row[name] for name in (*METRICS, "o", "q")} == {
                name: whole[name] for name in (*METRICS, "o", "q")
            }
    for place in PLACES:
        results = result.summary["places"][place]
        for name in METRICS:
            assert (results["remarkable"][name]["n"], results["remarkable"][name]["undefined"]) == (5, 2), name
            assert (results["energy, same area"][name]["n"], results["energy, same area"][name]["undefined"]) == (5, 2)
            assert results["energy"][name]["n"] == 7
        assert results["remarkable"]["clips"] == 7
        assert result.summary["paired"][place]["remarkable - energy"]["ad"]["undefined"] == 2
        assert result.summary["paired"][place]["remarkable - energy"]["ad"]["mean"] == 0.0
    shown = [line for line in result.table.splitlines() if line.startswith("| remarkable | 7 |")]
    assert [line.count("(2 undefined)") for line in shown] == [len(METRICS)] * 2


def test_what_has_to_be_known_of_a_method_stands_below_its_table(classifier, tmp_path):
    rows = {"remarkable": Remarkable(classifier, area=0.2), "energy": EnergyMask(classifier, area=0.1)}
    result = evaluate(classifier, rows, dataset(), tmp_path, PROVENANCE, progress=False)
    notes = [
        "the same for every class",
        "SPS, COMP are decided by its settings, whatever it explains: do not rank it by them",
    ]
    assert result.summary["notes"] == {"remarkable": notes}
    assert result.summary == json.loads((tmp_path / "summary.json").read_text())
    assert result.table.endswith(f"**Notes**\n\n- remarkable: {notes[0]}; {notes[1]}.\n")
    for place in PLACES:
        assert result.summary["places"][place]["remarkable"]["fixed"] == ["sps", "comp"]
        assert "fixed" not in result.summary["places"][place]["energy"]
        pair = result.summary["paired"][place]["remarkable - energy"]
        assert {"sps", "comp"} & pair.keys() == set()
        assert {"comp_rel", "ad", "kept_area"} <= pair.keys()
    cells = [line.split(" | ") for line in result.table.splitlines() if line.startswith("| remarkable |")]
    assert len(cells) == 2
    heads = next(line for line in result.table.splitlines() if line.startswith("| method |")).split(" | ")
    for row in cells:
        shown = dict(zip(heads, row, strict=True))
        assert [name for name, cell in shown.items() if cell == "fixed (2 undefined)"] == ["SPS ↑", "COMP (nats) ↓"]
    # The numbers are kept.
    assert all(
        row["sps"] == pytest.approx(0.8, abs=1e-3) and row["comp"] > 0
        for row in lines(tmp_path)
        if row["method"] == "remarkable" and row["clip"] not in ("clip0", "clip1")
    )


def test_one_fixed_metric_and_no_note(classifier, tmp_path):
    method = Remarkable(classifier, area=0.2)
    method.remarks, method.fixed = (), ("kept_area",)
    rows = {"energy": EnergyMask(classifier, area=0.1), "remarkable": method}
    summary = evaluate(classifier, rows, dataset(), tmp_path, PROVENANCE, progress=False).summary
    note = "kept area is decided by its settings, whatever it explains: do not rank it by it"
    assert summary["notes"] == {"remarkable": [note]}
    assert "kept_area" not in summary["paired"]["waveform"]["energy - remarkable"]
    plain = evaluate(classifier, {"energy": rows["energy"]}, dataset(), tmp_path / "plain", PROVENANCE, progress=False)
    assert plain.summary["notes"] == {}
    assert "Notes" not in plain.table


def test_scores_cannot_take_the_name_of_a_metric(classifier, tmp_path):
    interpreter = Scored(classifier, value=1.0)
    interpreter.names = ("ad", "clip")
    with pytest.raises(ValueError, match="scored gives scores named ad, clip"):
        evaluate(classifier, {"scored": interpreter}, dataset(), tmp_path, PROVENANCE, progress=False)


def test_known_rows(classifier, tmp_path):
    summary = run(classifier, tmp_path).summary
    for place in ("spectrogram", "waveform"):
        whole = summary["places"][place]["M = 1"]
        assert whole["fid_in"]["mean"] == 1.0
        assert whole["ad"]["mean"] == pytest.approx(0, abs=1e-3)
        assert whole["ai"]["mean"] == whole["ag"]["mean"] == 0.0
        assert whole["sps"]["mean"] == pytest.approx(0, abs=1e-9)
        assert whole["kept_area"]["mean"] == 1.0
        nothing = summary["places"][place]["M = 0"]
        assert nothing["ff"]["mean"] == pytest.approx(0, abs=1e-5)
        assert nothing["sps"]["mean"] is None
        assert nothing["sps"]["undefined"] == 7
        assert summary["places"][place]["energy"]["kept_area"]["mean"] == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("batch_size", [1, 7])
def test_the_same_in_any_batch(classifier, tmp_path, batch_size):
    run(classifier, tmp_path / "three")
    run(classifier, tmp_path / "other", batch_size=batch_size)
    for first, second in zip(lines(tmp_path / "three"), lines(tmp_path / "other"), strict=True):
        assert first.keys() == second.keys()
        for key, value in first.items():
            if isinstance(value, float):
                assert second[key] == pytest.approx(value, abs=2e-3), key
            else:
                assert second[key] == value, key


def test_interrupted_it_goes_on_and_measures_no_clip_twice(classifier, tmp_path, monkeypatch):
    whole = run(classifier, tmp_path / "whole")
    calls = []

    def counting(*arguments, **keywords):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments, **keywords)

    import interpretability.evaluation as module

    original = module._measure
    monkeypatch.setattr(module, "_measure", counting)
    with pytest.raises(KeyboardInterrupt):
        run(classifier, tmp_path / "cut")
    partial = tmp_path / "cut" / "clips.partial.jsonl"
    # The kill took half of the last line with it: that batch is measured again.
    partial.write_text(partial.read_text()[:-40])
    again = run(classifier, tmp_path / "cut")
    assert len(calls) == 3 + 2  # what was left: the batch of the cut line, and the third
    assert same_results(tmp_path / "cut", tmp_path / "whole")
    assert again.summary["places"] == whole.summary["places"]


def test_what_asks_again_and_again_says_how_often_and_loses_one_batch_at_most(classifier, tmp_path, monkeypatch):
    """A method that is interrupted in the middle of a clip's calls asks again about the clips of that batch alone."""
    rise = RISE(classifier, calls=6, times=2, bands=2)
    rows = {"rise": rise, "energy": EnergyMask(classifier)}
    whole = evaluate(classifier, rows, dataset(), tmp_path / "whole", PROVENANCE, 3, progress=False)
    assert whole.summary["calls_per_clip"] == {"rise": 6, "energy": 0}
    answer, asked = Answers.__call__, []

    def interrupting(self, masks):
        asked.append(len(masks))
        if sum(asked) > 4 * 6:  # the second clip of the second batch
            raise KeyboardInterrupt
        return answer(self, masks)

    monkeypatch.setattr(Answers, "__call__", interrupting)
    with pytest.raises(KeyboardInterrupt):
        evaluate(classifier, rows, dataset(), tmp_path / "cut", PROVENANCE, 3, progress=False)
    monkeypatch.setattr(Answers, "__call__", answer)
    with counted(classifier) as calls:
        again = evaluate(classifier, rows, dataset(), tmp_path / "cut", PROVENANCE, 3, ("spectrogram", "waveform"))
    left = len(dataset()) - 3
    assert again.summary["calls_per_clip"] == {"rise": 6, "energy": 0}
    assert calls.count == left * (
        1 + 6 + 2 * 4
    )  # each clip itself, its masks, and In and Out of two rows in two places
    assert same_results(tmp_path / "cut", tmp_path / "whole")


def cards(folder):
    """Return name, judgement and probabilities of the clips on the page, in their order."""
    page = (folder / "report.html").read_text("utf-8")
    judged = re.findall(r'data-correct="(\w+)"', page)
    data = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    return [(each["name"], right, each["views"][0]["classes"]) for each, right in zip(data, judged, strict=True)]


@pytest.mark.slow
def test_a_page_shows_what_was_measured_and_changes_no_number(classifier, tmp_path, monkeypatch):
    run(classifier, tmp_path / "plain")
    result = run(classifier, tmp_path / "page", report_clips=5)
    assert same_results(tmp_path / "plain", tmp_path / "page")
    assert result.page == tmp_path / "page" / "report.html"
    of_first = [row for row in lines(tmp_path / "page") if (row["method"], row["place"]) == ("M = 1", "waveform")]
    rows = {row["clip"]: row for row in of_first}
    shown = cards(tmp_path / "page")
    assert len(shown) == 5
    wrong = [name for name, row in rows.items() if row["true"] != row["predicted"]]
    assert [name for name, judged, _ in shown if judged == "wrong"] == wrong[:5]
    assert [judged for _, judged, _ in shown] == sorted((judged for _, judged, _ in shown), reverse=True)
    for name, _, classes in shown:
        of_class = next(known for known in classes if known["label"] == rows[name]["explained"])
        assert of_class["input"] == pytest.approx(rows[name]["p"], abs=1e-5)
        assert of_class["explanation"] == pytest.approx(rows[name]["o"], abs=1e-5)
        assert of_class["residual"] == pytest.approx(rows[name]["q"], abs=1e-5)

    interrupted_at_a_batch(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        run(classifier, tmp_path / "cut", report_clips=5)
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {"clips.partial.jsonl", "report.partial.jsonl"}
    run(classifier, tmp_path / "cut", report_clips=5)
    assert (tmp_path / "cut" / "report.html").read_bytes() == result.page.read_bytes()
    # Without a page, that of an earlier evaluation does not stay.
    run(classifier, tmp_path / "cut")
    assert {path.name for path in (tmp_path / "cut").iterdir()} == {*evaluation.RESULTS}


def test_a_page_that_cannot_be_written_costs_nothing_that_was_measured(classifier, tmp_path, monkeypatch):
    (tmp_path / "report.html").mkdir()
    with pytest.raises(UserError, match=r"could not write .*report\.html"):
        run(classifier, tmp_path, report_clips=2)
    (tmp_path / "report.html").rmdir()
    monkeypatch.setattr(evaluation, "_measure", None)  # nothing is measured again
    assert run(classifier, tmp_path, report_clips=2).page.is_file()


@pytest.mark.slow
def test_a_page_shows_other_rows_of_the_same_clips_beside_the_first_and_changes_no_number(classifier, tmp_path):
    companions = {name: matched_baselines(7)[name] for name in ("energy, same area",)}
    run(classifier, tmp_path / "plain", companions=companions)
    asked = {"beside": ["energy, same area", "energy"], "compared": ["energy"]}
    result = run(classifier, tmp_path / "page", companions=companions, report_clips=2, **asked)
    assert (tmp_path / "plain" / "clips.jsonl").read_bytes() == (tmp_path / "page" / "clips.jsonl").read_bytes()
    assert result.summary["compared"] == ["energy"]
    page = (tmp_path / "page" / "report.html").read_text("utf-8")
    rows = {(r["clip"], r["method"]): r for r in lines(tmp_path / "page") if r["place"] == "waveform"}
    data = [json.loads(text) for text in re.findall(r'<script type="application/json">(.*?)</script>', page)]
    assert len(data) == 2
    for card in data:
        assert [view["method"] for view in card["views"]] == ["constant", "energy, same area", "energy"]
        for view in card["views"][1:]:
            of_class = next(known for known in view["classes"] if known["label"] == view["explained"])
            row = rows[card["name"], view["method"]]
            assert (of_class["explanation"], of_class["residual"]) == pytest.approx((row["o"], row["q"]), abs=1e-5)
    assert "M = 1 - energy |" in result.table  # the paired difference
    with pytest.raises(ValueError, match=r"beside is \['loud'\], expected rows among"):
        run(classifier, tmp_path / "none", beside=["loud"])


def same_results(first, second):
    return all((first / name).read_bytes() == (second / name).read_bytes() for name in ("clips.jsonl", "table.md"))


def in_line(number, change):
    """Change a line of the measured clips (from 0), without its end."""

    def damage(content):
        lines = content.split(b"\n")
        lines[number] = change(lines[number])
        return b"\n".join(lines)

    return damage


def edited(**members):
    """Another row in the place of a measured one, still a valid line of JSON."""

    def change(line):
        content = json.loads(line)
        return json.dumps({**content, "row": {**content["row"], **members}}).encode()

    return change


DAMAGES = {
    "the last line cut": lambda content: content[:-40],
    "the last line cut, and an end of line": lambda content: content[:-40] + b"\n",
    "a line cut in the middle": in_line(1, lambda line: line[:30]),
    "a line without its start": in_line(1, lambda line: line[30:]),
    "an empty line": in_line(1, lambda line: b""),
    "an empty line more": lambda content: b"\n" + content,
    "zeros at the end": lambda content: content + b"\0" * 4096,
    "zeros in the place of a line": in_line(1, lambda line: b"\0" * len(line)),
    "not UTF-8": in_line(1, lambda line: b"\xff\xfe" + line),
    "another byte in a number": in_line(1, lambda line: line.replace(b"0.", b"1.", 1)),
    "a number": in_line(1, lambda line: b"17"),
    "a list": in_line(1, lambda line: b"[1, 2]"),
    "null": in_line(1, lambda line: b"null"),
    "a text": in_line(1, lambda line: b'"clip"'),
    "an object that is no row": in_line(1, lambda line: b'{"digest": "0123456789abcdef", "row": {}}'),
    "deeply nested": in_line(1, lambda line: b"[" * 100_000),
    "a very long line": lambda content: content + b"x" * 1_000_000 + b"\n",
    "another clip": in_line(1, edited(clip="clip99")),
    "another method": in_line(1, edited(method="none")),
    "another value": in_line(1, edited(ad=99.0)),
    "a value that is NaN": in_line(1, edited(ad=math.nan)),
    "a value of text": in_line(1, edited(ad="99")),
    "a value missing": in_line(1, lambda line: line.replace(b'"ad": ', b'"xx": ')),
    "a line twice": in_line(1, lambda line: line + b"\n" + line),
    "all lines twice": lambda content: content * 2,
    "lines in another order": lambda content: b"".join(reversed(content.splitlines(keepends=True))),
    "ends of line of Windows": lambda content: content.replace(b"\n", b"\r\n"),
    "nothing": lambda content: b"",
}


def run_short(classifier, folder):
    rows = {"energy": EnergyMask(classifier, area=0.2)}
    evaluate(classifier, rows, dataset(4), folder, PROVENANCE, batch_size=2, places=("spectrogram",), progress=False)


@pytest.fixture(scope="module")
def interrupted(classifier, tmp_path_factory):
    """The folder of a whole evaluation, and of one that was stopped in its last batch."""
    import interpretability.evaluation as module

    whole, cut = (tmp_path_factory.mktemp(name) for name in ("whole", "cut"))
    run_short(classifier, whole)
    measured = []

    def stopping(*arguments, measure=module._measure):
        measured.append(1)
        if len(measured) == 2:
            raise KeyboardInterrupt
        return measure(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_measure", stopping)
        pytest.raises(KeyboardInterrupt, run_short, classifier, cut)
    return whole, cut


@pytest.mark.parametrize("damage", DAMAGES)
def test_of_damaged_partial_results_only_whole_lines_count(classifier, interrupted, tmp_path, damage):
    """Whatever was damaged is measured again, and the results are those of an undisturbed evaluation, to the byte."""
    whole, cut = interrupted
    partial = tmp_path / "clips.partial.jsonl"
    content = (cut / partial.name).read_bytes()
    partial.write_bytes(DAMAGES[damage](content))
    assert partial.read_bytes() != content
    run_short(classifier, tmp_path)
    assert same_results(tmp_path, whole)
    assert not partial.exists()


def test_results_hold_no_negative_zero(classifier, tmp_path):
    class Negative(ConstantMask):
        def interpret(self, batch):
            interpretation = super().interpret(batch)
            interpretation.scores["shift"] = -batch.spectrogram.magnitude.amax((1, 2)) * 0
            return interpretation

    rows = {"negative": Negative(classifier, value=1.0), "energy": EnergyMask(classifier, area=0.2)}
    result = evaluate(classifier, rows, dataset(), tmp_path, PROVENANCE, progress=False)
    assert all(row["shift"] == 0 for row in lines(tmp_path) if row["method"] == "negative")
    for path in tmp_path.iterdir():
        assert re.search(r"(?<![\w.])-0(\.0+)?(?![\d.])", path.read_text()) is None, path.name
    assert result.summary == json.loads((tmp_path / "summary.json").read_text())


def test_a_partial_result_of_something_else_is_not_taken_over(classifier, tmp_path):
    stale = {"provenance": {"seed": 1}, "methods": ["M = 1"], "places": ["spectrogram"], "n": 7}
    row = {"clip": "clip0", "method": "M = 1", "place": "spectrogram", "ad": 99.0}
    (tmp_path / "clips.partial.jsonl").write_text(json.dumps(stale) + "\n" + json.dumps(row) + "\n")
    assert run(classifier, tmp_path).summary["places"]["spectrogram"]["M = 1"]["ad"]["mean"] < 1


def test_silent_clips_are_flagged_and_left_out_of_means(classifier, tmp_path):
    result = evaluate(
        classifier, methods(classifier), dataset(silent=(2,)), tmp_path, PROVENANCE, batch_size=4, progress=False
    )
    summary = result.summary["places"]["waveform"]["energy"]
    assert (summary["clips"], summary["silent"]) == (6, 1)
    silent = [row for row in lines(tmp_path) if row["clip"] == "clip2"]
    assert all(row["silent"] == 1.0 and row["ad"] == row["ff"] == 0.0 for row in silent)
    assert all(
        value is None or math.isfinite(value) for r in silent for value in r.values() if isinstance(value, float)
    )


def test_no_clips_is_an_error(classifier, tmp_path):
    with pytest.raises(UserError, match="no clips"):
        evaluate(classifier, methods(classifier), SimpleNamespace(data_ids=[]), tmp_path, PROVENANCE, progress=False)


# ---- Baselines at the method's own area ----


class Soft(Interpreter):
    """A soft mask of the clip alone; counts how often it is asked."""

    NAME = "soft"
    calls = 0

    def mask(self, batch):
        self.calls += 1
        magnitude = batch.spectrogram.magnitude
        return magnitude / magnitude.amax((1, 2), keepdim=True)


def run_with_baselines(classifier, folder, soft=None, data=None, **settings):
    rows = {"soft": soft or Soft(classifier), **methods(classifier)}
    settings = {"batch_size": 3, "progress": False, "companions": matched_baselines(seed=7), **settings}
    return evaluate(classifier, rows, data or dataset(), folder, PROVENANCE, **settings)


def test_companions_keep_as_much_of_every_clip_as_the_first_method(classifier, tmp_path):
    soft = Soft(classifier)
    result = run_with_baselines(classifier, tmp_path, soft)
    assert soft.calls == 3  # batches: nothing is interpreted twice
    names = list(matched_baselines(0))
    assert result.summary["companions"] == names
    for place in PLACES:
        # They follow the method they belong to.
        assert list(result.summary["places"][place]) == ["soft", *names, *methods(classifier)]
    rows = {(row["method"], row["place"], row["clip"]): row for row in lines(tmp_path)}
    for (method, place, clip), row in rows.items():
        if method in names:
            wanted = rows["soft", place, clip]["kept_area"]
            assert row["kept_area"] == pytest.approx(wanted, abs=1 / (16 * 513))  # to the bin: 16 frames or more
            assert row["settings"]["same_as"] == "soft"
            assert (row["settings"]["method"], row["settings"]["area"]) == (method.split(",")[0], "same")
    assert len({row["kept_area"] for row in rows.values() if row["method"] == names[0]}) >= 7
    assert rows[names[1], "waveform", "clip0"]["settings"]["seed"] == 7
    pair = result.summary["paired"]["waveform"]["soft - energy, same area"]
    assert pair["kept_area"]["mean"] == pytest.approx(0, abs=1e-3)
    assert set(result.summary["seconds_per_clip"]) == {"soft", *names, *methods(classifier)}


def test_a_companion_at_a_known_area_is_the_baseline_of_that_area(classifier, tmp_path):
    rows = {
        "energy": EnergyMask(classifier, area=0.2, apply="linear"),
        "baseline": EnergyMask(classifier, area=0.2, apply="linear"),
    }
    baselines = matched_baselines(seed=7)
    evaluate(classifier, rows, dataset(), tmp_path, PROVENANCE, progress=False, companions=baselines)
    by_method = {name: [] for name in ("energy", "baseline", "energy, same area")}
    for row in lines(tmp_path):
        if row["method"] in by_method:
            values = {key: row[key] for key in (*METRICS, "place", "apply", "clip", "o")}
            by_method[row["method"]].append(values)
    assert by_method["energy"] == by_method["baseline"] == by_method["energy, same area"]
    assert {row["apply"] for row in by_method["energy, same area"]} == {"linear"}


def interrupted_at_a_batch(monkeypatch, number: int = 2) -> list:
    """Interrupt an evaluation when it measures its batch of a number; return a list that grows with every batch."""
    import interpretability.evaluation as module

    original, calls = module._measure, []

    def stopping(*arguments):
        calls.append(1)
        if len(calls) == number:
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(module, "_measure", stopping)
    return calls


@pytest.mark.slow
def test_with_companions_it_is_the_same_in_any_batch_and_when_interrupted(classifier, tmp_path, monkeypatch):
    run_with_baselines(classifier, tmp_path / "whole")
    calls = interrupted_at_a_batch(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_with_baselines(classifier, tmp_path / "cut")
    shutil.copytree(tmp_path / "cut", tmp_path / "plain")
    run_with_baselines(classifier, tmp_path / "cut")
    assert len(calls) == 2 + 2
    assert (tmp_path / "cut" / "clips.jsonl").read_bytes() == (tmp_path / "whole" / "clips.jsonl").read_bytes()
    run_with_baselines(classifier, tmp_path / "one", batch_size=1)
    for first, second in zip(lines(tmp_path / "whole"), lines(tmp_path / "one"), strict=True):
        assert (first["clip"], first["method"]) == (second["clip"], second["method"])
        for key in ("kept_area", "o", "q"):
            assert second[key] == pytest.approx(first[key], abs=2e-3), key
    # Without them it is another evaluation: nothing is taken over.
    before = len(calls)
    plain = run_with_baselines(classifier, tmp_path / "plain", companions=None)
    assert len(calls) == before + 3
    assert plain.summary["companions"] == []
    assert "energy, same area" not in plain.table


def test_rows_have_names_of_their_own(classifier, tmp_path):
    with pytest.raises(ValueError, match="distinct names"):
        run_with_baselines(classifier, tmp_path, companions={"energy": matched_baselines(0)["energy, same area"]})
    with pytest.raises(ValueError, match="expected a method"):
        evaluate(classifier, {}, dataset(), tmp_path, PROVENANCE, progress=False)


# ---- Localisation ----


class Oracle(Interpreter):
    """The true bins, from clips that it is given by the peak of their magnitude."""

    NAME = "oracle"

    def __init__(self, classifier, truths):
        super().__init__(classifier)
        self.truths = truths

    def mask(self, batch):
        spectrogram = batch.spectrogram
        mask = torch.zeros_like(spectrogram.magnitude)
        for clip, magnitude in enumerate(spectrogram.magnitude):
            frames = int(spectrogram.valid[clip].sum())
            mask[clip, :frames] = min(self.truths, key=lambda known: abs(known[0] - float(magnitude.max())))[1]
        return mask


@pytest.fixture(scope="module")
def synthetic(tmp_path_factory):
    """Test clips of the Synthetic data, with targets."""
    folder = tmp_path_factory.mktemp("synthetic")
    prepared = prepare_synthetic(folder / "data", folder, seed=1234, n_train=10, n_valid=10, n_test=10, seconds=1.0)
    assert prepared.has_targets("test")
    splits = ("test",)
    with_targets = make_datasets(prepared, list(SYNTHETIC_LABELS), 16000, splits=splits, with_targets=True)["test"]
    return with_targets, make_datasets(prepared, list(SYNTHETIC_LABELS), 16000, splits=splits)["test"]


@pytest.fixture(scope="module")
def synthetic_classifier():
    return tiny.listening_classifier(list(SYNTHETIC_LABELS))


def by_hand(frontend, index):
    """Peak of the magnitude, truth, and magnitude of a clip, from its parts as they were made, at any level."""
    clip = make_clip(1234, "test", index, seconds=1.0)
    parts = [torch.from_numpy(x)[None] / abs(clip.mixture).max() for x in (clip.mixture, clip.target, clip.rest)]
    mixture, target, rest = (frontend.analyse(part).magnitude[0] for part in parts)
    return float(mixture.max()), target > rest, mixture


@pytest.mark.slow
def test_the_true_bins_score_perfectly_and_others_do_not(synthetic, synthetic_classifier, tmp_path):
    known = [by_hand(synthetic_classifier.frontend, i) for i in range(10)]
    rows = {"oracle": Oracle(synthetic_classifier, [(peak, truth) for peak, truth, _ in known])}
    rows |= {
        "whole": ConstantMask(synthetic_classifier, value=1.0),
        "energy": EnergyMask(synthetic_classifier, area=0.1),
    }
    baselines = matched_baselines(seed=7)
    result = evaluate(
        synthetic_classifier,
        rows,
        synthetic[0],
        tmp_path,
        PROVENANCE,
        batch_size=4,
        progress=False,
        companions=baselines,
    )
    measured = {(row["method"], row["place"], row["clip"]): row for row in lines(tmp_path)}
    assert len(measured) == 6 * 2 * 10
    for i in range(10):
        _, truth, magnitude = known[i]
        oracle, whole, energy = (
            measured[name, "spectrogram", f"test-{i:05d}"] for name in ("oracle", "whole", "energy")
        )
        assert [oracle[name] for name in LOCALISATION] == pytest.approx([1.0] * 4, abs=1e-12)
        share = energy_precision(magnitude[None], truth[None]).item()
        assert whole["energy_precision"] == pytest.approx(share, abs=1e-4)
        assert whole["auroc"] == pytest.approx(0.5, abs=1e-9)
        assert whole["pointing_game"] == pytest.approx(truth.double().mean().item(), abs=1e-4)
        assert oracle["kept_area"] == pytest.approx(truth.double().mean().item(), abs=1e-4)
        assert energy["energy_precision"] < 1
        heard = measured["oracle", "waveform", f"test-{i:05d}"]
        assert share < heard["energy_precision"] < 1.0  # the mask's edges smear
        assert [heard[name] for name in ("auroc", "pointing_game", "iou")] == pytest.approx([1.0] * 3)
    for place in PLACES:
        summary = result.summary["places"][place]
        assert summary["oracle"]["iou"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 10, "undefined": 0}
        assert summary["oracle"]["auroc"]["mean"] > summary["random, same area"]["auroc"]["mean"] + 0.3
        assert result.summary["paired"][place]["oracle - energy, same area"]["iou"]["low"] > 0
    heads = [line for line in result.table.splitlines() if line.startswith("| method |")]
    assert [head.split("| kept area | ")[1] for head in heads] == [
        "energy precision ↑ | AUROC ↑ | pointing game ↑ | IoU ↑ |"
    ] * 2


def test_without_targets_no_localisation_and_the_same_metrics(synthetic, synthetic_classifier, tmp_path):
    rows = {"energy": EnergyMask(synthetic_classifier, area=0.1)}
    for name, data in zip(("with", "without"), synthetic, strict=True):
        evaluate(synthetic_classifier, rows, data, tmp_path / name, PROVENANCE, batch_size=4, progress=False)
    for full, plain in zip(lines(tmp_path / "with"), lines(tmp_path / "without"), strict=True):
        assert full.keys() - plain.keys() == LOCALISATION.keys()
        assert all(full[key] == plain[key] for key in plain)
    assert "AUROC" not in (tmp_path / "without" / "table.md").read_text()
    assert "iou" not in json.loads((tmp_path / "without" / "summary.json").read_text())["places"]["waveform"]["energy"]


class Clips(list):
    """A data set of given clips, with targets."""

    @property
    def data_ids(self):
        return [clip["id"] for clip in self]


def sources(gain=1.0, lengths=(3000, 9000), silent_target=False):
    """Clips of a low tone, the target, in a high one; the target lasts for the first half."""
    clips = Clips()
    for i, n in enumerate(lengths):
        time = torch.arange(n) / 16000
        target = torch.sin(2 * torch.pi * 500 * time) * (time < n / 32000) * (not silent_target)
        signal = target + 0.4 * torch.sin(2 * torch.pi * 4000 * time)
        clips.append({"id": f"c{i}", "label": "cat", "signal": signal * gain, "target_signal": target * gain})
    return clips


def test_the_target_gets_the_gain_of_its_mixture(classifier, tmp_path):
    """Beside a levelled mixture, a target at the level of its file would dominate nowhere."""
    rows = {"energy": EnergyMask(classifier, area=0.1)}
    results = []
    for gain in (1.0, 0.003):
        evaluate(classifier, rows, sources(gain), tmp_path / str(gain), PROVENANCE, progress=False)
        results.append(lines(tmp_path / str(gain)))
    for loud, quiet in zip(*results, strict=True):
        for name in LOCALISATION:
            assert quiet[name] == pytest.approx(loud[name], abs=1e-3), name
        # The louder tone, in half the clip, is the louder part of what is kept.
        assert 0.5 < loud["energy_precision"] < 1


@pytest.mark.parametrize("batch_size", [1, 2])
def test_padded_clips_have_the_truth_of_the_clip_alone(classifier, tmp_path, batch_size):
    rows = {"energy": EnergyMask(classifier, area=0.1)}
    evaluate(classifier, rows, sources(), tmp_path / "new", PROVENANCE, batch_size=batch_size, progress=False)
    for clip in sources():
        alone = Clips([clip])
        evaluate(classifier, rows, alone, tmp_path / clip["id"], PROVENANCE, progress=False)
        of_clip = [row for row in lines(tmp_path / "new") if row["clip"] == clip["id"]]
        for row, expected in zip(of_clip, lines(tmp_path / clip["id"]), strict=True):
            for name in LOCALISATION:
                assert row[name] == pytest.approx(expected[name], abs=1e-4), name


def test_a_target_that_is_silent_has_no_place(classifier, tmp_path):
    rows = {"energy": EnergyMask(classifier, area=0.1)}
    result = evaluate(classifier, rows, sources(silent_target=True), tmp_path, PROVENANCE, progress=False)
    for row in lines(tmp_path):
        assert row["energy_precision"] == 0.0
        assert [row[name] for name in ("auroc", "pointing_game", "iou")] == [None] * 3
    assert result.summary["places"]["waveform"]["energy"]["iou"]["undefined"] == 2
    assert "energy precision ↑ |\n" in result.table  # the others are defined for no clip


def test_a_target_of_another_length_is_an_error(classifier, tmp_path):
    clips = sources(lengths=(3000, 3000))
    clips[1]["target_signal"] = clips[1]["target_signal"][:-1]
    rows = {"energy": EnergyMask(classifier, area=0.1)}
    with pytest.raises(UserError, match="c0, c1 a target has another length than its mixture"):
        evaluate(classifier, rows, clips, tmp_path, PROVENANCE, progress=False)


# ---- Several labels for each clip ----


SEVERAL = {"a": ["dog"], "b": [], "c": ["rain", "cat"], "d": ["cat", "dog", "rain"], "e": ["rain"]}


@pytest.fixture(scope="module")
def tagger():
    """A classifier that hears each of its classes in three of the five clips."""
    classifier = tiny.listening_classifier(LABELS, task="multi")
    answers = torch.cat([classifier.analyse(item["signal"][None]).output.logits for item in tagged()])
    ranked = answers.double().sigmoid().sort(dim=0, descending=True).values
    return classifier.use_thresholds(((ranked[2] + ranked[3]) / 2).tolist())


def tagged(labels=SEVERAL, form="labels", sources=None):
    generator = torch.Generator().manual_seed(0)
    wavs = {
        clip: torch.randn(3000 + 700 * k, generator=generator) * torch.linspace(0, 1, 3000 + 700 * k) ** k
        for k, clip in enumerate(labels)
    }
    clips = {clip: {form: names if form == "labels" else names[0]} for clip, names in labels.items()}
    data = DynamicItemDataset(clips)
    data.add_dynamic_item(lambda name: wavs[name], takes="id", provides="signal")
    if sources is not None:
        data.add_dynamic_item(lambda name: sources(name, wavs[name]), takes="id", provides="target_signals")
    data.set_output_keys(["id", "signal", form, *(["target_signals"] if sources else [])])
    return data


def run_several(tagger, folder, data=None, **settings):
    settings = {"batch_size": 3, "progress": False, "companions": matched_baselines(seed=7), **settings}
    rows = {"energy": EnergyMask(tagger, area=0.2), "half": ConstantMask(tagger, value=0.5)}
    return evaluate(tagger, rows, data or tagged(), folder, PROVENANCE, **settings)


def test_each_label_has_a_row_of_its_own_measured_for_its_class(tagger, tmp_path):
    data = tagged()
    result = run_several(tagger, tmp_path, data)
    rows = lines(tmp_path)
    cases = {(row["clip"], row["explained"]) for row in rows}
    assert len({clip for clip, _ in cases}) == 5
    assert len(cases) >= 9
    assert len({(r["clip"], r["explained"], r["method"], r["place"]) for r in rows}) == len(rows) == len(cases) * 6 * 2
    for row in rows:
        if row["method"] != "half":
            continue
        item = data[list(SEVERAL).index(row["clip"])]
        target = LABELS.index(row["explained"])
        batch = tagger.analyse(item["signal"][None], target=target)
        suite = MetricSuite(tagger, "log")
        alone = suite(batch, torch.full_like(batch.spectrogram.magnitude, 0.5) * batch.spectrogram.valid[..., None])
        assert row["true"] == SEVERAL[row["clip"]]
        heard = [name for name, is_heard in zip(LABELS, tagger.heard(batch.output.logits)[0], strict=True) if is_heard]
        assert row["predicted"] == heard
        assert row["explained"] in heard or not heard
        assert row["p"] == pytest.approx(float(batch.output.logits[0, target].sigmoid()), abs=1e-5)
        if row["place"] == "spectrogram":
            for name in ("o", "q", "fid_in", "ff", "ad"):
                assert row[name] == pytest.approx(float(alone["spectrogram"][name]), abs=2e-3), name
    several = result.summary["several"]
    assert (several["explain"], several["explanations"]) == ("predicted", len(cases))
    assert result.summary["accuracy"] is None
    assert "accuracy" not in result.table
    assert f"n: 5 clips, {len(cases)} explanations, one of each class that is heard" in result.table
    for words in ("classifier's mAP on these clips", "bootstrap intervals over clips", "energy by explained class"):
        assert words in result.table


def test_means_are_over_explanations_and_intervals_and_differences_over_clips(tagger, tmp_path):
    summary = run_several(tagger, tmp_path).summary
    rows = [row for row in lines(tmp_path) if row["place"] == "waveform"]
    of = {name: [row for row in rows if row["method"] == name] for name in ("energy", "half")}
    clips = [row["clip"] for row in of["energy"]]
    assert len(set(clips)) < len(clips)
    for name, members in of.items():
        expected = bootstrap_mean([row["ff"] for row in members], seed=7, clips=clips).as_dict()
        assert summary["places"]["waveform"][name]["ff"] == pytest.approx(expected)
        assert summary["places"]["waveform"][name]["clips"] == len(clips)
    difference = [a["ff"] - b["ff"] for a, b in zip(of["energy"], of["half"], strict=True)]
    expected = bootstrap_mean(difference, seed=7, clips=clips).as_dict()
    assert summary["paired"]["waveform"]["energy - half"]["ff"] == pytest.approx(expected)
    each = bootstrap_mean(difference, seed=7)
    assert (each.low, each.high) != (expected["low"], expected["high"])
    classes = summary["classes"]["waveform"]
    assert list(classes) == [label for label in LABELS if any(row["explained"] == label for row in rows)]
    for label, by_row in classes.items():
        assert list(by_row) == ["energy", *matched_baselines(seed=7), ANOTHER_LABEL]
        values = [row["ff"] for row in of["energy"] if row["explained"] == label]
        assert by_row["energy"]["ff"]["mean"] == pytest.approx(sum(values) / len(values))
        assert by_row["energy"]["ff"]["n"] == len(values)


def test_one_label_in_the_form_of_several_gives_the_same_numbers(tagger, tmp_path):
    labels = {clip: names[:1] or ["cat"] for clip, names in SEVERAL.items()}
    for form in ("label", "labels"):
        run_several(tagger, tmp_path / form, tagged(labels, form), explain="labels")
    one, several = lines(tmp_path / "label"), lines(tmp_path / "labels")
    assert len(one) == 5 * 5 * 2
    for first, second in zip(one, several, strict=True):
        assert [first["true"]] == second["true"]
        assert {**first, "true": 0, "predicted": 0} == {**second, "true": 0, "predicted": 0}
    plain = [json.loads((tmp_path / form / "summary.json").read_text()) for form in ("label", "labels")]
    assert plain[0]["places"] == plain[1]["places"]
    assert plain[0]["accuracy"] is not None
    # By default the most probable class of clips of one label is explained, and of such a clip there is one row.
    run_several(tagger, tmp_path / "default", tagged(labels, "label"))
    assert "several" not in json.loads((tmp_path / "default" / "summary.json").read_text())
    assert all(row["explained"] == row["predicted"] for row in lines(tmp_path / "default"))


@pytest.mark.slow
def test_explanations_of_several_labels_are_the_same_in_any_batch_and_when_interrupted(tagger, tmp_path, monkeypatch):
    run_several(tagger, tmp_path / "whole")
    run_several(tagger, tmp_path / "one", batch_size=1)
    for first, second in zip(lines(tmp_path / "whole"), lines(tmp_path / "one"), strict=True):
        assert all(second[key] == first[key] for key in ("clip", "method", "place", "true", "predicted", "explained"))
        assert second["o"] == pytest.approx(first["o"], abs=2e-3)
    calls = interrupted_at_a_batch(monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_several(tagger, tmp_path / "cut")
    run_several(tagger, tmp_path / "cut")
    n_batches = len(choose_cases(tagger, tagged(), progress=False).batches(3))
    assert len(calls) == 1 + n_batches  # the first one is not measured twice
    assert same_results(tmp_path / "cut", tmp_path / "whole")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Test clips of the Synthetic data with one, two and three targets, each known; and the clips as they were made."""
    folder, sizes = tmp_path_factory.mktemp("scenes"), {"n_train": 10, "n_valid": 10, "n_test": 30}
    prepared = prepare_synthetic(folder / "data", folder, seed=1234, max_targets=3, seconds=1.0, **sizes)
    data = make_datasets(prepared, list(SYNTHETIC_LABELS), 16000, splits=("test",), with_targets=True)["test"]
    by_id = {f"test-{i:05d}": make_scene(1234, "test", i, seconds=1.0) for i in (3, 8, *range(10, 14), *range(24, 28))}
    return data.filtered_sorted(key_test={"id": by_id.__contains__}), by_id


class OracleOfLabels(Oracle):
    """The true bins of each label of a clip, which is known by the peak of its magnitude: (peak, label) -> truth."""

    def mask(self, batch):
        masks = []
        for magnitude, target in zip(batch.spectrogram.magnitude, batch.target.tolist(), strict=True):
            alone = {peak: truth for (peak, label), truth in self.truths.items() if label == target}
            masks.append(alone[min(alone, key=lambda peak: abs(peak - float(magnitude.max())))])
        return torch.stack(masks).float()


def test_each_label_is_compared_with_its_own_source_and_with_the_mask_of_another_label(scenes, tmp_path):
    data, by_id = scenes
    classifier = tiny.listening_classifier(list(SYNTHETIC_LABELS), task="multi")
    truths, magnitudes = {}, {}
    for clip, scene in by_id.items():
        # By hand, from the parts as they were made, at any level.
        top = abs(scene.mixture).max()
        parts = {label: torch.from_numpy(target)[None] / top for label, target in scene.targets.items()}
        mixture = torch.from_numpy(scene.mixture)[None] / top
        magnitudes[clip] = classifier.frontend.analyse(mixture).magnitude[0]
        for label, part in parts.items():
            alone, rest = (classifier.frontend.analyse(x).magnitude[0] for x in (part, mixture - part))
            truths[clip, label] = alone > rest
    known = {
        (float(magnitudes[clip].max()), SYNTHETIC_LABELS.index(label)): bins for (clip, label), bins in truths.items()
    }
    rows = {"oracle": OracleOfLabels(classifier, known)}
    settings = {"places": ("spectrogram",), "explain": "labels"}
    result = evaluate(classifier, rows, data, tmp_path, PROVENANCE, batch_size=7, progress=False, **settings)
    measured = {(row["method"], row["clip"], row["explained"]): row for row in lines(tmp_path)}
    assert len(measured) == 22 * 2
    for clip, scene in by_id.items():
        labels = list(scene.targets)
        for label in labels:
            oracle, other = measured["oracle", clip, label], measured[ANOTHER_LABEL, clip, label]
            assert oracle["true"] == labels
            assert [oracle[name] for name in LOCALISATION] == pytest.approx([1.0] * 4, abs=1e-12)
            if len(labels) == 1:
                assert [other[name] for name in (*LOCALISATION, "ff")] == [None] * 5
                continue
            mask = truths[clip, labels[(labels.index(label) + 1) % len(labels)]]
            share = energy_precision((magnitudes[clip] * mask)[None], truths[clip, label][None]).item()
            assert other["energy_precision"] == pytest.approx(share, abs=1e-4)
            assert other["kept_area"] == pytest.approx(mask.double().mean().item(), abs=1e-6)
    means, paired = result.summary["places"]["spectrogram"], result.summary["paired"]["spectrogram"]
    # Where two sources meet, both can be louder than all else in no bin but those in which they nearly cancel.
    assert means[ANOTHER_LABEL]["energy_precision"]["mean"] < 0.05
    assert means[ANOTHER_LABEL]["energy_precision"]["n"] == paired[f"oracle - {ANOTHER_LABEL}"]["auroc"]["n"] == 20
    assert means[ANOTHER_LABEL]["energy_precision"]["undefined"] == 2
    assert paired[f"oracle - {ANOTHER_LABEL}"]["energy_precision"]["low"] > 0.9
    assert result.summary["companions"] == [ANOTHER_LABEL]
    assert (
        "**What oracle is better by, explanation by explanation, measured on the masked spectrogram**" in result.table
    )
    assert f"| oracle - {ANOTHER_LABEL} | 20 |" in result.table


def test_of_clips_of_which_one_class_is_explained_there_is_no_other_label(scenes, tmp_path):
    classifier = tiny.listening_classifier(list(SYNTHETIC_LABELS), task="multi")
    rows, settings = {"whole": ConstantMask(classifier, value=1.0)}, {"places": ("spectrogram",), "explain": "top"}
    result = evaluate(classifier, rows, scenes[0], tmp_path, PROVENANCE, progress=False, **settings)
    assert result.summary["companions"] == []
    assert {row["method"] for row in lines(tmp_path)} == {"whole"}


def test_a_label_without_a_known_source_is_undefined_where_places_are_compared(tagger, tmp_path):
    def sources(clip, wav):
        return {label: wav * (0.2 + 0.2 * LABELS.index(label)) for label in SEVERAL[clip]}

    result = run_several(tagger, tmp_path, tagged(sources=sources), explain="predicted")
    kinds = set()
    for row in lines(tmp_path):
        known = row["explained"] in SEVERAL[row["clip"]]
        kinds.add(known)
        # rain is 0.6 of the mixture in each bin, and dominates; cat and dog dominate nowhere.
        expected = pytest.approx(1.0 if row["explained"] == "rain" else 0.0) if known else None
        if row["method"] == "energy":
            assert row["energy_precision"] == expected
    assert kinds == {True, False}
    mean = result.summary["places"]["waveform"]["energy"]["energy_precision"]
    assert mean["n"] + mean["undefined"] == result.summary["several"]["explanations"]
    assert mean["undefined"] > 0
    short = tagged(sources=lambda clip, wav: dict.fromkeys(SEVERAL[clip], wav[:-1]))
    with pytest.raises(UserError, match="a target has another length than its mixture"):
        run_several(tagger, tmp_path / "short", short, explain="labels")


def test_a_contrast_is_measured_on_the_clips_of_its_first_side_and_against_the_source_of_that(tagger, tmp_path):
    def sources(clip, wav):
        return {label: wav * (0.2 + 0.2 * LABELS.index(label)) for label in SEVERAL[clip]}

    asked = targeted(tagger, "rain - cat")
    data = clips_about(tagged(sources=sources), asked.question.answers)
    result = run_several(asked, tmp_path, data, target="rain - cat")
    rows = [row for row in lines(tmp_path) if row["method"] == "energy"]
    assert {row["clip"] for row in rows} == {"c", "d", "e"}
    plain = {item["id"]: tagger.analyse(item["signal"][None]).output.logits[0] for item in tagged()}
    for row in rows:
        logits = plain[row["clip"]]
        difference = logits[LABELS.index("rain")] - logits[LABELS.index("cat")]
        assert (row["explained"], row["true"]) == ("rain - cat", SEVERAL[row["clip"]])
        assert row["p"] == pytest.approx(float(difference.sigmoid()), abs=1e-5)
        assert {*row["predicted"]} <= {*LABELS}
        assert row["energy_precision"] == pytest.approx(1.0)  # rain dominates everywhere
    assert "n: 3 clips, 3 explanations, one of each clip" in result.table
    assert "where rain is ahead" in result.table
