"""The suite on a classifier whose answers are known: its logits are weighted sums of the magnitude."""

import json
import math
from types import SimpleNamespace

import pytest
import torch

from interpretability.frontend import PLACES, Frontend, MaskedPair, apply_mask
from interpretability.metrics import suite as suite_module
from interpretability.metrics.localisation import (
    energy_precision,
    energy_weighted_auroc,
    intersection_over_union,
    pointing_game,
)
from interpretability.metrics.registry import measure
from interpretability.metrics.suite import DIAGNOSTICS, LOCALISATION, METRICS, MetricSuite, metric_info, summarise_clips
from interpretability.probabilities import predicted_class


class LinearClassifier:
    """logits_c = sum of magnitude * W_c over valid bins. Counts its passes."""

    def __init__(self, weight, task="single"):
        self.weight = weight  # [C, F]
        self.task = task
        self.training = False
        self.thresholds = torch.full((len(weight),), 0.5)
        self.calls = []

    def logits(self, magnitude, valid):
        return torch.einsum("btf,cf->bc", magnitude * valid[:, :, None], self.weight)

    def __call__(self, spectrogram):
        return SimpleNamespace(logits=self.logits(spectrogram.magnitude, spectrogram.valid))

    def classify_pair(self, pair, place):
        self.calls.append(place)
        logits = self.logits(pair.magnitudes, torch.cat([pair.whole.spectrogram.valid] * 2))
        inside, outside = logits.chunk(2)
        return SimpleNamespace(inside=inside, outside=outside)


def batch_of(spectrogram, output, target=None):
    """Return what the suite needs of a batch; by default the predicted class is explained."""
    target = predicted_class(output.logits.float()) if target is None else target
    return SimpleNamespace(clips=SimpleNamespace(spectrogram=spectrogram), output=output, target=target)


def suite_at(classifier, apply="log", place="spectrogram"):
    """Return the suite as a function that measures at one place."""
    suite = MetricSuite(classifier, apply)

    def measure(spectrogram, output, mask, target=None, masked=None, **more):
        batch = batch_of(spectrogram, output, target)
        return suite(batch, mask, [place], masked=masked and {place: masked}, **more)[place]

    return measure


def spectrogram_of(magnitude, lengths=None):
    lengths = torch.tensor(lengths or [magnitude.shape[1]] * magnitude.shape[0])
    return SimpleNamespace(magnitude=magnitude, valid=torch.arange(magnitude.shape[1])[None] < lengths[:, None])


def random_case(seed=0, batch=5, frames=6, bands=4, classes=3, lengths=(6, 2, 4, 6, 5)):
    g = torch.Generator().manual_seed(seed)
    spectrogram = spectrogram_of(torch.rand(batch, frames, bands, generator=g), list(lengths))
    classifier = LinearClassifier(torch.randn(classes, bands, generator=g))
    return classifier, spectrogram, torch.rand(batch, frames, bands, generator=g)


def softmax(logits):
    total = sum(math.exp(v) for v in logits)
    return [math.exp(v) / total for v in logits]


def test_worked_by_hand():
    """Two classes, one per band; A = [[2, 1]], M = [[0.5, 0]], linear: In = [[1, 0]], Out = [[1, 1]]."""
    classifier = LinearClassifier(torch.eye(2))
    spectrogram = spectrogram_of(torch.tensor([[[2.0, 1.0]]]))
    values = suite_at(classifier, apply="linear")(spectrogram, classifier(spectrogram), torch.tensor([[[0.5, 0.0]]]))
    p = 1 / (1 + math.exp(-1))  # logits 2 and 1; In has the same difference, Out has none
    expected = {
        "fid_in": 1.0,
        "ff": p - 0.5,
        "ff_in": 0.0,
        "ad": 0.0,
        "ai": 0.0,
        "ag": 0.0,
        "sps": 0.5,
        "comp": 0.0,
        "comp_rel": 0.0,
        "kept_area": 0.25,
        "p": p,
        "o": p,
        "q": 0.5,
        "silent": 0.0,
        "saturated": 0.0,
    }
    assert values.keys() == expected.keys()
    for name, value in expected.items():
        assert values[name].shape == (1,)
        assert values[name].dtype == torch.float64
        assert values[name].item() == pytest.approx(value, abs=1e-7), name


def test_worked_by_hand_in_the_log_domain_and_for_a_gain():
    """A = [[3, 1]], M = [[1, 0.5]]: In = [[3, sqrt(2) - 1]], Out = [[0, sqrt(2) - 1]]."""
    classifier = LinearClassifier(torch.eye(2))
    spectrogram = spectrogram_of(torch.tensor([[[3.0, 1.0]]]))
    values = suite_at(classifier)(spectrogram, classifier(spectrogram), torch.tensor([[[1.0, 0.5]]]))
    p, o, q = (1 / (1 + math.exp(-d)) for d in (2.0, 4 - math.sqrt(2), 1 - math.sqrt(2)))
    for name, value in {"p": p, "o": o, "q": q, "ff": p - q, "ff_in": p - o, "ad": 0.0, "ai": 100.0}.items():
        assert values[name].item() == pytest.approx(value, abs=1e-6), name
    assert values["ag"].item() == pytest.approx(100 * (o - p) / (1 - p), rel=1e-5)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_formulas_clip_by_clip(seed):
    classifier, spectrogram, mask = random_case(seed)
    target = torch.tensor([0, 1, 2, 0, 1])
    values = suite_at(classifier)(spectrogram, classifier(spectrogram), mask, target)
    for i in range(5):
        length = int(spectrogram.valid[i].sum())
        a, m = spectrogram.magnitude[i, :length], mask[i, :length]
        probabilities = []
        for k in (torch.ones_like(m), m, 1 - m):
            masked = torch.expm1(k * torch.log1p(a)).sum(dim=0)  # [F]
            probabilities.append(softmax([float(masked @ w) for w in classifier.weight]))
        c = int(target[i])
        p, o, q = (x[c] for x in probabilities)
        expected = {
            "fid_in": float(max(range(3), key=probabilities[1].__getitem__) == c),
            "ff": p - q,
            "ff_in": p - o,
            "ad": 100 * max(0.0, p - o) / p,
            "ai": 100.0 * (o > p + 1e-6),
            "ag": 100 * max(0.0, o - p) / (1 - p),
            "kept_area": float(m.double().mean()),
        }
        for name, value in expected.items():
            assert values[name][i].item() == pytest.approx(value, rel=1e-4, abs=1e-5), name


def test_one_pass_or_none():
    classifier, spectrogram, mask = random_case()
    output = classifier(spectrogram)
    suite = suite_at(classifier, place="waveform", apply="linear")
    values = suite(spectrogram, output, mask)
    assert classifier.calls == ["waveform"]
    pair = MaskedPair.of(SimpleNamespace(spectrogram=spectrogram), mask, "linear")
    masked = classifier.classify_pair(pair, "waveform")
    classifier.calls.clear()
    again = suite(spectrogram, output, mask, masked=masked)
    assert classifier.calls == []
    assert all(torch.equal(values[name], again[name]) for name in values)


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("apply", ["log", "linear"])
def test_mask_of_ones(task, apply):
    classifier, spectrogram, mask = random_case()
    classifier.task = task
    values = suite_at(classifier, apply=apply)(spectrogram, classifier(spectrogram), torch.ones_like(mask))
    assert torch.allclose(values["p"], values["o"], atol=1e-6)
    assert values["fid_in"].tolist() == [1.0] * 5
    assert values["ad"].tolist() == pytest.approx([0.0] * 5, abs=1e-3)
    for name in ("ai", "ag"):
        assert values[name].tolist() == [0.0] * 5
    assert values["sps"].tolist() == pytest.approx([0.0] * 5, abs=1e-12)
    assert values["comp"].tolist() == pytest.approx([math.log(4 * n) for n in (6, 2, 4, 6, 5)], abs=1e-12)
    assert values["kept_area"].tolist() == [1.0] * 5


def test_mask_of_zeros():
    classifier, spectrogram, mask = random_case()
    values = suite_at(classifier)(spectrogram, classifier(spectrogram), torch.zeros_like(mask))
    assert values["ff"].tolist() == pytest.approx([0.0] * 5, abs=1e-6)
    for name in ("sps", "comp", "comp_rel"):
        assert torch.isnan(values[name]).all()
    assert values["kept_area"].tolist() == [0.0] * 5


def test_the_complement_swaps_the_two_faithfulnesses_exactly():
    classifier, spectrogram, _ = random_case()
    # Multiples of 1/8, so that 1 - (1 - M) is M to the last bit.
    mask = torch.randint(0, 9, spectrogram.magnitude.shape, generator=torch.Generator().manual_seed(0)) / 8
    suite, output = suite_at(classifier), classifier(spectrogram)
    here, there = suite(spectrogram, output, mask), suite(spectrogram, output, 1 - mask)
    # Swapped, In and Out sit at each other's place in the stacked batch; the sums may round differently there.
    assert torch.allclose(here["ff"], there["ff_in"], rtol=0, atol=1e-6)
    assert torch.allclose(here["ff_in"], there["ff"], rtol=0, atol=1e-6)
    masked = classifier.classify_pair(MaskedPair.of(SimpleNamespace(spectrogram=spectrogram), mask), "spectrogram")
    swapped = SimpleNamespace(inside=masked.outside, outside=masked.inside)
    here, there = (suite(spectrogram, output, mask, masked=x) for x in (masked, swapped))
    assert torch.equal(here["ff"], there["ff_in"])
    assert torch.equal(here["ff_in"], there["ff"])


def test_certain_classifier():
    """p = 1 in float32: no gain, and the clip is flagged as saturated."""
    classifier = LinearClassifier(torch.eye(2))
    spectrogram = spectrogram_of(torch.tensor([[[40.0, 0.0]], [[1.0, 0.0]]]))
    values = suite_at(classifier)(spectrogram, classifier(spectrogram), torch.full((2, 1, 2), 0.9))
    assert values["ag"][0].item() == 0.0
    assert values["ai"][0].item() == 0.0
    assert values["saturated"].tolist() == [1.0, 0.0]


def test_drop_is_not_capped():
    """A second softmax would cap the drop at 63.2."""
    classifier = LinearClassifier(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    spectrogram = spectrogram_of(torch.tensor([[[60.0, 30.0]]]))
    values = suite_at(classifier)(spectrogram, classifier(spectrogram), torch.tensor([[[0.0, 1.0]]]))
    assert values["ad"].item() == pytest.approx(100.0, abs=1e-6)
    assert values["fid_in"].item() == 0.0


def test_silence_loses_nothing_and_is_flagged():
    weight = torch.eye(2)
    classifier = LinearClassifier(weight)
    magnitude = torch.rand(3, 4, 2) + 0.1
    magnitude[1] = 0.0
    magnitude[2, :2] = 0.0  # silent where it is valid; what lies in the padding does not count
    spectrogram = spectrogram_of(magnitude, [4, 4, 2])
    masked = SimpleNamespace(inside=torch.tensor([[0.0, 3.0]] * 3), outside=torch.tensor([[0.0, -3.0]] * 3))
    values = suite_at(classifier)(
        spectrogram, classifier(spectrogram), torch.rand(3, 4, 2), target=torch.tensor([1, 1, 1]), masked=masked
    )
    assert values["silent"].tolist() == [0.0, 1.0, 1.0]
    for name in ("ff", "ff_in", "ad", "ai", "ag"):
        assert values[name][1:].tolist() == [0.0, 0.0]
    assert values["ai"][0].item() == 100.0


def test_ties_go_to_the_lowest_index():
    classifier = LinearClassifier(torch.ones(3, 2))
    spectrogram = spectrogram_of(torch.rand(2, 3, 2))
    suite, mask = suite_at(classifier), torch.rand(2, 3, 2)
    default = suite(spectrogram, classifier(spectrogram), mask)
    named = suite(spectrogram, classifier(spectrogram), mask, target=torch.tensor([0, 0]))
    assert all(torch.equal(default[name], named[name]) for name in default)
    assert default["fid_in"].tolist() == [1.0, 1.0]
    assert suite(spectrogram, classifier(spectrogram), mask, target=torch.tensor([2, 2]))["fid_in"].tolist() == [0, 0]


def test_multi_label_uses_the_sigmoid_of_the_class():
    classifier = LinearClassifier(torch.eye(2), task="multi")
    spectrogram = spectrogram_of(torch.tensor([[[2.0, 1.0]]]))
    values = suite_at(classifier, apply="linear")(
        spectrogram, classifier(spectrogram), torch.tensor([[[0.5, 0.0]]]), target=torch.tensor([1])
    )
    p, o, q = (1 / (1 + math.exp(-x)) for x in (1.0, 0.0, 1.0))
    assert [values[name].item() for name in "poq"] == pytest.approx([p, o, q])
    assert values["ad"].item() == pytest.approx(100 * (p - o) / p)


@pytest.mark.parametrize(
    ("mask", "target", "thresholds", "fid_in"),
    [
        ([1.0, 1.0], 1, [0.5, 0.5], 1.0),  # a mask of ones, though the other class is more probable
        ([1.0, 0.2], 1, [0.5, 0.5], 1.0),
        ([0.0, 1.0], 0, [0.5, 0.7], 1.0),  # sigmoid(0) = 0.5 is still heard
        ([0.0, 1.0], 0, [0.6, 0.5], 0.0),
        ([1.0, 0.1], 1, [0.5, 0.6], 0.0),  # from 0.73 to 0.52
        ([1.0, 0.1], 1, [0.5, 0.9], 1.0),  # not heard before, and not heard now
    ],
)
def test_in_a_multi_label_head_the_explained_class_keeps_its_side_of_its_threshold(mask, target, thresholds, fid_in):
    classifier = LinearClassifier(torch.eye(2), task="multi")
    classifier.thresholds = torch.tensor(thresholds, dtype=torch.float64)
    spectrogram = spectrogram_of(torch.tensor([[[2.0, 1.0]]]))
    values = suite_at(classifier, apply="linear")(
        spectrogram, classifier(spectrogram), torch.tensor([[mask]]), target=torch.tensor([target])
    )
    assert values["fid_in"].tolist() == [fid_in]


def test_batch_order_and_padding_do_not_matter():
    classifier, spectrogram, mask = random_case()
    suite = suite_at(classifier)
    whole = suite(spectrogram, classifier(spectrogram), mask)
    order = torch.tensor([4, 2, 0, 1, 3])
    cases = {"order": (order, slice(None), order)}
    cases |= {f"clip {i}": (slice(i, i + 1), slice(0, int(spectrogram.valid[i].sum())), [i]) for i in range(5)}
    for case, (clips, frames, expected) in cases.items():
        part = SimpleNamespace(
            magnitude=spectrogram.magnitude[clips][:, frames], valid=spectrogram.valid[clips][:, frames]
        )
        values = suite(part, classifier(part), mask[clips][:, frames])
        for name in values:
            assert torch.allclose(values[name], whole[name][expected], atol=2e-4, rtol=1e-5), (case, name)
    longer = SimpleNamespace(
        magnitude=torch.nn.functional.pad(spectrogram.magnitude, (0, 0, 0, 9)),
        valid=torch.nn.functional.pad(spectrogram.valid, (0, 9)),
    )
    values = suite(longer, classifier(longer), torch.nn.functional.pad(mask, (0, 0, 0, 9), value=1.0))
    for name in values:
        assert torch.allclose(values[name], whole[name], atol=2e-4, rtol=1e-5), name


def test_nothing_of_the_callers_is_changed():
    class Module(torch.nn.Module):
        task = "single"

        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(4, 3)

        def classify_pair(self, pair, place):
            inside, outside = self.layer(pair.magnitudes.sum(1)).chunk(2)
            return SimpleNamespace(inside=inside, outside=outside)

    _, spectrogram, mask = random_case()
    module = Module().eval()
    mask.requires_grad_()
    output = SimpleNamespace(logits=module.layer(spectrogram.magnitude.sum(1)))
    before = [x.detach().clone() for x in (spectrogram.magnitude, spectrogram.valid, mask, output.logits)]
    values = suite_at(module)(spectrogram, output, mask)
    assert not any(value.requires_grad for value in values.values())
    assert not module.training
    assert all(parameter.grad is None and parameter.requires_grad for parameter in module.parameters())
    assert mask.grad is None
    assert output.logits.requires_grad
    after = (spectrogram.magnitude, spectrogram.valid, mask, output.logits)
    assert all(torch.equal(x, y) for x, y in zip(before, after, strict=True))
    with pytest.raises(ValueError, match="training mode"):
        suite_at(module.train())(spectrogram, output, mask)


def test_of_clips_without_an_explanation_nothing_is_measured():
    classifier, spectrogram, mask = random_case()
    truth = torch.rand(mask.shape, generator=torch.Generator().manual_seed(9)) < 0.5
    undefined = torch.tensor([False, True, False, False, True])
    mask[undefined] = 0
    suite, output = suite_at(classifier), classifier(spectrogram)
    whole = suite(spectrogram, output, mask, truth=truth)
    values = suite(spectrogram, output, mask, truth=truth, undefined=undefined)
    assert list(values) == list(whole)
    for name, value in values.items():
        about_the_clip = name in ("p", "silent", "saturated")
        assert torch.equal(value[~undefined], whole[name][~undefined]), name
        if about_the_clip:
            assert torch.equal(value, whole[name]), name
        else:
            assert value[undefined].isnan().all(), name
    none = suite(spectrogram, output, mask, truth=truth, undefined=torch.zeros(5, dtype=torch.bool))
    assert all(torch.equal(none[name].nan_to_num(-9), whole[name].nan_to_num(-9)) for name in whole)
    summary = summarise_clips(rows_of(values))
    assert [(summary[name]["n"], summary[name]["undefined"]) for name in METRICS] == [(3, 2)] * len(METRICS)


def test_half_precision_logits():
    classifier, spectrogram, mask = random_case()
    output = SimpleNamespace(logits=classifier(spectrogram).logits.bfloat16())
    masked = SimpleNamespace(inside=output.logits, outside=output.logits)
    values = suite_at(classifier)(spectrogram, output, mask, masked=masked)
    assert torch.equal(values["p"], values["o"])


# ---- Localisation ----


@pytest.mark.parametrize("apply", ["log", "linear"])
def test_with_the_truth_known_localisation_is_measured_too(apply):
    classifier, spectrogram, mask = random_case()
    truth = torch.rand(mask.shape, generator=torch.Generator().manual_seed(9)) < 0.5
    magnitude, valid = spectrogram.magnitude, spectrogram.valid
    suite, output = suite_at(classifier, apply=apply), classifier(spectrogram)
    without, values = suite(spectrogram, output, mask), suite(spectrogram, output, mask, truth=truth)
    assert set(values) - set(without) == set(LOCALISATION)
    assert all(torch.equal(values[name], without[name]) for name in without)
    expected = {
        "energy_precision": energy_precision(apply_mask(magnitude, mask, apply), truth, valid),
        "auroc": energy_weighted_auroc(mask, truth, magnitude, valid),
        "pointing_game": pointing_game(mask, truth, valid),
        "iou": intersection_over_union(mask, truth, valid),
    }
    for name, value in expected.items():
        assert torch.equal(values[name], value), name


def test_energy_precision_is_that_of_what_is_heard():
    """A mask of single bins smears over their neighbours when it is turned into sound."""
    frontend = Frontend()
    wavs = torch.randn(2, 6000, generator=torch.Generator().manual_seed(0))
    clips = frontend.clips(wavs, torch.tensor([1.0, 0.6]))
    spectrogram = clips.spectrogram
    mask = torch.zeros_like(spectrogram.magnitude)
    mask[:, 3::8, 5::16] = 1.0
    truth = mask.bool()  # all that is kept lies in it, until it is heard
    classifier = LinearClassifier(torch.randn(2, 513, generator=torch.Generator().manual_seed(1)))
    suite, output = MetricSuite(classifier), classifier(spectrogram)
    batch = SimpleNamespace(clips=clips, output=output, target=predicted_class(output.logits))
    values = suite(batch, mask, PLACES, truth=truth)
    for place in PLACES:  # together or one by one
        alone = suite(batch, mask, [place], truth=truth)
        assert list(alone) == [place]
        assert list(alone[place]) == list(values[place])
        assert all(torch.equal(alone[place][name], values[place][name]) for name in alone[place])
    assert values["spectrogram"]["energy_precision"].tolist() == [1.0, 1.0]
    for i, length in enumerate((6000, 3600)):
        alone = frontend.analyse(wavs[i : i + 1, :length])
        frames = alone.magnitude.shape[1]
        sound = frontend.resynthesise(alone, alone.magnitude * mask[i : i + 1, :frames])
        heard = frontend.analyse(sound).magnitude[0].double() ** 2
        expected = (heard[truth[i, :frames]].sum() / heard.sum()).item()
        assert values["waveform"]["energy_precision"][i].item() == pytest.approx(expected, abs=1e-5)
        assert expected < 0.5
    for name in ("auroc", "pointing_game", "iou"):
        assert torch.equal(values["spectrogram"][name], values["waveform"][name])


def test_bad_input():
    classifier, spectrogram, mask = random_case()
    output, suite = classifier(spectrogram), suite_at(classifier)
    with pytest.raises(ValueError, match="place is 'room', expected one of spectrogram, waveform"):
        MetricSuite(classifier)(batch_of(spectrogram, output), mask, ["spectrogram", "room"])
    with pytest.raises(ValueError, match="apply is 'square', expected one of log, linear"):
        MetricSuite(classifier, apply="square")
    with pytest.raises(ValueError, match=r"mask has shape \[5, 5, 4\], the magnitude has \[5, 6, 4\]"):
        suite(spectrogram, output, mask[:, :5])
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        suite(spectrogram, output, 2 * torch.ones_like(mask))
    with pytest.raises(ValueError, match=r"target has shape \[5, 1\]"):
        suite(spectrogram, output, mask, target=torch.zeros(5, 1, dtype=torch.long))
    for value in (float("nan"), float("inf")):
        bad = mask.clone()
        bad[3, 0, 0] = value
        with pytest.raises(ValueError, match=r"not finite in clips \[3\]"):
            suite(spectrogram, output, bad)
    assert classifier.calls == []  # all of it is found before the classifier runs
    with pytest.raises(ValueError, match="logits of In and Out"):
        suite(spectrogram, output, mask, masked=SimpleNamespace(inside=output.logits[:1], outside=output.logits))


def rows_of(values):
    return [{name: values[name][i].item() for name in values} for i in range(len(values["p"]))]


def test_the_order_of_columns_and_results():
    assert list(METRICS) == ["fid_in", "ff", "ff_in", "ad", "ai", "ag", "sps", "comp", "comp_rel", "kept_area"]
    assert list(LOCALISATION) == ["energy_precision", "auroc", "pointing_game", "iou"]
    assert [name for name, info in METRICS.items() if info.depends_on_place] == list(METRICS)[:6]
    assert [name for name, info in LOCALISATION.items() if info.depends_on_place] == ["energy_precision"]


def test_what_does_not_depend_on_the_place_is_computed_once(monkeypatch):
    names = []

    def listed(metrics, given):
        values = measure(metrics, given)
        names.extend(values)
        return values

    monkeypatch.setattr(suite_module, "measure", listed)
    classifier, spectrogram, mask = random_case()
    MetricSuite(classifier)(batch_of(spectrogram, classifier(spectrogram)), mask, PLACES)
    assert classifier.calls == list(PLACES)
    assert [names.count(name) for name in METRICS] == [2] * 6 + [1] * 4


def test_every_metric_is_registered_and_measured():
    classifier, spectrogram, mask = random_case()
    values = suite_at(classifier)(spectrogram, classifier(spectrogram), mask)
    assert set(values) == set(METRICS) | set(DIAGNOSTICS)
    assert list(values)[: len(METRICS)] == list(METRICS)
    assert all(name == info.name and info.better in ("high", "low", "none") for name, info in METRICS.items())


def test_summary_leaves_silence_out_and_counts_it():
    base = dict.fromkeys(METRICS, 0.0)
    rows = [
        base | {"ad": 10.0, "ag": 1.0, "sps": None, "saturated": 1.0},
        base | {"ad": 20.0, "ag": 2.0, "sps": math.nan},
        base | {"ad": 60.0, "ag": 90.0, "sps": 0.7, "silent": 0.0},
        base | {"ad": 0.0, "ag": 0.0, "sps": 0.1, "silent": 1.0, "saturated": 1.0},
    ]
    summary = summarise_clips(rows)
    assert (summary["clips"], summary["silent"]) == (3, 1)
    assert summary["ad"]["mean"] == pytest.approx(30.0)
    assert (summary["ad"]["n"], summary["ad"]["undefined"]) == (3, 0)
    assert 10.0 <= summary["ad"]["low"] < summary["ad"]["mean"] < summary["ad"]["high"] <= 60.0
    assert summary["sps"] == {"mean": 0.7, "low": 0.7, "high": 0.7, "n": 1, "undefined": 2}
    assert summary["median_ag"] == 2.0
    assert summary["share_saturated"] == pytest.approx(1 / 3)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    with pytest.raises(ValueError, match="row 0 has no fid_in"):
        summarise_clips([{"ad": 1.0}])


def test_summary_of_nothing_but_silence():
    summary = summarise_clips([dict.fromkeys(METRICS, 0.0) | {"silent": 1.0}])
    assert (summary["clips"], summary["silent"]) == (0, 1)
    assert summary["ad"]["mean"] is None
    assert summary["median_ag"] is None
    assert summary["share_saturated"] is None


def test_summary_of_the_suite():
    classifier, spectrogram, mask = random_case()
    mask[2] = 0.0
    rows = rows_of(suite_at(classifier)(spectrogram, classifier(spectrogram), mask))
    summary = summarise_clips(rows)
    assert summary["comp"]["undefined"] == 1
    assert summary["ff"]["n"] == 5
    assert summary["ff"]["mean"] == pytest.approx(sum(row["ff"] for row in rows) / 5)


def test_every_metric_says_how_to_read_it():
    for name, info in (METRICS | LOCALISATION).items():
        assert metric_info(name) is info
        assert info.name == name
    assert not METRICS.keys() & LOCALISATION.keys()
    assert all(info.better == "high" for info in LOCALISATION.values())
    for name, label in {"fid_top1": "top-1 fidelity", "fid_top10": "top-10 fidelity"}.items():
        assert (metric_info(name).label, metric_info(name).better) == (label, "high")
    assert (metric_info("n_components").label, metric_info("n_components").better) == ("n components", "none")


def test_summary_of_chosen_columns():
    rows = [dict.fromkeys(METRICS, 0.0) | {"iou": value} for value in (0.2, None, 0.4)]
    assert "iou" not in summarise_clips(rows)
    summary = summarise_clips(rows, names=[*METRICS, "iou"])
    assert summary["iou"]["mean"] == pytest.approx(0.3)
    assert (summary["iou"]["n"], summary["iou"]["undefined"]) == (2, 1)
    with pytest.raises(ValueError, match="row 0 has no auroc"):
        summarise_clips(rows, names=["ag", "auroc"])


def test_intervals_of_rows_for_each_label_are_over_clips():
    rows = [dict.fromkeys(METRICS, float(clip % 4)) | {"clip": f"{clip}"} for clip in range(20) for _ in range(5)]
    by_clip, by_row = (summarise_clips(rows, by_clip=clustered) for clustered in (True, False))
    assert by_clip["ad"]["mean"] == by_row["ad"]["mean"] == 1.5
    assert by_clip["ad"]["n"] == by_clip["clips"] == 100
    assert by_clip["ad"]["high"] - by_clip["ad"]["low"] > 2 * (by_row["ad"]["high"] - by_row["ad"]["low"])
