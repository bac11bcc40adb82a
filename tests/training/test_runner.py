"""What a run leaves, what it selects by, what needs no training, and what it does in parallel and with TensorBoard."""

import dataclasses
import json
import re
import shutil
import sys

import pytest
import tiny
import torch
import yaml

from interpretability.classifiers import load_classifier
from interpretability.dictionary import Dictionary
from interpretability.methods import load_interpreter
from interpretability.methods.lmac import LMAC
from interpretability.training import brain as brains
from interpretability.training import recipe, runner


def checkpoints(run):
    """Metadata of the checkpoints, as any YAML reader sees it: no Python objects."""
    return [yaml.safe_load(path.read_text()) for path in sorted((run / "save").glob("CKPT+*/CKPT.yaml"))]


def test_checkpoint_metadata_are_plain_numbers_and_best_and_last_are_kept(tiny_piq_run):
    metas = checkpoints(tiny_piq_run)
    assert 1 <= len(metas) <= 2
    for meta in metas:
        assert all(type(value) in (bool, float, int) for value in meta.values()), meta
    assert max(meta["epoch"] for meta in metas) == 3
    log = (tiny_piq_run / "train_log.txt").read_text().splitlines()
    losses = [float(line.split("valid loss: ")[1].split(",")[0]) for line in log]
    best = min(metas, key=lambda meta: meta["loss"])
    assert best["loss"] == pytest.approx(min(losses), rel=1e-2)
    training = json.loads((tiny_piq_run / "interpreter" / "interpreter.json").read_text())["training"]
    assert training["best_epoch"] == best["epoch"]
    assert losses[int(best["epoch"]) - 1] == min(losses)  # the log rounds, so there may be several
    assert training["epochs"] == 3


def test_selection_by_something_that_is_not_reported(tiny_esc50, tmp_path):
    said = tiny.run("classifier", tiny_esc50, tmp_path / "run", selection_key="fidelity").line
    assert "'fidelity'" in said
    assert "accuracy" in said
    assert "loss" in said


def test_the_saved_classifier_says_how_it_was_made(tiny_classifier_folder):
    training = load_classifier(tiny_classifier_folder).description["training"]
    assert training["data"]["folds"] == {"train": [1], "valid": [2], "test": [3]}
    assert 0 <= training["test_accuracy"] <= 1
    assert training["n_test"] == 6
    assert training["seconds"] > 0
    assert training["seed"] == 1234


def test_validation_leaves_the_networks_as_they_are(tiny_esc50, tiny_classifier_folder, tmp_path, monkeypatch):
    """Metric passes touch neither the interpreter's batch statistics nor the classifier."""
    seen = []

    def watch(self, valid_set, epoch, enable, fit_valid=brains.ResumableBrain._fit_valid):
        def state():
            return {name: value.clone() for name, value in self.modules.state_dict().items()}

        before = state()
        fit_valid(self, valid_set, epoch, enable)
        after = state()
        seen.append(all(torch.equal(after[name], value) for name, value in before.items()))
        assert all(parameter.grad is None for parameter in self.modules["classifier"].parameters())

    monkeypatch.setattr(brains.ResumableBrain, "_fit_valid", watch)
    outcome = tiny.run("interpreter", tiny_esc50, tmp_path / "run", classifier_folder=tiny_classifier_folder)
    assert outcome.code == 0, outcome.err
    assert seen == [True]


def test_the_frozen_classifier_is_the_one_that_was_saved(tiny_piq_run, tiny_classifier_folder):
    inside = load_interpreter(tiny_piq_run).classifier
    for name, value in load_classifier(tiny_classifier_folder).state_dict().items():
        assert torch.equal(inside.state_dict()[name], value), name


def test_tensorboard(tiny_esc50, tmp_path):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    outcome = tiny.run("classifier", tiny_esc50, tmp_path / "run", tensorboard=True)
    assert outcome.code == 0, outcome.err
    assert list((tmp_path / "run" / "tensorboard").rglob("events.out*"))


def test_tensorboard_without_its_package(tiny_esc50, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    outcome = tiny.run("classifier", tiny_esc50, tmp_path / "run", tensorboard=True)
    assert outcome.code == 2
    assert "the package tensorboard cannot be used" in outcome.line
    assert "pip install tensorboard" in outcome.line
    assert not (tmp_path / "run" / "classifier").exists()


def test_an_evaluation_writes_no_tensorboard_events(tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path):
    run = shutil.copytree(tiny_piq_run, tmp_path / "run")
    outcome = tiny.run("evaluate", tiny_esc50, run, classifier_folder=tiny_classifier_folder, tensorboard=True)
    assert outcome.code == 0, outcome.err
    assert not (run / "tensorboard").exists()


# ---- Methods without anything to train ----


@pytest.fixture
def untrained_yaml(tmp_path):
    """A YAML of a method that is not trained: the recipe's own, with another method and no key of the training."""
    text = (tiny.RECIPE / "hparams" / "piq.yaml").read_text("utf-8")
    method = "method:\n    interpreter: !name:interpretability.methods.floors.EnergyMask\n        area: 0.2\n"
    text = re.sub(r"^method: .*\n(    .*\n)*", method, text, flags=re.MULTILINE)
    text = re.sub(r"^training: .*\n(    .*\n)*", "", text, flags=re.MULTILINE)
    trained_only = [*recipe.TRAINED, "weight_decay", "num_workers", "tensorboard", "codebook_size"]
    for key in (*trained_only, "faithfulness_weight"):
        text = re.sub(rf"^{key}:.*\n", "", text, flags=re.MULTILINE)
    path = tmp_path / "energy.yaml"
    path.write_text(text, "utf-8")
    return path


@pytest.fixture
def untrained(untrained_yaml, tiny_esc50, tiny_classifier_folder, tmp_path):
    """Run a job with that YAML."""

    def run(job, **settings):
        settings = {
            # (No device is named, as on most command lines.)
            **{key: value for key, value in tiny.COMMON.items() if key not in ("number_of_epochs", "device")},
            "data_folder": tiny_esc50,
            "output_folder": tmp_path / "run",
            "cache_folder": tmp_path / "cache",
            "classifier_folder": tiny_classifier_folder,
            "n_examples": 1,
            **settings,
        }
        line = [str(untrained_yaml)]
        for name, value in settings.items():
            line += [f"--{name}"] if value is None else [f"--{name}", str(value)]
        return tiny.call(runner.main, job, str(tiny.RECIPE / tiny.SCRIPTS[job]), line)

    return run


def test_a_method_that_is_not_trained_is_evaluated_as_it_is(untrained, tmp_path):
    outcome = untrained("evaluate")
    assert outcome.code == 0, outcome.err
    run = tmp_path / "run"
    assert {path.name for path in run.iterdir()} == {"run.json", "interpreter", "evaluation", "examples", "manifests"}
    interpreter = load_interpreter(run)
    assert (interpreter.NAME, interpreter.settings) == ("energy", {"apply": "log", "area": 0.2})
    assert interpreter.description["training"]["seed"] == 1234
    record = json.loads((run / "run.json").read_text("utf-8"))
    assert (record["method"], record["seed"], record["clip_seconds"]) == ("energy", 1234, 5.0)
    assert "lr" not in record
    places = json.loads((run / "evaluation" / "summary.json").read_text("utf-8"))["places"]
    # It is one of the floors, and measured just like it.
    assert all(place["energy"] == place["energy top 20%"] for place in places.values())
    assert (run / "evaluation" / "evaluate.py").is_file()

    before = {path: path.stat().st_mtime_ns for path in (run / "interpreter").rglob("*")}
    again = untrained("evaluate", batch_size=5)
    assert again.code == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "seed: 1234, now 7" in untrained("evaluate", seed=7).line
    assert "another settings" in untrained("evaluate", method="{interpreter: {area: 0.3}}").line


def test_a_method_that_is_not_trained_cannot_be_trained(untrained, tmp_path):
    outcome = untrained("interpreter")
    assert outcome.code == 2
    assert "EnergyMask has nothing to train" in outcome.line
    assert "run evaluate.py" in outcome.line
    assert not (tmp_path / "run").exists()


def test_a_yaml_without_a_method(untrained, untrained_yaml):
    text = untrained_yaml.read_text("utf-8")
    untrained_yaml.write_text(text.replace("    interpreter: !name:", "    interpret: !name:"), "utf-8")
    assert "method has no 'interpreter'" in untrained("evaluate").line
    untrained_yaml.write_text(text[: text.index("method:")], "utf-8")
    assert "the YAML has no 'method'" in untrained("evaluate").line


def test_two_processes_train_one_interpreter(tiny_esc50, tiny_classifier_folder, tmp_path):
    line = tiny.arguments(
        "interpreter",
        tiny_esc50,
        tmp_path / "run",
        classifier_folder=tiny_classifier_folder,
        distributed_backend="gloo",
        batch_size=1,
    )
    outcome = tiny.run_process(
        ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train_piq.py", *line]
    )
    assert outcome.code == 0, outcome.err
    (meta,) = checkpoints(tmp_path / "run")
    assert meta["epoch"] == 1
    # Saved without the wrapper of parallel training, and written once.
    assert load_interpreter(tmp_path / "run").description["training"]["epochs"] == 1
    assert len((tmp_path / "run" / "train_log.txt").read_text().splitlines()) == 1


class TestDictionaries:
    NMF, L2I = (tiny.RECIPE / "hparams" / f"{name}.yaml" for name in ("nmf", "l2i"))

    def test_learned_once_and_explained_with(self, tiny_esc50, tiny_classifier_folder, tmp_path):
        run, settings = tmp_path / "run", {"classifier_folder": tiny_classifier_folder}
        said = tiny.run("evaluate", tiny_esc50, tmp_path / "absent", self.NMF, **settings).line
        assert "train_nmf.py" in said
        outcome = tiny.run("dictionary", tiny_esc50, run, **settings)
        assert outcome.code == 0, outcome.err
        assert "dictionary of 6 components (euclidean)" in outcome.out
        dictionary = Dictionary.load(run)
        assert dictionary.labels == ["low", "middle", "high"]
        assert dictionary.frontend == load_classifier(tiny_classifier_folder).frontend.settings
        assert dictionary.training["data"]["folds"]["train"] == [1]
        assert dictionary.training["n_frames"] == 60
        assert dictionary.training["seconds"] > 0
        assert len(dictionary.loss_curve) == 4
        assert sorted(path.name for path in run.iterdir()) == ["dictionary", "manifests"]
        assert {"run.json", "hyperparams.yaml", "train_nmf.py", "dictionary.pt"} <= {
            path.name for path in (run / "dictionary").iterdir()
        }
        assert not list(run.rglob("state.pt"))
        before = (run / "dictionary" / "dictionary.pt").read_bytes()
        assert "already learned" in tiny.run("dictionary", tiny_esc50, run, **settings).out
        assert (run / "dictionary" / "dictionary.pt").read_bytes() == before
        said = tiny.run("dictionary", tiny_esc50, run, **settings, n_components=5).line
        assert "another settings" in said
        evaluated = tiny.run("evaluate", tiny_esc50, run, self.NMF, **settings)
        assert evaluated.code == 0, evaluated.err
        assert "\nnmf  " in evaluated.out
        assert next((run / "examples").glob("*/components.png")).stat().st_size > 5000
        saved = load_interpreter(run)
        assert saved.settings["dictionary"] == dictionary.describe()
        assert torch.equal(saved.dictionary, dictionary.matrix)
        assert saved.description["training"]["dictionary"] == dictionary.training
        # Results belong to the dictionary that they were made with.
        other = tmp_path / "other"
        assert tiny.run("dictionary", tiny_esc50, other, **settings, seed=7).code == 0
        said = tiny.run("evaluate", tiny_esc50, run, self.NMF, **settings, dictionary_file=other).line
        assert "another settings" in said

    def test_settings_that_cannot_be_leave_no_record_that_is_in_the_way(
        self, tiny_esc50, tiny_classifier_folder, tmp_path
    ):
        settings = {"classifier_folder": tiny_classifier_folder}
        said = tiny.run("dictionary", tiny_esc50, tmp_path / "run", **settings, algorithm="KL").line
        assert "algorithm is 'KL'" in said
        assert tiny.run("dictionary", tiny_esc50, tmp_path / "run", **settings, algorithm="kl").code == 0

    def test_the_algorithms(self, tiny_esc50, tiny_classifier_folder, tmp_path):
        for algorithm in ("kl", "minibatch", "amortised"):
            run = tmp_path / algorithm
            settings = {"classifier_folder": tiny_classifier_folder, "algorithm": algorithm, "number_of_epochs": 2}
            outcome = tiny.run("dictionary", tiny_esc50, run, **settings)
            assert outcome.code == 0, outcome.err
            learned = Dictionary.load(run)
            assert learned.algorithm == algorithm
            assert len(learned.loss_curve) == (2 if algorithm == "amortised" else 4)
            assert "already learned" in tiny.run("dictionary", tiny_esc50, run, **settings).out
        more = tiny.run("dictionary", tiny_esc50, run, **{**settings, "number_of_epochs": 3})
        assert more.code == 0, more.err
        assert Dictionary.load(run).training["epochs"] == 3

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
        given = tiny.run("interpreter", tiny_esc50, tmp_path / "given", self.L2I, **settings, dictionary_file=run)
        assert given.code == 0, given.err
        assert "learning one" not in given.out
        tiny.assert_same_run(tmp_path / "given", run)
        said = tiny.run("interpreter", tiny_esc50, tmp_path / "given", self.L2I, **settings).line
        assert "pass the same dictionary_file" in said
        # It has the dictionary in itself: an evaluation need not be told where that lies.
        evaluated = tiny.run("evaluate", tiny_esc50, tmp_path / "given", self.L2I, **settings)
        assert evaluated.code == 0, evaluated.err
        assert torch.equal(load_interpreter(tmp_path / "given").dictionary, Dictionary.load(run).matrix)
        again = tiny.run("interpreter", tiny_esc50, run, self.L2I, **settings, number_of_epochs=2)
        assert again.code == 0, again.err
        assert "already learned" in again.out

    def test_what_l2i_refuses(self, tiny_esc50, tiny_classifier_folder, tmp_path):
        settings = {"classifier_folder": tiny_classifier_folder}
        said = tiny.run("interpreter", tiny_esc50, tmp_path / "a", self.L2I, **settings, algorithm="amortised").line
        assert "train_nmf.py" in said
        frontend = dataclasses.replace(load_classifier(tiny_classifier_folder).frontend.settings, sample_rate=44100)
        matrix = torch.ones(frontend.n_bins, 4) / frontend.n_bins**0.5
        path = Dictionary(matrix, frontend, ["low"], "kl").save(tmp_path / "elsewhere.pt")
        said = tiny.run("interpreter", tiny_esc50, tmp_path / "b", self.L2I, **settings, dictionary_file=path).line
        assert "sample_rate 44100 (needed: 8000)" in said
        assert not (tmp_path / "b" / "run.json").exists()

    def test_a_dictionary_of_clips_that_are_measured_is_refused(self, tiny_esc50, tiny_classifier_folder, tmp_path):
        settings = {"classifier_folder": tiny_classifier_folder}
        assert tiny.run("dictionary", tiny_esc50, tmp_path / "nmf", **settings).code == 0
        folds = {"train_folds": 3, "test_folds": 1, "dictionary_file": tmp_path / "nmf"}
        said = tiny.run("interpreter", tiny_esc50, tmp_path / "run", self.L2I, **settings, **folds).line
        assert "learned from folds [1]" in said

    def test_fine_tuning_does_not_bring_another_dictionary(self, tiny_esc50, tiny_classifier_folder, tmp_path):
        yaml = tmp_path / "l2i.yaml"
        text = self.L2I.read_text().replace("../../../hparams", str(tiny.REPOSITORY / "hparams"))
        yaml.write_text(text.replace("cache_folder:", "finetune_from: null\ncache_folder:", 1))
        settings = {"classifier_folder": tiny_classifier_folder, "number_of_epochs": 1}
        for name, seed in (("first", 1), ("second", 2)):
            outcome = tiny.run("interpreter", tiny_esc50, tmp_path / name, yaml, **settings, seed=seed)
            assert outcome.code == 0, outcome.err
        tuned = {**settings, "finetune_from": tmp_path / "first"}
        said = tiny.run(
            "interpreter", tiny_esc50, tmp_path / "a", yaml, **tuned, dictionary_file=tmp_path / "second"
        ).line
        assert "another dictionary" in said
        outcome = tiny.run("interpreter", tiny_esc50, tmp_path / "b", yaml, **tuned, dictionary_file=tmp_path / "first")
        assert outcome.code == 0, outcome.err


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
        said = self.tune(tiny_esc50, tmp_path / "run", tmp_path / "absent", tiny_classifier_folder).line
        assert "no run folder" in said
        said = self.tune(tiny_esc50, tmp_path / "run", tiny_piq_run, tiny_classifier_folder).line
        assert "holds piq" in said
        assert "expected lmac" in said
        wider = {"method": "{interpreter: {channels: 12, decoder_channels: [4]}}"}
        said = self.tune(tiny_esc50, tmp_path / "run", tiny_lmac_run, tiny_classifier_folder, **wider).line
        assert "other sizes" in said
        classifier = tmp_path / "classifier"
        assert tiny.run("classifier", tiny_esc50, classifier, seed=5).code == 0
        said = self.tune(tiny_esc50, tmp_path / "run", tiny_lmac_run, classifier / "classifier").line
        assert "holds lmac on classifier" in said
        copy = shutil.copytree(tiny_lmac_run, tmp_path / "same")
        said = self.tune(tiny_esc50, copy, copy, tiny_classifier_folder).line
        assert "output_folder of its own" in said
        assert not (tmp_path / "run" / "run.json").exists()

    def test_a_finished_run_is_not_mistaken_for_a_fine_tuned_one(
        self, tiny_esc50, tiny_classifier_folder, tiny_lmac_run, tmp_path
    ):
        copy = shutil.copytree(tiny_lmac_run, tmp_path / "copy")
        said = self.tune(tiny_esc50, copy, tiny_lmac_run, tiny_classifier_folder, number_of_epochs=2).line
        assert "finetuned_from" in said


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
    seen = {"TRAIN": [], "VALID": []}

    def watch(self, batch, stage, forward=brains.InterpreterBrain.compute_forward):
        now = forward(self, batch, stage)
        seen[stage.name].append((now.spectrogram.n_samples, batch.signal.data.shape[1]))
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
    assert {n_samples for n_samples, _ in seen["TRAIN"]} == {0.25 * tiny.RATE}
    assert all(n_samples == given > 0.25 * tiny.RATE for n_samples, given in seen["VALID"])


def test_noise_is_mixed_into_training_clips_alone(tiny_esc50, tiny_classifier_folder, tmp_path, monkeypatch):
    seen = []

    def watch(self, batch, stage, forward=brains.InterpreterBrain.compute_forward):
        now = forward(self, batch, stage)
        seen.append((stage.name, now))
        return now

    def listen(self, *given, objective=LMAC.objective):
        heard.append(given[-1])
        return objective(self, *given)

    heard = []
    monkeypatch.setattr(brains.InterpreterBrain, "compute_forward", watch)
    monkeypatch.setattr(LMAC, "objective", listen)
    outcome = tiny.run(
        "interpreter",
        tiny_esc50,
        tmp_path / "run",
        tiny.RECIPE / "hparams" / "lmac.yaml",
        classifier_folder=tiny_classifier_folder,
        noise_probability=1.0,
    )
    assert outcome.code == 0, outcome.err
    assert {stage for stage, _ in seen} == {"TRAIN", "VALID"}
    # The objective hears the clean sound too.
    assert all(clean is now.clean for clean, (_, now) in zip(heard, seen, strict=True))
    frontend = load_classifier(tiny_classifier_folder).frontend
    for stage, now in seen:
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
    said = tiny.run(
        "interpreter",
        tiny_esc50,
        tmp_path / "run",
        tiny.RECIPE / "hparams" / "lmac.yaml",
        classifier_folder=tiny_classifier_folder,
        noise_probability=0.25,
    ).line
    assert "another noise" in said
