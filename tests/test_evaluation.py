"""The protocol: every clip, method and place once; the same numbers in any batch; resumable; traceable."""

import json
import math
from types import SimpleNamespace

import pytest
import tiny
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from interpretability.errors import UserError
from interpretability.evaluation import evaluate
from interpretability.methods.floors import ConstantMask, EnergyMask, RandomMask

LABELS = ["cat", "dog", "rain"]
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
        "M = 1": ConstantMask(classifier, 1.0),
        "M = 0": ConstantMask(classifier, 0.0),
        "random": RandomMask(classifier, 0.2, seed=7),
        "energy": EnergyMask(classifier, 0.2),
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


def test_scores_of_the_methods_own_stand_beside_the_metrics(classifier, tmp_path):
    class Scored(ConstantMask):
        def interpret(self, spectrogram, output, target):
            said = super().interpret(spectrogram, output, target)
            said.scores["top3_fidelity"] = torch.ones(len(target))
            return said

    rows = {"scored": Scored(classifier, 1.0)}
    evaluate(classifier, rows, dataset(), tmp_path, PROVENANCE, progress=False)
    assert all(row["top3_fidelity"] == 1.0 for row in lines(tmp_path))


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
    # The kill took half of the last line with it: that clip is measured again.
    partial.write_text(partial.read_text()[:-40])
    again = run(classifier, tmp_path / "cut")
    assert len(calls) == 3 + 1  # what was left: one clip of the cut line, one of the third batch
    for place, results in whole.summary["places"].items():
        for method, values in results.items():
            for name in ("ad", "ff", "kept_area"):
                wanted = values[name]["mean"]
                assert again.summary["places"][place][method][name]["mean"] == pytest.approx(wanted, abs=1e-3)


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
