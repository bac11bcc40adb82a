"""Dictionary learning: objective, known factors, scikit-learn, the amortised encoder, resuming, drawing of frames."""

from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import speechbrain as sb
import torch
from sklearn.decomposition import MiniBatchNMF
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.epoch_loop import EpochCounter

from interpretability.dictionary import Dictionary, decompose
from interpretability.errors import UserError
from interpretability.frontend import Frontend, FrontendSettings
from interpretability.training import dictionary as learning
from interpretability.training.brain import Selection
from interpretability.training.checkpoints import AtomicCheckpointer, Stopwatch
from interpretability.training.dictionary import (
    AmortisedFactorisation,
    DictionaryBrain,
    collect_frames,
    learn_dictionary,
    objective,
    update,
)

TINY = FrontendSettings(sample_rate=8000, n_fft=64, win_length_ms=8.0, hop_length_ms=4.0)  # 33 bins, hop 32
F = TINY.n_bins


def random(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def separable(n_components=4, n_frames=300, seed=0):
    """Factors that are unique: every component has bins, and frames, of its own."""
    matrix = 0.3 * random(F, n_components, seed=seed)
    matrix[torch.arange(F) % n_components != 0] *= 0.5
    for k in range(n_components):
        own = torch.arange(F) // (F // n_components + 1) == k
        matrix[own] = 0
        matrix[own, k] = 1 + random(int(own.sum()), seed=seed + k)
    matrix = matrix / matrix.norm(dim=0)
    activations = random(n_frames, n_components, seed=seed + 100)
    for k in range(n_components):
        activations[k::10] = 0
        activations[k::10, k] = 1.0
    return matrix, activations


def textbook(spectra, matrix, activations, divergence, sparsity):
    """The objective, written out in NumPy, a sum over everything."""
    x, drawn = spectra.double().numpy(), (activations.double() @ matrix.double().T).numpy()
    if divergence == "euclidean":
        fit = 0.5 * ((x - drawn) ** 2).sum()
    else:
        with np.errstate(divide="ignore", invalid="ignore"):
            fit = np.where(x > 0, x * np.log(x / (drawn + 1e-10)), 0.0).sum() - x.sum() + drawn.sum()
    return fit + sparsity * float(activations.double().sum())


def cosines(found, known):
    """The best cosine with a found column, for each known one."""
    return ((found / found.norm(dim=0)).T @ (known / known.norm(dim=0))).amax(0)


each_divergence = pytest.mark.parametrize("divergence", ["euclidean", "kl"])


class TestUpdates:
    @each_divergence
    @pytest.mark.parametrize("sparsity", [0.0, 0.05, 2.0])
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_the_objective_never_rises_and_columns_stay_non_negative_of_unit_norm(self, divergence, sparsity, seed):
        spectra = random(80, F, seed=seed) ** 3
        spectra[5] = 0  # silence
        spectra[:, 7] = 0  # a bin that is never heard
        matrix = random(F, 6, seed=seed + 10)
        matrix, activations = matrix / matrix.norm(dim=0), random(80, 6, seed=seed + 20)
        values = [textbook(spectra, matrix, activations, divergence, sparsity)]
        for _ in range(60):
            matrix, activations = update(spectra, matrix, activations, divergence, sparsity)
            values.append(textbook(spectra, matrix, activations, divergence, sparsity))
            assert bool((matrix >= 0).all())
            assert bool((activations >= 0).all())
            torch.testing.assert_close(matrix.norm(dim=0), torch.ones(6), atol=1e-5, rtol=0)
        assert all(after <= before * (1 + 1e-6) for before, after in pairwise(values)), values
        assert values[-1] < 0.8 * values[0]
        assert not matrix[7].any()
        assert not activations[5].any()

    @each_divergence
    def test_chunks_change_nothing(self, divergence, monkeypatch):
        spectra, matrix, activations = random(50, F), random(F, 3), random(50, 3)
        whole = update(spectra, matrix, activations, divergence, 0.1)
        value = objective(spectra, *whole, divergence, 0.1)
        monkeypatch.setattr(learning, "CHUNK", 7)
        for got, wanted in zip(update(spectra, matrix, activations, divergence, 0.1), whole, strict=True):
            torch.testing.assert_close(got, wanted)
        assert objective(spectra, *whole, divergence, 0.1) == pytest.approx(value)

    @each_divergence
    def test_a_component_without_activations_keeps_its_column(self, divergence):
        spectra, activations = random(20, F), random(20, 3)
        matrix = random(F, 3)
        matrix = matrix / matrix.norm(dim=0)
        activations[:, 1] = 0
        after, still = update(spectra, matrix, activations, divergence, 0.1)
        assert torch.equal(after[:, 1], matrix[:, 1])
        assert not still[:, 1].any()
        assert after.isfinite().all()

    @each_divergence
    def test_the_objective_is_the_textbook_one(self, divergence):
        spectra, matrix, activations = random(30, F), random(F, 3), random(30, 3)
        spectra[3, 4] = 0
        wanted = textbook(spectra, matrix, activations, divergence, 0.3) / 30
        assert objective(spectra, matrix, activations, divergence, 0.3) == pytest.approx(wanted, rel=1e-5)


class TestLearning:
    @pytest.mark.parametrize("algorithm", ["euclidean", "kl", "minibatch"])
    @pytest.mark.parametrize("seed", [0, 1])
    def test_known_factors_are_recovered(self, algorithm, seed):
        known, activations = separable(seed=seed)
        spectra = activations @ known.T
        settings = {"n_iterations": 30, "batch_size": 100} if algorithm == "minibatch" else {"n_iterations": 400}
        learned = learn_dictionary(spectra, TINY, ["a"], algorithm, 4, seed=seed, progress=False, **settings)
        assert cosines(learned.matrix, known).min() > 0.99
        assert cosines(known, learned.matrix).min() > 0.99  # up to permutation: none is found twice
        assert cosines(random(F, 4), known).min() < 0.9  # what chance gives
        torch.testing.assert_close(learned.matrix.norm(dim=0), torch.ones(4))
        assert (learned.matrix >= 0).all()

    @each_divergence
    def test_the_curve_falls_and_ends_at_the_objective_of_the_result(self, divergence):
        spectra = random(60, F)
        curve = learn_dictionary(spectra, TINY, [], divergence, 5, 40, 0.1, progress=False).loss_curve
        assert len(curve) == 40
        assert all(after <= before * (1 + 1e-6) for before, after in pairwise(curve))
        learned = learn_dictionary(spectra, TINY, [], divergence, 5, 300, 0.1, progress=False)
        found = decompose(spectra[None], learned.matrix, 2000, divergence, 0.1)[0].T
        value = textbook(spectra, learned.matrix, found, divergence, 0.1) / 60
        assert learned.loss_curve[-1] == pytest.approx(value, rel=1e-3)

    def test_what_the_dictionary_says_of_itself(self, tmp_path):
        spectra = random(40, F)
        learned = learn_dictionary(
            spectra, TINY, ["cat"], "kl", 5, 3, seed=7, training={"commit": "abc"}, progress=False
        )
        again = Dictionary.load(learned.save(tmp_path / "d.pt"))
        assert (again.labels, again.algorithm, again.frontend) == (["cat"], "kl", TINY)
        assert again.training == {
            "commit": "abc",
            "algorithm": "kl",
            "n_components": 5,
            "sparsity": 0.0,
            "seed": 7,
            "n_iterations": 3,
            "n_frames": 40,
        }

    def test_the_seed_decides(self):
        spectra = random(60, F)

        def learn(algorithm, seed):
            return learn_dictionary(spectra, TINY, [], algorithm, 5, 3, batch_size=20, seed=seed, progress=False).matrix

        for algorithm in ("euclidean", "kl", "minibatch"):
            assert torch.equal(learn(algorithm, 1), learn(algorithm, 1))
            assert not torch.allclose(learn(algorithm, 1), learn(algorithm, 2))

    def test_more_sparsity_fewer_activations(self):
        spectra = random(100, F) ** 2
        used = []
        for sparsity in (0.0, 0.5):
            learned = learn_dictionary(spectra, TINY, [], "euclidean", 8, 100, sparsity, progress=False)
            found = decompose(spectra[None], learned.matrix, 200, "euclidean", sparsity)
            used.append(float(found.sum()))
        assert used[1] < 0.9 * used[0]

    def test_dead_components_are_dropped_and_told(self, tmp_path, caplog):
        spectra, state = random(40, F), tmp_path / "state.pt"
        learn_dictionary(spectra, TINY, [], "euclidean", 5, 3, state_file=state, progress=False)
        content = torch.load(state, weights_only=True)
        content["activations"][:, 2] = 0
        torch.save(content, state)
        learned = learn_dictionary(spectra, TINY, [], "euclidean", 5, 30, state_file=state, progress=False)
        assert learned.n_components == 4
        assert learned.training["n_components"] == 5
        assert "1 of 5 components are not used and are dropped" in caplog.text
        found = decompose(spectra[None], learned.matrix, 300)[0].T
        assert textbook(spectra, learned.matrix, found, "euclidean", 0) / 40 <= learned.loss_curve[-1] * (1 + 1e-5)

    def test_a_weight_that_kills_all(self):
        with pytest.raises(UserError, match="lower it"):
            learn_dictionary(random(20, F), TINY, [], "euclidean", 3, 100, 1e6, progress=False)

    @pytest.mark.parametrize("algorithm", ["euclidean", "kl", "minibatch"])
    def test_as_many_components_as_frames_and_one_frame(self, algorithm):
        for n in (1, 3):
            learned = learn_dictionary(random(n, F), TINY, [], algorithm, n, 50, progress=False)
            torch.testing.assert_close(learned.matrix.norm(dim=0), torch.ones(learned.n_components))
        # One frame, one component: its spectrum.
        one = learn_dictionary(random(1, F), TINY, [], algorithm, 1, 100, progress=False)
        torch.testing.assert_close(one.matrix[:, 0], random(1, F)[0] / random(1, F).norm(), atol=1e-3, rtol=0)

    @pytest.mark.parametrize(
        ("spectra", "settings", "message"),
        [
            (torch.zeros(20, F), {}, "all zero"),
            (torch.ones(20, F - 1), {}, "expected \\[n, 33\\]"),
            (-torch.ones(20, F), {}, "negative"),
            (torch.full((20, F), float("nan")), {}, "infinite"),
            (torch.ones(4, F), {}, "there are 4 frames"),
            (torch.ones(20, F), {"algorithm": "pca"}, "algorithm is 'pca'"),
            (torch.ones(20, F), {"algorithm": "amortised"}, "trained in epochs"),
            (torch.ones(20, F), {"n_components": 0}, "n_components is 0"),
            (torch.ones(20, F), {"n_iterations": 1.5}, "n_iterations is 1.5"),
            (torch.ones(20, F), {"sparsity": -1.0}, "sparsity is -1"),
            (torch.ones(20, F), {"batch_size": True}, "batch_size is True"),
        ],
    )
    def test_what_is_refused(self, spectra, settings, message):
        with pytest.raises(UserError, match=message):
            learn_dictionary(spectra, TINY, [], **{"n_components": 5, "progress": False, **settings})


class TestMiniBatch:
    def test_one_batch_a_pass_is_scikit_learns_own_result(self):
        spectra = random(40, F)
        learned = learn_dictionary(spectra, TINY, [], "minibatch", 4, 5, 0.02, batch_size=40, seed=3, progress=False)
        model = MiniBatchNMF(4, batch_size=40, alpha_W=0.02 / F, l1_ratio=1.0, forget_factor=0.7, random_state=3)
        for number in range(5):
            order = np.random.default_rng((3, number)).permutation(40)
            model.partial_fit(spectra.numpy()[order])
        wanted = torch.from_numpy(model.components_.T)
        torch.testing.assert_close(learned.matrix, wanted / wanted.norm(dim=0))

    def test_as_good_as_scikit_learns_fit_of_as_many_passes(self):
        known, activations = separable(6, 500)
        spectra = activations @ known.T + 0.05 * random(500, F, seed=9)

        def error(matrix):
            found = decompose(spectra[None], matrix, 300)[0].T
            return float((spectra - found @ matrix.T).square().sum())

        learned = learn_dictionary(spectra, TINY, [], "minibatch", 6, 30, batch_size=100, progress=False)
        model = MiniBatchNMF(6, batch_size=100, max_iter=30, tol=0, random_state=0).fit(spectra.numpy())
        theirs = torch.from_numpy(model.components_.T)
        assert error(learned.matrix) < 1.1 * error(theirs / theirs.norm(dim=0))
        assert learned.loss_curve[-1] < learned.loss_curve[0]


class TestResuming:
    SETTINGS: ClassVar[dict] = {
        "n_components": 4,
        "sparsity": 0.05,
        "batch_size": 15,
        "seed": 3,
        "progress": False,
    }

    def learn(self, algorithm, n_iterations, state_file=None, **settings):
        return learn_dictionary(
            random(40, F),
            TINY,
            [],
            algorithm,
            n_iterations=n_iterations,
            state_file=state_file,
            **{**self.SETTINGS, **settings},
        )

    @pytest.mark.parametrize("algorithm", ["euclidean", "kl", "minibatch"])
    def test_killed_and_resumed_equals_uninterrupted(self, algorithm, tmp_path, monkeypatch):
        whole = self.learn(algorithm, 12)
        monkeypatch.setattr(learning, "SAVE_EVERY", 0.0)
        kind = learning._MiniBatch if algorithm == "minibatch" else learning._Updates
        iterate, calls = kind.iterate, []

        def iterate_and_die(self):
            calls.append(None)
            if len(calls) == 6:
                raise KeyboardInterrupt
            return iterate(self)

        state = tmp_path / "state.pt"
        with monkeypatch.context() as patch:
            patch.setattr(kind, "iterate", iterate_and_die)
            with pytest.raises(KeyboardInterrupt):
                self.learn(algorithm, 12, state)
        assert len(torch.load(state, weights_only=True)["losses"]) == 5
        assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
        calls.clear()

        def count(self):
            calls.append(None)
            return iterate(self)

        monkeypatch.setattr(kind, "iterate", count)
        resumed = self.learn(algorithm, 12, state)
        assert len(calls) == 7
        assert torch.equal(resumed.matrix, whole.matrix)
        assert resumed.loss_curve == whole.loss_curve
        # Finished: nothing is done again.
        assert torch.equal(self.learn(algorithm, 12, state).matrix, whole.matrix)
        assert len(calls) == 7
        # More of the same.
        assert torch.equal(self.learn(algorithm, 15, state).matrix, self.learn(algorithm, 15).matrix)

    def test_states_are_saved_now_and_then_and_at_the_end(self, tmp_path, monkeypatch):
        saves, save = [], torch.save

        def note(content, path):
            saves.append(len(content["losses"]))
            save(content, path)

        monkeypatch.setattr(learning.torch, "save", note)
        self.learn("euclidean", 9, tmp_path / "state.pt")
        assert saves == [9]

    def test_a_state_of_something_else_is_refused(self, tmp_path):
        state = tmp_path / "state.pt"
        self.learn("euclidean", 4, state)
        for settings in ({"sparsity": 0.1}, {"n_components": 5}, {"seed": 4}):
            with pytest.raises(UserError, match=f"another {next(iter(settings))}"):
                self.learn("euclidean", 4, state, **settings)
        with pytest.raises(UserError, match="another algorithm"):
            self.learn("kl", 4, state)
        with pytest.raises(UserError, match="another spectra"):
            learn_dictionary(random(41, F), TINY, [], "euclidean", n_iterations=4, state_file=state, **self.SETTINGS)
        with pytest.raises(UserError, match="ask for at least 4"):
            self.learn("euclidean", 3, state)
        state.write_bytes(b"nothing")
        with pytest.raises(UserError, match="delete it to start again"):
            self.learn("euclidean", 4, state)

    def test_a_full_disk_leaves_nothing_behind(self, tmp_path, monkeypatch):
        def full(content, path):
            raise RuntimeError("no space left on device")

        monkeypatch.setattr(learning.torch, "save", full)
        with pytest.raises(UserError, match="make room on the disk"):
            self.learn("euclidean", 2, tmp_path / "state.pt")
        assert list(tmp_path.iterdir()) == []


class TestCollectFrames:
    FRONTEND = Frontend(TINY)

    @staticmethod
    def tones(lengths=(640, 320, 960, 640, 64)):
        """Clips that can be told apart: each a tone of its own, the middle of a bin, at levels far apart."""
        return [
            {"signal": 10.0**-k * torch.sin(2 * torch.pi * (3 + 5 * k) / 64 * torch.arange(n))}
            for k, n in enumerate(lengths)
        ]

    def origins(self, frames):
        """Which clip each frame is from."""
        return ((frames.argmax(1) - 3).double() / 5).round().long()

    def test_every_clip_gives_as_many_frames_and_no_more_than_it_has(self):
        frames = collect_frames(self.tones(), self.FRONTEND, 40, progress=False)
        assert frames.shape == (8 * 4 + 3, F)  # the last one has 3 frames
        assert torch.bincount(self.origins(frames)).tolist() == [8, 8, 8, 8, 3]
        uneven = torch.bincount(self.origins(collect_frames(self.tones(), self.FRONTEND, 13, progress=False)))
        assert uneven.sum() == 13
        assert set(uneven.tolist()) <= {2, 3}

    def test_they_are_log_magnitudes_of_levelled_clips(self):
        clips = self.tones((640, 320))
        frames = collect_frames(clips, self.FRONTEND, None, progress=False)
        wanted = [self.FRONTEND.analyse(clip["signal"][None] / clip["signal"].abs().max()) for clip in clips]
        wanted = torch.cat([torch.log1p(spectrogram.magnitude[0]) for spectrogram in wanted])
        torch.testing.assert_close(frames, wanted)

    def test_seeded(self):
        first, second, other = (
            collect_frames(self.tones(), self.FRONTEND, 20, seed, progress=False) for seed in (1, 1, 2)
        )
        assert torch.equal(first, second)
        assert not torch.equal(first, other)

    def test_fewer_frames_than_clips(self):
        frames = collect_frames(self.tones(), self.FRONTEND, 3, progress=False)
        assert len(self.origins(frames).unique()) == len(frames) == 3

    def test_silence_gives_nothing(self):
        silent = {"signal": torch.zeros(640)}
        half = {"signal": torch.cat([torch.zeros(640), torch.ones(640)])}
        frames = collect_frames([silent, half], self.FRONTEND, None, progress=False)
        assert 0 < len(frames) <= 23
        assert (frames.amax(1) > 0).all()
        for clips in ([silent, silent], []):
            with pytest.raises(UserError, match="look at the data"):
                collect_frames(clips, self.FRONTEND, 10, progress=False)
        with pytest.raises(UserError, match="max_frames is 0"):
            collect_frames([half], self.FRONTEND, 0, progress=False)


class TestAmortised:
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

    def fit(self, folder, n_epochs=N_EPOCHS, stop_after=None, lr=0.01, **settings):
        torch.manual_seed(0)
        network = AmortisedFactorisation(TINY, **{"n_components": 6, "hidden": (32, 16), **settings})
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
        frames = collect_frames(self.dataset(), network.frontend, None, progress=False)
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

    def test_it_can_begin_at_frames_of_the_data(self):
        spectra = random(40, F) ** 4
        spectra[:, 3] = 0
        network = AmortisedFactorisation(TINY, 5)
        network.start_from(spectra, seed=2)
        assert cosines(network.matrix().detach(), spectra.T).topk(5).values.min() > 0.99
        with pytest.raises(UserError, match="there are 4 frames"):
            network.start_from(spectra[:4])

    def test_no_component_dies_for_good(self):
        network = AmortisedFactorisation(TINY, 3, hidden=(8, 8))
        with torch.no_grad():
            network.encoder[-1].weight.zero_()
            network.encoder[-1].bias.copy_(torch.tensor([-1.0, -1.0, 0.01]))
        spectra, valid = random(1, 9, F) + 0.1, torch.ones(1, 9, dtype=torch.bool)
        made = network(spectra, valid)
        assert not made.activations[0, :2].any()
        network.objective(made, spectra, valid)["loss"].mean().backward()
        assert (network.encoder[-1].bias.grad < 0).all()  # a step of descent raises all three
        # Where less is wanted, what is off stays as it is.
        network.zero_grad()
        network(spectra, valid).activations.sum().backward()
        assert network.encoder[-1].bias.grad[:2].tolist() == [0.0, 0.0]
        assert network.encoder[-1].bias.grad[2] > 0

    def test_loss_by_hand_and_padding(self):
        torch.manual_seed(0)
        network = AmortisedFactorisation(TINY, 5, sparsity=0.3, hidden=(8, 8))
        spectra = random(2, 9, F)
        valid = torch.ones(2, 9, dtype=torch.bool)
        valid[1, 6:] = False
        spectra[1, 6:] = 0
        with torch.no_grad():
            made = network(spectra, valid)
            terms = network.objective(made, spectra, valid)
            alone = network(spectra[1:, :6], valid[1:, :6])
            expected = network.objective(alone, spectra[1:, :6], valid[1:, :6])
        torch.testing.assert_close(made.activations[1:, :, :6], alone.activations)
        assert not made.activations[1, :, 6:].any()
        for name in ("loss", "error", "activity"):
            torch.testing.assert_close(terms[name][1:], expected[name])
        error = (spectra[1, :6] - made.activations[1, :, :6].T @ network.matrix().detach().T).square().mean()
        assert float(terms["error"][1]) == pytest.approx(float(error), rel=1e-5)
        activity = made.activations[1, :, :6].mean()
        assert float(terms["loss"][1]) == pytest.approx(float(error + 0.3 * activity), rel=1e-5)

    def test_unused_components_are_dropped(self, caplog):
        network = AmortisedFactorisation(TINY, 5)
        network.in_use[2] = False
        assert network.dictionary([]).n_components == 4
        assert "1 of 5 components" in caplog.text
        network.in_use.zero_()
        with pytest.raises(UserError, match="lower it"):
            network.dictionary([])

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

    def test_divergence_is_told(self, tmp_path):
        with pytest.raises(UserError, match="training has diverged"):
            self.fit(tmp_path / "save", 1, lr=1e30)
