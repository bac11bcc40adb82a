"""The contract that every method keeps, tried on all of them."""

import copy
import functools
import json

import pytest
import torch
from tiny import LABELS, listening_classifier, noise

from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.dictionary import Components, Dictionary
from interpretability.errors import UserError
from interpretability.frontend import PLACES, FrontendSettings
from interpretability.methods import METHODS, load_interpreter, save_interpreter
from interpretability.methods.amt import AMT
from interpretability.methods.base import Interpreter
from interpretability.methods.baselines import ConstantMask, EnergyMask, RandomMask
from interpretability.methods.counterfactual import Counterfactual
from interpretability.methods.feature_ablation import FeatureAblation
from interpretability.methods.gradients import Gradients
from interpretability.methods.kernel_shap import KernelSHAP
from interpretability.methods.l2i import L2I
from interpretability.methods.lime import LIME
from interpretability.methods.lmac import LMAC
from interpretability.methods.nmf import NMF
from interpretability.methods.occlusion import Occlusion
from interpretability.methods.optimised import OptimisedMask
from interpretability.methods.piq import PIQ
from interpretability.methods.refined import refined
from interpretability.methods.rise import RISE
from interpretability.metrics.suite import MetricSuite

RATE = 16000


def compact():
    torch.manual_seed(0)
    return CompactClassifier(LABELS, n_mels=16, channels=(4, 4, 8, 8))


@functools.cache
def listened():
    return listening_classifier(LABELS)


def listening():
    """One whose answers differ by more than rounding does."""
    return copy.deepcopy(listened())


def conv2d():
    torch.manual_seed(0)
    return Conv2dClassifier(LABELS, dim=4, lin_neurons=8)


def cnn14():
    torch.manual_seed(0)
    return Cnn14Classifier(LABELS, base_channels=1, emb_dim=32)


def vit(image_size=32, image_frames=96):
    torch.manual_seed(0)
    config = {
        "image_size": image_size,
        "patch_size": 8,
        "hidden_size": 16,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 32,
    }
    return ViTClassifier(LABELS, config=config, image_frames=image_frames, lin_neurons=8)


def focalnet():
    torch.manual_seed(0)
    config = {"image_size": 32, "embed_dim": 8, "depths": [1, 2], "focal_levels": [1, 1], "focal_windows": [3, 3]}
    return FocalNetClassifier(LABELS, config=config, image_frames=96, lin_neurons=8)


def words(n_components=6):
    """A dictionary of bands that overlap."""
    bins = torch.arange(513.0)[:, None]
    matrix = torch.exp(-(((bins - torch.linspace(0, 512, n_components)) / 60) ** 2))
    return Dictionary(matrix / matrix.norm(dim=0), FrontendSettings(), LABELS, "euclidean")


#: Of methods that ask for answers only.
FEW_CALLS = {"calls": 4, "times": 2, "bands": 2, "form": "soft"}
CASES = {
    "piq": lambda: PIQ(compact(), codebook_size=12, channels=8, decoder_channels=(4, 4)),
    "piq, one doubling": lambda: PIQ(compact(), codebook_size=12, channels=8, decoder_channels=(4,)),
    "piq on conv2d": lambda: PIQ(conv2d(), codebook_size=12, channels=8, decoder_channels=(4,)),
    "piq, published": lambda: PIQ(conv2d(), network="published", codebook_size=12, shared_keys=3),
    "piq on vit": lambda: PIQ(vit(), codebook_size=12, channels=8, decoder_channels=(4, 4, 4)),
    "piq on focalnet": lambda: PIQ(focalnet(), codebook_size=12, channels=8, decoder_channels=(4,)),
    "piq, published on vit": lambda: PIQ(vit(image_size=112, image_frames=215), network="vit", codebook_size=12),
    "piq, linear": lambda: PIQ(compact(), codebook_size=12, channels=8, decoder_channels=(4, 4), apply="linear"),
    "lmac": lambda: LMAC(compact(), channels=8, decoder_channels=(4,)),
    "lmac on cnn14, class gains": lambda: LMAC(cnn14(), channels=4, decoder_channels=(), class_gains=True),
    "lmac on vit, class gains": lambda: LMAC(vit(), channels=4, decoder_channels=(4, 4), class_gains=True),
    "lmac, published": lambda: LMAC(cnn14(), network="cnn14"),
    "nmf": lambda: NMF(compact(), words(), n_iterations=5),
    "nmf, gradient, linear": lambda: NMF(
        compact(), words(), relevance="gradient", keep="threshold", n_iterations=5, apply="linear"
    ),
    "l2i": lambda: L2I(compact(), words(), channels=4),
    "l2i on vit": lambda: L2I(vit(), words(), channels=4),
    "l2i on focalnet": lambda: L2I(focalnet(), words(), channels=4),
    "l2i, published on conv2d": lambda: L2I(conv2d(), words(), network="conv2d"),
    "l2i, published on cnn14": lambda: L2I(cnn14(), words(), network="cnn14"),
    "amt on vit": lambda: AMT(vit()),
    "amt on vit, rollout": lambda: AMT(vit(), variant="rollout", quantile=0.9),
    "amt on vit, gradient": lambda: AMT(vit(), variant="gradient"),
    "amt on focalnet": lambda: AMT(focalnet()),
    "amt on focalnet, gradient, linear": lambda: AMT(focalnet(), variant="gradient", apply="linear"),
    "gradients": lambda: Gradients(compact(), n_steps=4),
    "gradients, saliency, linear": lambda: Gradients(conv2d(), attribution="saliency", apply="linear"),
    "gradients, input x gradient, top": lambda: Gradients(compact(), attribution="input_x_gradient", form="top10"),
    "gradients, smoothgrad": lambda: Gradients(compact(), attribution="smoothgrad", n_copies=3),
    "gradients, DeepLift": lambda: Gradients(compact(), attribution="deeplift", form="soft"),
    "gradients, Grad-CAM on vit": lambda: Gradients(vit(), attribution="gradcam"),
    "optimised": lambda: OptimisedMask(compact(), steps=2, copies=1),
    "rise": lambda: RISE(listening(), **FEW_CALLS),
    "occlusion": lambda: Occlusion(listening(), **FEW_CALLS),
    "feature_ablation": lambda: FeatureAblation(listening(), **FEW_CALLS),
    "kernel_shap": lambda: KernelSHAP(listening(), **FEW_CALLS, grid="segments"),
    "lime": lambda: LIME(listening(), **FEW_CALLS),
    "counterfactual": lambda: Counterfactual(compact(), steps=2),
    "constant": lambda: ConstantMask(compact(), value=0.3),
    "random": lambda: RandomMask(compact(), area=0.2),
    "energy": lambda: EnergyMask(compact(), area=0.2),
}


def is_variant(name: str) -> bool:
    """Whether a case is one of several of its method: where time is short, the plain one is enough."""
    return "," in name or (" on " in name and name != "amt on vit")


@pytest.fixture(params=[pytest.param(name, marks=pytest.mark.slow) if is_variant(name) else name for name in CASES])
def interpreter(request):
    torch.manual_seed(1)
    return CASES[request.param]().eval()


def test_every_method_is_tried_here():
    assert {make().NAME for make in CASES.values()} == set(METHODS)


def test_what_is_trained_on_feature_maps_says_so_where_there_are_none():
    mapless = compact()
    mapless.feature_channels = ()
    for kind in METHODS.values():
        if kind.trainable:
            with pytest.raises(UserError, match=f"{kind.NAME}: the classifier 'compact' has no feature maps"):
                kind(mapless, **({"dictionary": words()} if kind is L2I else {}))


@pytest.mark.parametrize("case", ["piq", "lmac", "nmf", "refined"])
def test_another_copy_of_its_classifier_asks_no_other_question(case):
    method = refined(CASES["energy"](), 1).eval() if case == "refined" else CASES[case]().eval()
    other = method.asked(copy.deepcopy(method.classifier))
    assert other is not method
    assert not other.training
    assert torch.equal(other.explain(noise(1, 4000)).mask, method.explain(noise(1, 4000)).mask)


@pytest.mark.parametrize("target", ["cat|dog", "cat - dog"])
def test_what_is_no_class_is_explained_or_refused_in_one_line(target):
    refused = ("piq", "l2i", "lmac on vit, class gains", "amt on vit, gradient")
    for case in (*refused, "lmac", "nmf", "amt on vit", "gradients, saliency, linear", "energy", "refined"):
        method = refined(CASES["energy"](), 1).eval() if case == "refined" else CASES[case]().eval()
        if case in refused:
            with pytest.raises(UserError, match=f"^{method.NAME} explains classes, and '.*' is none: "):
                method.explain(noise(1, 4000), target=target)
            continue
        explanation = method.explain(noise(2, 4000), target=target)
        assert explanation.labels[int(explanation.target[0])] == target
        assert explanation.mask.any()
        assert method.classifier.question is None  # which still explains classes
        assert any("whatever the target" in note for note in explanation.notes) == (method.NAME == "lmac")


@pytest.mark.parametrize("seconds", [0.1, 1.0, 3.3])
def test_masks_of_any_length(interpreter, seconds):
    n = round(seconds * RATE)
    explanation = interpreter.explain(noise(2, n))
    assert explanation.mask.shape == (2, 1 + n // 186, 513)
    assert explanation.mask.min() >= 0
    assert explanation.mask.max() <= 1
    assert explanation.listenable.shape == explanation.residual.shape == explanation.sound.shape == (2, n)
    assert torch.isfinite(explanation.listenable).all()


def assert_as_alone(interpreter, seconds):
    """Check that clips have the probabilities, masks and metrics in a padded batch that they have alone, to 1e-5."""
    sizes = [round(length * RATE) for length in seconds]
    wavs = noise(len(sizes), max(sizes))
    together = interpreter.classifier.analyse(wavs, torch.tensor(sizes) / max(sizes))
    suite = MetricSuite(interpreter.classifier, interpreter.settings.apply)
    masks = interpreter.interpret(together).mask
    values = suite(together, masks, PLACES)
    for i, size in enumerate(sizes):
        alone = interpreter.classifier.analyse(wavs[i : i + 1, :size], target=int(together.target[i]))
        mask = interpreter.interpret(alone).mask
        torch.testing.assert_close(masks[i : i + 1, : mask.shape[1]], mask, rtol=0, atol=1e-5)
        heard = [output.logits.softmax(1) for output in (together.output[i : i + 1], alone.output)]
        torch.testing.assert_close(*heard, rtol=0, atol=1e-5)
        for place, measured in suite(alone, mask, PLACES).items():
            for name, value in measured.items():
                got, scale = values[place][name][i : i + 1], 100 if name in ("ad", "ai", "ag") else 1
                torch.testing.assert_close(got / scale, value / scale, rtol=1e-5, atol=1e-5, equal_nan=True, msg=name)


@torch.no_grad()
def test_padding_changes_nothing(interpreter):
    assert_as_alone(interpreter, [0.1, 9001 / RATE, 51 * 186 / RATE, 1.5])  # odd and even numbers of frames


@pytest.mark.slow
@torch.no_grad()
def test_padding_to_many_times_its_length_changes_nothing(interpreter):
    wavs, size = noise(1, 15 * RATE), 3 * RATE
    padded = interpreter.classifier.analyse(wavs, torch.tensor([size / wavs.shape[1]]))
    alone = interpreter.classifier.analyse(wavs[:, :size])
    probabilities = [batch.output.logits.softmax(1) for batch in (padded, alone)]
    torch.testing.assert_close(*probabilities, rtol=0, atol=1e-5)
    mask = interpreter.interpret(alone).mask
    torch.testing.assert_close(interpreter.interpret(padded).mask[:, : mask.shape[1]], mask, rtol=0, atol=1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_metrics_of_a_clip_do_not_change_in_half_a_minute_of_padding():
    torch.manual_seed(1)
    assert_as_alone(CASES["lmac"]().eval(), [0.1, 3.0, 30.0])


def test_batch_and_order_change_nothing(interpreter):
    wavs = noise(3, 24000)
    lengths = torch.tensor([24000, 9001, 51 * 186]) / 24000
    together, flipped = interpreter.explain(wavs, lengths), interpreter.explain(wavs.flip(0), lengths.flip(0))
    for i, n in enumerate((24000, 9001, 51 * 186)):
        alone = interpreter.explain(wavs[i : i + 1, :n])
        assert together[i].mask.shape == alone.mask.shape
        torch.testing.assert_close(together[i].listenable, alone.listenable, rtol=0, atol=1e-5)
        torch.testing.assert_close(flipped[2 - i].mask, alone.mask, rtol=0, atol=1e-5)


def test_level_does_not_matter_and_callers_tensors_stay(interpreter):
    wavs = noise(2, 8000)
    before = wavs.clone()
    loud = interpreter.explain(wavs)
    faint = interpreter.explain(wavs * 1e-3)
    assert torch.equal(wavs, before)
    torch.testing.assert_close(loud.mask, faint.mask, rtol=0, atol=1e-3)


def test_same_input_same_mask_and_the_mode_is_left_as_found(interpreter):
    interpreter.train()
    first, second = (interpreter.explain(noise(2, 8000)).mask for _ in range(2))
    assert interpreter.training
    assert torch.equal(first, second)


def test_the_classifier_is_untouched_and_no_part_of_the_state(interpreter):
    classifier = interpreter.classifier
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    interpreter.train()
    interpreter.explain(noise(2, 8000))
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    parameters = {id(parameter) for parameter in interpreter.parameters()}
    assert not parameters & {id(parameter) for parameter in classifier.parameters()}
    assert not any("classifier" in name for name in interpreter.state_dict())
    assert not classifier.training


def test_it_moves_with_its_classifier(interpreter):
    interpreter.double()
    assert all(value.dtype == torch.float64 for value in interpreter.classifier.parameters())
    interpreter.float()


def test_silence(interpreter):
    explanation = interpreter.explain(torch.zeros(1, 8000))
    assert torch.isfinite(explanation.mask).all()
    assert not explanation.listenable.any()
    assert not explanation.residual.any()


def test_targets(interpreter):
    wavs = noise(2, 8000)
    by_name = interpreter.explain(wavs, target="rain")
    assert by_name.target.tolist() == [2, 2]
    by_tensor = interpreter.explain(wavs, target=torch.tensor([2, 0]))
    assert by_tensor.target.tolist() == [2, 0]
    torch.testing.assert_close(by_tensor[0].mask, by_name[0].mask, rtol=0, atol=1e-5)
    assert interpreter.explain(wavs).target.tolist() == by_name.output.predicted.tolist()
    with pytest.raises(UserError, match="no class 'wolf'"):
        interpreter.explain(wavs, target="wolf")
    with pytest.raises(ValueError, match="target has shape"):
        interpreter.explain(wavs, target=torch.tensor([1]))
    for bad in (-1, 3):
        with pytest.raises(ValueError, match="class indices from 0 to 2"):
            interpreter.explain(wavs, target=torch.tensor([0, bad]))


def test_saved_and_loaded_it_gives_the_same(interpreter, tmp_path):
    save_interpreter(interpreter, tmp_path / "run" / "interpreter", {"seed": 1})
    loaded = load_interpreter(tmp_path / "run")
    assert loaded.settings == interpreter.settings
    assert loaded.classifier.labels == LABELS
    assert not loaded.training
    wavs = noise(2, 8000)
    assert torch.equal(loaded.explain(wavs).mask, interpreter.explain(wavs).mask)


def test_explanation_and_residual_are_what_the_mask_says(interpreter):
    explanation = interpreter.explain(noise(1, 8000))
    frontend, spectrogram = interpreter.frontend, explanation.spectrogram
    kept = explanation.pair.inside
    torch.testing.assert_close(explanation.listenable, frontend.resynthesise(spectrogram, kept))
    if interpreter.settings.apply == "linear":  # the two parts add up
        torch.testing.assert_close(explanation.listenable + explanation.residual, explanation.sound, atol=1e-4, rtol=0)


@pytest.mark.parametrize("strides", [1, 2])
@pytest.mark.parametrize("name", ["piq", "lmac"])
def test_an_event_moved_by_k_strides_moves_the_mask_by_k_strides(name, strides):
    torch.manual_seed(1)
    method = CASES[name]().eval()
    # Away from the borders, and by whole strides of the coarsest map (16 frames).
    event = noise(1, 1500)
    shift = strides * 16 * 186
    wavs = torch.zeros(2, 300 * 186)
    wavs[0, 100 * 186 : 100 * 186 + 1500] = event
    wavs[1, 100 * 186 + shift : 100 * 186 + shift + 1500] = event
    mask = method.mask(method.classifier.analyse(wavs, target=0)).detach()
    frames = strides * 16
    torch.testing.assert_close(mask[1, 64 + frames : 200 + frames], mask[0, 64:200], rtol=0, atol=1e-4)
    assert mask[0, 64:200].std() > 1e-4


def test_a_mask_that_breaks_the_contract_is_refused():
    class Broken(Interpreter):
        NAME = "broken"
        value = 1.5

        def mask(self, batch):
            return torch.full_like(batch.spectrogram.magnitude, self.value)

    broken = Broken(compact())
    for value in (1.5, -0.1, float("nan")):
        broken.value = value
        with pytest.raises(ValueError, match="outside \\[0, 1\\] or not finite"):
            broken.explain(noise(1, 4000))
    broken.mask = lambda batch: batch.spectrogram.magnitude[:, :-1] * 0
    with pytest.raises(ValueError, match="expected"):
        broken.explain(noise(1, 4000))


def test_what_a_method_says_beside_its_mask_goes_into_the_explanation():
    class Talkative(ConstantMask):
        def interpret(self, batch):
            interpretation = super().interpret(batch)
            shape = (len(batch), 3, batch.spectrogram.magnitude.shape[1])
            relevance = torch.arange(6.0).view(2, 3)
            interpretation.components = Components(torch.rand(513, 3), torch.rand(shape), relevance, relevance > 3)
            return interpretation

    explanation = Talkative(compact()).explain(noise(2, 4000), torch.tensor([1.0, 0.5]))
    assert explanation.components.relevance.shape == (2, 3)
    clip = explanation[1].components
    assert clip.relevance.tolist() == [[3.0, 4.0, 5.0]]
    assert clip.ranked() == [2, 1]
    assert clip.activations.shape[2] == explanation[1].mask.shape[1]


def test_its_settings_make_it_again(interpreter):
    """Plain values, as they are saved and read: no setting is lost."""
    kind, settings = type(interpreter), interpreter.settings
    assert isinstance(settings, kind.Settings)
    saved = json.loads(json.dumps(settings.to_dict()))
    assert list(saved) == [info.name for info in kind.Settings.infos()]
    again = kind(interpreter.classifier, **saved)
    assert again.settings == settings
    assert again.settings.to_dict() == saved
    given = {**saved, "colour": "red"}
    with pytest.raises(UserError, match=rf"^{kind.NAME} has no setting 'colour': it has apply") as error:
        kind(interpreter.classifier, **given)
    assert "\n" not in str(error.value)
    with pytest.raises(UserError, match=f"^{kind.NAME}: apply is 'mel', expected one of log, linear$"):
        kind(interpreter.classifier, **{**saved, "apply": "mel"})
