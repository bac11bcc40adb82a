"""Scores for each frame or window, with their times: what an answer is pooled from."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from interpretability import explain
from interpretability.classifiers.black_box import ScriptClassifier
from interpretability.classifiers.check import noise
from interpretability.classifiers.frames import FrameScores, even_times, pooled, scores_as_logits
from interpretability.classifiers.module import ModuleClassifier
from interpretability.errors import UserError
from interpretability.frontend import Clips
from interpretability.lengths import LengthGroups
from interpretability.probabilities import probabilities

RATE, HOP = 8000, 100


class Frames(nn.Module):
    """Logits and weights of frames of 400 samples each 100: how strong they are, and how weak."""

    def __init__(self, pooling: str = "none"):
        super().__init__()
        self.pooling = pooling

    def forward(self, wavs):
        power = wavs.unfold(1, 400, HOP).square().mean(2)  # [B, T']
        logits = torch.stack([20 * power, 0.5 - 10 * power], 2)
        weights = power.softmax(1)
        if self.pooling == "theirs":
            return (logits.sigmoid() * weights[..., None]).sum(1)
        return {"frames": logits.sigmoid(), "weights": weights, "odd": -weights, "other": weights[:, :3]}


def classifier_of(task="multi", **settings):
    settings = {"output": "probabilities" if task == "multi" else "logits", **settings}
    return ModuleClassifier(["a", "b"], task=task, module=Frames(), sample_rate=RATE, **settings).freeze()


def clips_of(classifier, n_samples):
    """Clips of noise of these lengths, padded; the loudest part is the third quarter of each."""
    wavs, lengths = noise(len(n_samples), max(n_samples)), torch.tensor(n_samples)
    for wav, length in zip(wavs, n_samples, strict=True):
        wav[length // 2 : 3 * length // 4] *= 3
        wav[length:] = 0
    return classifier.frontend.clips(wavs, lengths / max(n_samples))


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("pool", ["mean", "max", "attention"])
def test_all_frames_are_pooled_to_the_answer_and_padding_is_none_of_them(task, pool):
    classifier = classifier_of(task, pool=pool, attention="weights" if pool == "attention" else None)
    clips = clips_of(classifier, [8000, 4000, 8000])
    output = classifier.classify_sound(clips)
    frames = output.frames
    assert frames.valid.sum(1).tolist() == [77, 37, 77]
    torch.testing.assert_close(
        probabilities(frames.within(0, 0.5), task)[1], probabilities(output.logits, task)[1], atol=1e-5, rtol=1e-4
    )
    alone = classifier.classify_sound(Clips(clips.wavs[1:2, :4000], torch.tensor([4000]), clips.frontend))
    torch.testing.assert_close(alone.frames.logits, frames.logits[1:2, :37])
    torch.testing.assert_close(alone.frames.end, frames.end[1:2, :37])
    # The times: 100 samples from frame to frame, and the loud part of a clip lies where it was put.
    torch.testing.assert_close(frames.start[0, 1:].diff(), torch.full((75,), HOP / RATE, dtype=torch.float64))
    difference = frames.logits[0, :, 0] - frames.logits[0, :, 1]
    loud = difference > difference.max() / 2
    assert abs(float(frames.start[0, loud].min()) - 0.5) < 0.02
    assert abs(float(frames.end[0, loud].max()) - 0.75) < 0.02
    inside, outside = frames[:1].within(0.5, 0.75), frames[:1].within(0.1, 0.4)
    assert probabilities(inside, task)[0, 0] > probabilities(outside, task)[0, 0] + 0.05
    assert torch.equal(output[[2, 0]].frames.logits, frames.logits[[2, 0]])


def test_attention_pools_as_the_model_does():
    classifier = classifier_of(pool="attention", attention="weights")
    clips = clips_of(classifier, [8000, 8000])
    torch.testing.assert_close(classifier.classify_sound(clips).logits.sigmoid(), Frames("theirs")(clips.wavs))
    assert "the mean of its frames, weighted by the model's output 'weights' (pool=attention)" in classifier.notes[0]


def test_a_range_has_a_gradient_that_stays_in_the_range():
    classifier = classifier_of("single")
    clips = clips_of(classifier, [8000])
    wavs = clips.wavs.clone().requires_grad_()
    output = classifier.classify_sound(Clips(wavs, clips.lengths, clips.frontend))
    output.frames.within(0.5, 0.75)[0, 0].backward()
    heard = wavs.grad[0].nonzero()[:, 0]
    assert 3800 <= int(heard.min()) <= 4000
    assert 6000 <= int(heard.max()) <= 6300


def test_windows_are_frames_with_their_times(tmp_path):
    class Power(nn.Module):
        def forward(self, wavs):
            power = wavs.square().mean(1, keepdim=True)
            return {"logits": torch.cat([100 * power, -100 * power], 1), "weight": power}

    torch.jit.trace(Power(), torch.zeros(1, 2000), strict=False).save(str(tmp_path / "power.pt"))
    settings = {"labels": ["a", "b"], "sample_rate": RATE, "task": "multi", "input_length": 2000}
    for pool in ("mean", "max", "attention"):
        more = {"attention": "weight"} if pool == "attention" else {}
        classifier = ScriptClassifier.from_place(str(tmp_path / "power.pt"), windows=pool, **settings, **more)
        wavs = torch.cat([noise(1, 4000), 0.1 * noise(1, 3000)], 1)
        clips = classifier.frontend.clips(wavs)
        frames, logits = classifier.classify_sound(clips).frames, classifier.classify_sound(clips).logits
        assert (frames.start[0] * RATE).tolist() == [0, 1000, 2000, 3000, 4000, 5000]
        torch.testing.assert_close(frames.within(0, 7000 / RATE), logits)
        assert float(frames.within(0.6, 0.8)[0, 0]) < min(float(logits[0, 0]), float(frames.within(0, 0.25)[0, 0]))
    assert any("their mean, weighted by the model's output 'weight'" in note for note in classifier.notes)
    short = classifier.classify_sound(classifier.frontend.clips(wavs[:, :900])).frames
    assert (short.end * RATE).tolist() == [[900]]


def test_frames_within_windows_follow_each_other(tmp_path):
    class Half(nn.Module):
        def forward(self, wavs):
            power = wavs.unfold(1, 500, 500).square().mean(2, keepdim=True)
            return torch.cat([100 * power, -100 * power], 2)

    torch.jit.trace(Half(), torch.zeros(1, 1000)).save(str(tmp_path / "half.pt"))
    settings = {"labels": ["a", "b"], "sample_rate": RATE, "input_length": 1000, "hop_length": 1000}
    classifier = ScriptClassifier.from_place(str(tmp_path / "half.pt"), **settings)
    clips = classifier.frontend.clips(noise(1, 2000))
    output = classifier.classify_sound(clips)
    assert (output.frames.start[0] * RATE).tolist() == [0, 500, 1000, 1500]
    torch.testing.assert_close(output.frames.logits, Half()(clips.wavs).log_softmax(2))
    torch.testing.assert_close(output.frames.within(0, 0.25).softmax(1), output.logits.softmax(1))
    other = ScriptClassifier.from_place(str(tmp_path / "half.pt"), windows="max", **settings)
    assert other.classify_sound(clips).frames.start.shape == (1, 2)  # the frames of a window are pooled before


def test_a_model_without_frames_has_none_and_explanations_go_through(tmp_path):
    class Whole(nn.Module):
        def forward(self, wavs):
            return wavs.square().mean(1, keepdim=True) * torch.tensor([100.0, -100.0])

    classifier = ModuleClassifier(["a", "b"], module=Whole(), sample_rate=RATE).freeze()
    assert classifier.classify_sound(clips_of(classifier, [4000])).frames is None
    framewise = classifier_of("single")
    explanation = explain(framewise, noise(1, 4000), method="saliency")
    assert "the mean of its frames (pool=mean)" in " ".join(framewise.notes)
    assert explanation.mask.any()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pool": "attention"}, "pool=attention needs attention=NAME, the output that holds the weights"),
        ({"attention": "weights"}, "attention goes with pool=attention: give both, or neither"),
        (
            {"pool": "attention", "attention": "odd"},
            "'odd' .attention. holds negative numbers or NaN, expected weights",
        ),
        ({"pool": "attention", "attention": "other"}, r"is \(1, 3\), expected weights \(1, 77\) or \(1, 77, 2\)"),
        ({"pool": "attention", "attention": "none"}, "has no output 'none' .entry.: it has frames, weights"),
    ],
)
def test_weights_that_do_not_fit(settings, message):
    with pytest.raises(UserError, match=message) as raised:
        classifier_of(**settings)
    assert "\n" not in str(raised.value)


def test_frames_of_a_range_by_their_overlap():
    times, lengths = even_times(10, 1000), torch.tensor([1000, 450])
    frames = FrameScores.of(torch.zeros(2, 10, 1), times, lengths, 1000, "multi", "mean", None)
    assert frames.valid.sum(1).tolist() == [10, 5]
    assert frames.end[1].max() == 0.45

    def first(start, end):
        return frames[:1].inside(start, end)[0].nonzero()[:, 0].tolist()

    assert first(0.1, 0.3) == [1, 2]
    assert first(0.16, 0.34) == [2]  # of frames 1 and 3 it has less than half
    assert first(0.12, 0.13) == [1]
    assert first(0.19, 0.21) == [1, 2]
    with pytest.raises(UserError, match=r"no frame lies at 0.6 to 0.7 s of a sound whose frames end at 0.45 s"):
        frames.inside(0.6, 0.7)
    assert even_times(3, 1000, 200).tolist() == [[200, 400], [400, 600], [600, 800]]


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("pool", ["mean", "max", "attention"])
def test_pooling_some_frames_is_pooling_them_alone(task, pool):
    generator = torch.Generator().manual_seed(1)
    logits = scores_as_logits(5 * torch.randn(2, 7, 3, generator=generator), task, probabilities=False)
    weights = torch.rand(2, 7, 3, generator=generator)
    inside = torch.tensor([[False, True, True, False, False, True, False]]).expand(2, 7)
    some = [1, 2, 5]
    logits.requires_grad_()
    got = pooled(logits, task, pool, weights, inside)
    torch.testing.assert_close(got, pooled(logits[:, some], task, pool, weights[:, some]))
    (gradient,) = torch.autograd.grad(got.sum(), logits)
    assert bool(gradient.isfinite().all())
    assert not gradient[:, [0, 3, 4, 6]].any()
    if pool == "attention":
        each = probabilities(logits, task) if task == "multi" else logits.exp()
        mean = (each * weights).sum(1) / weights.sum(1)
        expected = mean / mean.sum(1, keepdim=True) if task == "single" else mean
        torch.testing.assert_close(probabilities(pooled(logits, task, pool, weights), task), expected)
    assert FrameScores.join([None, None], LengthGroups(torch.tensor([1, 2]))) is None
