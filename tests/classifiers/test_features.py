"""Steps before a model: what they make of a sound is known by hand, by torchaudio, or by the model alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchaudio
from torch import nn
from waveform_models import Windows

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.check import check_classifier, noise
from interpretability.classifiers.features import FeatureModule, read_steps
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.sources import open_classifier
from interpretability.classifiers.waveform import frontend_for
from interpretability.errors import MissingError, UserError
from interpretability.weights import fingerprint

RATE, LABELS = 8000, ["a", "b", "c"]
MEL = {"n_fft": 256, "win_length": 200, "hop_length": 80, "n_mels": 16, "f_min": 50, "f_max": 3000}


def chain(*steps, model=None, folder=None):
    return FeatureModule(nn.Identity() if model is None else model, steps, RATE, folder)


@pytest.mark.parametrize(
    "more", [{}, {"center": False}, {"power": 1.0}, {"mel_scale": "slaney", "norm": "slaney"}, {"pad_mode": "constant"}]
)
def test_a_mel_spectrogram_is_that_of_torchaudio(more):
    wavs = noise(2, 3000)
    values = chain({"mel": {**MEL, **more}})(wavs)
    expected = torchaudio.transforms.MelSpectrogram(RATE, **{**MEL, "power": 2.0, **more})(wavs).transpose(1, 2)
    torch.testing.assert_close(values, expected)
    for log, function in (("ln", torch.log), ("log10", torch.log10), ("db", lambda bands: 10 * torch.log10(bands))):
        loud = chain({"mel": {**MEL, **more, "log": log, "add": 1e-3}})(wavs)
        torch.testing.assert_close(loud, function(expected + 1e-3))
    silent = chain({"mel": {**MEL, "log": "ln", "least": 1e-5}})(torch.zeros(1, 3000))
    assert bool((silent == torch.tensor(1e-5).log()).all())


def test_windows_follow_each_other_and_the_last_one_is_filled_with_zeros():
    wavs = torch.arange(1.0, 24.0)[None].repeat(2, 1)  # 23 samples: windows at 0, 6, 12 and 18, the last of 5
    windows = chain({"frames": {"size": 8, "hop": 6}})(wavs)
    padded = torch.cat([wavs, torch.zeros(2, 3)], 1)
    expected = torch.stack([padded[:, start : start + 8] for start in (0, 6, 12, 18)], 1)
    torch.testing.assert_close(windows, expected)
    assert chain({"frames": {"size": 40}})(wavs).shape == (2, 1, 40)  # too short a sound
    standard = chain({"frames": {"size": 8, "hop": 6, "standardise": True}})(wavs)
    deviation = expected.std(2, keepdim=True)
    torch.testing.assert_close(standard, (expected - expected.mean(2, keepdim=True)) / deviation)
    silence = torch.zeros(1, 16, requires_grad=True)
    flat = chain({"frames": {"size": 8, "standardise": True}})(silence)
    flat.square().sum().backward()
    assert float(flat.abs().max()) == 0
    assert bool(silence.grad.isfinite().all())


def test_pad_scale_and_shape():
    wavs = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    values = chain(
        {"pad": {"before": 1, "after": 1}}, {"scale": {"factor": 2, "offset": 1}}, {"shape": {"sizes": [1, -1, 3]}}
    )
    assert values(wavs).tolist() == [[[[1.0, 3.0, 5.0], [7.0, 9.0, 1.0]]]]
    windows = chain({"frames": {"size": 4}}, {"shape": {"sizes": [2, 2]}}, model=nn.Flatten())(
        torch.cat([wavs, -wavs], 1)
    )
    assert windows.tolist() == [[[1.0, 2.0, 3.0, 4.0], [-1.0, -2.0, -3.0, -4.0]]]


@pytest.mark.parametrize(
    "steps",
    [
        [{"frames": {"size": 400, "hop": 160}}],
        [{"pad": {"before": 100, "after": 300}}, {"frames": {"size": 500, "hop": 70}}],
        [{"mel": {**MEL, "center": False}}, {"frames": {"size": 20, "hop": 7}}],
        [{"mel": MEL}, {"scale": {"offset": 1}}, {"frames": {"size": 9, "hop": 9}}],
        [{"mel": {**MEL, "n_fft": 200}}, {"frames": {"size": 2}}],
        [{"pad": {"before": 200, "after": 200}}, {"frames": {"size": 400, "hop": 30}}],
        [{"pad": {"before": 350, "after": 350}}, {"frames": {"size": 400, "hop": 500}}],
    ],
)
def test_so_many_samples_make_so_many_windows(steps):
    module = chain(*steps, model=nn.Flatten())
    for count in (1, 2, 5):
        needed = module.needs(count)
        if needed <= 0:  # of what is added to any sound
            assert module(torch.zeros(1, 1)).shape[1] > count
            continue
        assert module(torch.zeros(1, needed)).shape[1] == count
        assert module(torch.zeros(1, needed + 1)).shape[1] == count + 1
        assert module(torch.zeros(1, max(1, needed - 1))).shape[1] == count


def framed(weights, wavs, size=4):
    """Return by hand what a file of means, windows of 5 by 3, a matrix, windows of 2 and another matrix give."""
    means = wavs.unfold(1, size, size).mean(2)
    first = means.unfold(1, 5, 3) @ torch.tensor(weights[0])  # [B, W, 2]
    return first.unfold(1, 2, 1).transpose(2, 3).flatten(2) @ torch.tensor(weights[1])


def test_files_go_before_a_file(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import onnx_files

    draw = np.random.default_rng(0)
    weights = [draw.normal(size=(5, 2)).astype(np.float32), draw.normal(size=(4, 3)).astype(np.float32)]
    onnx_files.save_means(tmp_path / "means.onnx", 4)
    onnx_files.save_product(tmp_path / "embed.onnx", ("batch", 5, 1), weights[0])
    for batch in ("batch", 1):
        path = onnx_files.save_product(tmp_path / "head.onnx", (batch, 2, 2), weights[1])
        features = [
            {"model": {"file": "means.onnx"}},
            {"frames": {"size": 5, "hop": 3}},
            {"model": {"file": "embed.onnx"}},
            {"frames": {"size": 2, "hop": 1}},
        ]
        classifier = open_classifier(
            f"onnx:{path}", labels=LABELS, sample_rate=RATE, task="multi", pool="max", features=features
        )
        wavs = noise(3, 4 * (5 + 3 * 9))  # ten windows of the first kind, nine of the second
        lengths = torch.full((3,), wavs.shape[1])
        expected = framed(weights, wavs)
        torch.testing.assert_close(classifier.checked_logits(wavs, lengths), expected.amax(1), rtol=1e-4, atol=1e-5)
        frames = classifier.checked_scores(wavs, lengths).frames
        assert frames.logits.shape == (3, 9, 3)
        # As far apart as the windows, and as long as what they see: two windows of five means of four, three apart.
        starts = frames.start[0] * RATE
        assert starts.diff().tolist() == pytest.approx([12] * 8)
        assert float(frames.end[0, 3] * RATE - starts[3]) == pytest.approx(32, abs=4)
        # A clip that is padded in a batch gives what it gives alone; a short one gets zeros.
        padded = classifier.classify_samples(wavs, torch.tensor([128, 32, 9]), 10).logits
        short = [torch.nn.functional.pad(wavs[k : k + 1, :size], (0, 32 - size)) for k, size in ((1, 32), (2, 9))]
        expected = torch.cat([framed(weights, wav).amax(1) for wav in short])
        torch.testing.assert_close(padded[1:], expected, rtol=1e-4, atol=1e-5)
        assert check_classifier(classifier).no_gradient
        assert "no feature maps: it is a file of ONNX" in "; ".join(classifier.notes)
    before = fingerprint(classifier)
    onnx_files.save_means(tmp_path / "means.onnx", 5)
    again = open_classifier(
        f"onnx:{path}", labels=LABELS, sample_rate=RATE, task="multi", pool="max", features=features
    )
    assert fingerprint(again) != before


def test_which_output_of_a_file_counts(tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import onnx_files

    onnx_files.save_two(tmp_path / "two.onnx")
    wavs = noise(2, 400)
    for entry, factor in (("twice", 2), (1, 2), ("once", 1)):
        steps = [{"frames": {"size": 100}}, {"model": {"file": "two.onnx", "entry": entry}}]
        torch.testing.assert_close(chain(*steps, folder=tmp_path)(wavs), factor * wavs.unfold(1, 100, 100))
    for more, message in (
        ({}, "two.onnx gives 'once', 'twice': which. Give entry"),
        ({"entry": "no"}, "has no output 'no'"),
    ):
        with pytest.raises(UserError, match=message):
            chain({"frames": {"size": 100}}, {"model": {"file": "two.onnx", **more}}, folder=tmp_path)(wavs)


@pytest.mark.parametrize("scale", [0.01, 0.05])
def test_scaled_integers_of_onnx(tmp_path, scale):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import onnx_files

    weights = np.random.default_rng(1).normal(size=(6, 3)).astype(np.float32)
    whole = onnx_files.save_product(tmp_path / "whole.onnx", (1, 1, 6), weights)
    scaled = onnx_files.save_product(tmp_path / "scaled.onnx", (1, 1, 6), weights, scale)
    known = {"labels": LABELS, "sample_rate": RATE, "output": "logits"}
    features = [{"frames": {"size": 6}}, {"shape": {"sizes": [1, 6]}}]
    wavs, lengths = noise(2, 24), torch.full((2,), 24)
    answers = [
        open_classifier(f"onnx:{path}", features=features, **known).checked_scores(wavs, lengths).frames.logits
        for path in (whole, scaled)
    ]
    bound = scale * (0.5 + 0.5 * float(abs(weights).sum(0).max()))
    odds = [answer - answer[..., :1] for answer in answers]
    assert 0 < float((odds[0] - odds[1]).abs().max()) <= 2 * bound


def test_a_module_behind_steps_has_gradients_and_is_saved_with_them(tmp_path):
    torch.manual_seed(0)
    features = [{"mel": {**MEL, "log": "ln", "add": 1e-4}}, {"frames": {"size": 20, "hop": 10}}]
    torch.save(Windows().state_dict(), tmp_path / "weights.pt")
    (tmp_path / "card.yaml").write_text(
        "labels: [a, b, c]\nsample_rate: 8000\npool: max\nweights: weights.pt\nfeatures:\n"
        "  - mel: {n_fft: 256, win_length: 200, hop_length: 80, n_mels: 16, f_min: 50, f_max: 3000,"
        " log: ln, add: 1.0e-4}\n"
        "  - frames: {size: 20, hop: 10}\n"
    )
    opened = open_classifier("torch:waveform_models:Windows", card=tmp_path / "card.yaml")
    assert not check_classifier(opened).no_gradient
    assert opened.title == "Windows"
    assert "no feature maps: it is run on what is made of the sound (features)" in opened.notes
    wavs, lengths = noise(2, 7920), torch.full((2,), 7920)  # 100 frames
    given = opened.module.model
    mel = (torchaudio.transforms.MelSpectrogram(RATE, **MEL)(wavs).transpose(1, 2) + 1e-4).log()
    expected = torch.stack([given(mel[:, start : start + 20]) for start in range(0, 81, 10)], 1)
    torch.testing.assert_close(opened.checked_logits(wavs, lengths), expected.log_softmax(2).amax(1))
    save_classifier(opened, tmp_path / "saved")
    loaded = load_classifier(tmp_path / "saved", trust_remote_code=True)
    torch.testing.assert_close(loaded.checked_logits(wavs, lengths), expected.log_softmax(2).amax(1))
    assert (
        [dict(step) for step in loaded.settings.features]
        == [
            {"mel": {**MEL, "log": "ln", "add": 1e-4}},
            {"frames": {"size": 20, "hop": 10}},
        ]
        == features
    )


class Loud(nn.Module):
    """From windows [n, size] to log odds that there is something in them, [n, 1]."""

    def forward(self, windows):
        return 20 * windows.abs().amax(tuple(range(1, windows.ndim)))[:, None] - 10


@pytest.mark.parametrize(
    ("steps", "seconds", "event"),
    [
        ([{"frames": {"size": 12_000}}], 30.0, 28.8),
        ([{"frames": {"size": 7800, "hop": 3840}}], 30.0, 0.25),
        ([{"frames": {"size": 8000}}], 1.1, 0.65),
        ([{"pad": {"before": 8000}}, {"frames": {"size": 2000}}], 4.0, 2.1),
        ([{"pad": {"before": 3000, "after": 5000}}, {"frames": {"size": 4000, "hop": 1000}}], 2.0, 1.9),
    ],
)
def test_windows_lie_where_they_hear(steps, seconds, event):
    classifier = ModuleClassifier(
        ["event"], frontend_for(RATE), "multi", module=Loud(), features=steps, output="logits", pool="max"
    )
    wav = torch.zeros(1, round(seconds * RATE))
    place = round(event * RATE)
    wav[:, place : place + 20] = 1.0
    frames = classifier.checked_scores(wav, torch.tensor([wav.shape[1]])).frames
    hears = frames.logits[0, :, 0] > 0
    inside = (frames.start[0] <= event) & (frames.end[0] > event)
    assert bool(hears.any())
    assert torch.equal(hears, inside)
    assert bool(frames.valid[0][hears].all())
    assert float(frames.within(event, event + 0.01)) > 0


@pytest.mark.parametrize("size", [147, 300, 441, 512])
@pytest.mark.parametrize("shape", [("batch", "samples"), ("batch", 1, "samples")])
def test_nothing_is_lost_behind_a_file_that_is_run_on_the_whole(tmp_path, size, shape):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import onnx_files

    onnx_files.save_means(tmp_path / "means.onnx", size, shape)
    reshape = [{"shape": {"sizes": [1, -1]}}] if len(shape) == 3 else []
    steps = [*reshape, {"model": {"file": "means.onnx"}}, {"frames": {"size": 10, "hop": 7}}]
    module = chain(*steps, model=nn.Flatten(), folder=tmp_path)
    for n_samples in (1, 10 * size, 10 * size + 1, 17 * size, 100_000):
        windows = module(torch.ones(1, n_samples))
        last = windows.shape[1] - 1
        assert size * (7 * last + 10) >= n_samples  # all of it is in a window
        assert last == 0 or size * (7 * (last - 1) + 10) < n_samples
        times = module.times(windows.shape[1])
        assert times[:, 0].diff().tolist() == pytest.approx([7 * size] * last)
        assert times[0].tolist() == pytest.approx([0, 10 * size], abs=size)


def test_models_are_told_apart_by_their_steps():
    torch.manual_seed(0)
    model = Loud()
    prints = {
        fingerprint(ModuleClassifier(["a"], frontend_for(RATE), "multi", module=model, features=steps, output="logits"))
        for steps in ([{"frames": {"size": 100}}], [{"frames": {"size": 200}}], [{"scale": {"factor": 2}}])
    }
    assert len(prints) == 3


class One(nn.Module):
    """A model that takes one window at a time."""

    def forward(self, windows):
        assert len(windows) == 1
        return windows.sum(1, keepdim=True) * torch.tensor([1.0, 2.0, 3.0])


def test_a_model_that_takes_one_window_at_a_time():
    known = {"features": [{"frames": {"size": 100}}], "output": "logits", "task": "multi"}
    classifier = ModuleClassifier(LABELS, frontend_for(RATE), module=One(), one_by_one=True, **known)
    wavs = noise(2, 300)
    frames = classifier.checked_scores(wavs, torch.full((2,), 300)).frames
    expected = wavs.unfold(1, 100, 100).sum(2)[..., None] * torch.tensor([1.0, 2.0, 3.0])
    torch.testing.assert_close(frames.logits, expected)


def test_a_function_of_windows(monkeypatch):
    answers = {"column": lambda x: x.sum(1)[:, None], "row": lambda x: x.sum(1), "list": lambda x: list(x.sum(1))}
    for name, function in answers.items():
        monkeypatch.setattr("waveform_models.function", function, raising=False)
        classifier = open_classifier(
            "python:waveform_models:function",
            labels=["event"],
            sample_rate=RATE,
            output="logits",
            features=[{"frames": {"size": 100}}],
        )
        wavs = noise(2, 300)
        frames = classifier.checked_scores(wavs, torch.full((2,), 300)).frames
        torch.testing.assert_close(frames.logits[..., 0], wavs.unfold(1, 100, 100).sum(2), msg=name)
        assert not classifier.settings.one_by_one


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([{"stft": {}}], r"^the model: features, step 1 is 'stft', expected one of 'pad', 'scale', 'mel'"),
        (["mel"], r"features, step 1 is 'mel', expected one of .* with its settings"),
        ([{"mel": MEL, "frames": {"size": 2}}], "features, step 1 is .*, expected one of"),
        ([{"frames": 5}], "features, step 1: frames is 5, expected its settings by their names"),
        ([{"frames": {"size": 5, "hops": 2}}], "features, step 1, frames has no setting 'hops': did you mean hop"),
        ([{"frames": {}}], "features, step 1, frames needs the setting 'size'"),
        ([{"mel": {**MEL, "log": "log2"}}], "features, step 1, mel: log is 'log2', expected one of none, ln"),
        ([{"frames": {"size": 5}}, {"mel": MEL}], "features, step 2: mel takes a sound: put it before the others"),
        (
            [{"shape": {"sizes": [-1, 4]}}, {"frames": {"size": 2}}],
            "features, step 1: shape before frames would change",
        ),
        ([{"model": {"file": "net.onnx"}}], "features, step 1, model: a file goes before onnx:FILE and tflite:FILE"),
    ],
)
def test_steps_that_do_not_fit(steps, message):
    with pytest.raises(UserError, match=message):
        chain(*steps)


def test_values_and_files_that_do_not_fit(tmp_path):
    wavs = noise(1, 1000)
    with pytest.raises(UserError, match=r"features, step 2 cannot be taken of values of \[1, 250, 4\] .*shape"):
        chain({"frames": {"size": 4}}, {"shape": {"sizes": [3, 2]}})(wavs)
    with pytest.raises(UserError, match=r"file is 'net.pt', expected a file that ends in .onnx or .tflite"):
        chain({"model": {"file": "net.pt"}}, folder=tmp_path)
    for place in ("../net.onnx", str(tmp_path / "net.onnx")):
        with pytest.raises(UserError, match="expected one beside the model, or in a folder beside it"):
            chain({"model": {"file": place}}, folder=tmp_path)
    with pytest.raises(UserError, match=r"gives \[2, 8\] for each window, expected one value for each class"):
        chain({"frames": {"size": 16}}, model=nn.Unflatten(1, (2, 8)))(wavs)
    with pytest.raises(UserError, match="features is 5, expected"):
        ModuleClassifier(LABELS, frontend_for(RATE), module=Windows(), features=5)
    with pytest.raises(MissingError, match=r"net.onnx: no such file"):
        chain({"model": {"file": "net.onnx"}}, folder=tmp_path)
    known = {"labels": LABELS, "sample_rate": RATE, "features": [{"frames": {"size": 4}}]}
    with pytest.raises(UserError, match="states go with windows of the sound, not with features"):
        open_classifier(f"onnx:{tmp_path / 'net.onnx'}", states={"a": "b"}, **known)
    assert [type(step).__name__ for step in read_steps([{"scale": None}], "here")] == ["Scale"]


def test_a_module_given_as_an_instance_takes_steps_too():
    features = [{"mel": MEL}, {"frames": {"size": 20}}]
    classifier = ModuleClassifier(LABELS, frontend_for(RATE), module=Windows(), features=features)
    assert classifier.checked_logits(noise(1, RATE), torch.tensor([RATE])).shape == (1, 3)
