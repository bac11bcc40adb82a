"""Events: regions that are where a mask keeps something, and probabilities that are those of the sounds themselves."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import ndimage
from tiny import SMALL, listening_classifier, noise

from interpretability import events
from interpretability.errors import UserError
from interpretability.events import Event, EventSettings, find_regions
from interpretability.explanation import Interpretation
from interpretability.frontend import Frontend
from interpretability.methods.base import Interpreter
from interpretability.methods.baselines import ConstantMask, EnergyMask
from interpretability.probabilities import probabilities

HOP, WIDTH = 32 / 8000, 8000 / 64  # s, Hz of SMALL
#: Nothing is averaged and nothing is joined: regions are what stands in the picture.
BARE = EventSettings(0.0, 0.0, held_share=1.0, gap_seconds=0.0, gap_hertz=0.0, core=1.0, least_share=0.0, most=20)


def picture(*boxes, shape=(50, 33)):
    """Return magnitudes [T, F] that are a given value in boxes (frames, bins, value), and 0 elsewhere."""
    kept = np.zeros(shape, dtype=np.float32)
    for first, last, lowest, highest, value in boxes:
        kept[first:last, lowest:highest] = value
    return kept


def cells(regions):
    return [(r.frames.start, r.frames.stop, r.bins.start, r.bins.stop) for r in regions]


# ---- Where ----


def test_boxes_are_found_where_they_are_with_their_share_of_the_energy():
    kept = picture((5, 10, 2, 6, 2.0), (20, 40, 15, 20, 3.0))
    regions = find_regions(kept, SMALL, BARE)
    assert cells(regions) == [(20, 40, 15, 20), (5, 10, 2, 6)]
    energy = np.array([20 * 5 * 9.0, 5 * 4 * 4.0])
    assert [r.share for r in regions] == pytest.approx(energy / energy.sum())


def test_regions_are_the_connected_parts_of_what_is_strong():
    """Parts of any shape that hang together, also by corners alone."""
    kept = np.zeros((60, 33), dtype=np.float32)
    rng = np.random.default_rng(0)
    for row, column in itertools.product(range(0, 60, 12), range(0, 33, 11)):
        blob = rng.random((10, 9)) < 0.6
        blob[5, 4] = True
        # What hangs together with its middle, also by a corner.
        part = np.zeros_like(blob)
        part[5, 4] = True
        while True:
            grown = ndimage.binary_dilation(part, np.ones((3, 3))) & blob
            if (grown == part).all():
                break
            part = grown
        kept[row : row + 10, column : column + 9] = part
    settings = replace(BARE, least_share=0.0)
    boxes = {
        (row + r.min(), row + r.max() + 1, column + c.min(), column + c.max() + 1)
        for row, column in itertools.product(range(0, 60, 12), range(0, 33, 11))
        for r, c in [np.nonzero(kept[row : row + 10, column : column + 9])]
    }
    assert len(boxes) == 15
    assert set(cells(find_regions(kept, SMALL, settings))) == boxes


@pytest.mark.parametrize(("frames", "joined"), [(4, True), (5, True), (6, False)])
def test_small_gaps_in_time_are_bridged(frames, joined):
    kept = picture((5, 10, 4, 8, 1.0), (10 + frames, 30, 4, 8, 1.0))
    regions = find_regions(kept, SMALL, replace(BARE, gap_seconds=5.2 * HOP))
    assert len(regions) == (1 if joined else 2)
    assert min(r.frames.start for r in regions) == 5
    assert max(r.frames.stop for r in regions) == 30


@pytest.mark.parametrize(("bins", "joined"), [(2, True), (3, True), (4, False)])
def test_small_gaps_in_frequency_are_bridged(bins, joined):
    kept = picture((5, 10, 4, 8, 1.0), (5, 10, 8 + bins, 20, 1.0))
    assert len(find_regions(kept, SMALL, replace(BARE, gap_hertz=3.0 * WIDTH))) == (1 if joined else 2)


def test_boxes_that_overlap_become_one():
    corner = picture((5, 30, 4, 6, 1.0), (5, 7, 4, 25, 1.0), (15, 20, 12, 16, 1.0))
    assert cells(find_regions(corner, SMALL, BARE)) == [(5, 30, 4, 25)]


def test_a_speckled_mask_has_few_regions():
    """What gradients give: a tenth of the bins of an event, strewn over it, and a few elsewhere."""
    rng = np.random.default_rng(0)
    kept = np.where(rng.random((200, 129)) < 0.01, 1.0, 0.0)
    kept[60:120, 40:80] = rng.random((60, 40)) < 0.4
    fine = replace(SMALL, n_fft=256)
    regions = find_regions(kept, fine, EventSettings())
    assert 1 <= len(regions) <= 3
    best = regions[0]
    assert abs(best.frames.start - 60) <= 8
    assert abs(best.frames.stop - 120) <= 8
    assert abs(best.bins.start - 40) <= 4
    assert abs(best.bins.stop - 80) <= 4


@pytest.mark.parametrize(("share", "n_regions"), [(0.3, 1), (0.8, 2), (0.94, 2), (1.0, 3)])
def test_regions_are_of_the_fewest_bins_that_hold_a_share_of_the_energy(share, n_regions):
    """Three sounds with 70, 25 and 5 % of it."""
    kept = picture((5, 10, 4, 8, 70**0.5), (15, 20, 4, 8, 5.0), (25, 30, 4, 8, 5**0.5))
    assert len(find_regions(kept, SMALL, replace(BARE, held_share=share))) == n_regions


def test_a_box_is_cut_to_what_holds_nearly_all_of_its_energy():
    """A loud sound with a faint tail, which is connected to it."""
    kept = picture((10, 20, 4, 8, 10.0), (20, 30, 4, 8, 0.1), (10, 20, 8, 12, 0.1))
    assert cells(find_regions(kept, SMALL, BARE)) == [(10, 30, 4, 12)]
    assert cells(find_regions(kept, SMALL, replace(BARE, core=0.99))) == [(10, 20, 4, 8)]


def test_few_regions_and_the_small_ones_are_left_out():
    kept = picture(*((5 * k, 5 * k + 2, 4, 6, 1.0 + k) for k in range(9)))
    assert len(find_regions(kept, SMALL, replace(BARE, least_share=0.0))) == 9
    few = find_regions(kept, SMALL, replace(BARE, least_share=0.0, most=2))
    assert [r.frames.start for r in few] == [40, 35]
    large = find_regions(kept, SMALL, replace(BARE, least_share=0.2))
    assert [r.frames.start for r in large] == [40, 35]
    # The largest is an event, however small its share.
    assert len(find_regions(kept, SMALL, replace(BARE, least_share=1.0))) == 1


@pytest.mark.parametrize("shape", [(1, 33), (50, 33), (1, 1)])
def test_of_what_keeps_nothing_there_are_none_and_of_what_keeps_all_there_is_one(shape):
    assert find_regions(np.zeros(shape), SMALL, EventSettings()) == []
    everything = find_regions(np.ones(shape), SMALL, replace(BARE))
    assert cells(everything) == [(0, shape[0], 0, shape[1])]
    assert everything[0].share == pytest.approx(1.0)


def test_a_region_reaches_half_a_step_beyond_its_centres_and_not_out_of_the_sound():
    (inner,) = find_regions(picture((10, 20, 4, 8, 1.0)), SMALL, BARE)
    assert inner.bounds(SMALL, 10.0) == pytest.approx(
        {"start": 9.5 * HOP, "end": 19.5 * HOP, "low": 3.5 * WIDTH, "high": 7.5 * WIDTH}
    )
    (whole,) = find_regions(np.ones((50, 33)), SMALL, BARE)
    assert whole.bounds(SMALL, 0.197) == {"start": 0.0, "end": 0.197, "low": 0.0, "high": 4000.0}


def test_settings_out_of_range_are_refused():
    for wrong, words in (({"core": 0.0}, "core"), ({"most": 0}, "most"), ({"gap_seconds": -1.0}, "gap_seconds")):
        with pytest.raises(UserError, match=f"{words} is .*, expected"):
            EventSettings(**wrong)


def test_settings_may_be_given_as_a_mapping_and_unknown_ones_are_refused(classifier):
    explanation = EnergyMask(classifier, area=0.05).explain(bursts(*TWO))
    assert explanation.events(settings={"most": 1}) == explanation.events(settings=EventSettings(most=1))
    with pytest.raises(UserError, match="events has no setting 'mots': did you mean most"):
        explanation.events(settings={"mots": 1})
    with pytest.raises(UserError, match="events: most is 0, expected"):
        explanation.events(settings={"most": 0})


# ---- What they are worth ----


@pytest.fixture(scope="module")
def classifier():
    return listening_classifier(["cat", "dog", "rain"])


def bursts(*places, n=16000, seed=0):
    """Return noise at a low level with a loud tone at each place (start, end in samples, Hz)."""
    wav = 0.01 * noise(n, seed=seed)
    for first, last, hertz in places:
        wav[first:last] += torch.sin(2 * torch.pi * hertz * torch.arange(last - first) / 16000)
    return wav


TWO = ((2000, 5000, 500.0), (9000, 13000, 3000.0))


def test_probabilities_are_those_of_the_sounds_with_and_without_each_region(classifier):
    explanation = EnergyMask(classifier, area=0.05).explain(torch.stack([bursts(*TWO), bursts(TWO[1], seed=1)]))
    assert [len(explanation.events(k)) for k in range(2)] == [2, 1]
    for k in range(2):
        target = int(explanation.target[k])
        for event in explanation.events(k):
            times = torch.arange(explanation.mask.shape[1]) * 186 / 16000
            hertz = torch.arange(513) * 16000 / 1024
            region = (
                ((times >= event.start) & (times <= event.end))[:, None] & (hertz >= event.low) & (hertz <= event.high)
            )
            # By hand: the bins of the levelled sound, silenced, as sound, classified.
            frontend, spectrogram = Frontend(classifier.frontend.settings), explanation.spectrogram[k]
            for keep, expected in ((region, event.alone), (~region, event.without)):
                wav = frontend.resynthesise(spectrogram, spectrogram.magnitude * keep)
                logits = classifier.classify(frontend.analyse(wav)).logits
                assert probabilities(logits)[0, target].item() == pytest.approx(expected, abs=1e-5)
            assert event.label == classifier.labels[target]
            assert event.probability == pytest.approx(explanation.probabilities[k, target].item(), abs=1e-6)
            assert event.effect == event.probability - event.without


def test_events_are_where_the_sounds_are_the_largest_effect_first(classifier):
    found_events = EnergyMask(classifier, area=0.05).explain(bursts(*TWO)).events()
    effects = [event.effect for event in found_events]
    assert effects == sorted(effects, reverse=True)
    for event, (first, last, hertz) in zip(sorted(found_events, key=lambda e: e.start), TWO, strict=True):
        assert event.start == pytest.approx(first / 16000, abs=0.05)
        assert event.end == pytest.approx(last / 16000, abs=0.05)
        assert event.low < hertz < event.high
        assert event.high - event.low < 400


def test_all_regions_of_all_clips_are_asked_for_at_once_and_only_once(classifier, monkeypatch):
    explanation = EnergyMask(classifier, area=0.05).explain(torch.stack([bursts(*TWO), bursts(*TWO, seed=1)]))
    asked, classify = [], type(classifier).classify_pair

    def counted(self, pair, place):
        asked.append((len(pair.whole), place))
        return classify(self, pair, place)

    monkeypatch.setattr(type(classifier), "classify_pair", counted)
    both = [explanation.events(k) for k in (0, 1, 0)]
    assert asked == [(4, "waveform")]
    assert both[0] == both[2] == explanation[0].events()
    assert asked == [(4, "waveform")]
    assert len(explanation.events(0, EventSettings(most=1))) == 1
    # In parts, where they are too many for the memory.
    monkeypatch.setattr(events, "MOST_BINS", 1)
    del explanation.event_lists[EventSettings()]
    for first, second in zip(both[0], explanation.events(0), strict=True):
        assert first.to_dict() == pytest.approx(second.to_dict(), abs=1e-6)
    assert asked[2:] == [(1, "waveform")] * 4


def test_they_depend_on_nothing_but_the_clip(classifier):
    """Neither on padding nor on the other clips."""
    short = bursts(TWO[0], n=6000)
    padded = torch.stack([torch.cat([short, torch.zeros(10000)]), bursts(*TWO)])
    together = EnergyMask(classifier, area=0.05).explain(padded, torch.tensor([0.375, 1.0]))
    alone = EnergyMask(classifier, area=0.05).explain(short[None])
    assert len(together.events(0)) == len(alone.events()) == 1
    assert together.events(0)[0].to_dict() == pytest.approx(alone.events()[0].to_dict(), abs=1e-5)
    assert together[0].events()[0].to_dict() == pytest.approx(alone.events()[0].to_dict(), abs=1e-5)


class Undecided(Interpreter):
    """Has no explanation of the first clip, and keeps nothing of the second."""

    NAME = "undecided"
    trainable = False

    def interpret(self, batch):
        interpretation = ConstantMask(self.classifier).interpret(batch)
        interpretation.mask[:2] = 0
        interpretation.undefined = torch.arange(len(batch)) == 0
        return interpretation


def test_without_an_explanation_in_silence_and_of_nothing_kept_there_are_none(classifier):
    wavs = torch.stack([bursts(*TWO), bursts(*TWO), torch.zeros(16000), bursts(*TWO)])
    explanation = Undecided(classifier).explain(wavs)
    assert [len(explanation.events(k)) for k in range(3)] == [0, 0, 0]
    assert len(explanation.events(3)) >= 1
    assert explanation[0].events() == []
    with pytest.raises(IndexError):
        explanation.events(4)


@pytest.mark.parametrize("n", [1, 100, 800])
def test_of_the_shortest_sounds(classifier, n):
    for event in ConstantMask(classifier).explain(noise(1, n)).events():
        assert 0 <= event.start < event.end <= n / 16000
        assert 0 <= event.low < event.high <= 8000
        assert 0 <= event.share <= 1


def test_of_several_labels_each_has_its_own(classifier):
    several = listening_classifier(["cat", "dog", "rain"], task="multi")
    explanation = EnergyMask(several, area=0.05).explain(torch.stack([bursts(*TWO)] * 2), target=["cat", "rain"])
    for k, label in enumerate(("cat", "rain")):
        index = several.labels.index(label)
        for event in explanation.events(k):
            assert event.label == label
            assert event.probability == pytest.approx(explanation.output.logits[k, index].sigmoid().item(), abs=1e-6)


class Cells(Interpreter):
    """A mask of few large cells, as a feature map gives it: of one of them, which is wider than the sound in it."""

    NAME = "cells"
    trainable = False

    def interpret(self, batch):
        mask = torch.zeros_like(batch.spectrogram.magnitude)
        mask[:, 10:60, 20:100] = 1
        return Interpretation(mask)


def test_of_a_coarse_mask_the_event_is_the_sound_in_it(classifier):
    """Frames 10 to 60 reach from 0.12 to 0.70 s, and bins 20 to 100 from 300 to 1600 Hz."""
    (event,) = Cells(classifier).explain(bursts(*TWO)).events()
    assert (event.start, event.end) == pytest.approx((2000 / 16000, 5000 / 16000), abs=0.03)
    assert 300 < event.low < 500 < event.high < 650
    assert event.share > 0.9


def test_of_real_clips(classifier, esc10_folder):
    """Whatever is in them: few boxes inside the clip that do not overlap, by effect, the same at any batch size."""
    clips = sorted((esc10_folder / "audio").iterdir())[::100]
    assert len(clips) >= 3
    together = EnergyMask(classifier, area=0.1).explain(clips)
    for index, path in enumerate(clips):
        found_events = together.events(index)
        assert 1 <= len(found_events) <= EventSettings().most
        assert sum(event.share for event in found_events) <= 1 + 1e-9
        assert [e.effect for e in found_events] == sorted((e.effect for e in found_events), reverse=True)
        for event in found_events:
            assert 0 <= event.start < event.end <= 5.0
            assert 0 <= event.low < event.high <= 8000
        for one, other in itertools.combinations(found_events, 2):
            apart_in_time = one.end <= other.start + 1e-9 or other.end <= one.start + 1e-9
            assert apart_in_time or one.high <= other.low + 1e-9 or other.high <= one.low + 1e-9
        if index == 0:
            (alone,) = [EnergyMask(classifier, area=0.1).explain(path).events()]
            for event, again in zip(found_events, alone, strict=True):
                assert event.to_dict() == pytest.approx(again.to_dict(), abs=1e-5)


def test_an_event_as_plain_values_and_at_another_time():
    event = Event("dog", 1.2, 1.85, 600.0, 2400.0, 0.5, 0.875, 0.75, 0.125)
    assert event.to_dict() == {
        "label": "dog",
        "start": 1.2,
        "end": 1.85,
        "low": 600.0,
        "high": 2400.0,
        "share": 0.5,
        "probability": 0.875,
        "alone": 0.75,
        "without": 0.125,
        "effect": 0.75,
    }
    later = event.shifted(60.0)
    assert (later.start, later.end) == (61.2, 61.85)
    assert replace(later, start=1.2, end=1.85) == event
