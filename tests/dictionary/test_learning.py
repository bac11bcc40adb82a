"""Dictionary learning: settings, objective, known factors, scikit-learn, resuming, drawing of frames."""

from itertools import pairwise
from typing import ClassVar

import numpy as np
import pytest
import torch
from sklearn.decomposition import MiniBatchNMF
from tiny import SMALL, uniform

from interpretability.dictionary import (
    Dictionary,
    DictionarySettings,
    collect_frames,
    decompose,
    learn_dictionary,
    learning,
)
from interpretability.dictionary.learning import objective, update
from interpretability.errors import UserError
from interpretability.frontend import Frontend

F = SMALL.n_bins


def learn(spectra, algorithm="euclidean", n_components=5, n_iterations=200, sparsity=0.0, batch_size=1024, **others):
    settings = DictionarySettings(algorithm, n_components, sparsity, n_iterations=n_iterations, batch_size=batch_size)
    return learn_dictionary(spectra, SMALL, ["cat"], settings, progress=False, **others)


def separable(n_components=4, n_frames=300, seed=0):
    """Factors that are unique: every component has its own bins and frames."""
    matrix = 0.3 * uniform(F, n_components, seed=seed)
    matrix[torch.arange(F) % n_components != 0] *= 0.5
    for k in range(n_components):
        bins = torch.arange(F) // (F // n_components + 1) == k
        matrix[bins] = 0
        matrix[bins, k] = 1 + uniform(int(bins.sum()), seed=seed + k)
    matrix = matrix / matrix.norm(dim=0)
    activations = uniform(n_frames, n_components, seed=seed + 100)
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


def cosines(learned, known):
    """The best cosine with a learned column, for each known one."""
    return ((learned / learned.norm(dim=0)).T @ (known / known.norm(dim=0))).amax(0)


each_divergence = pytest.mark.parametrize("divergence", ["euclidean", "kl"])


class TestUpdates:
    @each_divergence
    @pytest.mark.parametrize("sparsity", [0.0, 0.05, 2.0])
    @pytest.mark.parametrize("seed", [0, 1, 2])
    def test_the_objective_never_rises_and_columns_stay_non_negative_of_unit_norm(self, divergence, sparsity, seed):
        spectra = uniform(80, F, seed=seed) ** 3
        spectra[5] = 0  # silence
        spectra[:, 7] = 0  # a bin that is never heard
        matrix = uniform(F, 6, seed=seed + 10)
        matrix, activations = matrix / matrix.norm(dim=0), uniform(80, 6, seed=seed + 20)
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
        spectra, matrix, activations = uniform(50, F), uniform(F, 3), uniform(50, 3)
        whole = update(spectra, matrix, activations, divergence, 0.1)
        value = objective(spectra, *whole, divergence, 0.1)
        monkeypatch.setattr(learning, "CHUNK", 7)
        for got, wanted in zip(update(spectra, matrix, activations, divergence, 0.1), whole, strict=True):
            torch.testing.assert_close(got, wanted)
        assert objective(spectra, *whole, divergence, 0.1) == pytest.approx(value)

    @each_divergence
    def test_a_component_without_activations_keeps_its_column(self, divergence):
        spectra, activations = uniform(20, F), uniform(20, 3)
        matrix = uniform(F, 3)
        matrix = matrix / matrix.norm(dim=0)
        activations[:, 1] = 0
        after, still = update(spectra, matrix, activations, divergence, 0.1)
        assert torch.equal(after[:, 1], matrix[:, 1])
        assert not still[:, 1].any()
        assert after.isfinite().all()

    @each_divergence
    def test_the_objective_is_the_textbook_one(self, divergence):
        spectra, matrix, activations = uniform(30, F), uniform(F, 3), uniform(30, 3)
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
        learned = learn(spectra, algorithm, 4, seed=seed, **settings)
        assert cosines(learned.matrix, known).min() > 0.99
        assert cosines(known, learned.matrix).min() > 0.99  # up to permutation: none is found twice
        assert cosines(uniform(F, 4), known).min() < 0.9  # what chance gives
        torch.testing.assert_close(learned.matrix.norm(dim=0), torch.ones(4))
        assert (learned.matrix >= 0).all()

    @each_divergence
    def test_the_curve_falls_and_ends_at_the_objective_of_the_result(self, divergence):
        spectra = uniform(60, F)
        curve = learn(spectra, divergence, 5, 40, 0.1).loss_curve
        assert len(curve) == 40
        assert all(after <= before * (1 + 1e-6) for before, after in pairwise(curve))
        learned = learn(spectra, divergence, 5, 300, 0.1)
        activations = decompose(spectra[None], learned.matrix, 2000, divergence, 0.1)[0].T
        value = textbook(spectra, learned.matrix, activations, divergence, 0.1) / 60
        assert learned.loss_curve[-1] == pytest.approx(value, rel=1e-3)

    def test_what_the_dictionary_says_of_itself(self, tmp_path):
        spectra = uniform(40, F)
        learned = learn(spectra, "kl", 5, 3, seed=7, training={"commit": "abc"})
        again = Dictionary.load(learned.save(tmp_path / "d.pt"))
        assert (again.labels, again.algorithm, again.frontend) == (["cat"], "kl", SMALL)
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
        spectra = uniform(60, F)

        def matrix(algorithm, seed):
            return learn(spectra, algorithm, 5, 3, batch_size=20, seed=seed).matrix

        for algorithm in ("euclidean", "kl", "minibatch"):
            assert torch.equal(matrix(algorithm, 1), matrix(algorithm, 1))
            assert not torch.allclose(matrix(algorithm, 1), matrix(algorithm, 2))

    def test_more_sparsity_fewer_activations(self):
        spectra = uniform(100, F) ** 2
        used = []
        for sparsity in (0.0, 0.5):
            learned = learn(spectra, "euclidean", 8, 100, sparsity)
            activations = decompose(spectra[None], learned.matrix, 200, "euclidean", sparsity)
            used.append(float(activations.sum()))
        assert used[1] < 0.9 * used[0]

    def test_dead_components_are_dropped_with_a_warning(self, tmp_path, caplog):
        spectra, state = uniform(40, F), tmp_path / "state.pt"
        learn(spectra, "euclidean", 5, 3, state_file=state)
        content = torch.load(state, weights_only=True)
        content["activations"][:, 2] = 0
        torch.save(content, state)
        learned = learn(spectra, "euclidean", 5, 30, state_file=state)
        assert learned.n_components == 4
        assert learned.training["n_components"] == 5
        assert "1 of 5 components are not used and are dropped" in caplog.text
        activations = decompose(spectra[None], learned.matrix, 300)[0].T
        assert textbook(spectra, learned.matrix, activations, "euclidean", 0) / 40 <= learned.loss_curve[-1] * (
            1 + 1e-5
        )

    def test_a_weight_that_kills_all(self):
        with pytest.raises(UserError, match="lower it"):
            learn(uniform(20, F), "euclidean", 3, 100, 1e6)

    @pytest.mark.parametrize("algorithm", ["euclidean", "kl", "minibatch"])
    def test_as_many_components_as_frames_and_one_frame(self, algorithm):
        for n in (1, 3):
            learned = learn(uniform(n, F), algorithm, n, 50)
            torch.testing.assert_close(learned.matrix.norm(dim=0), torch.ones(learned.n_components))
        # One frame, one component: its spectrum.
        one = learn(uniform(1, F), algorithm, 1, 100)
        torch.testing.assert_close(one.matrix[:, 0], uniform(1, F)[0] / uniform(1, F).norm(), atol=1e-3, rtol=0)

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
            learn(spectra, **settings)


class TestMiniBatch:
    def test_one_batch_a_pass_is_scikit_learns_own_result(self):
        spectra = uniform(40, F)
        learned = learn(spectra, "minibatch", 4, 5, 0.02, batch_size=40, seed=3)
        model = MiniBatchNMF(4, batch_size=40, alpha_W=0.02 / F, l1_ratio=1.0, forget_factor=0.7, random_state=3)
        for number in range(5):
            order = np.random.default_rng((3, number)).permutation(40)
            model.partial_fit(spectra.numpy()[order])
        wanted = torch.from_numpy(model.components_.T)
        torch.testing.assert_close(learned.matrix, wanted / wanted.norm(dim=0))

    def test_as_good_as_scikit_learns_fit_of_as_many_passes(self):
        known, activations = separable(6, 500)
        spectra = activations @ known.T + 0.05 * uniform(500, F, seed=9)

        def error(matrix):
            activations = decompose(spectra[None], matrix, 300)[0].T
            return float((spectra - activations @ matrix.T).square().sum())

        learned = learn(spectra, "minibatch", 6, 30, batch_size=100)
        model = MiniBatchNMF(6, batch_size=100, max_iter=30, tol=0, random_state=0).fit(spectra.numpy())
        theirs = torch.from_numpy(model.components_.T)
        assert error(learned.matrix) < 1.1 * error(theirs / theirs.norm(dim=0))
        assert learned.loss_curve[-1] < learned.loss_curve[0]


class TestResuming:
    SETTINGS: ClassVar[dict] = {"n_components": 4, "sparsity": 0.05, "batch_size": 15, "seed": 3}

    def learn(self, algorithm, n_iterations, state_file=None, **settings):
        known = {**self.SETTINGS, **settings}
        return learn(uniform(40, F), algorithm, n_iterations=n_iterations, state_file=state_file, **known)

    @pytest.mark.parametrize("algorithm", ["euclidean", "kl", "minibatch"])
    def test_killed_and_resumed_equals_uninterrupted(self, algorithm, tmp_path, monkeypatch):
        whole = self.learn(algorithm, 12)
        monkeypatch.setattr(learning, "SAVE_EVERY", 0.0)
        kind = learning._MiniBatch if algorithm == "minibatch" else learning._Updates
        iterate, calls = kind.iterate, []

        def iterate_and_die(self, number):
            calls.append(number)
            if len(calls) == 6:
                raise KeyboardInterrupt
            return iterate(self, number)

        state = tmp_path / "state.pt"
        with monkeypatch.context() as patch:
            patch.setattr(kind, "iterate", iterate_and_die)
            with pytest.raises(KeyboardInterrupt):
                self.learn(algorithm, 12, state)
        assert len(torch.load(state, weights_only=True)["losses"]) == 5
        assert [path.name for path in tmp_path.iterdir()] == ["state.pt"]
        calls.clear()

        def count(self, number):
            calls.append(number)
            return iterate(self, number)

        monkeypatch.setattr(kind, "iterate", count)
        resumed = self.learn(algorithm, 12, state)
        assert calls == list(range(5, 12))
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
            learn(uniform(41, F), "euclidean", n_iterations=4, state_file=state, **self.SETTINGS)
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
    FRONTEND = Frontend(SMALL)

    @staticmethod
    def tones(lengths=(640, 320, 960, 640, 64)):
        """Clips that can be distinguished: each another tone, the middle of a bin, at levels far apart."""
        return [
            {"signal": 10.0**-k * torch.sin(2 * torch.pi * (3 + 5 * k) / 64 * torch.arange(n))}
            for k, n in enumerate(lengths)
        ]

    def collect(self, clips, max_frames, *seed):
        return collect_frames(clips, self.FRONTEND, DictionarySettings(max_frames=max_frames), *seed, progress=False)

    def origins(self, frames):
        """Which clip each frame is from."""
        return ((frames.argmax(1) - 3).double() / 5).round().long()

    def test_every_clip_gives_as_many_frames_and_no_more_than_it_has(self):
        frames = self.collect(self.tones(), 40)
        assert frames.shape == (8 * 4 + 3, F)  # the last one has 3 frames
        assert torch.bincount(self.origins(frames)).tolist() == [8, 8, 8, 8, 3]
        uneven = torch.bincount(self.origins(self.collect(self.tones(), 13)))
        assert uneven.sum() == 13
        assert set(uneven.tolist()) <= {2, 3}

    def test_they_are_log_magnitudes_of_levelled_clips(self):
        clips = self.tones((640, 320))
        frames = self.collect(clips, None)
        wanted = [self.FRONTEND.analyse(clip["signal"][None] / clip["signal"].abs().max()) for clip in clips]
        wanted = torch.cat([torch.log1p(spectrogram.magnitude[0]) for spectrogram in wanted])
        torch.testing.assert_close(frames, wanted)

    def test_seeded(self):
        first, second, other = (self.collect(self.tones(), 20, seed) for seed in (1, 1, 2))
        assert torch.equal(first, second)
        assert not torch.equal(first, other)

    def test_fewer_frames_than_clips(self):
        frames = self.collect(self.tones(), 3)
        assert len(self.origins(frames).unique()) == len(frames) == 3

    def test_silence_gives_nothing(self):
        silent = {"signal": torch.zeros(640)}
        half = {"signal": torch.cat([torch.zeros(640), torch.ones(640)])}
        frames = self.collect([silent, half], None)
        assert 0 < len(frames) <= 23
        assert (frames.amax(1) > 0).all()
        for clips in ([silent, silent], []):
            with pytest.raises(UserError, match="look at the data"):
                self.collect(clips, 10)
        with pytest.raises(UserError, match="max_frames is 0"):
            self.collect([half], 0)
