"""A look at a data set in words and as a page: what needs attention first, and every name as it is."""

from html.parser import HTMLParser

from interpretability.report.data_overview import FEW_CLASSES, MOST_LISTED, Example, overview_page, overview_text
from interpretability.report.page import Picture

ODD = "<b>&\u202e'x\""


class Reader(HTMLParser):
    """Collects the elements and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.addresses, self.text = [], [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("src", "href")]

    def handle_data(self, data):
        self.text.append(data)


def example_data(n_classes=2, n_clips=3):
    """Return an overview with one finding of each level."""
    spread = {"least": 1.0, "median": 1.0, "largest": 2.0}
    classes = [
        {
            "label": ODD if place == 0 else f"class {place}",
            "clips": 2,
            "splits": {"train": 1, "valid": 0, "test": 1},
            "seconds": 2.0,
            "durations": spread if place else None,
            "level_db": {"least": -20.0, "median": -20.0, "largest": -20.0} if place else None,
            "bad": place,
        }
        for place in range(n_classes)
    ]
    levels = ("serious", "doubtful", "noted")
    return {
        "name": ODD,
        "summary": "a summary",
        "notes": ["a note"],
        "findings": [
            {"level": level, "kind": "x", "text": f"a {level} thing", "clips": [f"{level}-{i}" for i in range(n_clips)]}
            for level in levels
        ],
        "counts": {"clips": 4, "usable": 4, "classes": n_classes, "seconds": 4.0, "splits": {"train": 2, "test": 2}},
        "spreads": {
            "seconds": spread,
            "level_db": None,
            "sample_rate": {"8000": 4},
            "channels": {"1": 4},
            "format": {},
        },
        "classes": classes,
        "unusable": [{"id": "serious-1", "reason": "cannot be decoded"}],
        "clips": [],
    }


def test_the_screen_says_first_what_needs_attention():
    lines = overview_text(example_data(n_clips=7)).splitlines()
    assert lines[:2] == ["a summary", "a note"]
    assert lines[3:7] == [
        "Serious: results would be wrong:",
        "  1. a serious thing",
        "       serious-0",
        "       serious-1: cannot be decoded",
    ]
    assert "       … 2 more" in lines
    assert (
        lines.index("  2. a doubtful thing")
        < lines.index("  3. a noted thing")
        < lines.index("Length: 1 to 2 s, median 1")
    )
    assert lines[-1].startswith("| class 1 | 2 | 1 | 1 | 1 | 2 | -20 | 1 |")
    assert f"… {FEW_CLASSES} more classes" in overview_text(example_data(2 * FEW_CLASSES))


def test_nothing_needs_attention():
    data = {**example_data(), "findings": []}
    assert "Nothing needs attention" in overview_text(data)
    assert "no check has found anything" in overview_page(data, {}, {})


def test_a_page_has_every_name_as_it_is_and_only_what_is_inside():
    player = Example(ODD, ODD, "1 s", Picture("data:image/png;base64,AA", "4 kHz"), "data:audio/mpeg;base64,AA")
    data = example_data(n_clips=MOST_LISTED + 5)
    page = overview_page(data, {"serious-0": player, ODD: player}, {ODD: [ODD], "class 1": []})
    read = Reader(page)
    assert read.tags.count("audio") == read.tags.count("img") == 2
    assert "b" not in read.tags
    assert "script" not in read.tags
    assert all(address.startswith("data:") for address in read.addresses)
    text = " ".join(" ".join(read.text).split())
    assert "<b>&\\u202e'x\"" in text
    assert "\u202e" not in page
    assert text.index("a serious thing") < text.index("a doubtful thing") < text.index("The classes")
    assert "serious-1: cannot be decoded" in text
    assert "… 5 more, in data.json" in text
    assert "1 more classes have no examples here" in text
    assert "default-src 'none'" in page
