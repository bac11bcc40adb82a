"""What the Brains share: schedule, seeds, statistics, selection, loss."""

import io
import json
import math
import re
import sys
from dataclasses import replace

import pytest
import speechbrain as sb
import tiny
import torch
import yaml
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.epoch_loop import EpochCounter
from tiny import SMALL

from interpretability.classifiers.compact import CompactClassifier
from interpretability.dictionary import AmortisedFactorisation, DictionarySettings, collect_frames
from interpretability.errors import UserError
from interpretability.training.brain import (
    DictionaryBrain,
    ResumableBrain,
    Selection,
    classification_loss,
    explain_active,
    one_cycle,
    seed_step,
)
from interpretability.training.checkpoints import AtomicCheckpointer, Stopwatch


class TestOneCycle:
    def test_known_values(self):
        assert one_cycle(0.0) == pytest.approx(0.04)
        assert one_cycle(0.125) == pytest.approx((0.04 + 1) / 2)
        assert one_cycle(0.25) == 1.0
        assert one_cycle(0.625) == pytest.approx((1 + 1e-3) / 2)
        assert one_cycle(1.0) == pytest.approx(1e-3)

    def test_rises_then_falls_and_is_bounded_beyond_its_ends(self):
        values = [one_cycle(step / 100) for step in range(101)]
        assert values[:26] == sorted(values[:26])
        assert values[25:] == sorted(values[25:], reverse=True)
        assert one_cycle(1.5) == one_cycle(1.0)
        assert one_cycle(-1) == one_cycle(0.0)


def test_a_step_draws_the_same_again_and_another_step_does_not():
    def draw(*step):
        seed_step(*step)
        return torch.rand(3)

    assert torch.equal(draw(1, 2, 3), draw(1, 2, 3))
    assert not torch.equal(draw(1, 2, 3), draw(1, 2, 4))
    assert not torch.equal(draw(1, 2, 3), draw(12, 3))  # parts do not run together


class TestClassificationLoss:
    def test_single_by_hand(self):
        logits = torch.tensor([[math.log(3), 0.0]])
        loss = classification_loss(logits, torch.tensor([[0.5, 0.5]]), "single")
        assert float(loss) == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)

    def test_multi_by_hand_one_decision_a_class(self):
        logits = torch.tensor([[math.log(3), 0.0]])
        loss = classification_loss(logits, torch.tensor([[1.0, 1.0]]), "multi")
        assert float(loss) == pytest.approx(-(math.log(3 / 4) + math.log(1 / 2)) / 2)
        smoothed = classification_loss(logits, torch.tensor([[1.0, 0.0]]), "multi", smoothing=0.2)
        wanted = -(0.9 * math.log(3 / 4) + 0.1 * math.log(1 / 4) + math.log(1 / 2)) / 2
        assert float(smoothed) == pytest.approx(wanted)

    def test_saturated_logits_stay_finite(self):
        for task in ("single", "multi"):
            assert classification_loss(torch.tensor([[900.0, -900.0]]), torch.eye(2)[1:], task).isfinite().all()


class TestExplainActive:
    """Of clips with several labels: which are explained in training, and which in validation."""

    @pytest.fixture(scope="class")
    def classifier(self):
        return CompactClassifier(["cat", "dog", "rain"], SMALL, "multi", n_mels=8, channels=(4,)).freeze()

    @pytest.fixture
    def analysed(self, classifier):
        batch = classifier.analyse(tiny.noise(3, 4000))
        # Heard: cat and rain; nothing, dog the most probable; all three.
        logits = torch.tensor([[2.0, -1.0, 1.0], [-9.0, -1.0, -2.0], [1.0, 2.0, 3.0]])
        return replace(batch, output=replace(batch.output, logits=logits))

    def test_validation_explains_every_active_class(self, classifier, analysed):
        every = explain_active(classifier, analysed, at_random=False)
        assert every.target.tolist() == [0, 2, 1, 0, 1, 2]
        clips = torch.tensor([0, 0, 1, 2, 2, 2])
        assert torch.equal(every.spectrogram.magnitude, analysed.spectrogram.magnitude[clips])
        assert torch.equal(every.output.logits, analysed.output.logits[clips])

    def test_a_training_step_explains_one_of_them_at_random(self, classifier, analysed):
        torch.manual_seed(0)
        drawn = torch.stack([explain_active(classifier, analysed, at_random=True).target for _ in range(300)])
        counts = [torch.bincount(column, minlength=3).tolist() for column in drawn.T]
        assert counts[1] == [0, 300, 0]
        assert counts[0][1] == 0
        assert min(counts[0][0], counts[0][2]) > 100
        assert min(counts[2]) > 60
        again = explain_active(classifier, analysed, at_random=True)
        assert again.spectrogram is analysed.spectrogram


def test_statistics_are_means_over_clips_not_over_batches():
    class Bare(ResumableBrain):
        def __init__(self):
            self.on_stage_start(None)

    brain = Bare()
    brain.count({"ad": torch.tensor([1.0, 2.0, float("nan")])})
    brain.count({"ad": torch.tensor([6.0])})
    brain.count({"loss": torch.tensor(1.0)}, n_clips=3)
    brain.count({"loss": torch.tensor(5.0)}, n_clips=1)
    brain.count({"sps": torch.tensor([float("nan")])})
    stats = brain.statistics()
    assert stats["ad"] == 3.0
    assert stats["loss"] == 2.0
    assert math.isnan(stats["sps"])
    assert all(type(value) is float for value in stats.values())


def test_selection():
    assert Selection("accuracy", "max").keys() == {"max_keys": ["accuracy"]}
    assert Selection("loss", "min").key_argument() == {"min_key": "loss"}
    with pytest.raises(UserError, match="selection_mode is 'best'"):
        Selection("loss", "best")


def test_checkpoint_metadata_are_plain_numbers_and_best_and_last_are_kept(tiny_piq_run):
    # As any YAML reader sees them: no Python objects.
    metas = [yaml.safe_load(path.read_text()) for path in (tiny_piq_run / "save").glob("CKPT+*/CKPT.yaml")]
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
    line = tiny.run("classifier", tiny_esc50, tmp_path / "run", selection_key="fidelity").line
    assert "'fidelity'" in line
    assert "accuracy" in line
    assert "loss" in line


def test_validation_leaves_the_networks_as_they_are(tiny_esc50, tiny_classifier_folder, tmp_path, monkeypatch):
    """Metric passes touch neither the interpreter's batch statistics nor the classifier."""
    unchanged = []

    def watch(self, valid_set, epoch, enable, fit_valid=ResumableBrain._fit_valid):
        def state():
            return {name: value.clone() for name, value in self.modules.state_dict().items()}

        before = state()
        fit_valid(self, valid_set, epoch, enable)
        after = state()
        unchanged.append(all(torch.equal(after[name], value) for name, value in before.items()))
        assert all(parameter.grad is None for parameter in self.modules["classifier"].parameters())

    monkeypatch.setattr(ResumableBrain, "_fit_valid", watch)
    outcome = tiny.run("interpreter", tiny_esc50, tmp_path / "run", classifier_folder=tiny_classifier_folder)
    assert outcome.code == 0, outcome.err
    assert unchanged == [True]


class TestDictionaryBrain:
    N_EPOCHS = 20

    @staticmethod
    def dataset(n_clips=24):
        """Mixtures of three tones, of two lengths."""
        generator = torch.Generator().manual_seed(0)

        def clip(index):
            n = 1600 if index % 2 else 1280
            seconds = torch.arange(n) / 8000
            shares = torch.rand(3, generator=generator)
            frequencies = torch.tensor([500.0, 1500.0, 3000.0])
            return shares @ torch.sin(2 * torch.pi * frequencies[:, None] * seconds)

        clips = {str(i): {"wav": clip(i)} for i in range(n_clips)}
        dataset = DynamicItemDataset(clips)
        dataset.add_dynamic_item(lambda wav: wav, takes="wav", provides="signal")
        dataset.set_output_keys(["id", "signal"])
        return dataset

    def fit(self, folder, n_epochs=N_EPOCHS, stop_after=None, lr=0.01, noprogressbar=True):
        torch.manual_seed(0)
        network = AmortisedFactorisation(SMALL, DictionarySettings("amortised", 6, max_frames=None, hidden=(32, 16)))
        counter, stopwatch = EpochCounter(limit=n_epochs), Stopwatch()
        checkpointer = AtomicCheckpointer(folder, {"dictionary": network, "stopwatch": stopwatch, "counter": counter})
        brain = DictionaryBrain(
            modules={"dictionary": network},
            opt_class=lambda parameters: torch.optim.AdamW(parameters, weight_decay=0.0),
            hparams={
                "seed": 1,
                "lr": lr,
                "number_of_epochs": n_epochs,
                "selection": Selection("loss", "min"),
                "stopwatch": stopwatch,
            },
            run_opts={"device": "cpu", "noprogressbar": noprogressbar},
            checkpointer=checkpointer,
        )
        data = self.dataset()
        train = brain.make_dataloader(data, sb.Stage.TRAIN, batch_size=4, shuffle=True)
        valid = brain.make_dataloader(data, sb.Stage.VALID, ckpt_prefix=None, batch_size=4)
        if stop_after is not None:
            fit_batch = brain.fit_batch

            def fit_and_stop(batch):
                if brain.epoch > stop_after:
                    raise KeyboardInterrupt
                return fit_batch(batch)

            brain.fit_batch = fit_and_stop
            with pytest.raises(KeyboardInterrupt):
                brain.fit(counter, train, valid)
        else:
            brain.fit(counter, train, valid)
        return brain, network

    def test_it_learns_and_beats_the_mean(self, tmp_path):
        brain, network = self.fit(tmp_path / "save")
        assert len(network.losses) == self.N_EPOCHS
        assert network.losses[-1] < 0.2 * network.losses[0]
        brain.load_best()
        learned = network.dictionary(["a", "b"], {"seed": 1})
        assert (learned.algorithm, learned.labels, learned.frontend) == ("amortised", ["a", "b"], SMALL)
        assert learned.training == {"seed": 1, "algorithm": "amortised", "n_components": 6, "sparsity": 0.0}
        assert learned.loss_curve[-1] == min(network.losses)
        assert (learned.matrix >= 0).all()
        torch.testing.assert_close(learned.matrix.norm(dim=0), torch.ones(learned.n_components))
        frames = collect_frames(self.dataset(), network.frontend, network.settings, progress=False)
        mean = frames.mean(0)
        mean = (mean / mean.norm())[:, None]
        reconstruction = network(frames[None], torch.ones(1, len(frames), dtype=torch.bool)).reconstruction[0].detach()
        errors = [float((frames - drawn).square().mean()) for drawn in (reconstruction, (frames @ mean) @ mean.T)]
        assert errors[0] < 0.5 * errors[1], errors

    def test_resumed_equals_uninterrupted_losses_included(self, tmp_path):
        _, whole = self.fit(tmp_path / "whole", 3)
        self.fit(tmp_path / "killed", 3, stop_after=2)
        _, resumed = self.fit(tmp_path / "killed", 3)
        assert resumed.losses == whole.losses
        for name, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], value), name

    def test_progress_is_one_line_for_the_whole_training(self, tmp_path, monkeypatch):
        class Terminal(io.StringIO):
            def isatty(self):
                return True

        monkeypatch.delenv("COLUMNS", raising=False)  # tqdm cuts its line there
        for stop_after, shown in ((1, ["epoch 1 of 2"]), (None, ["epoch 2 of 2", "100 %", "validation loss"])):
            monkeypatch.setattr(sys, "stderr", Terminal())
            self.fit(tmp_path / "save", 2, stop_after=stop_after, noprogressbar=False)
            lines = sys.stderr.getvalue().strip().split("\n")
            assert len(lines) == 1
            assert all(words in lines[0] for words in shown), lines
        assert "epoch 1" not in lines[0]
        # Resumed: it starts in the middle.
        assert " 0 %" not in lines[0].split("epoch 2 of 2", 2)[2]

    def test_without_a_terminal_each_epoch_is_a_line_with_the_time_left(self, tmp_path, capsys):
        self.fit(tmp_path / "save", 1)
        assert capsys.readouterr().out == ""
        self.fit(tmp_path / "save", 3, noprogressbar=False)
        lines = capsys.readouterr().out.splitlines()
        assert [line.split(":")[0] for line in lines] == ["epoch 2 of 3", "epoch 3 of 3"]
        assert re.fullmatch(r"epoch 2 of 3: validation loss [\d.]+, about 00:0\d left", lines[0])
        assert lines[1].endswith(", about 00:00 left")

    def test_validation_finds_what_is_used(self, tmp_path):
        brain, network = self.fit(tmp_path / "save", 1)
        with torch.no_grad():
            network.encoder[-1].weight[1] = 0
            network.encoder[-1].bias[1] = -1.0
        brain.on_stage_start(sb.Stage.VALID, 1)
        valid = brain.make_dataloader(self.dataset(), sb.Stage.VALID, ckpt_prefix=None, batch_size=4)
        for batch in valid:
            brain.evaluate_batch(batch, sb.Stage.VALID)
        assert not network.in_use[1]
        assert network.in_use.any()

    def test_divergence_is_reported(self, tmp_path):
        with pytest.raises(UserError, match="training has diverged"):
            self.fit(tmp_path / "save", 1, lr=1e30)
