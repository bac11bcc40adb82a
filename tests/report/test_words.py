"""Sentences to the letter, and the interval and band that are named, where the answer is known."""

from itertools import pairwise

import numpy as np
import pytest

from interpretability.events import Event
from interpretability.report.words import Findings, Region, Remainder, locate, sentences

LABELS = ["chirp_down", "noise", "tone"]
REGION = Region(start=0.4182, stop=0.8126, low=602.0, high=2398.0)


def findings(**more):
    defaults = {"whole": [0.97, 0.02, 0.01], "inside": [0.93, 0.04, 0.03], "outside": [0.08, 0.9, 0.02]}
    return Findings(**{"labels": LABELS, "target": 0, "region": REGION, **defaults, **more})


def text(**more):
    return " ".join(sentences(findings(**more)))


def test_the_whole_of_it():
    assert text() == (
        "Heard as chirp_down (0.97). "
        "The explanation alone is heard as chirp_down (0.93); without it chirp_down falls to 0.08. "
        "Most of the explanation lies at 0.42–0.81 s, 600–2400 Hz."
    )


def test_what_the_first_event_is_worth_comes_last():
    worth = {"share": 0.6, "probability": 0.97, "alone": 0.9}
    event = Event("chirp_down", 1.2, 1.85, 600.0, 2400.0, without=0.004, **worth)
    other = Event("chirp_down", 0.2, 0.85, 600.0, 2400.0, without=0.9, **worth)
    last = "chirp_down: 97 % -> 0.4 % without 1.20–1.85 s, 600–2400 Hz."
    assert sentences(findings(events=[event, other]))[3:] == [last]


def test_an_explanation_that_is_not_recognised_as_its_class():
    assert sentences(findings(inside=[0.04, 0.3, 0.66]))[1:3] == [
        "The explanation alone is not heard as chirp_down (0.04), but as tone (0.66); without it chirp_down falls to "
        "0.08.",
        "Warning: the classifier does not recognise chirp_down in what this explanation keeps.",
    ]
    assert "Warning" not in text()


@pytest.mark.parametrize(
    ("outside", "words"), [(0.98, "rises to 0.98"), (0.9722, "stays at 0.97"), (0.9649, "falls to 0.96")]
)
def test_what_is_left_without_it(outside, words):
    assert f"without it chirp_down {words}." in text(outside=[outside, 1 - outside, 0.0])


def test_another_class_than_the_predicted_one():
    lines = sentences(findings(target=2, inside=[0.2, 0.2, 0.6]))
    assert lines[:3] == [
        "Heard as chirp_down (0.97).",
        "The explained class is tone (0.01).",
        "The explanation alone is heard as tone (0.60); without it tone rises to 0.02.",
    ]


def test_beside_masks_that_keep_as_much_and_explain_nothing():
    compared = {"area": 0.1234, "baselines": {"energy": Remainder(0.851, 0.309), "random": Remainder(0.02, 0.949)}}
    assert sentences(findings(**compared))[-2:] == [
        "It keeps 12% of the area. For comparison, the loudest 12% alone give chirp_down 0.85 and leave 0.31; a random "
        "12% give 0.02 and leave 0.95.",
        "Most of the explanation lies at 0.42–0.81 s, 600–2400 Hz.",
    ]
    assert "the loudest 0.51% alone" in text(**compared | {"area": 0.0051})
    for nothing in ({"silent": True}, {"undefined": True}, {"region": None}):
        assert "comparison" not in text(**compared, **nothing)


def test_control_characters_of_names_are_escaped():
    lines = sentences(findings(labels=["a\x1b[31m", "b\n", "\udce8"], target=1, inside=[0.1, 0.1, 0.8]))
    assert not any(set(line) & {"\x1b", "\n", "\udce8"} for line in lines)
    assert lines[0] == "Heard as a\\x1b[31m (0.97)."
    assert "not heard as b\\n (0.10), but as \\xe8 (0.80)" in " ".join(lines)


def test_ties_go_to_the_lowest_index():
    assert text(whole=[0.4, 0.4, 0.2]).startswith("Heard as chirp_down (0.40). The explanation")


def test_several_labels():
    several = {
        "task": "multi",
        "thresholds": [0.5, 0.5, 0.5],
        "whole": [0.6, 0.9, 0.7],
        "inside": [0.51, 0.52, 0.1],
        "outside": [0.1, 0.9, 0.7],
    }
    assert sentences(findings(**several)) == [
        "Heard as noise (0.90), tone (0.70) and chirp_down (0.60).",
        "The explained class is chirp_down (0.60).",
        "The explanation alone is heard as chirp_down (0.51); without it chirp_down falls to 0.10.",
        "Most of the explanation lies at 0.42–0.81 s, 600–2400 Hz.",
    ]
    assert sentences(findings(**several | {"inside": [0.49, 0.52, 0.1]}))[2:4] == [
        "The explanation alone is not heard as chirp_down (0.49), but as noise (0.52); without it chirp_down falls to "
        "0.10.",
        "Warning: the classifier does not recognise chirp_down in what this explanation keeps.",
    ]
    # As Fid-In has it: at its threshold a class is heard, whatever the threshold is.
    assert sentences(findings(**several | {"whole": [0.2, 0.5, 0.1]}))[0] == "Heard as noise (0.50)."
    assert sentences(findings(**several | {"thresholds": [0.6, 0.95, 0.8]}))[0] == "Heard as chirp_down (0.60)."
    nothing = sentences(findings(**several | {"whole": [0.2, 0.49, 0.1], "inside": [0.1, 0.1, 0.1]}))
    assert nothing[:3] == [
        "No class is heard; the most probable is noise (0.49).",
        "The explained class is chirp_down (0.20).",
        "The explanation alone is not heard as chirp_down (0.10); without it chirp_down falls to 0.10.",
    ]
    alone = findings(**several | {"whole": [0.6, 0.1, 0.2]})
    assert sentences(alone)[0] == "Heard as chirp_down (0.60)."
    assert sentences(alone)[1].startswith("The explanation alone")


@pytest.mark.parametrize(
    ("more", "last"),
    [
        ({"silent": True, "region": None}, "The sound is silent: there is nothing to explain."),
        (
            {"undefined": True},
            "The method has no explanation for this sound; the empty mask means nothing, and there are no events.",
        ),
        ({"region": None}, "The explanation keeps nothing of the sound."),
    ],
)
def test_where_there_is_nothing_to_say_of_the_explanation(more, last):
    assert sentences(findings(**more)) == ["Heard as chirp_down (0.97).", last]


@pytest.mark.parametrize(
    ("region", "words"),
    [
        (Region(0.0, 4.94, 0.0, 7992.2), "0.0–4.9 s, 0–8000 Hz"),
        (Region(1.2, 1.2116, 2992.2, 3007.8), "1.200–1.212 s, 2992–3008 Hz"),
        (Region(0.1, 12.3, 55.0, 255.0), "0–12 s, 60–260 Hz"),
        (Region(0.0, 0.002, 23.4, 54.7), "0.0000–0.0020 s, 23–55 Hz"),
    ],
)
def test_numbers_are_rounded_to_a_tenth_of_the_span(region, words):
    assert text(region=region).endswith(f"Most of the explanation lies at {words}.")


# ---- Where it lies ----


def located(magnitude, share=0.8, hop=0.5, bin_hz=10.0):
    return locate(magnitude, hop, bin_hz, seconds=(len(magnitude) - 1) * hop, share=share)


def shortest_by_trial(values, share):
    """Every run of values, one by one: the shortest that holds the share, with the most energy, the first."""
    runs = [(i, j) for i in range(len(values)) for j in range(i, len(values))]
    fitting = [(i, j) for i, j in runs if values[i : j + 1].sum() >= share * values.sum() * (1 - 1e-9)]
    return min(fitting, key=lambda run: (run[1] - run[0], -values[run[0] : run[1] + 1].sum(), run[0]))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
def test_against_every_run(seed, share):
    magnitude = np.random.default_rng(seed).random((12, 7)) ** 4
    region = locate(magnitude, 1.0, 1.0, seconds=100.0, share=share)
    energy = magnitude**2
    (i, j), (k, m) = (shortest_by_trial(energy.sum(axis), share) for axis in (1, 0))
    assert (region.start, region.stop) == (max(0.0, i - 0.5), j + 0.5)
    assert (region.low, region.high) == (max(0.0, k - 0.5), min(6.0, m + 0.5))


def test_a_known_block_and_a_little_of_everything():
    magnitude = np.full((20, 30), 0.01)
    magnitude[5:9, 10:12] = 1.0
    assert located(magnitude) == Region(2.25, 4.25, 95.0, 115.0)


def test_a_part_of_the_block_is_enough():
    magnitude = np.zeros((20, 30))
    magnitude[5:15, 4] = 1.0
    assert located(magnitude) == Region(2.25, 6.25, 35.0, 45.0)  # eight of ten frames, the first of equal runs


def test_the_edges_of_the_clip_and_of_the_band():
    magnitude = np.zeros((4, 5))
    magnitude[0, 0] = magnitude[3, 4] = 1.0
    assert located(magnitude) == Region(0.0, 1.5, 0.0, 40.0)
    magnitude[0, 0] = 0.0
    assert located(magnitude) == Region(1.25, 1.5, 35.0, 40.0)


def test_all_of_it_one_bin_and_nothing():
    assert located(np.ones((1, 1))) == Region(0.0, 0.0, 0.0, 0.0)
    assert located(np.ones((3, 3)), share=1.0) == Region(0.0, 1.0, 0.0, 20.0)
    assert located(np.zeros((3, 3))) is None


def test_a_larger_share_never_gives_a_shorter_span():
    magnitude = np.random.default_rng(3).random((40, 20)) ** 6
    regions = [located(magnitude, share) for share in np.linspace(0.05, 1.0, 20)]
    for narrow, wide in pairwise(regions):
        assert narrow.stop - narrow.start <= wide.stop - wide.start
        assert narrow.high - narrow.low <= wide.high - wide.low


def test_quiet_sounds_lie_where_loud_ones_do():
    magnitude = np.random.default_rng(0).random((9, 9)).astype(np.float32)
    assert located(1e-18 * magnitude) == located(magnitude)
