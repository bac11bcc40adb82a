"""One sound by one method: which classes, what identifies the result, and what is written."""

import json

import pytest
import tiny

from interpretability.commands.explainers import Explainer
from interpretability.commands.models import Model
from interpretability.commands.one_sound import explain_sound, words, write_explanation
from interpretability.commands.work import Choice, Sound, Work
from interpretability.data.inputs import Origin, Sounds
from interpretability.errors import UserError
from interpretability.methods.baselines import EnergyMask
from interpretability.report import figures
from interpretability.report.destination import finished

FRONTEND = {"sample_rate": tiny.RATE}


@pytest.fixture(scope="module")
def energy():
    return EnergyMask(tiny.listening_classifier(tiny.LABELS, frontend=FRONTEND)).eval()


@pytest.fixture
def explainer(energy):
    return Explainer("energy", {**energy.identity(), "settings": energy.settings.to_dict()}, lambda sounds: energy)


@pytest.fixture
def sound(tmp_path):
    taken = Sounds(tiny.noise(1, 2000), None, (Origin(label="noise"),))
    return Sound("noise", tmp_path / "noise.wav", lambda: taken, {"sha256": "0"}, "dog")


@pytest.mark.parametrize("top_k", [1, 2])
def test_what_is_written_is_known_again(sound, explainer, energy, tmp_path, monkeypatch, top_k):
    monkeypatch.setattr(figures, "plot_explanation", lambda *arguments, **settings: None)
    monkeypatch.setattr(figures, "save_figure", lambda figure, path, *more, **settings: path.write_bytes(b"figure"))
    choice, out = Choice(None, top_k), tmp_path / "out"
    explained = explain_sound(sound, sound.read(), explainer, choice, out)
    assert not out.exists()
    model = Model("folder", energy.classifier)
    request = json.loads(json.dumps(Work(model, [explainer], choice, out).request(sound, explainer)))
    results = write_explanation(explained, out, request, model, sound.label)
    probabilities = [result.description["explained_probability"] for result in results]
    assert len(results) == top_k
    assert probabilities == sorted(probabilities, reverse=True)
    for result in results:
        assert result.folder == (out if top_k == 1 else out / result.description["explained"])
        assert result.description["true"] == "dog"
        assert "written to" in words(result, "single")
    known = finished(out, request, choice.several)
    assert list(known) == [result.folder for result in results]
    assert all(known[result.folder]["sentences"] == result.description["sentences"] for result in results)
    assert finished(out, {**request, "target": "rain"}, choice.several) == {}
    assert finished(out, request, not choice.several) == {}


def test_a_folder_that_may_not_be_replaced_is_refused_before(sound, explainer, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'notes\.txt'"):
        explain_sound(sound, sound.read(), explainer, Choice(), tmp_path / "out")
