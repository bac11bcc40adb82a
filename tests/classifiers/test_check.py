"""The check at opening: state, randomness, batches, lengths, gradient and range of outputs are found out and said."""

import pytest
import torch
from torch import nn
from waveform_models import LABELS, RATE, MelCnn, make

from interpretability.classifiers.check import check_classifier, noise, resets_of
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.outputs import answer_of
from interpretability.classifiers.waveform import frontend_for
from interpretability.errors import UserError
from interpretability.methods.gradients import Gradients
from interpretability.probabilities import probabilities


class Streaming(MelCnn):
    """Keeps what it heard."""

    def __init__(self):
        super().__init__()
        self.state = 0

    def forward(self, wavs):
        self.state += 1
        return super().forward(wavs) + 2 * torch.eye(3)[self.state % 3]


class Resettable(Streaming):
    def reset_states(self, batch_size=1):
        self.state = 0


class Forgetting(Streaming):
    """Whose reset makes new weights, as some libraries have it."""

    def reset(self):
        nn.init.normal_(self.head.weight)


class Random(MelCnn):
    def forward(self, wavs):
        return super().forward(wavs) + torch.randn(1, 3)


class OneSound(MelCnn):
    def forward(self, wavs):
        if len(wavs) > 1:
            raise ValueError("batch of one, please")
        return super().forward(wavs)


class Mixing(MelCnn):
    """Whose answers depend on the neighbours in the batch."""

    def forward(self, wavs):
        return super().forward(wavs) + super().forward(wavs.mean(0, keepdim=True)) * 3


class Cutting(MelCnn):
    def forward(self, wavs):
        return super().forward(wavs[:, : RATE // 2])


class Plain(MelCnn):
    pass


class Flat(MelCnn):
    def forward(self, wavs):
        return super().forward(wavs.round(decimals=1))


class Fixed(nn.Module):
    """Takes a second of sound alone."""

    def __init__(self, size=RATE):
        super().__init__()
        self.head = nn.Linear(size, 3)

    def forward(self, wavs):
        return self.head(wavs)


#: Model -> what its notes say, and what of the check is not as usual.
MODELS = {
    Plain: ((), {}),
    Streaming: (("the same sound twice gives probabilities that differ",), {"spread"}),
    Forgetting: (("the same sound twice gives probabilities that differ",), {"spread"}),
    Resettable: (("keeps a hidden state, which is reset before each run",), set()),
    Random: (("the model draws random numbers or keeps a hidden state",), {"spread"}),
    OneSound: (("takes one sound at a time: sounds are run one by one",), set()),
    Mixing: (("takes one sound at a time: sounds are run one by one",), set()),
    Cutting: (("hears 1 s at most",), {"hears_all"}),
    Flat: (("lets no gradient through (its gradient is 0 everywhere)",), {"no_gradient"}),
}


@pytest.mark.parametrize("kind", MODELS, ids=lambda kind: kind.__name__)
def test_what_a_model_does_is_found_out_and_said(kind):
    words, unusual = MODELS[kind]
    torch.manual_seed(1)
    classifier = ModuleClassifier(LABELS, frontend_for(RATE), module=kind()).freeze()
    weights = [parameter.clone() for parameter in classifier.parameters()]
    check = check_classifier(classifier)
    unlike = {
        "spread": check.spread > 1e-3,
        "together": check.together > 1e-3,
        "hears_all": not check.hears_all,
        "no_gradient": not check.gradient,
    }
    if "spread" in unusual:
        unlike["together"] = False  # which one of the two it is cannot be told
    assert {name for name, is_so in unlike.items() if is_so} == set(unusual)
    notes = "; ".join(classifier.notes)
    for text in words:
        assert text in notes
    if not words:
        assert notes == ""
    assert all(map(torch.equal, weights, classifier.parameters()))
    assert check_classifier(classifier).to_dict().keys() == check.to_dict().keys()


def test_a_hidden_state_is_reset_before_each_run():
    classifier = make(Resettable())
    wavs = torch.randn(2, 4000)
    first, second = classifier.analyse(wavs[:1]).output.logits, classifier.analyse(wavs[:1]).output.logits
    assert torch.equal(first, second)
    assert classifier.settings.reset_state
    assert len(resets_of(classifier.module)) == 1


def test_sounds_are_run_one_by_one_where_a_model_takes_one():
    classifier = make(OneSound())
    plain = make(MelCnn())
    plain.module.load_state_dict(classifier.module.state_dict())
    wavs = torch.randn(3, 4000)
    lengths = torch.tensor([1.0, 0.5, 1.0])
    torch.testing.assert_close(
        classifier.analyse(wavs, lengths).output.logits, plain.analyse(wavs, lengths).output.logits
    )
    assert classifier.layers == ()
    assert any("no feature maps: it takes one sound at a time" in note for note in classifier.notes)
    with pytest.raises(UserError, match=r"OneSound has no feature maps .*: leave layers out"):
        make(OneSound(), layers=["stem"])


def test_a_model_of_one_length_says_which_setting_it_needs_and_is_then_run():
    with pytest.raises(UserError, match=r"Fixed runs on 1 s of sound, but not on 2 s .* such as input_length=8000"):
        make(Fixed())
    with pytest.raises(UserError, match=r"cannot be run on 1 s of sound .* give input_length, in samples"):
        make(Fixed(1234))
    with pytest.raises(UserError, match=r"cannot be run on input_length=1235"):
        make(Fixed(1234), input_length=1235)
    classifier = make(Fixed(1234), input_length=1234)
    wavs = torch.randn(2, 4000)
    batch = classifier.analyse(wavs, torch.tensor([1.0, 0.25]))
    padded = torch.cat([wavs[1, :1000], torch.zeros(234)])
    wanted = classifier.module(torch.stack([wavs[0, :1234], padded]))
    torch.testing.assert_close(batch.output.logits, wanted)
    assert any("hears the first 0.1542 s of a sound" in note for note in classifier.notes)
    assert check_classifier(classifier).gradient


@pytest.mark.parametrize("kind", [RuntimeError, ValueError, IndexError, AssertionError, NotImplementedError])
def test_what_a_model_raises_after_it_was_opened_is_one_line(kind):
    class Choosy(MelCnn):
        """Takes one or two sounds, as the check at opening has them, and none that is loud."""

        def forward(self, wavs):
            if len(wavs) > 2 or float(wavs.abs().max()) > 9:
                raise kind("not these\nsecond line")
            return super().forward(wavs)

    classifier = make(Choosy())
    with pytest.raises(UserError, match=r"on 3 sounds of 1 s \(not these\): give one_by_one=True if it takes one"):
        classifier.analyse(torch.zeros(3, RATE))
    with pytest.raises(UserError, match=r"on 3 sounds of 0\.25 s .*: give longer ones, or give one_by_one=True"):
        classifier.analyse(torch.zeros(3, RATE // 4))
    with pytest.raises(UserError, match=r"Choosy cannot be run on 1 s of sound \(not these\): correct the model"):
        classifier.analyse(torch.full((1, RATE), 10.0))


class Frames(MelCnn):
    """Answers for every eighth of a second, more or less surely the louder it is."""

    def __init__(self, sign):
        super().__init__()
        self.sign = sign

    def forward(self, wavs):
        level = wavs.unfold(1, RATE // 8, RATE // 8).square().mean(-1).add(1e-9).log10()  # [B, T]
        return self.sign * level[..., None] * torch.tensor([1.0, 0.5, 0.2])


@pytest.mark.parametrize("pool", ["max", "mean"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_model_whose_highest_frame_decides_hears_the_end_of_a_sound_too(sign, pool):
    # The end changes nothing where the start has a higher frame.
    assert check_classifier(make(Frames(sign), task="multi", pool=pool, output="logits")).hears_all


class Sigmoid(MelCnn):
    def forward(self, wavs):
        return super().forward(wavs).sigmoid()


class Wide(MelCnn):
    def forward(self, wavs):
        return super().forward(wavs) * 100


class LogSoftmax(MelCnn):
    def forward(self, wavs):
        return super().forward(wavs).log_softmax(1)


class Softmax(MelCnn):
    def forward(self, wavs):
        return {"clipwise_output": super().forward(wavs).softmax(1)}


@pytest.mark.parametrize(
    ("kind", "task", "output", "words", "taken"),
    [
        (Softmax, "single", None, "they are taken for probabilities (output=probabilities;", "probabilities"),
        (Softmax, "single", "probabilities", "", "probabilities"),
        (Softmax, "single", "logits", "", "logits"),
        (Sigmoid, "multi", None, "taken for logits: if they are probabilities, give output=probabilities;", "logits"),
        (Sigmoid, "multi", "probabilities", "", "probabilities"),
        (Sigmoid, "multi", "logits", "", "logits"),
        (Sigmoid, "single", None, "give output=probabilities, and task=multi", "logits"),
        (Wide, "single", None, "", "logits"),
    ],
)
def test_probabilities_are_noticed_on_the_first_call_and_never_silently_softmaxed_again(
    kind, task, output, words, taken, caplog
):
    classifier = make(kind(), task=task, output=output)
    wavs = torch.randn(2, RATE)
    batch = classifier.analyse(wavs)
    assert words in caplog.text
    assert bool(caplog.text) == bool(words)
    assert any(words in note for note in classifier.notes) or not words
    raw = answer_of(classifier.module(wavs), "", 2, 3).values
    wanted = raw if taken == "probabilities" else probabilities(raw, task)
    torch.testing.assert_close(probabilities(batch.output.logits, task), wanted)
    check_classifier(classifier)
    assert len(caplog.records) == bool(words)  # said once


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("kind", [Wide, LogSoftmax])
def test_what_is_stated_to_be_probabilities_and_cannot_be_is_refused(kind, task):
    """They would be clamped to [0, 1], and all be the same."""
    with pytest.raises(UserError, match=r"its outputs go from .* lie in \[0, 1\]: give output=logits"):
        make(kind(), task=task, output="probabilities").analyse(torch.randn(2, RATE))


def test_probabilities_without_a_sum_of_1_are_divided_by_it_and_that_is_said(caplog):
    classifier = make(Sigmoid(), output="probabilities")
    wavs = torch.randn(2, RATE)
    raw = classifier.module(wavs)
    got = probabilities(classifier.analyse(wavs).output.logits, "single")
    torch.testing.assert_close(got, raw / raw.sum(1, keepdim=True))
    assert "do not sum to 1, and are divided by their sum" in caplog.text
    assert "give task=multi" in caplog.text


def test_small_logits_are_taken_back_from_being_probabilities_when_one_is_not():
    class Rising(MelCnn):
        def forward(self, wavs):
            return super().forward(wavs).sigmoid() + float(wavs.abs().max() > 5)

    classifier = make(Rising())
    assert len(classifier.notes) == 1
    classifier.analyse(torch.full((1, 4000), 10.0))
    assert classifier.notes == ()


def test_a_model_that_answers_nan_is_refused():
    class Broken(MelCnn):
        def forward(self, wavs):
            return super().forward(wavs) / 0 * 0

    with pytest.raises(UserError, match="Broken gives NaN or infinity for 1 of 1 sounds"):
        check_classifier(make(Broken()))


def test_a_model_in_torchscript_is_opened_without_layers_and_says_so():
    scripted = torch.jit.trace(MelCnn().eval(), torch.randn(1, RATE))
    classifier = make(scripted)
    assert classifier.layers == ()
    assert "no feature maps: it is a TorchScript module, whose layers cannot be observed" in classifier.notes
    # Of the magnitude of a complex number TorchScript has no derivative.
    assert check_classifier(classifier).no_gradient == "TorchScript has no derivative for one of its operations"
    wavs = torch.randn(2, 4000)
    torch.testing.assert_close(classifier.analyse(wavs).output.logits, scripted(wavs))
    with pytest.raises(UserError, match="has no feature maps"):
        make(scripted, layers=["stem"])
    with pytest.raises(UserError, match="was given as an instance, and cannot be built again"):
        classifier.architecture()


class PartlyScripted(nn.Module):
    """Whose first part is in TorchScript, and whose second is not."""

    def __init__(self):
        super().__init__()
        self.front = torch.jit.script(nn.Conv1d(1, 5, 40, 40))
        self.layer = nn.Conv1d(5, 5, 3, padding=1)
        self.head = nn.Linear(5, 3)

    def forward(self, wavs):
        return self.head(self.layer(self.front(wavs[:, None]).relu()).mean(2))


def test_layers_beside_a_part_in_torchscript_are_feature_maps():
    classifier = make(PartlyScripted())
    assert [layer.name for layer in classifier.layers] == ["layer"]
    assert check_classifier(classifier).gradient


class Speech(nn.Module):
    """Silero VAD on a whole sound: a probability of speech for each 32 ms, by a network that keeps a hidden state."""

    def __init__(self):
        super().__init__()
        self.vad = pytest.importorskip("silero_vad").load_silero_vad()

    def forward(self, wavs):
        chunks = wavs[:, : wavs.shape[1] // 512 * 512].unflatten(1, (-1, 512)).unbind(1)
        return {"frames": torch.stack([self.vad(chunk, 16000) for chunk in chunks], dim=1)}


def test_a_published_detector_with_a_hidden_state_is_explained_as_it_is():
    """A streaming network in TorchScript with one output for each frame: said, reset, pooled, and explained."""
    classifier = ModuleClassifier(
        ["speech"], module=Speech(), task="multi", sample_rate=16000, output="probabilities", pool="max"
    ).freeze()
    check = check_classifier(classifier)
    assert check.spread == 0
    assert check.gradient
    notes = "; ".join(classifier.notes)
    for words in ("keeps a hidden state, which is reset before each run", "the highest of its frames (pool=max)"):
        assert words in notes
    wavs = noise(2, 16000)
    classifier.module.vad.reset_states()
    meant = classifier.module(wavs)["frames"].amax(1)
    explanation = Gradients(classifier, attribution="saliency").explain(wavs)
    torch.testing.assert_close(explanation.probabilities, meant, atol=1e-5, rtol=0)
    assert explanation.target.tolist() == [0, 0]
    assert explanation.mask.flatten(1).any(1).all()
    assert set(notes.split("; ")) <= set(explanation.notes)
