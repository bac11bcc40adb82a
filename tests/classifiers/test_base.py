"""The classifier's contract, tried on all of them: frozen, one batched pass for In and Out, both places, any length,
padding without effect, grids that say where the cells lie."""

import functools

import numpy as np
import pytest
import tiny
import torch
from tiny import LABELS

from interpretability.classifiers import CLASSIFIERS
from interpretability.classifiers.base import ClassifierOutput
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.huggingface import HuggingFaceClassifier
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.speechbrain import SpeechBrainClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import UserError
from interpretability.frontend import Clips, Frontend, MaskedPair, Spectrogram, apply_mask
from interpretability.metrics.suite import MetricSuite

FOCALNET = {"image_size": 32, "embed_dim": 4, "depths": [1, 1, 2]}


class Strides(torch.nn.Module):
    """A model from waveforms to logits."""

    def __init__(self):
        super().__init__()
        self.first = torch.nn.Conv1d(1, 4, 160, 80, 80)
        self.second = torch.nn.Conv1d(4, 6, 5, 4, 2)
        self.head = torch.nn.Linear(6, len(LABELS))

    def forward(self, wavs):
        maps = self.second(torch.relu(self.first(wavs[:, None])))
        return self.head(torch.relu(maps).mean(2))


CASES = {
    "compact": lambda: CompactClassifier(LABELS, n_mels=32, channels=(4, 8, 8, 16)),
    "conv2d": lambda: Conv2dClassifier(LABELS, dim=6, lin_neurons=8),
    "cnn14": lambda: Cnn14Classifier(LABELS, emb_dim=8),
    # Images of 87 frames: the clips here are shorter, as long, and longer.
    "vit": lambda: ViTClassifier(LABELS, config=tiny.VIT, image_frames=87),
    "focalnet": lambda: FocalNetClassifier(LABELS, config=FOCALNET, image_frames=87),
    "torch": lambda: ModuleClassifier(LABELS, module=Strides(), sample_rate=16000, layers=["first", "second"]),
    "huggingface": lambda: HuggingFaceClassifier(LABELS, config=tiny.WAV2VEC2),
    "speechbrain": lambda: SpeechBrainClassifier(
        LABELS, hyperparams=tiny.XVECTOR, layers=["embedding_model.blocks.0", "embedding_model.blocks.3"]
    ),
}
MAPS = {
    "compact": 4,
    "conv2d": 4,
    "cnn14": 6,
    "vit": 2,
    "focalnet": 3,
    "torch": 2,
    "huggingface": 2,
    "speechbrain": 2,
}
KINDS = pytest.mark.parametrize("kind", CASES)
#: Every cell sees the whole image, or windows of sound; their own test files measure where cells lie.
SEES_ALL = {"vit", "focalnet", "torch", "huggingface", "speechbrain"}
LEVELS = pytest.mark.parametrize(
    ("kind", "level"), [(kind, level) for kind in MAPS if kind not in SEES_ALL for level in range(MAPS[kind])]
)
# A cell of cnn14's fifth map sees 156 bands and one of its sixth 284, where there are 80: in frequency both ends of the
# field lie outside, and its middle cannot be measured. test_cnn14.py does it, with convolutions that see one cell.
WIDER_THAN_THE_SPECTRUM = {("cnn14", 4), ("cnn14", 5)}


def say(classifier, magnitude, valid=None):
    """A classifier's answer to magnitudes alone, or for one that takes waveforms to their sound with some phase.

    The phase follows from the magnitude, so that a part of a batch has the same one. Clips are as long as their frames
    allow, to a sample.
    """
    if valid is None:
        valid = torch.ones(magnitude.shape[:2], dtype=torch.bool)
    hop = classifier.frontend.settings.hop_length
    phase = (magnitude.detach() * 1000) % 6
    spectrogram = Spectrogram(magnitude, phase, valid, valid.sum(1) * hop - 1, magnitude.shape[1] * hop - 1)
    return classifier.classify(spectrogram)


@functools.cache  # frozen: no test changes it
def settled(kind):
    """A classifier in eval mode whose batch statistics are not the initial ones."""
    torch.manual_seed(0)
    classifier = CASES[kind]()
    say(classifier, torch.rand(4, 80, 513) * 3)
    return classifier.freeze()


def test_every_classifier_is_tried_here():
    assert set(CASES) == set(MAPS) == set(CLASSIFIERS)
    for kind, count in MAPS.items():
        assert len(settled(kind).feature_channels) == len(settled(kind).feature_strides) == count


@pytest.fixture
def classifier():
    return tiny.listening_classifier(LABELS)


@pytest.fixture
def batch(classifier):
    wavs = torch.randn(3, 8000, generator=torch.Generator().manual_seed(0))
    return classifier.analyse(wavs, torch.tensor([1.0, 0.6, 0.9]))


def answers(classifier, batch, mask, apply="log", place="spectrogram"):
    return classifier.classify_pair(MaskedPair.of(batch.clips, mask, apply), place)


@pytest.mark.parametrize("kind", ["torch", "huggingface", "speechbrain"])
def test_models_that_take_waveforms_get_the_sound_itself(kind, monkeypatch):
    """Neither a sound nor a masked sound goes through a spectrogram and back on its way to the model."""
    classifier = settled(kind)
    wavs, lengths = torch.randn(3, 9000, generator=torch.Generator().manual_seed(0)), torch.tensor([1.0, 0.7, 0.7])
    clips = classifier.frontend.clips(wavs, lengths)
    pair = MaskedPair.of(clips, torch.rand(clips.spectrogram.magnitude.shape))
    heard = Clips(pair.clips.wavs, pair.clips.lengths, pair.clips.frontend)
    wanted = [classifier.classify(sounds.spectrogram) for sounds in (clips, heard)]
    for name in ("resynthesise", "_transform"):
        monkeypatch.setattr(Frontend, name, lambda *_: pytest.fail("a spectrogram on the way to the model"))
    got = classifier.analyse(wavs, lengths).output
    heard = classifier.classify_pair(pair, "waveform")
    assert (got.logits.softmax(1) - wanted[0].logits.softmax(1)).abs().max() < 1e-6
    both = torch.cat([heard.inside, heard.outside])
    assert (both.softmax(1) - wanted[1].logits.softmax(1)).abs().max() < 1e-6
    for maps, others in zip(got.feature_maps, wanted[0].feature_maps, strict=True):
        torch.testing.assert_close(maps, others, rtol=1e-4, atol=1e-4)


def test_frozen_for_good(classifier):
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    classifier.train()  # what a Brain does to all of its modules
    assert not classifier.training
    assert not any(module.training for module in classifier.modules())
    classifier(torch.rand(4, 20, 513) * 50)
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert not any(parameter.requires_grad for parameter in classifier.parameters())


def test_gradients_pass_through_but_do_not_pile_up(classifier, batch):
    mask = torch.full_like(batch.spectrogram.magnitude, 0.5, requires_grad=True)
    for place in ("spectrogram", "waveform"):
        masked = answers(classifier, batch, mask, place=place)
        (masked.inside.sum() + 2 * masked.outside.sum()).backward()
    assert mask.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in classifier.parameters())


@pytest.mark.parametrize("place", ["spectrogram", "waveform"])
@pytest.mark.parametrize("domain", ["log", "linear"])
def test_a_mask_of_ones_changes_no_probability(classifier, batch, place, domain):
    masked = answers(classifier, batch, torch.ones_like(batch.spectrogram.magnitude), domain, place)
    assert (masked.inside.softmax(1) - batch.output.logits.softmax(1)).abs().max() < 1e-6


def test_in_and_out_are_the_two_sides_of_the_mask(classifier, batch):
    spectrogram = batch.spectrogram
    mask = torch.rand(spectrogram.magnitude.shape, generator=torch.Generator().manual_seed(3))
    masked = answers(classifier, batch, mask)
    for logits, part in ((masked.inside, mask), (masked.outside, 1 - mask)):
        alone = classifier(apply_mask(spectrogram.magnitude, part), spectrogram.valid).logits
        torch.testing.assert_close(logits, alone)
    swapped = answers(classifier, batch, 1 - mask)
    torch.testing.assert_close(swapped.inside, masked.outside)


def test_waveform_place_is_what_is_heard_at_the_level_it_has(classifier, batch):
    spectrogram = batch.spectrogram
    mask = torch.rand(spectrogram.magnitude.shape, generator=torch.Generator().manual_seed(3))
    masked = answers(classifier, batch, mask, place="waveform")
    frontend = classifier.frontend
    sound = frontend.resynthesise(spectrogram, apply_mask(spectrogram.magnitude, mask))
    again = frontend.analyse(sound, spectrogram.lengths / spectrogram.n_samples)  # no second levelling
    torch.testing.assert_close(masked.inside, classifier(again.magnitude, again.valid).logits)
    direct = answers(classifier, batch, mask)
    assert not torch.allclose(masked.inside, direct.inside, atol=1e-4)  # a masked spectrogram is no consistent one


def test_selecting_clips_of_an_output_selects_all_of_it():
    output = ClassifierOutput(torch.rand(3, 2), torch.rand(3, 4), (torch.rand(3, 1, 2, 2),), torch.rand(3, 5))
    part = output[torch.tensor([2, 0])]
    assert torch.equal(part.logits, output.logits[[2, 0]])
    assert torch.equal(part.feature_maps[0], output.feature_maps[0][[2, 0]])
    assert torch.equal(part.attention, output.attention[[2, 0]])
    assert ClassifierOutput(output.logits, output.embedding, ())[:1].attention is None


def test_ties_go_to_the_lowest_index():
    output = ClassifierOutput(torch.tensor([[1.0, 2.0, 2.0], [0.0, 0.0, 0.0]]), torch.zeros(2, 1), ())
    assert output.predicted.tolist() == [1, 0]


def test_targets_by_name_and_index(classifier):
    assert classifier.target_index("dog") == classifier.target_index(1) == classifier.target_index("1") == 1
    with pytest.raises(UserError, match=r"no class 'Dog': did you mean 'dog'\? this classifier has cat, dog, rain"):
        classifier.target_index("Dog")
    for bad in ("wolf", 3, -1, "-1", "²", "1.0"):
        with pytest.raises(UserError, match="cat, dog, rain"):
            classifier.target_index(bad)
    for bad in (True, 1.0, None, torch.tensor(1.0), np.array([0, 1])):
        with pytest.raises(UserError, match="expected the name or the index of a class"):
            classifier.target_index(bad)


INDICES = {
    "int": 0,
    "numpy integer": np.int64(0),
    "small numpy integer": np.uint8(0),
    "numpy array without axes": np.array(0),
    "numpy array": np.array([0]),
    "tensor without axes": torch.tensor(0),
    "tensor": torch.tensor([0]),
    "small tensor": torch.tensor([0], dtype=torch.uint8),
    "list": [0],
}


@pytest.mark.parametrize("kind", INDICES)
def test_a_number_is_an_index_and_text_is_a_name_first(kind):
    """Whatever the type of the number, also where the names of the classes are digits."""
    classifier = tiny.listening_classifier(["3", "0", "1", "2"])
    wavs = torch.randn(1, 4000)
    assert classifier.analyse(wavs, target=INDICES[kind]).target.tolist() == [0]
    assert classifier.target_index(INDICES[kind]) == 0
    for text, index in (("3", 0), ("0", 1), ("1", 2)):
        assert classifier.analyse(wavs, target=text).target.tolist() == [index]
    assert classifier.analyse(torch.randn(3, 4000), target=["3", 0, np.int32(3)]).target.tolist() == [0, 0, 3]


def test_labels_of_data_are_names_and_never_indices(classifier):
    assert classifier.label_index("rain") == 2
    with pytest.raises(UserError, match="no class '1'"):
        classifier.label_index("1")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("dog", "did you mean 'Dog'"),
        ("Class 12O", "did you mean 'Class 12'"),
        (527, "no class 527: this classifier has 527 classes, 0 to 526"),
        ("bark", "did you mean 'Dog bark'"),
        ("x" * 100000, "no class 'xxx"),
    ],
)
def test_an_unknown_class_among_many_gets_the_nearest_names_on_a_short_line(target, words):
    classifier = tiny.listening_classifier([*(f"Class {index}" for index in range(525)), "Dog", "Dog bark"])
    with pytest.raises(UserError) as refused:
        classifier.target_index(target)
    assert words in str(refused.value)
    assert "--list_classes" in str(refused.value)
    assert len(str(refused.value)) < 400


@pytest.mark.parametrize("kind", ["compact", "torch"])
def test_a_detector_of_one_event_has_one_class(kind):
    """The event is what is explained, and there is no class beside it."""
    if kind == "compact":
        classifier = CompactClassifier(["speech"], task="multi", n_mels=16, channels=(4, 4, 8, 8)).freeze()
    else:
        parts = torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 1, 200, 100), torch.nn.AdaptiveAvgPool1d(1)
        head = torch.nn.Sequential(*parts, torch.nn.Flatten())
        classifier = ModuleClassifier(["speech"], module=head, task="multi", sample_rate=16000, layers=[]).freeze()
    batch = classifier.analyse(torch.randn(2, 8000))
    assert batch.target.tolist() == [0, 0]
    assert classifier.analyse(torch.randn(1, 8000), target="speech").target.tolist() == [0]
    values = MetricSuite(classifier)(batch, torch.ones_like(batch.spectrogram.magnitude))["spectrogram"]
    torch.testing.assert_close(values["p"], batch.output.logits[:, 0].double().sigmoid(), atol=1e-6, rtol=0)
    assert values["fid_in"].tolist() == [1.0, 1.0]
    with pytest.raises(UserError, match="softmax is always 1: give task=multi"):
        type(classifier)(["speech"], **({} if kind == "compact" else {"module": head}))


def test_an_answer_that_is_not_finite_is_refused_in_one_line(classifier):
    """In the whole sound, and in what a mask keeps; a sound that is itself not finite is named as such."""
    wavs = torch.randn(2, 4000)
    batch = classifier.analyse(wavs)
    with pytest.raises(UserError, match="1 of 2 sounds hold NaN or infinity"):
        classifier.analyse(torch.stack([wavs[0], wavs[1] / 0]))
    next(p for p in classifier.parameters() if p.ndim == 1)[0] = float("nan")
    wanted = "'compact' gives NaN or infinity for 2 of 2 sounds, in 3 of 3 outputs"
    with pytest.raises(UserError, match=wanted):
        classifier.analyse(wavs)
    with torch.no_grad(), pytest.raises(UserError, match="NaN or infinity for 4 of 4 sounds"):
        answers(classifier, batch, torch.ones_like(batch.spectrogram.magnitude))


def test_bad_settings():
    with pytest.raises(UserError, match="needs class names, got none"):
        CompactClassifier([])
    with pytest.raises(UserError, match="'a' more than once"):
        CompactClassifier(["a", "a"])
    with pytest.raises(UserError, match="task"):
        CompactClassifier(LABELS, task="regression")


def test_unknown_place(classifier, batch):
    with pytest.raises(ValueError, match="place is 'mel'"):
        answers(classifier, batch, torch.ones_like(batch.spectrogram.magnitude), place="mel")


def test_a_batch_is_levelled_analysed_and_classified_once(classifier, batch):
    frontend = classifier.frontend
    torch.testing.assert_close(batch.clips.wavs.abs().amax(1), torch.ones(3))
    alone = frontend.analyse(batch.clips.wavs, torch.tensor([1.0, 0.6, 0.9]))
    assert torch.equal(batch.spectrogram.magnitude, alone.magnitude)
    assert torch.equal(batch.output.logits, classifier(alone.magnitude, alone.valid).logits)
    assert torch.equal(batch.target, batch.output.predicted)
    assert batch.clips.lengths.tolist() == [8000, 4800, 7200]


def test_the_clean_sound_gets_the_gain_of_the_noisy_one(classifier):
    clean = torch.randn(2, 4000, generator=torch.Generator().manual_seed(1))
    noisy = clean + 3
    batch = classifier.analyse(noisy, target="dog", clean=clean)
    gain = noisy.abs().amax(1, keepdim=True)
    torch.testing.assert_close(batch.clean.magnitude, classifier.frontend.analyse(clean / gain).magnitude)
    assert batch.target.tolist() == [1, 1]


def test_clips_of_a_batch_alone_and_selected(classifier, batch):
    for index, alone in enumerate(batch.alone()):
        assert len(alone) == 1
        assert alone.clips.wavs.shape[1] == int(batch.clips.lengths[index])
        assert alone.spectrogram.valid.all()
        assert torch.equal(alone.output.logits, batch.output.logits[index : index + 1])
    part = batch[torch.tensor([2, 0])]
    assert part.target.tolist() == batch.target[[2, 0]].tolist()
    assert torch.equal(part.spectrogram.magnitude, batch.spectrogram.magnitude[[2, 0]])
    with pytest.raises(IndexError):
        batch.clip(3)


def test_targets_of_a_batch(classifier):
    wavs = torch.randn(2, 4000)
    assert classifier.analyse(wavs, target=torch.tensor([2, 0])).target.tolist() == [2, 0]
    with pytest.raises(ValueError, match="target has shape"):
        classifier.analyse(wavs, target=torch.tensor([1]))
    with pytest.raises(ValueError, match="class indices from 0 to 2"):
        classifier.analyse(wavs, target=torch.tensor([0, 3]))
    with pytest.raises(UserError, match=r"of torch.float32, expected integer class indices"):
        classifier.analyse(wavs, target=torch.tensor([0.0, 1.0]))
    with pytest.raises(UserError, match="no class 'wolf'"):
        classifier.analyse(wavs, target="wolf")


def test_each_length_alone_puts_everything_back_in_its_place():
    """A network that answers with what it was given: each clip gets its own answer, whatever the order of lengths."""

    class Counting(CompactClassifier):
        def feature_rows(self, n_frames):
            return n_frames, n_frames

    def network(magnitude):
        assert magnitude.shape[0] == 1 + (magnitude.shape[1] == 3)  # clips of equal length together
        name = magnitude[:, 0]
        return ClassifierOutput(name, 2 * name, (magnitude[:, None],), 3 * name)

    classifier = Counting(LABELS, n_mels=8, channels=(2, 2, 2, 2)).eval()
    valid = torch.arange(6)[None] < torch.tensor([3, 5, 3, 2])[:, None]
    magnitude = torch.rand(4, 6, 2) * valid[..., None]
    output = classifier.each_length_alone(network, magnitude, valid)
    for value, factor in ((output.logits, 1), (output.embedding, 2), (output.attention, 3)):
        assert torch.equal(value, factor * magnitude[:, 0])
    assert torch.equal(output.feature_maps[0][:, 0], magnitude)

    def whole(magnitude):
        return ClassifierOutput(magnitude, magnitude, ())

    assert torch.equal(classifier.train().each_length_alone(whole, magnitude, valid).logits, magnitude)
    classifier.eval()
    for everything in (None, torch.ones(4, 6, dtype=torch.bool)):
        assert torch.equal(classifier.each_length_alone(whole, magnitude, everything).logits, magnitude)


@KINDS
@pytest.mark.parametrize("frames", [1, 5, 64, 87, 200])
def test_any_length_and_padding_without_effect(kind, frames):
    classifier = settled(kind)
    magnitude = torch.rand(3, 260, 513, generator=torch.Generator().manual_seed(0)) * 5
    counts = torch.tensor([260, frames, 131])
    valid = torch.arange(260)[None] < counts[:, None]
    magnitude = magnitude * valid[..., None]
    together = say(classifier, magnitude, valid)
    alone = say(classifier, magnitude[1:2, :frames])
    torch.testing.assert_close(together.logits[1:2], alone.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.embedding[1:2], alone.embedding, rtol=1e-4, atol=1e-5)
    sizes = classifier.feature_rows(frames)
    for level, (padded, single) in enumerate(zip(together.feature_maps, alone.feature_maps, strict=True)):
        rows = sizes[level + 1]
        assert single.shape[2] == rows
        torch.testing.assert_close(padded[1:2, :, :rows], single, rtol=1e-4, atol=1e-5)
        assert not padded[1:2, :, rows:].any()
    shuffled = say(classifier, magnitude.flip(0), valid.flip(0))
    torch.testing.assert_close(shuffled.logits.flip(0), together.logits, rtol=1e-4, atol=1e-5)


@KINDS
def test_a_batch_padded_beyond_its_longest_clip(kind):
    """As in a selection of clips: the maps have the rows of the grids of the padded length, zeros at the end."""
    classifier = settled(kind)
    valid = torch.arange(200)[None] < torch.tensor([90, 40])[:, None]
    magnitude = torch.rand(2, 200, 513, generator=torch.Generator().manual_seed(0)) * valid[..., None]
    output, shorter = say(classifier, magnitude, valid), say(classifier, magnitude[:, :90], valid[:, :90])
    torch.testing.assert_close(output.logits, shorter.logits, rtol=1e-4, atol=1e-5)
    valid_rows = classifier.valid_rows(valid)[1:]
    for maps, rows, grid in zip(output.feature_maps, valid_rows, classifier.feature_grids(200), strict=True):
        assert maps.shape[2] == rows.shape[1] == len(grid.frames)
        assert not maps.transpose(1, 2)[~rows].any()


@KINDS
@pytest.mark.parametrize("frames", [87, 431])
def test_grids_have_the_shape_of_the_maps(kind, frames):
    classifier = settled(kind)
    output = say(classifier, torch.rand(1, frames, 513))
    assert tuple(m.shape[1] for m in output.feature_maps) == classifier.feature_channels
    for maps, grid in zip(output.feature_maps, classifier.feature_grids(frames), strict=True):
        assert maps.shape[2:] == (len(grid.frames), len(grid.bins))
        assert (grid.frames.diff() > 0).all()
        assert (grid.bins.diff() > 0).all()
    valid = torch.ones(1, frames, dtype=torch.bool)
    assert [rows.shape[1] for rows in classifier.valid_rows(valid)] == list(classifier.feature_rows(frames))


@LEVELS
def test_cells_lie_where_the_grid_says(kind, level):
    """A cell's receptive field, measured by its gradient, is centred on the grid's centre in time and frequency."""
    classifier = settled(kind)
    magnitude = (torch.rand(1, 448, 513, generator=torch.Generator().manual_seed(1)) * 3).requires_grad_()
    maps, grid = classifier(magnitude).feature_maps[level], classifier.feature_grids(448)[level]
    row, column = maps.shape[2] // 2, maps.shape[3] // 2
    (gradient,) = torch.autograd.grad(maps[0, :, row, column].square().sum(), magnitude)
    reached = gradient[0].abs() > 0
    frames, bins = reached.any(1).nonzero()[:, 0], reached.any(0).nonzero()[:, 0]
    assert abs((int(frames.min()) + int(frames.max())) / 2 - float(grid.frames[row])) <= 1.0
    # Mel bands are wider above than below: the middle in bands, and not in bins, is the centre there.
    scale = classifier.input_grid(448).bins
    if (kind, level) in WIDER_THAN_THE_SPECTRUM:
        assert int(bins.min()) <= float(scale[0])
        assert int(bins.max()) >= float(scale[-1])
        return
    place = torch.searchsorted(scale, torch.stack([bins.min(), bins.max()]).double()).double().mean()
    true_place = torch.searchsorted(scale, grid.bins[column : column + 1].double())
    assert abs(float(place) - float(true_place)) <= 1.5


@KINDS
def test_feature_maps_carry_gradient_to_the_input(kind):
    classifier = settled(kind)
    magnitude = torch.rand(1, 80, 513, requires_grad=True)
    sum(m.square().sum() for m in say(classifier, magnitude).feature_maps).backward()
    assert torch.isfinite(magnitude.grad).all()
    assert magnitude.grad.abs().sum() > 0
