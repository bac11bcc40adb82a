"""The page of explanations as a file: what it holds, in which order, and that names stay text."""

import base64
import hashlib
import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from page_clips import clip_of, lines_of, summary_of

from interpretability.errors import UserError
from interpretability.report.html_report import about_evaluation, write_report

ODD = "</script><script>alert(1)</script> \"'&<b> \U0001f426 \u05d0\u05d1 \u202e"
SHOWN = ODD.replace("\u202e", "\\u202e")


class Page(HTMLParser):
    """Collects elements, texts and the data of clips."""

    def __init__(self, path):
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.elements, self.text, self.data, self.scripts, self._of = [], [], [], [], None
        self.feed(self.source)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._of = (tag, dict(attrs).get("type"))

    def handle_endtag(self, tag):
        self._of = None

    def handle_data(self, data):
        if self._of == ("script", "application/json"):
            self.data.append(json.loads(data))
        elif self._of == ("script", None):
            self.scripts.append(data)
        elif self._of != ("style", None):
            self.text.append(data)

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]


def page_of(path, clips, title="A title", **more):
    return Page(write_report(path / "report.html", clips, title, **more))


def test_names_are_text_wherever_they_stand(tmp_path):
    clips = [clip_of(SHOWN, method=SHOWN, true=SHOWN, predicted=SHOWN, sentences=(SHOWN,), notes=(SHOWN,))]
    page = page_of(tmp_path, clips, ODD, about={"Model": ODD})
    assert len(page.all("script")) == 2
    assert len(page.all("b")) == 2  # the true and the predicted class
    text = " ".join(" ".join(page.text).split())
    assert text.count(" ".join(SHOWN.split())) >= 5
    assert page.data[0]["name"] == page.data[0]["views"][0]["method"] == SHOWN
    assert "\u202e" not in page.source
    assert "alert" not in page.scripts[0]


def test_nothing_is_asked_of_any_other_place_and_no_other_script_runs(tmp_path):
    page = page_of(tmp_path, [clip_of("a")])
    for _, attrs in page.elements:
        assert not attrs.keys() & {"src", "srcset", "action", "data"}
        assert attrs.get("href", "#").startswith("#")
        assert not [name for name in attrs if name.startswith("on")]
    policy = page.all("meta")[1]["content"]
    assert "default-src 'none'" in policy
    digest = base64.b64encode(hashlib.sha256(page.scripts[0].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "http" not in page.source.replace('http-equiv="Content-Security-Policy"', "")


def test_wrong_predictions_come_first_and_explanations_of_a_sound_are_together(tmp_path):
    clips = [
        clip_of("b"),
        clip_of("c", predicted="cat"),
        clip_of("b", method="ig"),
        clip_of("a"),
        clip_of("c", method="ig", predicted="cat"),
        clip_of("b", sound="another sound of that name"),
    ]
    page = page_of(tmp_path, clips)
    assert [data["name"] for data in page.data] == ["c", "b", "a", "b"]
    assert [[view["method"] for view in data["views"]] for data in page.data] == [["piq", "ig"]] * 2 + [["piq"]] * 2
    articles = page.all("article")
    assert [attrs["data-correct"] for attrs in articles] == ["wrong", "right", "right", "right"]
    # The sound and its spectrogram are there once.
    assert all("input" not in view and "spectrogram" not in view for view in page.data[0]["views"])
    labels = [option for option in page.all("option") if option["value"]]
    assert len(labels) == 2 + 2 + 2  # classes, correct, methods


def test_a_page_does_not_get_too_large_and_says_what_is_left_out(tmp_path):
    clips = [clip_of(f"clip {k}", input=f"data:audio/mpeg;base64,{'A' * 20_000}") for k in range(50)]
    page = page_of(tmp_path, clips, most_bytes=1_000_000, clips_in_all=80)
    shown = len(page.data)
    assert 15 < shown < 50
    assert len(page.source) < 1_000_000
    text = " ".join(" ".join(page.text).split())
    assert f"{shown} of 80 clips" in text
    assert f"{50 - shown} more were left out" in text


def test_pages_without_judgement_and_without_clips(tmp_path):
    unknown = replace(clip_of("a"), true=(), correct=None)
    page = page_of(tmp_path, [unknown])
    assert "Classified" not in page.source.split("</style>")[1].split("<script")[0]
    assert "There are no clips." in " ".join(page_of(tmp_path, []).text)


def test_a_page_that_cannot_be_written_leaves_the_older_one(tmp_path, monkeypatch):
    path = write_report(tmp_path / "report.html", [], "older")
    before = path.read_bytes()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(UserError, match="make room on the disk"):
        write_report(path, [clip_of("a")], "newer")
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["report.html"]


def test_what_an_evaluation_has_explained_is_said_in_words():
    provenance = {
        "seed": 7,
        "commit": "0123456789abcdef",
        "classifier": "f" * 64,
        "method": "piq",
        "settings": {"area": 0.1},
        "data": {"name": "ESC-10", "folds": {"test": [5]}},
        "training": {"epochs": 4, "best_epoch": 3},
    }
    assert about_evaluation({"provenance": provenance, "n": 80, "accuracy": 0.9125}) == {
        "Method": "piq",
        "Data": "ESC-10",
        "Test clips": "80, folds 5",
        "Accuracy of the classifier": "91.2% of these clips",
        "Classifier": "ffffffffffff",
        "Training": "4 epochs, of which 3 is kept",
        "Settings": "area 0.1",
        "Seed": "7",
        "Commit": "0123456789ab",
    }
    several = {"explain": "labels", "explanations": 12, "without": 0, "mean_ap": 0.5, "macro_f1": None}
    assert about_evaluation({"provenance": {}, "n": 9, "several": several}) == {
        "Test clips": "9",
        "Explained": "12 explanations, one of each label",
        "mAP of the classifier": "0.500",
    }


def test_what_the_truth_is_and_what_there_is_to_know_of_a_row_is_said(tmp_path):
    rows = lines_of({"amt": [0.5, 0.6]})
    summary = {**summary_of(rows), "truth": "boxes", "notes": {"amt": [ODD]}, "n": 2}
    text = " ".join(" ".join(page_of(tmp_path, [], summary=summary, rows=rows).text).split())
    assert "boxes that people drew" in text
    assert " ".join(SHOWN.split()) in text
    assert "probability lost when the explanation is removed" in text
