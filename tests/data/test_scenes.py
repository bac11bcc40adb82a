"""Clips of several overlapping targets: what every scene guarantees, and what its truth says about each target."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interpretability.data.scenes import make_scene
from interpretability.data.sounds import LABELS, make_clip
from interpretability.errors import UserError
from interpretability.frontend import Frontend
from interpretability.metrics.localisation import true_mask

RATE = 16000


@pytest.fixture(scope="module")
def scenes():
    return [make_scene(5, "train", index) for index in range(60)]


def test_same_arguments_same_samples_and_the_global_random_state_plays_no_part():
    np.random.seed(0)
    one = make_scene(1, "test", 23)
    np.random.seed(1)
    other = make_scene(1, "test", 23)
    assert one.parameters == other.parameters
    assert np.array_equal(one.mixture, other.mixture)
    assert all(np.array_equal(one.targets[label], other.targets[label]) for label in one.targets)
    assert not np.array_equal(one.mixture, make_scene(2, "test", 23).mixture)
    assert not np.array_equal(one.mixture, make_scene(1, "valid", 23).mixture)


def test_classes_and_numbers_of_targets_take_turns(scenes):
    assert [len(scene.targets) for scene in scenes] == [count for count in (1, 2, 3) * 2 for _ in LABELS]
    for index, scene in enumerate(scenes):
        labels = list(scene.targets)
        assert LABELS[index % 10] in labels
        assert labels == sorted(set(labels), key=LABELS.index)
        assert list(scene.parameters["targets"]) == labels
    others = {label for index, scene in enumerate(scenes) for label in scene.targets if label != LABELS[index % 10]}
    assert others == set(LABELS)


def test_parts_add_up_exactly_and_stay_within_full_scale(scenes):
    for scene in scenes:
        parts = [*scene.targets.values(), scene.rest]
        assert {part.dtype for part in (scene.mixture, *parts)} == {np.dtype("float32")}
        assert np.array_equal(scene.mixture, sum(parts))
        # The mixture less one target is all other parts, to the last bit: what the truth of a label is made from.
        for label, target in scene.targets.items():
            others = [part for name, part in scene.targets.items() if name != label]
            assert np.array_equal(scene.mixture - target, sum(others) + scene.rest)
        peak = max(np.abs(part).max() for part in (scene.mixture, *scene.targets.values()))
        assert 0.0999 <= peak <= 0.8201
        assert peak == pytest.approx(scene.parameters["peak"], abs=1e-4)


def test_targets_are_where_and_as_loud_as_they_say_and_overlap(scenes):
    for index, scene in enumerate(scenes):
        spans = {}
        for label, target in scene.targets.items():
            drawn = scene.parameters["targets"][label]
            start, stop = spans[label] = [round(drawn[key] * RATE) for key in ("event_start", "event_stop")]
            assert not target[: start - 1].any()
            assert not target[stop + 1 :].any()
            ratio = np.mean(target[start:stop] ** 2.0) / np.mean(scene.rest[start:stop] ** 2.0)
            assert 10 * np.log10(ratio) == pytest.approx(drawn["snr_db"], abs=0.1)
        first = spans.pop(LABELS[index % 10])
        for start, stop in spans.values():
            together = min(stop, first[1]) - max(start, first[0])
            assert together >= min(stop - start, first[1] - first[0]) // 2 - 2


def test_background_and_first_target_are_those_of_the_single_clip():
    for index in (3, 13, 23):
        clip, scene = make_clip(5, "train", index), make_scene(5, "train", index)
        assert clip.parameters["distractors"] == scene.parameters["distractors"]
        first = scene.parameters["targets"][clip.label]
        assert {name: clip.parameters[name] for name in first} == first
        for one, other in ((clip.rest, scene.rest), (clip.target, scene.targets[clip.label])):
            assert np.dot(one, other) / np.linalg.norm(one) / np.linalg.norm(other) == pytest.approx(1, abs=1e-6)


def test_most_targets_may_be_one_or_all_classes():
    assert [len(make_scene(0, "test", index, 1).targets) for index in range(20)] == [1] * 20
    assert list(make_scene(0, "test", 95, 10).targets) == list(LABELS)


@pytest.mark.parametrize(
    "arguments",
    [
        *({"max_targets": wrong} for wrong in (0, 11, True, 2.0, "3")),
        {"split": "dev"},
        {"index": -1},
        {"seed": 1.5},
        {"sample_rate": 8000},
        {"seconds": 0.2},
    ],
)
def test_scene_refuses(arguments):
    with pytest.raises(UserError, match=str(next(iter(arguments)))):
        make_scene(**{"seed": 1, "split": "train", "index": 0, **arguments})


def test_there_is_something_to_find_of_every_target_and_no_bin_is_of_two(scenes):
    frontend, shares = Frontend(), []
    for scene in scenes[10:40]:
        mixture = torch.from_numpy(scene.mixture)[None]
        truths = []
        for target in scene.targets.values():
            alone = torch.from_numpy(target)[None]
            truths.append(true_mask(frontend.analyse(alone).magnitude, frontend.analyse(mixture - alone).magnitude))
        shares += [truth.double().mean().item() for truth in truths]
        # Where one is louder than all else together, another one can be at most in bins in which they nearly cancel.
        assert sum(truth.double() for truth in truths).gt(1).double().mean() < 0.005
    assert min(shares) > 0.001
    assert max(shares) < 0.5
