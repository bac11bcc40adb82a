"""The classifier's contract: frozen, one batched pass for In and Out, both places."""

import pytest
import torch

from interpretability.classifiers.base import ClassifierOutput, groups_of_equal_length
from interpretability.classifiers.compact import CompactClassifier
from interpretability.errors import UserError
from interpretability.frontend import apply_mask

LABELS = ["cat", "dog", "rain"]


@pytest.fixture
def classifier():
    """One that listens: batch statistics of its input, and a head that makes differences count."""
    torch.manual_seed(0)
    classifier = CompactClassifier(LABELS, n_mels=16, channels=(4, 4, 8, 8))
    for _ in range(20):
        classifier(torch.rand(4, 44, 513) * torch.rand(4, 44, 1) * 20)
    classifier.head.weight.data *= 20
    return classifier.freeze()


@pytest.fixture
def spectrogram(classifier):
    wavs = torch.randn(3, 8000, generator=torch.Generator().manual_seed(0))
    return classifier.frontend.analyse(classifier.frontend.level(wavs), torch.tensor([1.0, 0.6, 0.9]))


def test_frozen_for_good(classifier):
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    classifier.train()  # what a Brain does to all of its modules
    assert not classifier.training
    assert not any(module.training for module in classifier.modules())
    classifier(torch.rand(4, 20, 513) * 50)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())


def test_gradients_pass_through_but_do_not_pile_up(classifier, spectrogram):
    mask = torch.full_like(spectrogram.magnitude, 0.5, requires_grad=True)
    for place in ("spectrogram", "waveform"):
        masked = classifier.classify_masked(spectrogram, mask, place=place)
        (masked.inside.sum() + 2 * masked.outside.sum()).backward()
    assert mask.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in classifier.parameters())


@pytest.mark.parametrize("place", ["spectrogram", "waveform"])
@pytest.mark.parametrize("domain", ["log", "linear"])
def test_a_mask_of_ones_changes_no_probability(classifier, spectrogram, place, domain):
    whole = classifier(spectrogram.magnitude, spectrogram.valid).logits.softmax(1)
    masked = classifier.classify_masked(spectrogram, torch.ones_like(spectrogram.magnitude), domain, place)
    assert (masked.inside.softmax(1) - whole).abs().max() < 1e-6


def test_in_and_out_are_the_two_sides_of_the_mask(classifier, spectrogram):
    mask = torch.rand(spectrogram.magnitude.shape, generator=torch.Generator().manual_seed(3))
    masked = classifier.classify_masked(spectrogram, mask)
    for logits, part in ((masked.inside, mask), (masked.outside, 1 - mask)):
        alone = classifier(apply_mask(spectrogram.magnitude, part), spectrogram.valid).logits
        torch.testing.assert_close(logits, alone)
    swapped = classifier.classify_masked(spectrogram, 1 - mask)
    torch.testing.assert_close(swapped.inside, masked.outside)


def test_waveform_place_is_what_is_heard_at_the_level_it_has(classifier, spectrogram):
    mask = torch.rand(spectrogram.magnitude.shape, generator=torch.Generator().manual_seed(3))
    masked = classifier.classify_masked(spectrogram, mask, place="waveform")
    frontend = classifier.frontend
    sound = frontend.resynthesise(spectrogram, apply_mask(spectrogram.magnitude, mask))
    again = frontend.analyse(sound, frontend.relative_lengths(spectrogram))  # no second levelling
    torch.testing.assert_close(masked.inside, classifier(again.magnitude, again.valid).logits)
    direct = classifier.classify_masked(spectrogram, mask)
    assert not torch.allclose(masked.inside, direct.inside, atol=1e-4)  # a masked spectrogram is no consistent one


def test_ties_go_to_the_lowest_index():
    output = ClassifierOutput(torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]]), torch.zeros(2, 1), ())
    assert output.predicted.tolist() == [1, 0]


def test_targets_by_name_and_index(classifier):
    assert classifier.target_index("dog") == classifier.target_index(1) == classifier.target_index("1") == 1
    for bad in ("wolf", 3, -1):
        with pytest.raises(UserError, match="cat, dog, rain"):
            classifier.target_index(bad)


def test_bad_settings():
    with pytest.raises(UserError, match="at least 2"):
        CompactClassifier(["one"])
    with pytest.raises(UserError, match="at least 2"):
        CompactClassifier(["a", "a"])
    with pytest.raises(UserError, match="task"):
        CompactClassifier(LABELS, task="regression")


def test_unknown_place(classifier, spectrogram):
    with pytest.raises(ValueError, match="place is 'mel'"):
        classifier.classify_masked(spectrogram, spectrogram.magnitude.clamp(0, 1), place="mel")


def test_groups_of_equal_length():
    valid = torch.arange(6)[None] < torch.tensor([4, 6, 4])[:, None]
    groups = {count: index.tolist() for index, count in groups_of_equal_length(valid, 3)}
    assert groups == {4: [0, 2], 6: [1]}
    assert [(i.tolist(), n) for i, n in groups_of_equal_length(None, 2)] == [([0, 1], None)]
