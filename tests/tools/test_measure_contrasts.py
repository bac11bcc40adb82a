"""``tools/measure_contrasts.py``: which pairs are explained, what is measured of each, and what is refused."""

import pytest
import tiny
import torch

from interpretability.errors import UserError
from interpretability.metrics.localisation import energy_precision


def tone(hertz, n=8000):
    return torch.sin(2 * torch.pi * hertz * torch.arange(n) / 16000)


@pytest.fixture
def clips():
    sources = {"cat": tone(700.0), "dog": tone(3000.0), "rain": tone(6000.0)}
    some = {label: sources[label] for label in ("cat", "dog")}
    return [
        {"id": "both", "signal": sum(some.values()) + 0.01 * tiny.noise(8000), "target_signals": some},
        {"id": "one", "signal": sources["rain"], "target_signals": {"rain": sources["rain"]}},
    ]


def test_each_ordered_pair_of_labels_that_are_heard_is_measured_against_both_sources(tool, clips):
    classifier = tiny.listening_classifier(["cat", "dog", "rain"], task="multi")
    classifier.use_thresholds([1e-12] * 3)  # everything is heard
    rows = list(tool.explain_pairs(classifier, clips, ("energy", "saliency")))
    kinds = [(row["a"], row["b"], row["explained"], row["method"]) for row in rows]
    assert kinds == [
        (a, b, kind, method)
        for a, b in (("cat", "dog"), ("dog", "cat"))
        for kind in tool.KINDS
        for method in ("energy", "saliency")
    ]
    assert {row["clip"] for row in rows} == {"both"}
    by_kind = dict(zip(kinds, rows, strict=True))
    for a, b in (("cat", "dog"), ("dog", "cat")):
        # The loudest bins are the same whatever is asked, and what is a's in one pair is b's in the other.
        one, other, turned = (by_kind[key] for key in ((a, b, "the class a", "energy"), (a, b, "a - b", "energy"),
                                                       (b, a, "a - b", "energy")))  # fmt: skip
        assert (one["own"], one["other"]) == (other["own"], other["other"]) == (turned["other"], turned["own"])
        assert one["own"] + one["other"] == pytest.approx(1, abs=0.05)  # two tones, and nothing else
        assert by_kind[a, b, "a - b", "saliency"] != by_kind[a, b, "the class a", "saliency"]
    facts = {"data": "toy", "split": "test", "clips": 2, "seed": 0, "classifier": "c" * 64, "commit": "d" * 40}
    text = tool.document(rows, facts)
    assert "n: 2 ordered pairs of labels that are both heard, of 1 of 2 clips" in text
    assert "| energy | +0.00 [+0.00, +0.00] | +0.00 [+0.00, +0.00] | +0.00 [+0.00, +0.00] |" in text


def test_the_true_bins_are_those_of_the_source(tool, clips):
    """The explanation of a class is measured as the metric does it from the two tones, by hand."""
    classifier = tiny.listening_classifier(["cat", "dog", "rain"], task="multi")
    classifier.use_thresholds([1e-12] * 3)
    row = next(iter(tool.explain_pairs(classifier, clips[:1], ("energy",))))
    batch = classifier.analyse(clips[0]["signal"][None])
    cut = 115  # of 513 bins of 15.6 Hz, between the tones
    low = torch.zeros_like(batch.spectrogram.magnitude, dtype=torch.bool)
    low[..., :cut] = True
    assert row["own"] == pytest.approx(float(energy_precision(batch.spectrogram.magnitude, low)), abs=0.03)


@pytest.mark.slow
def test_a_run_without_several_labels_is_refused(tool, tiny_piq_run, tmp_path):
    with pytest.raises(UserError, match="expected a classifier's run on Synthetic with several labels"):
        tool.run_all(
            tool.argparse.Namespace(run=tiny_piq_run, data_folder=None, split="test", clips=None, out=tmp_path)
        )
