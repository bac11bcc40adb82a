"""The card: what the hub reads of it, what a person reads, and that class names are nothing but text."""

import dataclasses
import re
import shutil

import pytest
from huggingface_hub import ModelCard
from markdown_it import MarkdownIt

from interpretability.events import Event
from interpretability.methods.piq import PIQ
from interpretability.publishing.card import Card, card_text, escaped, metadata

HOSTILE = [
    "<script>alert(1)</script>",
    "![x](javascript:alert(1))",
    "| a | b |",
    "# title",
    "`code` *b* _i_ ~s~",
    "---",
]


def mean(value, low, high):
    return {"mean": value, "low": low, "high": high, "n": 40, "undefined": 0}


SUMMARY = {
    "n": 40,
    "provenance": {"commit": "c" * 40},
    "places": {
        "waveform": {
            "piq": {"clips": 40, "ad": mean(6.0, 5.0, 7.0), "ff": mean(0.5, 0.4, 0.6), "fid_in": mean(0.9, 0.8, 1.0)},
            "energy, same area": {"clips": 40, "ad": mean(4.0, 3.0, 5.0), "ff": mean(0.4, 0.3, 0.5)},
            "random, same area": {"clips": 40, "ad": mean(80.0, 75.0, 85.0), "ff": mean(0.1, 0.0, 0.2)},
            "M = 1": {"clips": 40, "ad": mean(0.0, 0.0, 0.0)},
        }
    },
}
CONFIG = {
    "library": "audio-interpretability",
    "speechbrain_interface": "CustomInterface",
    "interpreter": {
        "method": "piq",
        "sha256": "a" * 64,
        "training": {"commit": "d" * 40, "seed": 3, "best_epoch": 2, "epochs": 4, "clip_seconds": 5.0},
    },
    "classifier": {
        "classifier": "compact",
        "labels": ["cat", "dog"],
        "task": "single",
        "frontend": {"sample_rate": 16000, "level": "peak"},
        "architecture": {},
        "sha256": "b" * 64,
        "training": {"test_accuracy": 0.75, "n_test": 40},
    },
}


@pytest.fixture
def card():
    related = {"anna/cats": "the classifier compact", "anna/birds": "itself"}
    data = {"name": "ESC-10", "n_clips": {"train": 30, "test": 40}, "content": "e" * 64}
    known = ("anna/birds", "cc-by-3.0", "anna/cats", related, CONFIG, data, SUMMARY)
    events = [Event("cat", 1.2, 1.85, 600, 2400, share=0.7, probability=0.87, alone=0.8, without=0.12)]
    return Card(*known, ["Heard as cat."], events, "A sound.", PIQ)


def test_the_hub_reads_every_mean_with_its_interval(card, tmp_path):
    (tmp_path / "README.md").write_text(card_text(card), "utf-8")
    data = ModelCard.load(tmp_path / "README.md").data
    assert (data.license, data.base_model, data.datasets) == ("cc-by-3.0", "anna/cats", ["ashraq/esc50"])
    results = {result.metric_name: result for result in data.eval_results}
    assert results["AD (%), as heard"].metric_value == 6.0
    assert results["AD (%), as heard"].metric_args == {"interval_95": [5.0, 7.0], "n": 40}
    assert results["AD (%), as heard, loudest bins, same area"].metric_value == 4.0
    assert results["FF, as heard, random bins, same area"].metric_value == 0.1
    assert {result.dataset_name for result in data.eval_results} == {"ESC-10"}
    assert not [name for name in results if "M = 1" in name]


def test_floors_stand_beside_the_numbers_and_where_they_are_better_is_said(card):
    text = card_text(card)
    rows = [line for line in text.splitlines() if line.startswith(("| piq", "| loudest", "| random"))]
    assert [row.split("|")[1].strip() for row in rows] == ["piq", "loudest bins, same area", "random bins, same area"]
    assert "- AD (as heard): loudest bins, same area" in text
    assert "- FF (" not in text


def test_the_events_of_the_example_stand_there_with_their_files(card):
    text = card_text(card)
    assert "| 1.20–1.85 | 600–2400 | 0.70 | 0.80 | 0.12 |" in text
    assert "(example/events.selections.txt)" in text
    assert "events.csv" not in card_text(dataclasses.replace(card, events=[]))


def test_no_interval_is_broken_into_two_lines(card):
    rows = [line for line in card_text(card).splitlines() if line.startswith("| piq")]
    assert "6.0 [5.0,\N{NO-BREAK SPACE}7.0]" in rows[0]
    assert not re.search(r"\[[^]]* [^]]*\]", rows[0])


@pytest.mark.parametrize(
    ("name", "licence", "words"),
    [
        ("ESC-10", "cc-by-3.0", ("under `cc-by-3.0`, which is the licence of the data.", "A third party's copy")),
        ("ESC-10", "mit", ("under `mit`, as their publisher has chosen; the data are under `cc-by-3.0`.",)),
        ("Synthetic", "apache-2.0", ("which is the licence of the data.",)),
        ("Custom", "mit", ("the licence of the data is not known here.",)),
    ],
)
def test_no_licence_is_claimed_that_is_not_known(name, licence, words, card):
    text = card_text(dataclasses.replace(card, licence=licence, data={**card.data, "name": name}))
    assert [word for word in words if word not in text] == []
    assert ("A third party's copy" in text) is (name == "ESC-10")


def test_it_says_where_all_of_it_comes_from(card):
    text = card_text(card)
    for fact in (
        "c" * 40,
        "d" * 40,
        "a" * 64,
        "b" * 64,
        "e" * 64,
        "`3`",
        "2 of 4",
        "75.0% of 40 test clips",
        "5 s at 16000 Hz",
    ):
        assert fact in text, fact
    assert "[anna/cats](https://huggingface.co/anna/cats)" in text
    assert "anna/birds](https" not in text  # it does not link itself


def test_what_was_not_measured_is_said(card):
    text = card_text(dataclasses.replace(card, summary=None))
    assert "was not measured before it was published" in text
    assert metadata(dataclasses.replace(card, summary=None)).eval_results is None


def test_without_a_measured_floor_nothing_is_said_to_be_beaten(card):
    alone = {place: {"piq": rows["piq"]} for place, rows in SUMMARY["places"].items()}
    text = card_text(dataclasses.replace(card, summary={**SUMMARY, "places": alone}))
    assert "None of them was measured here." in text
    assert "better mean" not in text


def test_of_several_labels_it_says_the_precision_and_not_the_accuracy(card):
    config = {**CONFIG, "classifier": {**CONFIG["classifier"], "task": "multi"}}
    text = card_text(dataclasses.replace(card, config=config, summary={**SUMMARY, "several": {"mean_ap": 0.8125}}))
    assert "mean average precision of 0.812 on the 40 test clips" in text
    assert "75.0%" not in text
    assert "any number of labels per clip" in text
    classifier = {name: value for name, value in config.items() if name != "interpreter"}
    text = card_text(dataclasses.replace(card, config=classifier, summary=None))
    assert "knows the classes above alone." in text


def test_class_names_are_text(card):
    """Rendered by a parser of Markdown, they show as they are, and make nothing."""
    classifier = {**CONFIG["classifier"], "labels": HOSTILE}
    card = dataclasses.replace(card, config={**CONFIG, "classifier": classifier}, sentences=[f"Heard as {HOSTILE[0]}."])
    text = card_text(card).split("\n---\n", 1)[1]
    renderer = MarkdownIt("commonmark", {"html": True}).enable("table")
    html = renderer.render(text)
    assert "<script" not in html
    assert html.count("<img") == 1  # the figure of the example
    assert "javascript:" not in [token.attrs.get("src") for token in renderer.parse(text)]
    paragraph = next(token.content for token in renderer.parse(text) if token.content.startswith("Classes (6)"))
    shown = "".join(child.content for child in renderer.parseInline(paragraph)[0].children)
    for label in HOSTILE:
        assert label in shown, label
    assert len([t for t in renderer.parse(text) if t.type == "heading_open"]) == text.count("\n## ") + 1


def test_facts_are_text_too(card):
    training = {**CONFIG["interpreter"]["training"], "commit": "`<u>x</u>`|\n# y"}
    config = {**CONFIG, "interpreter": {**CONFIG["interpreter"], "training": training}}
    data = {"name": "<b>evil</b>\n# y", "n_clips": {"<i>": 3}, "content": "</td>"}
    text = card_text(dataclasses.replace(card, config=config, data=data)).split("\n---\n", 1)[1]
    html = MarkdownIt("commonmark", {"html": True}).enable("table").render(text)
    assert not [tag for tag in ("<u>", "<b>", "<i>", "</td></td>", "<h1>y") if tag in html]


@pytest.mark.parametrize("label", [*HOSTILE, "a\nb", "x\x1b[31m", "\u202eabc", "a|b", "www.x.y", "a@b", "http://x"])
def test_no_character_of_a_name_means_anything(label):
    assert not set(escaped(label)) & set("<>[]`*|~\\!@$\n\x1b\u202e")
    assert "://" not in escaped(label)
    assert "www." not in escaped(label)


def test_the_code_of_the_card_works_when_it_is_pasted(stock_folder, tmp_path, monkeypatch, capsys):
    """In a folder that holds a sound and, in place of the hub, the published folder."""
    text = (stock_folder / "README.md").read_text("utf-8")
    blocks = [part.split("\n```")[0] for part in text.split("```python\n")[1:]]
    assert len(blocks) == 2
    shutil.copy(stock_folder / "example" / "input.wav", tmp_path / "sound.wav")
    (tmp_path / "anna").symlink_to(stock_folder.parent)
    monkeypatch.chdir(tmp_path)
    for block in blocks:
        exec(block, {})
    assert "Heard as" in capsys.readouterr().out
    assert (tmp_path / "explained" / "explanation.wav").is_file()
