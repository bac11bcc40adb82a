"""No model is measured on clips that it has seen, whatever they are called now, and wherever they lie."""

import csv
import shutil

import numpy as np
import pytest
import soundfile
import tiny

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.data.custom import SPLITS_TABLE, prepare_custom
from interpretability.data.esc50 import prepare_esc50
from interpretability.dictionary import Dictionary
from interpretability.errors import UserError
from interpretability.methods import load_interpreter
from interpretability.training.leakage import SEEN_CLIPS, UNKNOWN, SeenClips, refuse_seen_clips, without_seen

RATE = 8000


def make_sounds(root, seed=0, n=10):
    """Write n sounds of 0.1 s for each of two classes, and a recording of 2 s; no two have anything in common."""
    draw = np.random.default_rng(seed)
    for label in ("cat", "dog"):
        (root / label).mkdir(parents=True)
        for index in range(n):
            soundfile.write(root / label / f"{label}-{index}.wav", 0.1 * draw.standard_normal(RATE // 10), RATE)
    return root


def facts(prepared):
    """Return what a model that is trained on these data records about its training."""
    return {"data": prepared.description, SEEN_CLIPS: SeenClips.of_data(prepared).to_dict()}


def rows_of(manifests):
    return list(csv.reader((manifests / SPLITS_TABLE).read_text("utf-8").splitlines()))


def write_rows(path, rows):
    with open(path, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    return path


@pytest.fixture
def known(tmp_path):
    """The facts about a training on a folder per class; its data and its splits."""
    root = make_sounds(tmp_path / "data")
    return facts(prepare_custom(root, tmp_path / "known")), root, tmp_path / "known"


def renamed_label(root, manifests):
    (root / "dog").rename(root / "hound")


def one_more(root, manifests):
    soundfile.write(root / "cat" / "new.wav", 0.1 * np.random.default_rng(9).standard_normal(800), RATE)


def one_less(root, manifests):
    (root / "cat" / "cat-3.wav").unlink()


def other_names(root, manifests):
    for index, path in enumerate(sorted(root.rglob("*.wav"))):
        path.rename(path.with_name(f"{index % 7}-{index}.wav"))


CHANGES = [renamed_label, one_more, one_less, other_names]


@pytest.mark.parametrize("change", CHANGES)
def test_clips_are_recognised_by_their_content(change, known, tmp_path):
    training, root, manifests = known
    change(root, manifests)
    here = prepare_custom(root, tmp_path / "here", split_seed=7)
    assert here.description["clips"] != training["data"]["clips"]
    with pytest.raises(UserError) as caught:
        refuse_seen_clips(training, here, "the model")
    assert str(caught.value).startswith("the model has seen clips in its training that would measure it here (")
    # Nothing else is counted: each clip is compared with the split that it had.
    was = {row[0]: row[2] for row in rows_of(manifests)[1:]}
    if change is one_more:
        now = {row[0]: row[2] for row in rows_of(tmp_path / "here")[1:]}
        n_valid = sum(split == "valid" and was.get(path) == "train" for path, split in now.items())
        n_test = sum(split == "test" and was.get(path) in ("train", "valid") for path, split in now.items())
        assert min(n_valid, n_test) > 0
        assert f"({n_valid} of valid and {n_test} of test, such as " in str(caught.value)


def test_a_table_or_another_place_of_the_same_clips_is_no_other_data_set(known, tmp_path):
    training, root, manifests = known
    moved = shutil.move(root, tmp_path / "elsewhere")
    table = write_rows(moved / "t.csv", [row[:2] for row in rows_of(manifests)])
    with pytest.raises(UserError, match="has seen clips"):
        refuse_seen_clips(training, prepare_custom(None, tmp_path / "here", table=table, split_seed=7), "the model")
    # With the splits of its run it is measured on what it has not seen.
    table = write_rows(moved / "t.csv", rows_of(manifests))
    refuse_seen_clips(training, prepare_custom(None, tmp_path / "same", table=table), "the model")


def test_the_same_splits_with_other_labels_and_further_clips_are_fine(known, tmp_path):
    training, root, manifests = known
    one_more(root, manifests)
    head, *rows = rows_of(manifests)
    rows = [[path, f"{label}s", split] for path, label, split in rows] + [["cat/new.wav", "cats", "test"]]
    refuse_seen_clips(
        training, prepare_custom(root, tmp_path / "a", table=write_rows(tmp_path / "t.csv", [head, *rows])), "the model"
    )
    # A clip that chose the epoch may choose again, but not test; what trained may do neither.
    place = next(index for index, row in enumerate(rows) if row[2] == "valid")
    rows[place][2] = "test"
    swapped = prepare_custom(root, tmp_path / "b", table=write_rows(tmp_path / "t.csv", [head, *rows]))
    with pytest.raises(UserError, match=r"\(1 of test, such as 'cat_cat-\d'\)"):
        refuse_seen_clips(training, swapped, "the model")


def test_other_sounds_under_the_same_names_are_other_sounds(known, tmp_path):
    training, root, _ = known
    shutil.rmtree(root)
    make_sounds(root, seed=1)
    here = prepare_custom(root, tmp_path / "here", split_seed=7)
    assert here.description["clips"] == training["data"]["clips"]
    refuse_seen_clips(training, here, "the model")


def test_parts_of_recordings_are_seen_where_they_overlap(tmp_path):
    def prepared(name, shift, splits=("train", "train", "valid", "test")):
        head = ["path", "label", "start", "end", "split"]
        rows = [
            [f"{label}.wav", label, str(index + shift), str(index + shift + 1), split]
            for label in ("a", "b")
            for index, split in enumerate(splits)
        ]
        table = write_rows(tmp_path / "t.csv", [head, *rows])
        return prepare_custom(tmp_path, tmp_path / name, table=table, group_by="none")

    for seed, label in enumerate("ab"):
        wav = 0.1 * np.random.default_rng(seed).standard_normal(5 * RATE)
        soundfile.write(tmp_path / f"{label}.wav", wav, RATE)
    training = facts(prepared("known", 0.0))
    refuse_seen_clips(training, prepared("moved by one", 1.0, ("train", "valid", "test", "test")), "the model")
    with pytest.raises(UserError, match=r"\(2 of test, "):  # 2.7 to 3.7 s overlaps what chose the epoch
        refuse_seen_clips(training, prepared("by less", 0.7, ("train", "train", "test", "valid")), "the model")
    with pytest.raises(UserError, match=r"\(2 of valid and 2 of test, "):
        refuse_seen_clips(training, prepared("turned", 0.0, ("valid", "test", "train", "train")), "the model")


def test_what_a_source_had_seen_is_handed_on(known, tmp_path):
    training, root, _ = known
    others = prepare_custom(make_sounds(tmp_path / "others", seed=3), tmp_path / "second")
    tuned = SeenClips.of_data(others) | SeenClips.of(training, "")
    assert tuned.complete
    assert not (SeenClips.of_data(others) | UNKNOWN).complete
    turned = prepare_custom(root, tmp_path / "here", split_seed=7)
    with pytest.raises(UserError, match="has seen clips"):
        refuse_seen_clips({"data": others.description, SEEN_CLIPS: tuned.to_dict()}, turned, "the model")
    refuse_seen_clips(facts(others), turned, "the model")
    assert without_seen({"data": 1, **training, "dictionary": training}) == {
        "data": training["data"],
        "dictionary": {"data": training["data"]},
    }


def test_a_model_without_a_record_of_its_clips(known, tmp_path):
    """What is known of older ones is their splits as a whole, and their folds."""
    training, root, _ = known
    older = without_seen(training)
    turned = prepare_custom(root, tmp_path / "here", split_seed=7)
    with pytest.raises(UserError, match="was trained on other splits of these clips"):
        refuse_seen_clips(older, turned, "the model")
    assert SeenClips.of(older, "") == SeenClips.of({}, "") == UNKNOWN
    for nothing in ({}, None):
        refuse_seen_clips(nothing, turned, "the model")


def test_folds_of_another_data_set_are_other_folds(known, tmp_path):
    folded = prepare_custom(known[1], tmp_path / "folded", folds=5)
    other = prepare_custom(make_sounds(tmp_path / "other", seed=2, n=12), tmp_path / "o", folds=5, test_folds=1)
    refuse_seen_clips(facts(folded), other, "the model")


def test_damaged_records_are_one_line(known, tmp_path):
    turned = prepare_custom(known[1], tmp_path / "here", split_seed=7)
    with pytest.raises(UserError, match=r"the model: seen_clips: .*train"):
        refuse_seen_clips({SEEN_CLIPS: {"train": 3}}, turned, "the model")
    with pytest.raises(UserError, match="'0123@x-y' in the record of the clips that a model has seen"):
        refuse_seen_clips({SEEN_CLIPS: {"train": "0123@x-y"}}, turned, "the model")


@pytest.mark.slow
def test_real_clips_are_recognised_in_another_layout(esc10_folder, tmp_path):
    """ESC-10 by its folds, and two of its folds as a table of the user's own with other labels."""
    folds = {"train_folds": [1, 2, 3], "valid_folds": 4, "test_folds": 5}
    training = facts(prepare_esc50(esc10_folder, tmp_path / "known", esc10_only=True, **folds))
    with open(esc10_folder / "meta" / "esc50.csv", encoding="utf-8") as stream:
        rows = [row for row in csv.DictReader(stream) if row["fold"] in ("3", "5") and row["esc10"] == "True"]
    splits = {"3": "test", "5": "train"}
    listed = [[str(esc10_folder / "audio" / row["filename"]), row["target"], splits[row["fold"]]] for row in rows]
    table = write_rows(tmp_path / "t.csv", [["path", "label", "split"], *listed])
    with pytest.raises(UserError, match=rf"\({len(rows) // 2} of test, such as "):  # fold 3 trains there
        refuse_seen_clips(training, prepare_custom(None, tmp_path / "here", table=table), "the model")
    listed = [[path, label, {"test": "train", "train": "test"}[split]] for path, label, split in listed]
    table = write_rows(tmp_path / "t.csv", [["path", "label", "split"], *listed])
    turned = prepare_custom(None, tmp_path / "turned", table=table, valid_share=0.1)
    training["data"] = {}
    with pytest.raises(UserError, match=r"\(\d+ of valid, such as "):  # taken from fold 3
        refuse_seen_clips(training, turned, "the model")


@pytest.fixture
def turned_esc50(tiny_esc50, tmp_path):
    """The tiny clips under other names and labels, with their folds exchanged."""
    copy = shutil.copytree(tiny_esc50, tmp_path / "turned")
    table = copy / "meta" / "esc50.csv"
    head, *rows = list(csv.reader(table.read_text("utf-8").splitlines()))
    fold, label = head.index("fold"), head.index("category")
    for row in rows:
        (copy / "audio" / row[0]).rename(copy / "audio" / f"x{row[0]}")
        row[0], row[fold] = f"x{row[0]}", str(int(row[fold]) % 3 + 1)
        if row[label] == "low":
            row[label] = "deep"
    write_rows(table, [head, *rows])
    return copy


@pytest.mark.slow
def test_every_kind_of_training_refuses_a_source_that_has_seen_its_clips(
    tiny_esc50, turned_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path
):
    folds = {"train_folds": 1, "valid_folds": 2, "test_folds": 3}
    start = "has seen clips in its training that would measure it here (6 of valid"
    words = f"{start} and 6 of test, such as 'x"
    line = tiny.run("classifier", turned_esc50, tmp_path / "c", finetune_from=tiny_classifier_folder, **folds).line
    assert f"finetune_from is {tiny_classifier_folder}, which {words}" in line
    # One that does not say what it has seen explains these clips, is started from, and that is said.
    save_classifier(load_classifier(tiny_classifier_folder), tmp_path / "unknown")
    outcome = tiny.run("classifier", turned_esc50, tmp_path / "c", finetune_from=tmp_path / "unknown", freeze_epochs=1)
    assert outcome.code == 0, outcome.err
    not_known = "was trained on are not recorded: whether any of them select or test here is not known\n"
    assert f"  the clips that {tmp_path / 'unknown'} {not_known}" in outcome.out
    tuned = SeenClips.of(load_classifier(tmp_path / "c").description["training"], "")
    assert not tuned.complete
    assert len(tuned.train.split()) == 6
    explained = {"classifier_folder": tmp_path / "c"}
    line = tiny.run("interpreter", turned_esc50, tmp_path / "i", finetune_from=tiny_piq_run, **explained).line
    assert f"finetune_from is {tiny_piq_run}, which {words}" in line
    known = {"classifier_folder": tiny_classifier_folder}
    assert tiny.run("dictionary", tiny_esc50, tmp_path / "d", **known).code == 0
    line = tiny.run("dictionary", turned_esc50, tmp_path / "e", finetune_from=tmp_path / "d", **explained).line
    assert f"finetune_from is {tmp_path / 'd'}, which {start}, such as 'x" in line
    # The record of each: what trained it, and what chose its epoch where that was chosen.
    for training, n_valid in (
        (load_classifier(tiny_classifier_folder).description["training"], 6),
        (load_interpreter(tiny_piq_run).description["training"], 6),
        (Dictionary.load(tmp_path / "d").training, 0),
    ):
        seen_clips = SeenClips.of(training, "")
        assert (len(seen_clips.train.split()), len(seen_clips.valid.split()), seen_clips.complete) == (6, n_valid, True)
