"""Clips for a page: the same from memory and from a saved folder, and what they hold is what was explained."""

import base64
import io
import json

import numpy as np
import pytest
import soundfile
import tiny
import torch
from matplotlib.image import imread

from interpretability.errors import MissingError, UserError
from interpretability.methods.baselines import EnergyMask
from interpretability.report.clips import SOUNDS, Clip

RATE = 16000
ODD = "<b>&'\""
EVENT = {"label": ODD, "start": 0.1, "end": 0.3, "low": 900.0, "high": 1100.0, "share": 0.8}
EVENT |= {"probability": 0.9, "alone": 0.7, "without": 0.2}


def content(uri):
    return io.BytesIO(base64.b64decode(uri.partition(",")[2], validate=True))


@pytest.fixture(scope="module")
def explanation():
    classifier = tiny.listening_classifier([ODD, *(f"class {k}" for k in range(6))])
    t = torch.arange(RATE // 2) / RATE
    tone = 0.5 * torch.sin(2 * torch.pi * 1000 * t) * (t > 0.25)
    return EnergyMask(classifier, area=0.1).explain(torch.stack([tone, tiny.noise(RATE // 2)]))


@pytest.fixture(scope="module")
def folder(explanation, tmp_path_factory):
    folder = tmp_path_factory.mktemp("saved") / "tone"
    explanation.save(folder, 0, true_label="class 3")
    return folder


@pytest.fixture(scope="module")
def clip(explanation):
    described = {**explanation.describe(0), "events": [EVENT]}
    return Clip.of(explanation, 0, "tone", "class 3", described=described)


def test_a_clip_says_what_was_explained(explanation, clip):
    described = explanation.describe(0)
    assert (clip.name, clip.method, clip.true, clip.sample_rate) == ("tone", "energy", ("class 3",), RATE)
    assert clip.predicted == described["predicted"]
    assert clip.correct == (clip.predicted == "class 3")
    assert clip.seconds == 0.5
    assert clip.kept_area == pytest.approx(0.1, abs=0.01)
    known = [each["input"] for each in clip.classes[:5]]
    assert known == sorted(known, reverse=True)
    labels = [each["label"] for each in clip.classes]
    assert "class 3" in labels
    assert len(labels) == len(set(labels)) in (5, 6, 7)
    for each in clip.classes:
        assert {part: each[part] for part in SOUNDS} == described["probabilities"][each["label"]]
    assert clip.events == (EVENT,)


def test_the_sounds_are_those_of_the_explanation(explanation, clip):
    for part, wav in zip(SOUNDS, (explanation.sound, explanation.listenable, explanation.residual), strict=True):
        heard, rate = soundfile.read(content(getattr(clip, part)))
        assert rate == RATE
        assert len(heard) == RATE // 2
        assert np.dot(wav[0].numpy(), heard) > 0.9 * float(wav[0].square().sum())


def test_the_pictures_show_level_and_mask_where_they_are(explanation, clip):
    levels, mask = (imread(content(picture), format="webp") for picture in (clip.spectrogram, clip.mask))
    assert levels.shape[:2] == mask.shape[:2]
    height, width = mask.shape[:2]
    left, right, bottom, top = clip.extent
    assert left < 0 < right
    assert bottom < 0
    assert top > RATE / 2
    bright = levels[..., :3].sum(-1, dtype=float)
    row, column = np.unravel_index(bright.argmax(), bright.shape)
    assert abs(top - (row + 0.5) * (top - bottom) / height - 1000) < 60
    assert 0.22 < left + column * (right - left) / width <= 0.5
    clear = 1 - mask[..., 3] / 255
    assert clear.mean() == pytest.approx(float(explanation.mask[0].mean()), abs=0.02)
    assert clear[row, column] == 1


def test_a_saved_folder_gives_the_same_clip(explanation, folder):
    described = json.loads((folder / "explanation.json").read_text("utf-8"))
    in_memory = Clip.of(explanation, 0, "tone", "class 3", described=described).to_dict()
    saved = Clip.of_folder(folder, "tone").to_dict()
    assert in_memory.pop("extent") == pytest.approx(saved.pop("extent"))
    assert in_memory == saved


def test_a_clip_can_be_written_as_json_and_read_back(clip):
    assert Clip.of_saved(json.loads(json.dumps(clip.to_dict()))) == clip


def test_several_true_labels_need_a_word_on_whether_they_are_heard(explanation):
    assert Clip.of(explanation, 1, true=["class 1", "class 2"]).correct is None
    assert Clip.of(explanation, 1, true=["class 1", "class 2"], correct=False).correct is False
    unknown = Clip.of(explanation, 1)
    assert (unknown.name, unknown.true, unknown.correct) == ("clip 1", (), None)


def test_a_damaged_folder_is_one_line(folder, tmp_path):
    with pytest.raises(MissingError, match=r"explanation\.json"):
        Clip.of_folder(tmp_path)
    described = json.loads((folder / "explanation.json").read_text("utf-8"))
    for change, expected in (
        ({"title": None, "probabilities": 3}, "is no whole explanation"),
        ({}, r"mask\.npz: no such file"),
    ):
        (tmp_path / "explanation.json").write_text(json.dumps({**described, **change}), "utf-8")
        if change:
            for name in ("mask.npz", *(f"{part}.wav" for part in SOUNDS)):
                (tmp_path / name).write_bytes((folder / name).read_bytes())
        else:
            (tmp_path / "mask.npz").unlink()
        with pytest.raises(UserError, match=expected):
            Clip.of_folder(tmp_path)
    (tmp_path / "mask.npz").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(UserError, match="is no whole explanation"):
        Clip.of_folder(tmp_path)
    del described["sentences"]
    (tmp_path / "explanation.json").write_text(json.dumps(described), "utf-8")
    with pytest.raises(UserError, match="lacks sentences"):
        Clip.of_folder(tmp_path)
