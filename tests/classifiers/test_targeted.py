"""A classifier that answers what is not one of its classes: an ordinary classifier to everything else."""

import pytest
import soundfile
import tiny
import torch
from tiny import LABELS, noise
from waveform_models import LABELS as MODEL_LABELS
from waveform_models import RATE, Chain

from interpretability import explain, explain_recording
from interpretability.classifiers import save_classifier
from interpretability.classifiers.base import Classifier
from interpretability.classifiers.folder import CLASSIFIERS
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.targeted import TargetedClassifier, targeted
from interpretability.classifiers.waveform import frontend_for
from interpretability.errors import UserError
from interpretability.methods.gradients import Gradients
from interpretability.probabilities import class_probability
from interpretability.targets import ClassSet
from interpretability.weights import fingerprint


@pytest.fixture(scope="module")
def classifier():
    return tiny.listening_classifier(LABELS)


@pytest.fixture(scope="module")
def sound():
    return noise(1, 4000) * torch.linspace(0, 1, 4000)


def attribution(classifier, sound, target, **settings):
    method = Gradients(classifier, attribution="input_x_gradient", **settings)
    return method.attribute(classifier.analyse(sound, target=target))


def test_a_class_is_answered_by_the_classifier_itself(classifier):
    for target in ("dog", 1, None, "1", ["dog", "cat"], torch.tensor(1), "no such thing"):
        assert targeted(classifier, target) is classifier


def test_it_is_a_classifier_with_the_features_of_the_one_that_is_asked(classifier, sound):
    asked = targeted(classifier, "cat|dog")
    assert isinstance(asked, TargetedClassifier)
    assert (asked.labels, asked.task, asked.target, asked.base) == (["cat|dog", "rain"], "single", 0, classifier)
    batch, plain = asked.analyse(sound), classifier.analyse(sound)
    for ours, theirs in zip(batch.output.feature_maps, plain.output.feature_maps, strict=True):
        assert torch.equal(ours, theirs)
    p, of_classes = batch.output.logits.softmax(1), plain.output.logits.softmax(1)
    torch.testing.assert_close(p[:, 0], of_classes[:, 0] + of_classes[:, 1])
    assert asked.frontend is classifier.frontend
    assert asked.feature_rows(40) == classifier.feature_rows(40)


def test_a_contrast_turned_round_has_the_opposite_gradient(classifier, sound):
    one, other = (targeted(classifier, text) for text in ("cat - dog", "dog - cat"))
    torch.testing.assert_close(attribution(one, sound, 0), -attribution(other, sound, 0), rtol=0, atol=0)


def test_of_two_classes_the_attribution_of_a_contrast_is_twice_that_of_the_class(sound):
    two = tiny.listening_classifier(LABELS[:2])
    contrast, of_class = attribution(targeted(two, "cat - dog"), sound, 0), attribution(two, sound, "cat")
    torch.testing.assert_close(contrast, 2 * of_class, rtol=1e-4, atol=1e-6)


def test_a_set_of_one_class_and_what_is_left_of_a_set_are_explained_as_the_class_is(classifier, sound):
    of_one = TargetedClassifier(classifier, ClassSet("dog", ("dog",), (1,), multi=False))
    for asked, target, label in ((of_one, 1, "dog"), (targeted(classifier, "cat|dog"), 1, "rain")):
        ours, theirs = (Gradients(one, n_steps=4).explain(sound, target=target) for one, target in
                        ((asked, target), (classifier, label)))  # fmt: skip
        assert asked.labels[target] == label
        assert ours.mask.any()
        assert (ours.mask != theirs.mask).double().mean() < 1e-3
        p, q = (class_probability(one.output.logits, one.target).p for one in (ours, theirs))
        torch.testing.assert_close(p, q, rtol=1e-6, atol=0)
    assert torch.equal(attribution(of_one, sound, 1), attribution(classifier, sound, 1))


def test_every_part_of_an_explanation_names_it_and_the_classes_of_the_sound(classifier, sound):
    explanation = explain(classifier, sound, target="cat - dog")
    described = explanation.describe()
    plain = explain(classifier, sound).describe()
    assert (described["explained"], described["question"]["kind"]) == ("cat - dog", "contrast")
    assert described["predicted"] == plain["predicted"]
    assert list(described["probabilities"]) == ["cat - dog", *LABELS]
    for label in LABELS:
        assert described["probabilities"][label]["input"] == pytest.approx(plain["probabilities"][label]["input"])
    assert described["model"] == plain["model"]
    assert described["sentences"][0] == plain["sentences"][0]
    p = described["explained_probability"]
    assert described["sentences"][1] == f"Asked why cat and not dog: {p:.2f} (0.5: neither)."
    alone = described["probabilities"]["cat - dog"]["explanation"]
    says = "speaks for cat" if alone >= 0.5 else "does not speak for cat"
    assert described["sentences"][2].startswith(f"The explanation alone {says} ({alone:.2f}); without it cat - dog ")
    assert any("where cat is ahead" in note for note in described["notes"])
    assert {event.label for event in explanation.events()} == {"cat - dog"}


def test_its_state_identifies_the_question_and_has_no_folder(classifier, tmp_path):
    asked = [targeted(classifier, text) for text in ("cat|dog", "cat|rain", "cat - dog", "dog - cat")]
    assert len({fingerprint(one) for one in (classifier, *asked)}) == 5
    assert fingerprint(asked[0]) == fingerprint(targeted(classifier, "dog | cat"))
    with pytest.raises(UserError, match=r"answers 'cat\|dog', and has no folder of its own"):
        save_classifier(asked[0], tmp_path / "folder")
    assert not (tmp_path / "folder").exists()


def test_a_list_for_each_clip_holds_classes_only(classifier, sound):
    with pytest.raises(UserError, match="target is a list in which 'cat - dog' is not a class"):
        explain(classifier, sound.repeat(2, 1), target=["rain", "cat - dog"])
    with pytest.raises(UserError, match="target is 'cat - dog' and top_k is 2"):
        explain(classifier, sound, target="cat - dog", top_k=2)


def test_a_class_whose_name_looks_like_a_target_is_that_class(sound):
    named = tiny.listening_classifier(["cat", "dog", "cat|dog", "cat - dog"])
    for label in named.labels:
        explanation = explain(named, sound, target=label, method="saliency")
        assert (explanation.classifier, explanation.labels[int(explanation.target)]) == (named, label)


@pytest.mark.parametrize("target", ["a|b", "a - c"])
def test_of_models_that_take_waveforms(target):
    torch.manual_seed(0)
    settings = {"layers": ["convs.1"], "output": "logits"}
    classifier = ModuleClassifier(MODEL_LABELS, frontend_for(RATE), module=Chain(), **settings)
    sounds, lengths = noise(2, 4000), torch.tensor([1.0, 0.5])
    asked = targeted(classifier, target)
    both, alone = asked.analyse(sounds, lengths), asked.analyse(sounds[1:, :2000])
    torch.testing.assert_close(both.output.logits[1:], alone.output.logits)
    explanation = explain(classifier, sounds, target=target, method="saliency")
    assert explanation.mask.flatten(1).any(1).all()
    assert list(explanation.describe(1)["probabilities"]) == [target, *MODEL_LABELS]


# ------------------------------------------------------------------------------------------------- likeness to a sound


@pytest.fixture(scope="module")
def reference(tmp_path_factory, classifier, sound):
    path = tmp_path_factory.mktemp("like") / "ref.wav"
    soundfile.write(path, sound[0].numpy() / 10, classifier.frontend.settings.sample_rate, subtype="FLOAT")
    return path


def test_a_sound_is_like_itself_at_any_level_and_every_method_explains_what_is_like_it(classifier, reference, sound):
    target = f"like:{reference}"
    asked = targeted(classifier, target)
    assert asked.labels == ["like ref.wav"]
    p = asked.analyse(torch.cat([sound, 3 * sound, noise(1, 4000, seed=1)])).output.logits.sigmoid()[:, 0]
    assert (p[:2] == 1).all()
    assert 0 < p[2] < 1
    for method in ("saliency", "energy"):
        explanation = explain(classifier, noise(1, 4000, seed=1), target=target, method=method)
        assert explanation.mask.any()
        described = explanation.describe()
        assert described["explained_probability"] == pytest.approx(float(p[2]), abs=1e-5)
        assert described["sentences"][0] == explain(classifier, noise(1, 4000, seed=1)).sentences()[0]
        assert described["sentences"][1].startswith(f"Asked how like ref.wav: {p[2]:.2f} (0.5: nothing in common")
        assert described["question"]["reference_sha256"]


def test_the_cosine_is_that_of_the_classifiers_embedding(classifier, reference, sound):
    other = noise(1, 4000, seed=1)
    one, two = (classifier.analyse(wavs).output.embedding for wavs in (sound, other))
    p = targeted(classifier, f"like:{reference}").analyse(other).output.logits.sigmoid()
    assert float(p) == pytest.approx(float(1 + torch.cosine_similarity(one, two)) / 2, abs=1e-6)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (None, "no such audio file"),
        (torch.zeros(4000), "is silent, and nothing is like it"),
        (torch.ones(800), "lasts 0.05 s, expected 0.1 to 60 s"),
    ],
)
def test_references_that_nothing_can_be_compared_to(classifier, sound, tmp_path, samples, words):
    path = tmp_path / "bad.wav"
    if samples is not None:
        soundfile.write(path, samples.numpy(), 16000)
    with pytest.raises(UserError, match=words):
        explain(classifier, sound, target=f"like:{path}")


def test_without_a_name_or_an_embedding(classifier, sound, reference):
    with pytest.raises(UserError, match="names no sound: expected like:FILE"):
        targeted(classifier, "like:")
    with pytest.raises(UserError, match=r"target is a list in which 'like:.*' is not a class"):
        explain(classifier, sound, target=[f"like:{reference}"])
    torch.manual_seed(0)
    script = torch.jit.script(Chain())
    closed = ModuleClassifier(MODEL_LABELS, frontend_for(RATE), module=script, output="logits")
    with pytest.raises(UserError, match=r"no embedding by which sounds could be compared \(it is a TorchScript"):
        explain(closed, sound, target=f"like:{reference}")


def test_a_model_that_gives_an_embedding_and_no_classes(reference, sound):
    torch.manual_seed(0)
    settings = {"layers": ["convs.1"], "output": "embedding"}
    model = ModuleClassifier(["0", "1", "2"], frontend_for(RATE), module=Chain(), **settings)
    with pytest.raises(UserError, match="Chain gives an embedding, and no classes: name a sound"):
        explain(model, sound)
    with pytest.raises(UserError, match="Chain gives an embedding, and no classes"):
        explain(model, sound, target="1")
    output = model.analyse(sound).output
    assert torch.equal(output.embedding, output.logits)
    explanation = explain(model, sound, target=f"like:{reference}", method="saliency")
    assert list(explanation.describe()["probabilities"]) == ["like ref.wav"]
    assert explanation.sentences()[0].startswith("Asked how like ref.wav: ")


# --------------------------------------------------------------------------------------------------- a range of time


class Energies(torch.nn.Module):
    """Frames of 20 ms: the log energy below and above 2 kHz, as logits [B, T, 2]."""

    def __init__(self):
        super().__init__()
        self.shift = torch.nn.Parameter(torch.zeros(1))

    def forward(self, wavs):
        spectra = torch.fft.rfft(wavs.unfold(1, 160, 160)).abs().square()  # [B, T, 81]
        bands = torch.stack([spectra[..., 1:40].sum(2), spectra[..., 40:].sum(2)], 2)
        return torch.log(bands + 1e-2) + self.shift


@pytest.fixture(scope="module")
def framewise():
    return ModuleClassifier(["low", "high"], frontend_for(RATE), "multi", module=Energies(), layers=[], output="logits")


@pytest.fixture(scope="module")
def tones():
    """A second at 8 kHz: a low tone at 0.1-0.3 s, a high one at 0.4-0.6 s, another low one at 0.7-0.9 s."""
    times, wav = torch.arange(RATE) / RATE, 0.01 * noise(RATE)
    for start, hertz in ((0.1, 500.0), (0.4, 3000.0), (0.7, 500.0)):
        inside = (times >= start) & (times < start + 0.2)
        wav = wav + inside * torch.sin(2 * torch.pi * hertz * times)
    return wav[None]


@pytest.mark.parametrize(("target", "start"), [("low@0.1-0.3", 0.1), ("low@0.7-0.9", 0.7), ("high - low@0.4-0.6", 0.4)])
def test_a_class_in_a_range_is_explained_there(framewise, tones, target, start):
    explanation = explain(framewise, tones, target=target, method="integrated_gradients", settings={"n_steps": 8})
    times = torch.arange(explanation.mask.shape[1]) * framewise.frontend.settings.hop_length / RATE
    kept = (explanation.mask * explanation.spectrogram.magnitude)[0].sum(1)
    inside = (times > start - 0.03) & (times < start + 0.23)
    assert kept[inside].sum() > 0.9 * kept.sum()
    p = explanation.describe()["explained_probability"]
    assert p > 0.9
    assert f" at {start:g}–{start + 0.2:g} s: {p:.2f} (" in explanation.sentences()[1]


def test_the_range_of_the_whole_sound_gives_its_answer(framewise, tones):
    whole = framewise.analyse(tones).output.logits
    torch.testing.assert_close(targeted(framewise, "low@0-1").analyse(tones).output.logits, whole)
    silent = targeted(framewise, "low@0.3-0.4").analyse(tones).output.logits.sigmoid()
    assert silent[0, 0] < 0.5 < whole.sigmoid()[0, 0]


def test_a_contrast_is_heard_in_a_recording(framewise, tones, tmp_path):
    path = tmp_path / "long.wav"
    soundfile.write(path, tones[0].numpy(), RATE)
    settings = {"method": "energy", "window": 0.3, "hop": 0.1}
    result = explain_recording(framewise, path, tmp_path / "out", target="high - low", **settings)
    assert [result.label, result.describe()["question"]["kind"]] == ["high - low", "contrast"]
    assert result.sentences()[0].startswith("1 s in 8 windows. Asked why high and not low: 0.")
    (stretch,) = result.stretches
    assert stretch[0] < 0.5 < stretch[1]
    assert stretch[1] - stretch[0] < 0.7


def test_ranges_that_cannot_be_asked(classifier, framewise, tones, tmp_path):
    with pytest.raises(UserError, match="no frame lies at 3 to 4 s of a sound"):
        explain(framewise, tones, target="low@3-4", method="energy")
    with pytest.raises(UserError, match="has one answer for a whole sound and none for parts of it: leave @0-1 out"):
        explain(classifier, tones, target="dog@0-1", method="energy")
    path = tmp_path / "long.wav"
    soundfile.write(path, tones[0].numpy(), RATE)
    with pytest.raises(UserError, match="a range of one sound, and a recording is heard in windows"):
        explain_recording(framewise, path, tmp_path / "out", target="low@0-1", method="energy")


def test_it_hands_on_whatever_a_kind_of_classifier_does_in_its_own_way():
    """Training, saving and its settings stay with the classifier that is asked."""
    elsewhere = {"build", "class_rows", "train", "use_thresholds", "architecture_for", "settle", "keep_description"}
    overridden = {
        name
        for kind in CLASSIFIERS.values()
        for parent in kind.__mro__
        if issubclass(parent, Classifier) and parent is not Classifier
        for name in vars(parent)
        if (name in vars(Classifier) and not name.startswith("_") and callable(getattr(Classifier, name, None)))
        or isinstance(vars(Classifier).get(name), property)
    }  # fmt: skip
    assert overridden - elsewhere - vars(TargetedClassifier).keys() - {"Settings"} == {"has_classes"}
