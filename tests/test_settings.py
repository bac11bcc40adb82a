"""Settings: stated once, checked whenever they are made, described in words."""

import dataclasses
import json
from dataclasses import dataclass

import pytest

from interpretability.errors import UserError
from interpretability.settings import Settings, list_settings, setting


@dataclass(frozen=True)
class Example(Settings):
    area: float = setting(0.2, "share of the bins that is kept", least=0, most=1)
    rho: float = setting(0.9, "share of the probability", above=0, most=1)
    count: int = setting(3, "how many", least=1)
    kind: str = setting("soft", "which form", choices=("soft", "hard"))
    guidance: str | None = setting(None, "what guides it", choices=(None, "binary"))
    cap: float | None = setting(10.0, "bound of the term", unit="nats", above=0)
    widths: tuple[int, ...] = setting((8, 4), "channels", least=1)
    sure: bool = setting(False, "whether it is")
    config: dict = setting({}, "of the network")


@dataclass(frozen=True)
class Needy(Settings):
    source: str = setting(dataclasses.MISSING, "where it lies")


def test_defaults_and_json_and_back():
    settings = Example.make("x", {"widths": [1, 2], "area": 1, "cap": None})
    assert (settings.widths, settings.area, settings.cap) == ((1, 2), 1.0, None)
    saved = json.loads(json.dumps(settings.to_dict()))
    assert saved["widths"] == [1, 2]
    assert Example.make("x", saved) == settings
    assert Example().to_dict()["widths"] == [8, 4]


def test_a_default_that_can_change_is_not_shared():
    first = Example()
    first.config["x"] = 1
    assert Example().config == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"area": 1.5}, "x: area is 1.5, expected a number >= 0 and <= 1"),
        ({"area": "much"}, "x: area is 'much', expected a number >= 0 and <= 1"),
        ({"area": float("nan")}, "x: area is nan, expected a number"),
        ({"area": True}, "x: area is True, expected a number"),
        ({"rho": 0}, "x: rho is 0.0, expected a number > 0 and <= 1"),
        ({"count": 2.0}, "x: count is 2.0, expected a whole number >= 1"),
        ({"count": True}, "x: count is True, expected a whole number >= 1"),
        ({"count": 0}, "x: count is 0, expected a whole number >= 1"),
        ({"kind": "loud"}, "x: kind is 'loud', expected one of soft, hard"),
        ({"guidance": "no"}, "x: guidance is 'no', expected one of null, binary"),
        ({"cap": "none"}, "x: cap is 'none', expected a number or null > 0"),
        ({"widths": 8}, r"x: widths is 8, expected a list of whole numbers >= 1"),
        ({"widths": [8, 0]}, r"x: widths is \(8, 0\), expected a list of whole numbers >= 1"),
        ({"widths": [8, "a"]}, r"x: widths is \(8, 'a'\), expected a list of whole numbers"),
        ({"sure": 1}, "x: sure is 1, expected True or False"),
        ({"config": []}, r"x: config is \[\], expected a mapping"),
        ({"aera": 0.1}, "x has no setting 'aera': did you mean area"),
        ({"zzz": 0.1}, "x has no setting 'zzz': it has area, rho"),
    ],
)
def test_what_does_not_fit_is_one_line(given, message):
    with pytest.raises(UserError, match=message) as error:
        Example.make("x", given)
    assert "\n" not in str(error.value)


def test_a_setting_that_has_to_be_given():
    with pytest.raises(UserError, match="y needs the setting 'source': give it"):
        Needy.make("y", {})
    assert Needy.make("y", {"source": "here"}).source == "here"
    assert list_settings(Needy) == "source required  (text)\n    where it lies"


def test_every_setting_is_listed_with_all_that_is_known():
    listed = list_settings(Example)
    heads = [line.split()[0] for line in listed.splitlines() if not line.startswith(" ")]
    assert heads == [item.name for item in dataclasses.fields(Example)]
    assert "cap = 10.0 nats  (a number or null > 0)\n    bound of the term\n" in listed
    assert "guidance = null  (one of null, binary)\n    what guides it\n" in listed
    assert "widths = [8, 4]  (a list of whole numbers >= 1)\n    channels\n" in listed
