"""Which classes of which clips are explained: of one label and of several, heard or named, and where there is none."""

from types import SimpleNamespace

import pytest
import tiny
import torch
from sklearn.metrics import average_precision_score, f1_score
from speechbrain.dataio.dataset import DynamicItemDataset
from tiny import LABELS

from interpretability.cases import Cases, choose_cases, clips_about
from interpretability.classifiers.targeted import targeted
from interpretability.errors import UserError

TRUE = {"a": ["dog"], "b": [], "c": ["rain", "cat"], "d": ["cat", "dog", "rain"], "e": ["rain"]}


def tagged(labels=TRUE, **members):
    """A data set of clips of noise, of several labels each."""
    generator = torch.Generator().manual_seed(1)
    wavs = {
        clip: torch.randn(4000, generator=generator) * torch.linspace(0, 1, 4000) ** k for k, clip in enumerate(labels)
    }
    clips = {clip: {"labels": names, **members} for clip, names in labels.items()}
    data = DynamicItemDataset(clips)
    data.add_dynamic_item(lambda name: wavs[name], takes="id", provides="signal")
    data.set_output_keys(["id", "signal", "labels", *members])
    return data


@pytest.fixture(scope="module")
def answers():
    """Logits of the clips."""
    return logits_of(tiny.listening_classifier(LABELS, task="multi"))


def logits_of(classifier):
    return torch.cat([classifier.analyse(item["signal"][None]).output.logits for item in tagged()])


def hearing(answers):
    """A classifier that hears each class in the two clips in which it is most probable, and no class in one clip."""
    classifier = tiny.listening_classifier(LABELS, task="multi")
    second = answers.double().sigmoid().sort(dim=0, descending=True).values[:3]
    return classifier.use_thresholds(((second[1] + second[2]) / 2).tolist())


def test_the_cases_of_a_clip_stay_in_one_batch():
    clips = {"a": 1, "b": 3, "c": 2, "d": 5, "e": 1}
    cases = [(clip, f"{k}") for clip, count in clips.items() for k in range(count)]
    expected = {1: ["a", "bbb", "cc", "ddddd", "e"], 4: ["abbb", "cc", "ddddd", "e"], 99: ["abbbccddddde"]}
    for size, names in expected.items():
        batches = Cases("labels", cases).batches(size)
        assert ["".join(clip for clip, _ in batch) for batch in batches] == names
        assert [case for batch in batches for case in batch] == cases
    single = Cases("top", [(clip, None) for clip in "abcde"])
    assert [len(batch) for batch in single.batches(2)] == [2, 2, 1]
    assert (single.share_clips, Cases("labels", cases).share_clips) == (False, True)


def test_of_one_label_the_most_probable_class_is_explained_and_nothing_is_looked_at():
    data = DynamicItemDataset({"x": {"label": "dog"}, "y": {"label": "cat"}})
    data.set_output_keys(["id", "label"])
    cases = choose_cases(None, data)
    assert (cases.cases, cases.several, cases.explain) == ([("x", None), ("y", None)], False, "top")


def test_of_several_labels_each_that_is_heard_is_explained_and_else_the_most_probable(answers):
    classifier = hearing(answers)
    chosen = choose_cases(classifier, tagged(), batch_size=2, progress=False)
    heard = answers.double().sigmoid() >= classifier.thresholds
    assert heard.sum(0).tolist() == [2, 2, 2]
    expected, silent = [], 0
    for clip, row, logits in zip(TRUE, heard, answers, strict=True):
        names = [label for label, is_heard in zip(LABELS, row, strict=True) if is_heard]
        assert chosen.heard[clip] == names
        silent += not names
        expected += [(clip, label) for label in names or [LABELS[int(logits.argmax())]]]
    assert silent > 0
    assert (chosen.cases, chosen.without, chosen.several) == (expected, silent, True)


def test_the_numbers_of_the_classifier_are_those_of_scikit_learn(answers):
    classifier = hearing(answers)
    measured = choose_cases(classifier, tagged(), progress=False).as_dict()
    truth = [[label in names for label in LABELS] for names in TRUE.values()]
    answered = answers.double().sigmoid().numpy()
    heard = answered >= classifier.thresholds.numpy()
    assert measured["mean_ap"] == pytest.approx(average_precision_score(truth, answered, average="macro"))
    assert measured["macro_f1"] == pytest.approx(f1_score(truth, heard, average="macro"))
    assert measured["micro_f1"] == pytest.approx(f1_score(truth, heard, average="micro"))


def test_the_labels_of_the_data_can_be_explained_in_the_order_of_the_classes(answers):
    chosen = choose_cases(hearing(answers), tagged(), "labels", progress=False)
    assert chosen.cases == [
        ("a", "dog"),
        *(("c", label) for label in ("cat", "rain")),
        *(("d", label) for label in ("cat", "dog", "rain")),
        ("e", "rain"),
    ]
    assert chosen.without == 1
    assert chosen.as_dict()["explanations"] == 7
    with pytest.raises(UserError, match="none of the 2 clips has a label"):
        choose_cases(hearing(answers), tagged({"x": [], "y": []}), "labels", progress=False)


def test_the_most_probable_class_of_clips_with_several_labels(answers):
    chosen = choose_cases(hearing(answers), tagged(), "top", progress=False)
    assert chosen.cases == [(clip, None) for clip in TRUE]
    assert (chosen.several, chosen.without) == (True, 0)


def test_several_classes_of_clips_of_one_label(answers):
    single = tiny.listening_classifier(LABELS)
    data = DynamicItemDataset({"x": {"label": "dog"}, "y": {"label": "cat"}})
    data.add_dynamic_item(lambda name: torch.linspace(-1, 1, 4000), takes="id", provides="signal")
    data.set_output_keys(["id", "signal", "label"])
    assert choose_cases(single, data, "labels", progress=False).cases == [("x", "dog"), ("y", "cat")]
    chosen = choose_cases(single, data, "predicted", progress=False)
    assert [clip for clip, _ in chosen.cases] == ["x", "y"]  # of one label one is heard
    assert (chosen.without, chosen.detection, chosen.heard) == (0, {}, {})


def test_what_cannot_be_explained_is_refused(answers):
    with pytest.raises(UserError, match="has one label for each clip, and the data have several"):
        choose_cases(tiny.listening_classifier(LABELS), tagged(), progress=False)
    with pytest.raises(UserError, match="explain is 'all', expected one of top, predicted, labels"):
        choose_cases(hearing(answers), tagged(), "all", progress=False)
    with pytest.raises(UserError, match="the split has no clips"):
        choose_cases(hearing(answers), SimpleNamespace(data_ids=[]), progress=False)


def test_clips_of_several_lengths_are_measured_with_those_of_similar_length():
    seconds = {"a": 1.0, "b": 9.0, "c": 1.1, "d": 9.5, "e": 1.0}
    one = Cases("top", [(clip, None) for clip in seconds])
    assert [[clip for clip, _ in batch] for batch in one.batches(2, seconds)] == [["d"], ["b"], ["e"], ["a", "c"]]
    assert one.batches(2, dict.fromkeys(seconds, 1.0)) == one.batches(2)
    several = Cases("labels", [(clip, label) for clip in seconds for label in ("x", "y")])
    batches = several.batches(2, seconds)
    assert sorted(case for batch in batches for case in batch) == several.cases
    assert all(len({clip for clip, _ in batch}) == 1 for batch in batches)


def test_one_target_of_every_clip_and_the_clips_that_it_is_about(answers):
    classifier = hearing(answers)
    for one, target, clips in ((classifier, "dog", "ad"), (targeted(classifier, "cat - dog"), "cat - dog", "cd")):
        about = clips_about(tagged(), ("dog",) if one is classifier else one.question.answers)
        chosen = choose_cases(one, about, explain="labels", progress=False, target=target)
        assert chosen.cases == [(clip, target) for clip in clips]
        assert chosen.several
        assert chosen.heard == {clip: choose_cases(classifier, tagged(), progress=False).heard[clip] for clip in clips}
        assert chosen.as_dict()["explanations"] == 2
    assert len(clips_about(tagged(), ())) == 5
    with pytest.raises(UserError, match="no clip has the label 'wolf' or 'owl', which the target is about"):
        clips_about(tagged(), ("wolf", "owl"))
