"""What an explanation looks like in a notebook: all inside, text as text, and of many clips the first few."""

import base64
import io
import re
from html.parser import HTMLParser

import pytest
import soundfile
import tiny
import torch
from matplotlib.figure import Figure

from interpretability.methods.baselines import EnergyMask
from interpretability.report.notebook import MOST_CLIPS

ODD = "</style><script>alert(1)</script> \"'& \U0001f426"
VOID = {"br", "img"}


class Parsed(HTMLParser):
    """The elements of a part of a page, with their attributes, and its text; each that is opened is closed."""

    def __init__(self, html):
        super().__init__()
        self.elements, self.words, self.opened = [], [], []
        self.feed(html)
        assert self.opened == []
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.opened.append(tag)

    def handle_endtag(self, tag):
        assert self.opened.pop() == tag

    def handle_data(self, data):
        if "style" not in self.opened:
            self.words.append(data)

    def of(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


def content(address):
    kind, _, encoded = address.removeprefix("data:").partition(";base64,")
    return kind, base64.b64decode(encoded)


@pytest.fixture
def interpreter():
    return EnergyMask(tiny.listening_classifier([ODD, "dog"]), area=0.1)


def test_a_clip_has_picture_players_events_and_sentences_and_all_is_inside(interpreter):
    wavs = torch.zeros(1, 16000)
    wavs[:, 4000:9000] = 0.1 * tiny.noise(5000)
    explanation = interpreter.explain(wavs, target=ODD)
    html = explanation._repr_html_()
    parsed = Parsed(html)
    assert parsed.of("script") == []
    assert ODD in parsed.text
    (picture,) = parsed.of("img")
    kind, image = content(picture["src"])
    assert (kind, image[:8]) == ("image/png", b"\x89PNG\r\n\x1a\n")
    players = parsed.of("audio")
    for player, wav in zip(players, (explanation.sound, explanation.listenable, explanation.residual), strict=True):
        assert "controls" in player
        kind, sound = content(player["src"])
        samples, rate = soundfile.read(io.BytesIO(sound), dtype="float32")
        assert (kind, rate) == ("audio/mpeg", 16000)
        power = float(wav.square().mean())
        assert float((samples[:16000] ** 2).mean()) == pytest.approx(power, rel=0.2)
    assert re.search(r"\b(input|explanation|residual)\b.*\bresidual\b", parsed.text)
    assert all(sentence in parsed.text for sentence in explanation.sentences())
    (event, *_) = events = explanation.events()
    assert len(parsed.of("tr")) == 1 + len(events)
    assert f"{event.probability:.2f} {event.alone:.2f} {event.without:.2f}" in parsed.text
    addresses = [
        value for _, attributes in parsed.elements for name, value in attributes.items() if name in ("src", "href")
    ]
    assert all(address.startswith("data:") for address in addresses)
    assert "url(" not in html.split("<section>")[0]


def test_of_many_clips_the_first_are_shown_and_the_others_counted(interpreter, monkeypatch):
    monkeypatch.setattr(type(interpreter.explain(tiny.noise(1, 4000))), "figure", lambda *_: Figure(figsize=(1, 1)))
    several = Parsed(interpreter.explain(tiny.noise(MOST_CLIPS + 2, 4000))._repr_html_())
    assert len(several.of("img")) == MOST_CLIPS
    assert f"(clip 0 of {MOST_CLIPS + 2})" in several.text
    assert f"and 2 more: explanation[{MOST_CLIPS}] shows the next one" in several.text
    silent = Parsed(interpreter.explain(torch.zeros(2, 4000))._repr_html_())
    assert (len(silent.of("section")), silent.of("table")) == (2, [])
    assert "The sound is silent: there is nothing to explain." in silent.text
    assert "more:" not in silent.text
