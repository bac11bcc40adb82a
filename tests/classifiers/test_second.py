"""A second classifier that hears the masks of a first one: classes by name, one STFT, a level rule of its own."""

import pytest
import soundfile
import torch
from tiny import LABELS, SMALL, noise

from interpretability.classifiers import save_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.second import asked_alike, heard_by, open_second
from interpretability.classifiers.targeted import targeted
from interpretability.errors import MissingError, UserError
from interpretability.frontend import FrontendSettings

STFT = {"sample_rate": 8000, "n_fft": 64, "win_length_ms": 8.0, "hop_length_ms": 4.0}


def compact(labels=LABELS, frontend=SMALL, seed=0):
    torch.manual_seed(seed)
    return CompactClassifier(labels, frontend, n_mels=8, channels=(4, 4, 4, 4)).freeze()


def test_it_hears_the_same_clips_and_the_same_classes_in_another_order(tmp_path):
    first = compact()
    other = compact(["rain", "wolf", "dog", "cat"], FrontendSettings(**STFT, level="none"), seed=1)
    save_classifier(other, tmp_path / "run" / "classifier")
    second = open_second(tmp_path / "run", first)
    batch = first.analyse(noise(2, 4000), torch.tensor([1.0, 0.5]), target=["cat", "rain"])
    heard = heard_by(second, first, batch)
    assert heard.target.tolist() == [3, 0]
    torch.testing.assert_close(heard.clips.wavs, batch.clips.wavs)  # without a rule the level stays
    wanted = second.analyse(batch.clips.wavs, torch.tensor([1.0, 0.5])).output.logits
    torch.testing.assert_close(heard.output.logits, wanted)


@pytest.mark.parametrize("target", ["cat|dog", "cat|dog - rain", "dog - cat"])
def test_it_answers_the_question_that_the_first_one_answers(target):
    first, second = compact(), compact(["rain", "wolf", "dog", "cat"], seed=1)
    asked = targeted(first, target)
    batch = asked.analyse(noise(2, 4000), target=target)
    alike = asked_alike(second, asked)
    heard = heard_by(alike, asked, batch)
    assert [alike.labels[k] for k in heard.target.tolist()] == [target] * 2
    torch.testing.assert_close(heard.output.logits, targeted(second, target).analyse(noise(2, 4000)).output.logits)
    assert asked_alike(second, first) is second


def test_a_likeness_is_asked_of_one_classifier(tmp_path):
    path = tmp_path / "ref.wav"
    soundfile.write(path, noise(4000).numpy() / 10, 8000)
    with pytest.raises(UserError, match=r"'like ref.wav' is asked of one classifier, by its embeddings"):
        asked_alike(compact(seed=1), targeted(compact(), f"like:{path}"))


def test_one_that_cannot_hear_them_is_refused_in_one_line(tmp_path):
    first = compact()
    for name, labels, frontend in (
        ("labels", ["cat", "dog"], SMALL),
        ("stft", LABELS, FrontendSettings(**STFT | {"n_fft": 128})),
    ):
        save_classifier(compact(labels, frontend), tmp_path / name)
    with pytest.raises(UserError, match="has no class 'rain', which the explained classifier has: give"):
        open_second(tmp_path / "labels", first)
    with pytest.raises(UserError, match=r"has n_fft 128, the explained classifier 64: .*same front end$"):
        open_second(tmp_path / "stft", first)
    with pytest.raises(MissingError):
        open_second(tmp_path / "nothing", first)
