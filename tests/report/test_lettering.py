"""Texts of others in figures: fonts are found for what the usual one has not; boxes, said once, for what none has."""

import logging

import matplotlib
import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import FontEntry, fontManager

from interpretability.report import lettering as module
from interpretability.report.lettering import BOX, lettering

CAT, DOG = "\u732b", "\u72ac"


@pytest.fixture(autouse=True)
def few_fonts(monkeypatch):
    """Only Matplotlib's own fonts, whatever the machine has, and no character that the user was told of."""
    monkeypatch.setattr(
        fontManager, "ttflist", [font for font in fontManager.ttflist if font.name.startswith("DejaVu")]
    )
    monkeypatch.setattr(module, "_told", set())


@pytest.fixture
def cat_font(tmp_path):
    """Install a font that has one character and no other."""
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    pen.lineTo((0, 500))
    pen.lineTo((500, 500))
    pen.closePath()
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord(CAT): "cat"})
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "cat": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "cat": (600, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Cats", "styleName": "Regular"})
    builder.setupOS2()
    builder.setupPost()
    builder.save(tmp_path / "cats.ttf")
    fontManager.ttflist.append(FontEntry(fname=str(tmp_path / "cats.ttf"), name="Cats", weight=400))


def test_a_font_that_has_the_character_is_taken(cat_font, caplog):
    with lettering(f"a {CAT}", CAT) as texts:
        assert texts == [f"a {CAT}", CAT]
        assert matplotlib.rcParams["font.family"][-1] == "Cats"
    assert not caplog.records


def test_a_character_of_no_font_is_a_box_and_said_once(cat_font, caplog):
    for _ in range(2):
        with lettering(f"{CAT}{DOG} dog\u200d\ufe0f") as (text,):
            assert text == f"{CAT}{BOX} dog"
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert (
        record.getMessage() == f"no installed font has {DOG}: figures show {BOX} instead; all other results are right"
    )


def test_a_usual_text_needs_no_other_font_and_settings_are_as_before():
    before = dict.copy(matplotlib.rcParams)
    with lettering("$a_b$ caf\u00e9") as texts:
        assert texts == ["$a_b$ caf\u00e9"]
        assert matplotlib.rcParams["font.family"] == before["font.family"]
        assert not matplotlib.rcParams["text.parse_math"]
    assert dict.copy(matplotlib.rcParams) == before


def test_a_font_that_is_damaged_or_gone_is_left_out(tmp_path):
    (tmp_path / "bad.ttf").write_bytes(b"no font")
    for name in ("bad.ttf", "gone.ttf"):
        fontManager.ttflist.append(FontEntry(fname=str(tmp_path / name), name=name, weight=400))
    with lettering(DOG) as (text,):
        assert text == BOX
