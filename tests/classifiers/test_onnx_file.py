"""Files of ONNX: what is run is what their authors export."""

from __future__ import annotations

import builtins
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from interpretability import explain
from interpretability.classifiers.check import check_classifier, noise
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.sources import open_classifier
from interpretability.classifiers.waveform import frontend_for
from interpretability.errors import MissingError, UserError
from interpretability.methods import METHODS
from interpretability.methods.perturbation import Perturbation
from interpretability.weights import fingerprint

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx_files
from onnx_files import meant

LABELS = ["a", "b", "c"]
BY_ANSWERS = [kind for kind in METHODS.values() if issubclass(kind, Perturbation)]
KNOWN = {"labels": LABELS, "sample_rate": 8000}


@pytest.mark.parametrize("shape", [("batch", "samples"), ("batch", 1, "samples"), ("samples",), (1, "samples")])
def test_an_onnx_of_every_layout(tmp_path, shape):
    path = onnx_files.save_power(tmp_path / "power.onnx", shape)
    classifier = open_classifier(f"onnx:{path}", **KNOWN)
    wavs = noise(3, 5000)
    output = classifier.checked_logits(wavs, torch.full((3,), 5000))
    torch.testing.assert_close(output, meant(wavs), rtol=1e-4, atol=1e-5)
    assert bool(classifier.settings.one_by_one) == (shape[0] in (1, "samples"))


def test_a_file_is_known_by_its_bytes_wherever_it_lies(tmp_path):
    def identity(name, **model):
        path = onnx_files.save_power(tmp_path / name, **model)
        return fingerprint(open_classifier(f"onnx:{path}", **KNOWN))

    assert identity("a.onnx") == identity("b.onnx")
    assert identity("a.onnx") != identity("a.onnx", operator="Add")


def test_a_fixed_length_is_run_over_windows_and_pooled(tmp_path):
    path = onnx_files.save_power(tmp_path / "power.onnx", ("batch", 4000))
    wavs = torch.cat([noise(2, 4000), 3 * noise(2, 3000)], dim=1)  # 7000 samples: windows at 0, 2000 and 3000
    lengths = torch.full((2,), 7000)
    parts = torch.stack([meant(wavs[:, start : start + 4000]) for start in (0, 2000, 3000)], 1)
    mean = open_classifier(f"onnx:{path}", **KNOWN)
    torch.testing.assert_close(
        mean.checked_logits(wavs, lengths).softmax(1), parts.softmax(2).mean(1), rtol=1e-4, atol=1e-5
    )
    highest = open_classifier(f"onnx:{path}", windows="max", task="multi", hop_length=3000, **KNOWN)
    expected = parts[:, [0, 2]].amax(1)
    torch.testing.assert_close(highest.checked_logits(wavs, lengths), expected, rtol=1e-4, atol=1e-5)
    assert "one each 2000 samples, the last one ends with the sound" in "; ".join(mean.notes)
    assert "(windows=max)" in "; ".join(highest.notes)
    short = highest.checked_logits(wavs[:, :1000], torch.full((2,), 1000))
    torch.testing.assert_close(short, meant(wavs[:, :1000]), rtol=1e-4, atol=1e-5)
    # A clip that is padded in a batch gives what it gives alone.
    padded = mean.classify_samples(wavs, torch.tensor([7000, 4000]), 10).logits
    torch.testing.assert_close(padded[1:], meant(wavs[1:, :4000]), rtol=1e-4, atol=1e-5)


def test_a_state_goes_from_window_to_window_and_is_reset_for_each_sound(tmp_path):
    path = onnx_files.save_counter(tmp_path / "counter.onnx")
    settings = {"labels": ["event"], "sample_rate": 8000, "output": "probabilities", "windows": "max"}
    classifier = open_classifier(f"onnx:{path}", states={"memory": "next"}, **settings)
    for n_samples, windows in ((100, 1), (900, 9), (901, 10), (450, 5)):
        logits = classifier.checked_logits(noise(2, n_samples), torch.full((2,), n_samples))
        assert logits.sigmoid().flatten().tolist() == pytest.approx([windows / 1000] * 2, abs=1e-5)
    assert "one each 100 samples, the last one padded with zeros" in "; ".join(classifier.notes)
    check = check_classifier(classifier)
    assert check.spread == 0
    assert check.no_gradient == "the runtime of ONNX gives answers alone"


def test_a_state_of_scaled_integers_starts_at_nothing(tmp_path):
    path = onnx_files.save_scaled_sum(tmp_path / "sum.onnx")
    classifier = open_classifier(
        f"onnx:{path}", labels=["event"], sample_rate=8000, output="logits", windows="max", states={"memory": "next"}
    )
    assert classifier.checked_logits(torch.zeros(1, 100), torch.tensor([100])).tolist() == [[0.0]]
    heard = classifier.checked_logits(torch.full((1, 200), 0.01), torch.tensor([200]))  # 1, and 1 more
    assert heard.tolist() == [[pytest.approx(2.0, abs=0.05)]]


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        ({"opset": 99}, {}, "cannot be opened by onnxruntime .*export the model with an older opset"),
        ({"operator": "Nonsense"}, {}, "cannot be opened by onnxruntime .*Nonsense.*without operators of other"),
        ({"operator": "Mul", "domain": "com.example"}, {}, "cannot be opened by onnxruntime"),
        ({"shape": ("batch", 64, 100, 3)}, {}, r"takes sound \[batch, 64, 100, 3\], expected a waveform \[B, N\]"),
        ({"shape": ("batch", 64, "frames")}, {}, r"takes sound \[batch, 64, frames\], expected a waveform"),
        ({"shape": (4, "samples")}, {}, r"takes 4 sounds at once, neither more nor less, as sound \[4, samples\]"),
        ({"kind": 6}, {}, r"takes sound of tensor\(int32\), expected samples of tensor\(float\)"),
        ({}, {"inputs": {"rate": 3}}, "has no input 'rate': it has 'sound'"),
        ({}, {"states": {"sound": "h"}}, "has no output 'h', named in states: it has 'logits'"),
        ({}, {"states": {"sound": "logits"}}, r"takes sound \[batch, samples\]: which is the sound"),
        ({}, {"labels": ["a", "b"]}, r"gave logits \(1, 3\) for 1 sound, expected logits \(1, 2\)"),
        ({}, {"entry": "scores"}, "has no output 'scores' .entry.: it has logits"),
    ],
)
def test_files_of_onnx_that_do_not_fit(tmp_path, make, settings, message):
    path = onnx_files.save_power(tmp_path / "power.onnx", **make)
    with pytest.raises(UserError, match=message) as raised:
        open_classifier(f"onnx:{path}", **{**KNOWN, **settings})
    assert "\n" not in str(raised.value)


def test_files_that_are_no_models(tmp_path):
    (tmp_path / "text.onnx").write_text("hello")
    with pytest.raises(UserError, match=r"text.onnx cannot be opened by onnxruntime"):
        open_classifier(f"onnx:{tmp_path / 'text.onnx'}", **KNOWN)
    torch.save({"weight": torch.zeros(2)}, tmp_path / "state.pt")
    with pytest.raises(UserError, match=r"is no TorchScript .*a state_dict goes with torch:package.module:Class"):
        open_classifier(f"jit:{tmp_path / 'state.pt'}", **KNOWN)
    for kind in ("onnx", "jit"):
        with pytest.raises(MissingError, match="no such file: give the path of the model's file"):
            open_classifier(f"{kind}:{tmp_path / 'nowhere'}", **KNOWN)


def test_without_onnxruntime(tmp_path, monkeypatch):
    path, real = onnx_files.save_power(tmp_path / "power.onnx"), builtins.__import__

    def refuse(name, *rest, **more):
        if name == "onnxruntime":
            raise ImportError("No module named 'onnxruntime'")
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingError, match="needs onnxruntime, which is not installed: pip install onnxruntime"):
        open_classifier(f"onnx:{path}", **KNOWN)


# ------------------------------------------------------------------------------------------------- the same, exported


class Exported(nn.Module):
    """A compact classifier from a waveform on, with an STFT of convolutions, which ONNX has no complex numbers for."""

    def __init__(self, classifier):
        super().__init__()
        settings = classifier.frontend.settings
        size, hop, length = settings.n_fft, settings.hop_length, settings.win_length
        window = nn.functional.pad(torch.hamming_window(length), ((size - length) // 2,) * 2)
        angles = 2 * math.pi / size * torch.outer(torch.arange(size // 2 + 1), torch.arange(size))
        waves = torch.cat([angles.cos(), angles.sin()]) * window
        self.transform = nn.Conv1d(1, len(waves), size, hop, padding=size // 2, bias=False)
        self.transform.weight.data = waves[:, None]
        self.classifier = classifier

    def forward(self, wavs):
        cosines, sines = self.transform(wavs[:, None]).transpose(1, 2).chunk(2, dim=2)  # [B, T, F]
        return self.classifier((cosines**2 + sines**2).sqrt()).logits


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A compact classifier, and the same opened from ONNX."""
    path = tmp_path_factory.mktemp("onnx") / "compact.onnx"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        frontend = frontend_for(8000)
        classifier = CompactClassifier(LABELS, frontend, n_mels=16, channels=(4, 4, 8, 8))
        for _ in range(20):  # batch statistics of loud and quiet input, and a head for which small differences count
            classifier(torch.rand(4, 44, 257) * torch.rand(4, 44, 1) * 20)
        classifier.head.weight.data *= 20
        classifier.freeze()
    torch.onnx.export(
        Exported(classifier).eval(),
        noise(1, 8000),
        path,
        input_names=["sound"],
        output_names=["logits"],
        dynamic_axes={"sound": {0: "batch", 1: "samples"}},
        dynamo=False,
        opset_version=17,
    )
    return classifier, open_classifier(f"onnx:{path}", **KNOWN)


def test_the_compact_classifier_gives_the_same_as_onnx(exported):
    for n_samples in (8000, 12345):
        wavs = noise(3, n_samples) * torch.tensor([[1.0], [0.1], [3.0]])
        expected, got = (model.analyse(wavs).output.logits for model in exported)
        torch.testing.assert_close(got, expected, atol=1e-4, rtol=0)
    assert expected.std() > 1e-3
    assert not check_classifier(exported[1]).gradient
    # Explained from the sound on, as ONNX is: the same mask.
    sounds = ModuleClassifier(LABELS, module=Exported(exported[0]).eval(), sample_rate=8000).freeze()
    settings = {"relevance": "removal"}
    first, second = (explain(model, noise(1, 8000), method="nmf", settings=settings) for model in (sounds, exported[1]))
    torch.testing.assert_close(second.probabilities, first.probabilities, atol=1e-4, rtol=0)
    torch.testing.assert_close(second.mask, first.mask, atol=1e-3, rtol=0)


@pytest.mark.parametrize("kind", BY_ANSWERS, ids=lambda kind: kind.NAME)
def test_methods_that_ask_for_answers_find_in_onnx_what_they_find_in_pytorch(exported, kind):
    sounds = ModuleClassifier(LABELS, module=Exported(exported[0]).eval(), sample_rate=8000).freeze()
    answers = []
    for model in (sounds, exported[1]):
        batch = model.analyse(noise(1, 8000), target=1)
        method = kind(model, calls=40, times=4, bands=3)
        answers.append((method.attribute(batch), method.interpret(batch).mask))
    (first, mask), (second, other) = answers
    torch.testing.assert_close(second, first, atol=1e-4, rtol=0)
    assert first.std() > 1e-3
    assert (mask != other).float().mean() < 1e-3  # but for bins that are equal to 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "jit"])
def test_a_published_stream_gives_what_its_own_package_gives(kind):
    """Silero VAD: the package runs it chunk by chunk, with the last 64 samples of the chunk before in front."""
    package = pytest.importorskip("silero_vad")
    sounds = noise(2, 8 * 512) * torch.tensor([[1.0], [5.0]])
    meant = package.load_silero_vad(onnx=kind == "onnx").audio_forward(sounds, 16000)  # [B, chunks]
    file = Path(package.__file__).parent / "data" / f"silero_vad.{kind}"
    settings = {"input_length": 512}
    if kind == "onnx":
        sounds = nn.functional.pad(sounds, (64, 0))
        settings = {"input_length": 576, "hop_length": 512, "states": {"state": "stateN"}}
    classifier = open_classifier(
        f"{kind}:{file}",
        labels=["speech"],
        sample_rate=16000,
        output="probabilities",
        windows="max",
        inputs={"sr": 16000},
        **settings,
    )
    got = classifier.checked_logits(sounds, torch.full((2,), sounds.shape[1])).sigmoid()
    torch.testing.assert_close(got[:, 0], meant.amax(1), atol=1e-5, rtol=0)
