"""The methods that a command line names: trained ones, others of the same classifier, and those without training."""

import argparse

import pytest
import tiny
import torch

from interpretability.classifiers import load_classifier
from interpretability.commands.explainers import make_explainers
from interpretability.commands.models import Model
from interpretability.data.inputs import Origin, Sounds
from interpretability.errors import UserError
from interpretability.methods import load_interpreter

SOUNDS = Sounds(tiny.noise(1, 2000), None, (Origin(),))


def arguments(method=None, *settings, refine_steps=0):
    line = {"method": method, "settings": list(settings), "refine_steps": refine_steps}
    return argparse.Namespace(**line, trust_remote_code=False, device="cpu")


@pytest.fixture(scope="module")
def classifier(tiny_classifier_folder):
    return Model("folder", load_classifier(tiny_classifier_folder))


@pytest.fixture(scope="module")
def trained(tiny_piq_run):
    interpreter = load_interpreter(tiny_piq_run)
    return Model(str(tiny_piq_run), interpreter.classifier, interpreter)


def test_the_default_is_the_trained_method_or_one_without_training(classifier, trained):
    (piq,) = make_explainers(trained, arguments())
    assert (piq.name, piq.make(SOUNDS)) == ("piq", trained.interpreter)
    (default,) = make_explainers(classifier, arguments())
    assert default.name == default.identity["method"] == "integrated_gradients"
    assert default.make(SOUNDS) is default.make(SOUNDS)


def test_several_methods_each_with_its_settings(trained, tiny_lmac_run):
    line = arguments(f"piq, saliency,energy,{tiny_lmac_run}", "saliency.form=soft", "apply=linear", "energy.area=0.5")
    explainers = make_explainers(trained, line)
    assert [explainer.name for explainer in explainers] == ["piq", "saliency", "energy", "lmac"]
    settings = [explainer.identity["settings"] for explainer in explainers]
    assert (settings[1]["form"], settings[1]["apply"]) == ("soft", "linear")
    assert (settings[2]["area"], settings[2]["apply"]) == (0.5, "linear")
    assert settings[0]["apply"] == "log"  # a trained method has its own
    assert len({explainer.identity["classifier_sha256"] for explainer in explainers}) == 1


def test_a_dictionary_is_learned_from_each_sound_or_given(classifier):
    (nmf,) = make_explainers(classifier, arguments("nmf", "n_components=2"))
    assert nmf.learns
    assert nmf.identity["settings"] == {"n_components": 2}
    first, second = nmf.make(SOUNDS), nmf.make(SOUNDS)
    assert first is not second
    assert first.settings.dictionary["n_components"] == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (arguments("magic"), "no method 'magic'"),
        (arguments("saliency,"), "--method is 'saliency,', expected names with a comma between"),
        (arguments("lmac"), "lmac has to be trained"),
        (arguments("energy,energy"), "--method names energy twice"),
        (arguments("energy", "random.seed=1"), "--settings name the method 'random', which --method does not"),
        (arguments("energy,random", "seed=1"), "energy has no setting 'seed'"),
    ],
    ids=range(6),
)
def test_methods_that_there_are_not(classifier, line, words):
    with pytest.raises(UserError, match=words):
        make_explainers(classifier, line)


def test_a_run_that_explains_another_classifier(tiny_piq_run):
    other = Model("other", tiny.listening_classifier(tiny.LABELS))
    with pytest.raises(UserError, match="explains another classifier than other: give a run that explains it"):
        make_explainers(other, arguments(str(tiny_piq_run)))


def test_the_model_itself_may_refuse_a_sound(classifier, monkeypatch):
    (explainer,) = make_explainers(classifier, arguments("energy"))

    def refuse(*_):
        raise RuntimeError("too short for me")

    monkeypatch.setattr(classifier.classifier, "classify", refuse)
    with pytest.raises(UserError, match=r"cannot be run on 0\.25 s of sound \(too short for me\)"):
        explainer.make(Sounds(torch.zeros(1, 2000), None, (Origin(),)))


def test_every_method_can_be_refined_and_its_identity_says_so(classifier):
    plain, better = (
        make_explainers(classifier, arguments("energy,nmf", "nmf.n_components=2", refine_steps=steps))
        for steps in (0, 2)
    )
    for one, other in zip(plain, better, strict=True):
        assert other.identity == one.identity | {"refine_steps": 2}
        assert other.make(SOUNDS).title == f"{one.make(SOUNDS).title}, refined"
    with pytest.raises(UserError, match=r"^refine_steps is -1, expected"):
        make_explainers(classifier, arguments("energy", refine_steps=-1))
