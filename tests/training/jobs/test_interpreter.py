"""How an interpreter is trained: on the frozen classifier, its dictionary, other weights, crops and noise."""

import dataclasses
import json
import re
import shutil

import pytest
import tiny
import torch

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.dictionary import Dictionary
from interpretability.frontend import PLACES, MaskedPair
from interpretability.methods import METHODS, load_interpreter
from interpretability.methods.lmac import LMAC
from interpretability.training import brain as brains


def test_the_frozen_classifier_is_the_one_that_was_saved(tiny_piq_run, tiny_classifier_folder):
    inside = load_interpreter(tiny_piq_run).classifier
    for name, value in load_classifier(tiny_classifier_folder).state_dict().items():
        assert torch.equal(inside.state_dict()[name], value), name


class TestDictionaries:
    L2I = tiny.RECIPE / "hparams" / "l2i.yaml"

    @pytest.mark.slow
    def test_l2i_learns_its_own_and_says_so(self, tiny_esc50, tiny_classifier_folder, tmp_path):
        run, settings = tmp_path / "run", {"classifier_folder": tiny_classifier_folder}
        outcome = tiny.run("interpreter", tiny_esc50, run, self.L2I, **settings)
        assert outcome.code == 0, outcome.err
        assert "no dictionary given" in outcome.out
        assert torch.equal(load_interpreter(run).dictionary, Dictionary.load(run).matrix)
        evaluated = tiny.run("evaluate", tiny_esc50, run, self.L2I, **settings)
        assert evaluated.code == 0, evaluated.err
        assert "\nl2i  " in evaluated.out
        summary = json.loads((run / "evaluation" / "summary.json").read_text())
        assert {"fid_in", "fid_top1", "fid_top3"} <= summary["places"]["spectrogram"]["l2i"].keys()
        # The same dictionary, given, makes the same interpreter.
        given = tiny.run("interpreter", tiny_esc50, tmp_path / "given", self.L2I, **settings, method__dictionary=run)
        assert given.code == 0, given.err
        assert "learning one" not in given.out
        tiny.assert_same_run(tmp_path / "given", run)
        line = tiny.run("interpreter", tiny_esc50, tmp_path / "given", self.L2I, **settings).line
        assert "pass the same method.dictionary" in line
        # It has the dictionary in itself: an evaluation need not be told where that lies.
        evaluated = tiny.run("evaluate", tiny_esc50, tmp_path / "given", self.L2I, **settings)
        assert evaluated.code == 0, evaluated.err
        assert torch.equal(load_interpreter(tmp_path / "given").dictionary, Dictionary.load(run).matrix)
        again = tiny.run("interpreter", tiny_esc50, run, self.L2I, **settings, number_of_epochs=2)
        assert again.code == 0, again.err
        assert "already learned" in again.out

    def test_what_l2i_refuses(self, tiny_esc50, tiny_classifier_folder, tmp_path):
        settings = {"classifier_folder": tiny_classifier_folder}
        line = tiny.run(
            "interpreter", tiny_esc50, tmp_path / "a", self.L2I, **settings, dictionary__algorithm="amortised"
        ).line
        assert "train_nmf.py" in line
        frontend = dataclasses.replace(load_classifier(tiny_classifier_folder).frontend.settings, sample_rate=44100)
        matrix = torch.ones(frontend.n_bins, 4) / frontend.n_bins**0.5
        path = Dictionary(matrix, frontend, ["low"], "kl").save(tmp_path / "elsewhere.pt")
        line = tiny.run("interpreter", tiny_esc50, tmp_path / "b", self.L2I, **settings, method__dictionary=path).line
        assert "sample_rate 44100 (needed: 8000)" in line
        assert not (tmp_path / "b" / "run.json").exists()

    def test_a_dictionary_of_clips_that_are_measured_is_refused(self, tiny_esc50, tiny_classifier_folder, tmp_path):
        classifier = load_classifier(tiny_classifier_folder)
        save_classifier(classifier, tmp_path / "unknown")  # which does not say what it was trained on
        settings = {"classifier_folder": tmp_path / "unknown"}
        assert tiny.run("dictionary", tiny_esc50, tmp_path / "nmf", **settings).code == 0
        folds = {"train_folds": 3, "test_folds": 1, "method__dictionary": tmp_path / "nmf"}
        line = tiny.run("interpreter", tiny_esc50, tmp_path / "run", self.L2I, **settings, **folds).line
        assert f"the dictionary in {tmp_path / 'nmf'} was trained on folds [1] of ESC-50" in line
        del folds["method__dictionary"]
        settings["classifier_folder"] = tiny_classifier_folder
        line = tiny.run("interpreter", tiny_esc50, tmp_path / "run", self.L2I, **settings, **folds).line
        assert f"the classifier in {tiny_classifier_folder} was trained on folds [1] of ESC-50" in line

    @pytest.mark.slow
    def test_fine_tuning_does_not_bring_another_dictionary(self, tiny_esc50, tiny_classifier_folder, tmp_path):
        settings = {"classifier_folder": tiny_classifier_folder, "number_of_epochs": 1}
        for name, seed in (("first", 1), ("second", 2)):
            outcome = tiny.run("interpreter", tiny_esc50, tmp_path / name, self.L2I, **settings, seed=seed)
            assert outcome.code == 0, outcome.err
        tuned = {**settings, "finetune_from": tmp_path / "first"}
        line = tiny.run(
            "interpreter", tiny_esc50, tmp_path / "a", self.L2I, **tuned, method__dictionary=tmp_path / "second"
        ).line
        assert "another dictionary" in line
        # With another seed its own would be another one, too.
        outcome = tiny.run("interpreter", tiny_esc50, tmp_path / "b", self.L2I, **tuned, seed=3)
        assert outcome.code == 0, outcome.err
        assert torch.equal(load_interpreter(tmp_path / "b").dictionary, Dictionary.load(tmp_path / "first").matrix)
        assert tiny.run("evaluate", tiny_esc50, tmp_path / "b", self.L2I, **tuned, seed=3).code == 0


class TestFineTuning:
    YAML = tiny.RECIPE / "hparams" / "lmac_finetune.yaml"

    def tune(self, data, folder, source, classifier, **settings):
        return tiny.run(
            "interpreter", data, folder, self.YAML, finetune_from=source, classifier_folder=classifier, **settings
        )

    def test_it_starts_from_those_weights_in_a_folder_of_its_own(
        self, tiny_esc50, tiny_classifier_folder, tiny_lmac_run, tmp_path
    ):
        before = {path: path.read_bytes() for path in tiny_lmac_run.rglob("*") if path.is_file()}
        # With a learning rate of 0 what it starts from is what it ends in, but for the batch statistics.
        outcome = self.tune(tiny_esc50, tmp_path / "run", tiny_lmac_run, tiny_classifier_folder, lr=0.0)
        assert outcome.code == 0, outcome.err
        start, end = tiny.weights(tiny_lmac_run), tiny.weights(tmp_path / "run")
        for name, value in start.items():
            if "running" not in name and "num_batches" not in name:
                assert torch.equal(end[name], value), name
        assert {path: path.read_bytes() for path in tiny_lmac_run.rglob("*") if path.is_file()} == before
        training = load_interpreter(tmp_path / "run").description["training"]
        assert training["finetuned_from"]["sha256"] == load_interpreter(tiny_lmac_run).description["sha256"]
        assert training["finetuned_from"]["seconds"] > 0

    @pytest.mark.slow
    def test_every_trained_method_can_start_from_another_run(
        self, tiny_esc50, tiny_classifier_folder, tiny_lmac_run, tiny_piq_run, tmp_path
    ):
        runs = {"lmac": tiny_lmac_run, "piq": tiny_piq_run, "l2i": tmp_path / "l2i"}
        assert runs.keys() == {name for name, kind in METHODS.items() if kind.trainable}
        settings = {"classifier_folder": tiny_classifier_folder, "lr": 0.0}
        yaml = tiny.RECIPE / "hparams" / "l2i.yaml"
        assert tiny.run("interpreter", tiny_esc50, runs["l2i"], yaml, **{**settings, "lr": 0.01}).code == 0
        for name in ("piq", "l2i"):  # the test above has L-MAC
            yaml, source = tiny.RECIPE / "hparams" / f"{name}.yaml", runs[name] / "interpreter"
            start = runs[name] if name == "l2i" else source
            outcome = tiny.run("interpreter", tiny_esc50, tmp_path / "tuned", yaml, finetune_from=start, **settings)
            assert outcome.code == 0, outcome.err
            begun, ended = tiny.weights(runs[name]), tiny.weights(tmp_path / "tuned")
            trained = [key for key in begun if "running" not in key and "num_batches" not in key]
            assert all(torch.equal(ended[key], begun[key]) for key in trained), name
            training = load_interpreter(tmp_path / "tuned").description["training"]
            assert training["finetuned_from"]["sha256"] == load_interpreter(source).description["sha256"]
            shutil.rmtree(tmp_path / "tuned")

    @pytest.mark.slow
    def test_every_trained_method_can_start_from_a_run_on_another_classifier(
        self, tiny_esc50, tiny_classifier_folder, tiny_lmac_run, tiny_piq_run, tmp_path
    ):
        """What follows from the classes is taken by their names, the rest as it is; both are said and recorded."""
        data = tiny.make_data(tmp_path / "data", {"shrill": 3500.0, "high": 2500.0})
        settings = {"finetune_from": tiny_classifier_folder, "freeze_epochs": 1}
        assert tiny.run("classifier", data, tmp_path / "classifier", **settings).code == 0
        runs = {"lmac": tiny_lmac_run, "piq": tiny_piq_run, "l2i": tmp_path / "l2i"}
        yamls = {name: tiny.RECIPE / "hparams" / f"{name}.yaml" for name in runs}
        first = {"classifier_folder": tiny_classifier_folder}
        assert tiny.run("interpreter", tiny_esc50, runs["l2i"], yamls["l2i"], **first).code == 0
        new = {"lmac": "psi.gains.weight", "piq": "psi.codebook.embedding.weight", "l2i": "theta.classes.weight"}
        settings = {"classifier_folder": tmp_path / "classifier", "lr": 0.0}
        for name, source in runs.items():
            folder = tmp_path / f"tuned {name}"
            outcome = tiny.run("interpreter", data, folder, yamls[name], finetune_from=source, **settings)
            assert outcome.code == 0, outcome.err
            begun, ended = tiny.weights(source), tiny.weights(folder)
            kept = [key for key in begun if "running" not in key and "num_batches" not in key and key != new[name]]
            assert all(torch.equal(ended[key], begun[key]) for key in kept), name
            rows, known = ended[new[name]], begun[new[name]]
            if name == "piq":  # 12 keys: 4 for each of three classes, 6 for each of two
                assert torch.equal(rows[6:10], known[8:12])
                assert all((known == key).all(1).any() for key in rows)
            else:
                assert torch.equal(rows[1], known[2])
                assert torch.equal(rows[0], known.mean(0)) == (name == "lmac")
            part = new[name].rpartition(".")[0].removesuffix(".embedding")
            assert f"  by class: {part}\n" in outcome.out
            assert "  classes kept: high; new: shrill\n" in outcome.out
            origin = load_interpreter(folder).description["training"]["finetuned_from"]
            assert origin["parts"][part] == "by class"
            assert set(origin["parts"].values()) == {"kept", "by class"}
            assert (origin["kept_classes"], origin["new_classes"]) == (["high"], ["shrill"])
            assert origin["sha256"] == load_interpreter(source).description["sha256"]
            assert origin["classifier"] == load_classifier(tiny_classifier_folder).description["sha256"]
            again = tiny.run("interpreter", data, folder, yamls[name], finetune_from=source, **settings)
            assert "already trained" in again.out
        # Other feature maps force what depends on them, and nothing else.
        other = tmp_path / "wider"
        wider = {"classifier__channels": [4, 4, 6, 8]}
        assert tiny.run("classifier", data, other, **wider).code == 0
        settings = {**settings, "classifier_folder": other}
        outcome = tiny.run(
            "interpreter", data, tmp_path / "other maps", yamls["piq"], finetune_from=tiny_piq_run, **settings
        )
        assert outcome.code == 0, outcome.err
        assert "  kept in part: psi.adapter\n" in outcome.out
        begun, ended = tiny.weights(tiny_piq_run), tiny.weights(tmp_path / "other maps")
        changed = {key for key in begun if begun[key].shape != ended[key].shape}
        assert changed == {"psi.adapter.lateral.1.weight"}
        # A size that the method's own settings decide is no reason.
        line = tiny.run(
            "interpreter",
            data,
            tmp_path / "settings",
            yamls["piq"],
            finetune_from=tiny_piq_run,
            classifier_folder=tmp_path / "classifier",
            method__channels=12,
        ).line
        assert "though the feature maps are the same: give the method the settings that run was made with" in line

    @pytest.mark.slow
    def test_it_really_trains_reports_the_gate_and_is_evaluated(
        self, tiny_esc50, tiny_classifier_folder, tiny_lmac_run, tmp_path
    ):
        settings = {"lr": 0.01, "number_of_epochs": 2}
        outcome = self.tune(tiny_esc50, tmp_path / "run", tiny_lmac_run, tiny_classifier_folder, **settings)
        assert outcome.code == 0, outcome.err
        assert tiny.log_epochs(tmp_path / "run") == [1, 2]
        start, end = tiny.weights(tiny_lmac_run), tiny.weights(tmp_path / "run")
        assert any(not torch.equal(end[name], value) for name, value in start.items() if name.endswith("conv.weight"))
        passed = re.search(r"gate, in that epoch: ([\d.]+)% of 6 training .* ([\d.]+)% of 6 valid", outcome.out)
        assert passed, outcome.out
        # Shares of 6 whole clips.
        assert all(
            float(share) * 6 / 100 == pytest.approx(round(float(share) * 6 / 100), abs=0.01)
            for share in passed.groups()
        )
        evaluated = tiny.run(
            "evaluate", tiny_esc50, tmp_path / "run", self.YAML, lr=0.01, classifier_folder=tiny_classifier_folder
        )
        assert evaluated.code == 0, evaluated.err
        assert "\nlmac  " in evaluated.out
        # The same command again: it is done, and says so.
        again = self.tune(tiny_esc50, tmp_path / "run", tiny_lmac_run, tiny_classifier_folder, **settings)
        assert "already trained for 2 epochs" in again.out

    def test_what_it_cannot_start_from(self, tiny_esc50, tiny_classifier_folder, tiny_lmac_run, tiny_piq_run, tmp_path):
        line = self.tune(tiny_esc50, tmp_path / "run", tmp_path / "absent", tiny_classifier_folder).line
        assert "no run folder" in line
        line = self.tune(tiny_esc50, tmp_path / "run", tiny_piq_run, tiny_classifier_folder).line
        assert "holds piq" in line
        assert "expected lmac" in line
        wider = {"method__channels": 12}
        line = self.tune(tiny_esc50, tmp_path / "run", tiny_lmac_run, tiny_classifier_folder, **wider).line
        assert "other sizes" in line
        line = self.tune(tiny_esc50, tmp_path / "run", tiny_classifier_folder, tiny_classifier_folder).line
        assert "no trained interpreter" in line
        copy = shutil.copytree(tiny_lmac_run, tmp_path / "same")
        line = self.tune(tiny_esc50, copy, copy, tiny_classifier_folder).line
        assert "output_folder of its own" in line
        assert not (tmp_path / "run" / "run.json").exists()

    def test_a_finished_run_is_not_mistaken_for_a_fine_tuned_one(
        self, tiny_esc50, tiny_classifier_folder, tiny_lmac_run, tmp_path
    ):
        copy = shutil.copytree(tiny_lmac_run, tmp_path / "copy")
        line = self.tune(tiny_esc50, copy, tiny_lmac_run, tiny_classifier_folder, number_of_epochs=2).line
        assert "finetuned_from" in line


@pytest.mark.slow
def test_killed_and_started_again_it_ends_as_if_it_had_not_been(
    tiny_esc50, tiny_classifier_folder, tiny_lmac_run, tmp_path
):
    """With noise, crops and a start from other weights: all of them come back."""
    yaml = TestFineTuning.YAML
    settings = {
        "finetune_from": tiny_lmac_run,
        "classifier_folder": tiny_classifier_folder,
        "crop_seconds": 0.3,
        "number_of_epochs": 2,
    }
    whole = tiny.run("interpreter", tiny_esc50, tmp_path / "whole", yaml, **settings)
    assert whole.code == 0, whole.err
    line = tiny.arguments("interpreter", tiny_esc50, tmp_path / "killed", yaml, **settings)
    assert tiny.run_and_hit("fit", 2, 2, 9, "interpreter", line).code == -9
    again = tiny.run_process(["-c", tiny.WRAPPER, "never", "0", "0", "0", "interpreter", *line])
    assert again.code == 0, again.err
    assert tiny.log_epochs(tmp_path / "killed") == [1, 2]
    tiny.assert_same_run(tmp_path / "killed", tmp_path / "whole")


def test_a_training_step_sees_a_stretch_of_each_clip_and_validation_the_whole(
    tiny_esc50, tiny_classifier_folder, tmp_path, monkeypatch
):
    lengths = {"TRAIN": [], "VALID": []}

    def watch(self, batch, stage, forward=brains.InterpreterBrain.compute_forward):
        now = forward(self, batch, stage)
        lengths[stage.name].append((now.analysed.spectrogram.n_samples, batch.signal.data.shape[1]))
        return now

    monkeypatch.setattr(brains.InterpreterBrain, "compute_forward", watch)
    outcome = tiny.run(
        "interpreter",
        tiny_esc50,
        tmp_path / "run",
        tiny.RECIPE / "hparams" / "lmac.yaml",
        classifier_folder=tiny_classifier_folder,
        crop_seconds=0.25,
    )
    assert outcome.code == 0, outcome.err
    assert {n_samples for n_samples, _ in lengths["TRAIN"]} == {0.25 * tiny.RATE}
    assert all(n_samples == given > 0.25 * tiny.RATE for n_samples, given in lengths["VALID"])


def test_the_last_epochs_and_every_validation_hear_the_masked_sound(
    tiny_esc50, tiny_classifier_folder, tmp_path, monkeypatch
):
    places = {"TRAIN": [], "VALID": []}

    def watch(self, batch, stage, forward=brains.InterpreterBrain.compute_forward):
        now = forward(self, batch, stage)
        pair = MaskedPair.of(now.analysed.clips, now.prediction.mask, self.interpreter.settings.apply)
        with torch.no_grad():
            inside = {place: self.bare("classifier").classify_pair(pair, place).inside for place in PLACES}
        same = [place for place in PLACES if torch.allclose(inside[place], now.masked.inside, rtol=0, atol=1e-5)]
        assert len(same) == 1
        places[stage.name].append((self.epoch, *same))
        return now

    monkeypatch.setattr(brains.InterpreterBrain, "compute_forward", watch)
    yaml = tiny.RECIPE / "hparams" / "lmac.yaml"
    run = tmp_path / "run"
    given = {"classifier_folder": tiny_classifier_folder, "number_of_epochs": 3, "heard_share": 0.3}
    outcome = tiny.run("interpreter", tiny_esc50, run, yaml, **given)
    assert outcome.code == 0, outcome.err
    assert set(places["TRAIN"]) == {(1, "spectrogram"), (2, "spectrogram"), (3, "waveform")}
    assert {place for _, place in places["VALID"]} == {"waveform"}
    assert json.loads((run / "run.json").read_text("utf-8"))["heard_share"] == 0.3


def test_what_asks_about_no_masked_sound_does_not_hear_it(tiny_esc50, tiny_classifier_folder, tmp_path):
    given = {"classifier_folder": tiny_classifier_folder, "heard_share": 0.5, "method__faithfulness_weight": 0}
    line = tiny.run("interpreter", tiny_esc50, tmp_path / "run", tiny.RECIPE / "hparams" / "piq.yaml", **given).line
    assert "heard_share is 0.5, but with these settings the objective of piq" in line
    assert not (tmp_path / "run" / "run.json").exists()


def test_noise_is_mixed_into_training_clips_alone(tiny_esc50, tiny_classifier_folder, tmp_path, monkeypatch):
    batches = []

    def watch(self, batch, stage, forward=brains.InterpreterBrain.compute_forward):
        now = forward(self, batch, stage)
        batches.append((stage.name, now.analysed))
        return now

    def listen(self, batch, *given, objective=LMAC.objective):
        heard.append(batch.clean)
        return objective(self, batch, *given)

    heard = []
    monkeypatch.setattr(brains.InterpreterBrain, "compute_forward", watch)
    monkeypatch.setattr(LMAC, "objective", listen)
    outcome = tiny.run(
        "interpreter",
        tiny_esc50,
        tmp_path / "run",
        tiny.RECIPE / "hparams" / "lmac.yaml",
        classifier_folder=tiny_classifier_folder,
        noise__probability=1.0,
    )
    assert outcome.code == 0, outcome.err
    assert {stage for stage, _ in batches} == {"TRAIN", "VALID"}
    # The objective hears the clean sound too.
    assert all(clean is now.clean for clean, (_, now) in zip(heard, batches, strict=True))
    frontend = load_classifier(tiny_classifier_folder).frontend
    for stage, now in batches:
        if stage == "VALID":
            assert now.clean is None
            continue
        sounds = [frontend.resynthesise(part, part.magnitude) for part in (now.spectrogram, now.clean)]
        # The noisy sound is levelled, and the noise is as loud as the clip, at the same gain.
        assert sounds[0].abs().amax(1).tolist() == pytest.approx([1.0] * len(sounds[0]), abs=1e-3)
        ratio = (sounds[0] - sounds[1]).square().sum(1) / sounds[1].square().sum(1)
        assert ratio.tolist() == pytest.approx([1.0] * len(ratio), rel=1e-2)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["noise"] == {"source": "other clips", "snr_db": 0.0, "probability": 1.0}
    line = tiny.run(
        "interpreter",
        tiny_esc50,
        tmp_path / "run",
        tiny.RECIPE / "hparams" / "lmac.yaml",
        classifier_folder=tiny_classifier_folder,
        noise__probability=0.25,
    ).line
    assert "differs in noise" in line
