"""What the Brains do to a batch: schedule, seeds, augmentation, statistics, selection."""

import math

import pytest
import speechbrain as sb
import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.epoch_loop import EpochCounter

from interpretability.dictionary import AmortisedFactorisation, DictionarySettings, collect_frames
from interpretability.errors import UserError
from interpretability.frontend import FrontendSettings
from interpretability.training.brain import (
    DictionaryBrain,
    ResumableBrain,
    Selection,
    classification_loss,
    crop_in_time,
    mix_up,
    one_cycle,
    seed_step,
    shift_in_time,
    spec_augment,
)
from interpretability.training.checkpoints import AtomicCheckpointer, Stopwatch

TINY = FrontendSettings(sample_rate=8000, n_fft=64, win_length_ms=8.0, hop_length_ms=4.0)  # 33 bins, hop 32


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


def test_shift_rolls_within_each_clips_own_length():
    torch.manual_seed(0)
    wavs = torch.zeros(64, 10)
    wavs[:, :6] = torch.arange(1.0, 7.0)
    shifted = shift_in_time(wavs, torch.full((64,), 0.6), 0.5)
    assert not shifted[:, 6:].any()
    first = shifted[:, 0].long()
    for row, start in zip(shifted[:, :6], first.tolist(), strict=True):
        assert row.tolist() == [float((start - 1 + i) % 6 + 1) for i in range(6)]
    assert len(first.unique()) >= 5  # up to half the clip, both ways
    assert torch.equal(shift_in_time(wavs, torch.full((64,), 0.6), 0.0), wavs)


def test_crops_are_random_stretches_of_each_clips_own_length():
    torch.manual_seed(0)
    wavs = torch.zeros(300, 10)
    wavs[:, :6] = torch.arange(1.0, 7.0)
    wavs[0, :2], wavs[0, 2:] = torch.tensor([1.0, 2.0]), 0.0
    lengths = torch.full((300,), 0.6)
    lengths[0] = 0.2
    cropped, kept = crop_in_time(wavs, lengths, 4)
    assert cropped.shape == (300, 4)
    assert cropped[0].tolist() == [1.0, 2.0, 0.0, 0.0]  # shorter ones stay whole
    assert kept.tolist() == [0.5] + [1.0] * 299
    starts = cropped[1:, 0]
    assert sorted(starts.unique().tolist()) == [1.0, 2.0, 3.0]  # never beyond the clip's own end
    assert torch.equal(cropped[1:] - starts[:, None], torch.arange(4.0).expand(299, 4))
    whole, same = crop_in_time(wavs, lengths, 20)
    assert torch.equal(whole, wavs)
    torch.testing.assert_close(same, lengths)


def test_mix_up_mixes_sound_goal_and_length_alike():
    torch.manual_seed(0)
    wavs = torch.eye(8)
    mixed, lengths, goal = mix_up(wavs, torch.linspace(0.3, 1.0, 8), torch.eye(8), 0.4)
    torch.testing.assert_close(mixed, goal)  # the same shares of the same partners
    torch.testing.assert_close(goal.sum(1), torch.ones(8))
    for row, length in zip(goal, lengths, strict=True):
        assert float(length) == pytest.approx(float(torch.linspace(0.3, 1.0, 8)[row > 0].max()))
    assert mix_up(wavs, torch.ones(8), torch.eye(8), 0.0)[0] is wavs


def test_spec_augment_silences_stripes_and_nothing_else():
    torch.manual_seed(0)
    magnitude = torch.rand(4, 50, 40) + 1
    settings = {"time_masks": 2, "time_mask_frames": 8, "frequency_masks": 1, "frequency_mask_bins": 6}
    before = magnitude.clone()
    augmented = spec_augment(magnitude, settings)
    assert torch.equal(magnitude, before)
    changed = augmented != magnitude
    assert changed.any()
    assert not augmented[changed].any()
    for clip in changed:
        frames, bins = clip.all(1), clip.all(0)
        assert frames.sum() <= 16
        assert bins.sum() <= 6
        assert torch.equal(clip, frames[:, None] | bins[None])
    assert len({tuple(clip.all(1).tolist()) for clip in changed}) > 1  # each clip its own stripes


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

    def fit(self, folder, n_epochs=N_EPOCHS, stop_after=None, lr=0.01):
        torch.manual_seed(0)
        network = AmortisedFactorisation(TINY, DictionarySettings("amortised", 6, max_frames=None, hidden=(32, 16)))
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
                "train_logger": None,
                "tensorboard_logger": None,
                "stopwatch": stopwatch,
            },
            run_opts={"device": "cpu", "noprogressbar": True},
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
        assert (learned.algorithm, learned.labels, learned.frontend) == ("amortised", ["a", "b"], TINY)
        assert learned.training == {"seed": 1, "algorithm": "amortised", "n_components": 6, "sparsity": 0.0}
        assert learned.loss_curve[-1] == min(network.losses)
        assert (learned.matrix >= 0).all()
        torch.testing.assert_close(learned.matrix.norm(dim=0), torch.ones(learned.n_components))
        frames = collect_frames(self.dataset(), network.frontend, network.settings, progress=False)
        mean = frames.mean(0)
        mean = (mean / mean.norm())[:, None]
        made = network(frames[None], torch.ones(1, len(frames), dtype=torch.bool)).reconstruction[0].detach()
        errors = [float((frames - drawn).square().mean()) for drawn in (made, (frames @ mean) @ mean.T)]
        assert errors[0] < 0.5 * errors[1], errors

    def test_resumed_equals_uninterrupted_losses_included(self, tmp_path):
        _, whole = self.fit(tmp_path / "whole", 3)
        self.fit(tmp_path / "killed", 3, stop_after=2)
        _, resumed = self.fit(tmp_path / "killed", 3)
        assert resumed.losses == whole.losses
        for name, value in whole.state_dict().items():
            assert torch.equal(resumed.state_dict()[name], value), name

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
