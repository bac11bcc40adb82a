"""What is asked for: which classes, what identifies a result, and where it goes."""

from pathlib import Path

import pytest
import soundfile
import tiny
import torch

from interpretability.commands.explainers import Explainer
from interpretability.commands.models import Model
from interpretability.commands.work import Choice, Sound, Work, asked_of, listed_sound
from interpretability.data.sound_list import ListedSound
from interpretability.errors import UserError
from interpretability.files import sha256

EXPLAINER = Explainer(
    "energy", {"classifier": "compact", "classifier_sha256": "1", "sha256": None}, lambda sounds: None
)
OTHER = Explainer("a/b", {"classifier": "compact", "classifier_sha256": "1", "sha256": "2"}, lambda sounds: None)


@pytest.fixture(scope="module")
def model():
    return Model("folder", tiny.listening_classifier(tiny.LABELS, frontend={"sample_rate": tiny.RATE}))


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Choice("dog", 2), "--target and --top_k are given"),
        (Choice(None, 2, True), "--top_k and --every_label are given"),
        (Choice(None, 4), "top_k is 4, expected a number from 1 to 3"),
        (Choice(None, 0), "top_k is 0"),
        (Choice("wolf"), "no class 'wolf'"),
    ],
)
def test_classes_that_cannot_be_chosen(model, choice, words):
    with pytest.raises(UserError, match=words):
        asked_of(model, choice)


def test_what_is_asked_in_place_of_a_class_is_part_of_the_request(model):
    sound, requests = Sound("a", Path("a.wav"), lambda: None, {"sha256": "0"}), []
    for target in ("cat", "cat|dog", "dog | cat", "cat - dog", "dog - cat"):
        asked, choice = asked_of(model, Choice(target))
        requests.append(Work(asked, [EXPLAINER], choice, Path("out")).request(sound, EXPLAINER))
    assert requests[1] == requests[2]
    assert all(a != b for k, a in enumerate(requests) for b in requests[:k] if (a, b) != (requests[2], requests[1]))
    assert [request["target"] for request in requests] == ["cat", "cat|dog", "cat|dog", "cat - dog", "dog - cat"]


def test_a_class_by_its_name_and_by_its_index_is_the_same_request(model):
    sound = Sound("a", Path("a.wav"), lambda: None, {"sha256": "0"})
    works = [Work(model, [EXPLAINER], Choice(target), Path("out")) for target in ("dog", "1", None)]
    named, numbered, none = (work.request(sound, EXPLAINER) for work in works)
    assert named == numbered != none


def test_each_of_several_methods_has_a_folder(model):
    one, two = (Work(model, each, Choice(), Path("out")) for each in ([EXPLAINER], [EXPLAINER, OTHER]))
    assert one.folder("x/y", EXPLAINER) == Path("out/x/y")
    assert two.folder("x/y", EXPLAINER) == Path("out/x/y/energy")
    assert two.folder("", OTHER).parent == Path("out")
    assert (one.record()["folder_per_method"], two.record()["folder_per_method"]) == (False, True)
    assert two.record()["methods"] == {"energy": None, "a/b": "2"}


def test_a_sound_of_a_list_is_identified_by_its_content_and_its_part(model, tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, tiny.noise(8000).numpy() / 10, tiny.RATE, subtype="FLOAT")
    sound = listed_sound(ListedSound(path, "a", 0.25, 0.75, "dog"), model.classifier, "left")
    assert sound.content == {"start": 0.25, "end": 0.75, "channel": "left", "sha256": sha256(path)}
    torch.testing.assert_close(sound.read().wavs, tiny.noise(8000)[None, 2000:6000] / 10)
    with pytest.raises(UserError, match="no such audio file"):
        listed_sound(ListedSound(tmp_path / "none.wav", "none"), model.classifier, "mean").read()
