"""Any folder or table becomes a data set: what is accepted, how it is split, and one clear line for what is not."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import soundfile

from interpretability.data.batches import make_datasets
from interpretability.data.custom import SPLITS_TABLE, list_clips, prepare_custom
from interpretability.data.manifest import SPLITS, read_manifest
from interpretability.data.summary import summary_line
from interpretability.errors import MissingError, UserError

RATE = 8000


def sound(path, seconds=0.1, rate=RATE, **options):
    """Write a short sound, and return its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = 0.1 * np.random.default_rng(abs(hash(path.name)) % 2**32).standard_normal(round(seconds * rate))
    soundfile.write(path, wav, rate, **options)
    return path


def make_folder(root, classes=("cat", "dog"), n=10):
    """Write n sounds of each class, of speakers s0 to s4."""
    for label in classes:
        for index in range(n):
            sound(root / label / f"s{index % 5}-{label}-{index}.wav")
    return root


def clips_of(prepared):
    """Return split -> id -> members."""
    return {split: read_manifest(prepared.manifests[split], prepared.data_root).entries for split in SPLITS}


def splits_by(prepared, key):
    """Return the splits in which each value of a member has clips."""
    places = {}
    for split, clips in clips_of(prepared).items():
        for clip in clips.values():
            places.setdefault(clip[key], set()).add(split)
    return places


def write_table(path, rows, delimiter=",", head=("path", "label"), encoding="utf-8", end="\n"):
    """Write a table of rows with as many values as the head."""
    with open(path, "w", encoding=encoding, newline="") as stream:
        csv.writer(stream, delimiter=delimiter, lineterminator=end).writerows([head, *rows])
    return path


def labelled(root, labels, n=3):
    """Write n sounds per label under plain names; return rows of (path, label)."""
    return [
        (sound(root / f"{place}-{index}.wav").name, label) for place, label in enumerate(labels) for index in range(n)
    ]


def one_line(caught, *parts):
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, f"{part!r} is not in: {message}"


# ---- Folders ----


def test_a_folder_per_class_is_split_and_the_splits_are_written_down(tmp_path):
    root = make_folder(tmp_path / "data")
    sound(root / "cat" / "deeper" / "still" / "x.flac")
    prepared = prepare_custom(root, tmp_path / "m")
    clips = clips_of(prepared)
    assert prepared.labels == ["cat", "dog"]
    assert {split: len(members) for split, members in clips.items()} == {"train": 13, "valid": 4, "test": 4}
    assert splits_by(prepared, "label") == {"cat": set(SPLITS), "dog": set(SPLITS)}
    assert "cat_deeper_still_x" in {name for members in clips.values() for name in members}
    assert any("splits are made, with the seed 1234" in note for note in prepared.notes)
    assert any(note.endswith(f"listed in {tmp_path / 'm' / SPLITS_TABLE}") for note in prepared.notes)
    again = prepare_custom(root, tmp_path / "again")
    assert clips_of(again) == clips
    assert clips_of(prepare_custom(root, tmp_path / "other", split_seed=1)) != clips
    # The written splits are a table that gives the same data set.
    listed = prepare_custom(root, tmp_path / "listed", table=tmp_path / "m" / SPLITS_TABLE)
    assert clips_of(listed) == clips
    assert listed.description["content"] == prepared.description["content"]


@pytest.mark.parametrize("names", [("train", "valid", "test"), ("Training", "val", "TEST")])
def test_folders_of_splits_are_respected(tmp_path, names):
    for name in names:
        make_folder(tmp_path / "data" / name, n=2)
    prepared = prepare_custom(tmp_path / "data", tmp_path / "m")
    assert prepared.labels == ["cat", "dog"]
    assert {split: len(members) for split, members in clips_of(prepared).items()} == dict.fromkeys(SPLITS, 4)
    for split, name in zip(SPLITS, names, strict=True):
        assert all(f"/data/{name}/" in clip["wav"] for clip in clips_of(prepared)[split].values())


def test_a_split_that_is_not_given_is_taken_from_train(tmp_path):
    make_folder(tmp_path / "data" / "train")
    make_folder(tmp_path / "data" / "test", n=2)
    prepared = prepare_custom(tmp_path / "data", tmp_path / "m")
    assert {split: len(members) for split, members in clips_of(prepared).items()} == {
        "train": 14,
        "valid": 6,
        "test": 4,
    }
    assert any("no valid split, so it is taken from train" in note for note in prepared.notes)


def test_a_class_named_train_beside_others_is_a_class(tmp_path):
    prepared = prepare_custom(make_folder(tmp_path / "data", ("train", "car")), tmp_path / "m")
    assert prepared.labels == ["car", "train"]


# ---- Tables ----

TABLES = {
    "CSV": {},
    "TSV": {"delimiter": "\t"},
    "semicolons": {"delimiter": ";"},
    "bars": {"delimiter": "|"},
    "with a BOM": {"encoding": "utf-8-sig"},
    "as Excel writes Unicode": {"delimiter": "\t", "encoding": "utf-16"},
    "with CRLF": {"end": "\r\n"},
    "other names of columns": {"head": ("File_Name", "Category")},
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_any_kind(tmp_path, kind):
    rows = labelled(tmp_path, ["a, b", 'the "best"', "grün"])
    prepared = prepare_custom(None, tmp_path / "m", table=write_table(tmp_path / "t.csv", rows, **TABLES[kind]))
    assert prepared.labels == ["a, b", "grün", 'the "best"']
    assert sum(map(len, clips_of(prepared).values())) == 9


def test_json_lines(tmp_path):
    rows = labelled(tmp_path, ["cat", 7])
    lines = [
        json.dumps({"path": path, "label": [label] if index % 2 else label}) for index, (path, label) in enumerate(rows)
    ]
    (tmp_path / "t.jsonl").write_text("\n\n".join(lines))
    assert prepare_custom(None, tmp_path / "m", table=tmp_path / "t.jsonl").labels == ["7", "cat"]


def test_paths_start_from_the_table_or_from_the_data_folder_or_are_absolute(tmp_path):
    """With spaces, other alphabets and the separators of Windows; and in any format and at any rate."""
    data, tables, other = tmp_path / "data", tmp_path / "tables", tmp_path / "other"
    paths = [
        sound(tables / "by the table.wav").name,
        "in\\folder\\x.flac",
        str(sound(other / "ñandú 鳥.ogg")),
        "../other/y.wav",
        "z.aiff",
        "z.mp3",
    ]
    sound(data / "in" / "folder" / "x.flac", rate=44100)
    sound(other / "y.wav")
    sound(data / "z.aiff")
    sound(data / "z.mp3", seconds=0.3, rate=16000)
    table = write_table(tables / "t.csv", [(path, "ab"[index % 2]) for index, path in enumerate(paths)])
    prepared = prepare_custom(data, tmp_path / "m", table=table)
    clips = {name: clip for members in clips_of(prepared).values() for name, clip in members.items()}
    assert len(clips) == len(paths)
    assert {clip["sample_rate"] for clip in clips.values()} == {8000, 16000, 44100}
    assert prepared.labels == ["a", "b"]
    for dataset in make_datasets(prepared, ["a", "b"], RATE).values():
        assert all(len(dataset[place]["signal"]) >= 800 for place in range(len(dataset)))


def test_clips_are_cut_from_recordings_which_stay_together(tmp_path):
    rows = []
    for index in range(6):
        sound(tmp_path / f"{index}.wav", seconds=2.0)
        rows += [(f"{index}.wav", "cat", 0.1, 0.35), (f"{index}.wav", "dog", 1.5, ""), (f"{index}.wav", "dog", "", 0.2)]
    table = write_table(tmp_path / "t.csv", rows, head=("path", "label", "start", "end"))
    prepared = prepare_custom(None, tmp_path / "m", table=table)
    assert any("clips of one recording stay together" in note for note in prepared.notes)
    assert all(len(places) == 1 for places in splits_by(prepared, "wav").values())
    datasets = make_datasets(prepared, prepared.labels, RATE)
    assert Counter(len(item["signal"]) for dataset in datasets.values() for item in dataset) == {
        2000: 6,
        4000: 6,
        1600: 6,
    }
    apart = prepare_custom(None, tmp_path / "apart", table=table, group_by="none")
    assert any(len(places) > 1 for places in splits_by(apart, "wav").values())
    listed = prepare_custom(tmp_path, tmp_path / "listed", table=tmp_path / "m" / SPLITS_TABLE)
    assert clips_of(listed).keys() == clips_of(prepared).keys()
    assert [len(item["signal"]) for item in make_datasets(listed, prepared.labels, RATE)["test"]] == [
        len(item["signal"]) for item in datasets["test"]
    ]


# ---- Splits ----


@pytest.mark.parametrize("options", [{"group_pattern": "^(s.)-"}, {"table": True, "group_by": "Speaker"}])
def test_groups_are_never_split_and_one_of_them_can_be_chosen_to_test(tmp_path, options):
    root = make_folder(tmp_path / "data")
    if "table" in options:
        rows = [(path, path.parent.name, path.name[:2]) for path in sorted(root.rglob("*.wav"))]
        options["table"] = write_table(tmp_path / "t.csv", rows, head=("path", "label", "speaker"))
    prepared = prepare_custom(root, tmp_path / "m", **options)
    places = splits_by(prepared, "group")
    assert places.keys() == {"s0", "s1", "s2", "s3", "s4"}
    assert Counter(split for members in places.values() for split in members) == {"train": 3, "valid": 1, "test": 1}
    chosen = prepare_custom(root, tmp_path / "chosen", **options, test_groups="s3", valid_groups=["s0", "s1"])
    assert {group: next(iter(split)) for group, split in splits_by(chosen, "group").items()} == {
        "s0": "valid", "s1": "valid", "s2": "train", "s3": "test", "s4": "train"
    }  # fmt: skip
    assert any("test is the group 's3'" in note for note in chosen.notes)


def test_folds_are_made_or_respected_and_choose_the_splits(tmp_path):
    root = make_folder(tmp_path / "data")
    drawn = prepare_custom(root, tmp_path / "m", folds=5)
    assert splits_by(drawn, "fold") == {1: {"train"}, 2: {"train"}, 3: {"train"}, 4: {"valid"}, 5: {"test"}}
    table = tmp_path / "m" / SPLITS_TABLE
    rows = list(csv.DictReader(table.read_text().splitlines()))
    write_table(
        tmp_path / "t.csv", [(row["path"], row["label"], row["fold"]) for row in rows], head=("path", "label", "fold")
    )
    floats = write_table(
        tmp_path / "f.csv",
        [(row["path"], row["label"], f"{row['fold']}.0") for row in rows],
        head=("path", "label", "fold"),
    )  # as pandas writes the column where another row lacked a fold
    assert clips_of(prepare_custom(root, tmp_path / "floats", table=floats)) == clips_of(drawn) != {}
    given = prepare_custom(root, tmp_path / "given", table=tmp_path / "t.csv", valid_folds=1, test_folds="2,3")
    assert splits_by(given, "fold") == {1: {"valid"}, 2: {"test"}, 3: {"test"}, 4: {"train"}, 5: {"train"}}
    assert given.description["folds"] == {"train": [4, 5], "valid": [1], "test": [2, 3]}


# ---- Strange but good ----


def test_labels_of_any_characters(tmp_path):
    labels = ["a,b", '"', "x/y", "..", ".hidden", "鳥", "𝄞", "x" * 300, "Dog", "dog", "null", "1e3", "{x}", "-"]
    rows = labelled(tmp_path, labels)
    prepared = prepare_custom(None, tmp_path / "m", table=write_table(tmp_path / "t.csv", rows))
    assert prepared.labels == sorted(labels)
    assert splits_by(prepared, "label") == {label: set(SPLITS) for label in labels}
    assert "the labels 'Dog' (3) and 'dog' (3) differ only by case" in summary_line(prepared)
    listed = prepare_custom(tmp_path, tmp_path / "listed", table=tmp_path / "m" / SPLITS_TABLE)
    assert clips_of(listed) == clips_of(prepared)


def test_folders_named_after_labels_of_any_characters(tmp_path):
    """Those that begin with a dot are hidden: they are named, and what to do; nothing is left out in silence."""
    labels = ["a,b", 'the "best"', "鳥", "Dog", "dog", "x" * 200, "a;b", "{x}"]
    make_folder(tmp_path / "data", labels, n=3)
    assert prepare_custom(tmp_path / "data", tmp_path / "m").labels == sorted(labels)
    make_folder(tmp_path / "data", [".cat"], n=3)
    sound(tmp_path / "data" / ".cache" / "._x.wav")
    prepared = prepare_custom(tmp_path / "data", tmp_path / "n")
    assert prepared.labels == sorted(labels)
    (note,) = (note for note in prepared.notes if "hidden" in note)
    assert note.startswith(
        "left out, as hidden, are the sounds in '.cat': if these are classes, rename them, or give a "
    )
    listed = [(f".cat/s{i}-.cat-{i}.wav", ".cat") for i in range(3)] + [
        (f"dog/s{i}-dog-{i}.wav", "dog") for i in range(3)
    ]
    table = write_table(tmp_path / "data" / "t.csv", listed)
    assert prepare_custom(None, tmp_path / "o", table=table).labels == [".cat", "dog"]


@pytest.mark.slow
def test_ten_thousand_classes(tmp_path):
    sound(tmp_path / "x.wav", seconds=4.0)
    # Of 1000 classes three clips, of the others one.
    names = [*range(10000), *range(1000), *range(1000)]
    rows = [("x.wav", f"class {name}", f"{i / RATE:.6f}", f"{i / RATE + 0.01:.6f}") for i, name in enumerate(names)]
    table = write_table(tmp_path / "t.csv", rows, head=("path", "label", "start", "end"))
    prepared = prepare_custom(None, tmp_path / "m", table=table, group_by="none")
    assert len(prepared.labels) == 10000
    assert prepared.description["n_clips"] == {"train": 10000, "valid": 1000, "test": 1000}


def test_small_classes_are_named_with_what_is_done(tmp_path):
    rows = [*labelled(tmp_path, ["common"], 10), *labelled(tmp_path / "more", ["rare"], 1)]
    rows[-1] = (f"more/{rows[-1][0]}", "rare")
    prepared = prepare_custom(None, tmp_path / "m", table=write_table(tmp_path / "t.csv", rows))
    assert splits_by(prepared, "label")["rare"] == {"train"}
    assert any(
        "1 of 2 classes have too few clips or groups for all splits: 'rare' (1 in train)" in note
        for note in prepared.notes
    )


def test_clips_listed_twice_are_counted(tmp_path):
    rows = labelled(tmp_path, ["a", "b"])
    prepared = prepare_custom(None, tmp_path / "n", table=write_table(tmp_path / "t.csv", [*rows, rows[0], rows[1]]))
    assert sum(prepared.description["n_clips"].values()) == 6
    assert any("2 rows list a clip once more" in note for note in prepared.notes)


def test_names_that_would_be_the_same_stay_apart(tmp_path):
    for name in ("a/b/x.wav", "a/b_x.wav", "a/b_x.flac", "c/x.wav", "c/y.wav", "c/z.wav"):
        sound(tmp_path / "data" / name)
    prepared = prepare_custom(tmp_path / "data", tmp_path / "m")
    names = [name for members in clips_of(prepared).values() for name in members]
    assert len(set(names)) == 6
    assert sum(name.startswith("a_b_x~") for name in names) == 3


def test_a_silent_clip_is_a_clip(tmp_path, caplog):
    root = make_folder(tmp_path / "data")
    soundfile.write(root / "cat" / "silent.wav", np.zeros(800), RATE)
    datasets = make_datasets(prepare_custom(root, tmp_path / "m"), ["cat", "dog"], RATE)
    assert sum(1 for dataset in datasets.values() for item in dataset if not item["signal"].any()) == 1
    assert "silent.wav: the clip is silent" in caplog.text


# ---- Bad input ----


def table_of(*rows, head=("path", "label")):
    """Return what makes a table beside six good sounds, of which the rows are about some."""

    def make(folder):
        for index in range(6):
            sound(folder / f"{index}.wav", seconds=1.0)
        known = [(f"{index}.wav", "ab"[index % 2], *[""] * (len(head) - 2)) for index in range(6)]
        return {"table": write_table(folder / "t.csv", [*known, *rows], head=head)}

    return make


def text_of(text, name="t.csv"):
    """Return what writes a table as a text, beside a sound."""

    def make(folder):
        sound(folder / "0.wav")
        (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return {"table": folder / name}

    return make


def folder_of(*names, **options):
    """Return what makes a folder of sounds."""

    def make(folder):
        for name in names:
            sound(folder / name)
        return options

    return make


def with_groups(*splits, column="split"):
    """Return what makes a table of two classes with a group, whose clips have these splits or folds."""
    rows = [(f"{place % 6}.wav", "ab"[place % 2], split, group) for place, (split, group) in enumerate(splits)]

    def make(folder):
        for index in range(6):
            sound(folder / f"{index}.wav")
        return {"table": write_table(folder / "t.csv", rows, head=("path", "label", column, "group"))}

    return make


TIMES = ("path", "label", "start", "end")
GOOD = [f"{label}/{index}.wav" for label in "ab" for index in range(3)]
BAD = {
    "nothing is given": (lambda folder: {"data_folder": None}, "give --data_folder DIR", "--table FILE"),
    "no such folder": (lambda folder: {"data_folder": folder / "gone"}, "no such data folder"),
    "a file for a folder": (lambda folder: {"data_folder": sound(folder / "x.wav")}, "is a file, expected a folder"),
    "an empty folder": (folder_of(), "holds no sounds"),
    "sounds that cannot be read": (
        lambda folder: (folder / "x.txt").write_bytes(b"?") and {},
        "holds no sounds",
    ),
    "one class": (folder_of("a/x.wav", "a/y.wav"), "has only one class, 'a', expected at least two"),
    "hidden folders alone": (folder_of(".a/x.wav", ".b/y.wav"), "holds no sounds", "the sounds in '.a', '.b'"),
    "all classes but one are hidden": (folder_of("a/x.wav", ".b/y.wav"), "only one class, 'a'", "the sounds in '.b'"),
    "a hidden folder in those of splits": (
        folder_of("train/a/x.wav", "train/.b/y.wav", "test/a/x.wav"),
        "has only one class",
        "the sounds in 'train/.b': rename them",
    ),
    "a folder too high": (folder_of("data/a/x.wav", "data/b/y.wav"), "one class, 'data'", "if its folders are"),
    "a sound without a class": (folder_of(*GOOD, "x.wav"), "lies directly in", "a folder named after its class"),
    "too few clips": (folder_of("a/0.wav", "b/0.wav"), "2 groups", "cannot be split"),
    "a split without training": (folder_of("valid/a/0.wav", "test/b/0.wav", "x/a/b.wav"), "cannot be split"),
    "a pattern that does not match": (folder_of(*GOOD, group_pattern="^x"), "does not match 6 of 6 file names"),
    "a pattern that is none": (folder_of(*GOOD, group_pattern="("), "is no regular expression"),
    "two kinds of groups": (folder_of(*GOOD, group_by="none", group_pattern="."), "give one of them"),
    "a column without a table": (folder_of(*GOOD, group_by="speaker"), "there is no table: give --group_pattern"),
    "a group that is not there": (
        folder_of(*GOOD, group_pattern="^.", test_groups="x"),
        "test_groups names 'x', but the groups of",
        "'0', '1', '2'",
    ),
    "a group in two chosen splits": (
        folder_of(*GOOD, group_pattern="^.", test_groups="1", valid_groups=1),
        "both name '1'",
    ),
    "too few groups": (folder_of(*GOOD, group_pattern="^(?=.)"), "1 group of clips ('') cannot be split"),
    "shares of more than all": (folder_of(*GOOD, valid_share=0.5, test_share=0.5), "expected less than 1"),
    "a share of nothing": (folder_of(*GOOD, valid_share=0), "valid_share is 0, expected a number between 0 and 1"),
    "two folds": (folder_of(*GOOD, folds=2), "folds is 2, expected a whole number from 3"),
    "a fold that is not there": (folder_of(*GOOD, folds=3, test_folds=4), "do not fit the folds [1, 2, 3]"),
    "a file for a table": (lambda folder: {"table": folder / "gone.csv"}, "gone.csv: no such file"),
    "an empty table": (text_of(""), "lacks the columns path and label", "its first line has"),
    "a table without clips": (text_of("path,label\n\n"), "lists no clips"),
    "a table without a head": (text_of("0.wav,a\n"), "lacks the columns path and label", "'0.wav', 'a'"),
    "a table without labels": (text_of("path,loudness\n0.wav,3\n"), "lacks the column label"),
    "a column twice": (text_of("path,label,label\n0.wav,a,b\n"), "has the column 'label' twice"),
    "mixed separators": (text_of("path,label\n0.wav,a\n1.wav;b\n"), "line 3: has 1 values, expected 2 separated by"),
    "a separator in a value": (text_of("path,label\n0.wav,a,b\n"), "line 2: has 3 values", "quotes around a value"),
    "quotes that do not end": (text_of('path,label\n0.wav,"a\n'), "is not a table", "check its quotes"),
    "another encoding": (text_of("path,label\n0.wav,gr\xfcn\n".encode("latin-1")), "not text in UTF-8"),
    "sound for a table": (lambda folder: {"table": sound(folder / "0.wav")}, "not text in UTF-8"),
    "JSON that is none": (text_of('{"path": "0.wav", "label": }\n', "t.jsonl"), "t.jsonl, line 1: not valid JSON"),
    "JSON of another shape": (text_of('["0.wav", "a"]\n', "t.jsonl"), "is ['0.wav', 'a'], expected a JSON object"),
    "a label that is no text": (text_of('{"path": "0.wav", "label": true}\n', "t.jsonl"), "label is True, expected"),
    "an empty label": (table_of(("0.wav", " ")), "line 8: label is empty"),
    "an empty path": (table_of(("", "a")), "line 8: path is empty"),
    "several labels": (table_of(("0.wav", "a;b")), "line 8: the clip has 2 labels, 'a;b'", "call it labels"),
    "several labels in JSON": (
        text_of('{"path": "0.wav", "label": ["a", "b"]}\n', "t.jsonl"),
        "line 1: the clip has 2 labels, ['a', 'b']",
    ),
    "paths that do not exist": (
        table_of(("gone/x.wav", "a"), ("gone/y.wav", "b")),
        "2 of 8 paths do not exist, the first 'gone/x.wav' (line 8), 'gone/y.wav' (line 9)",
        "--skip_bad_clips True",
    ),
    "a clip with two labels": (table_of(("0.wav", "b")), "line 8: '0.wav' is 'b' here and 'a' in line 2"),
    "an unknown split": (with_groups(("holdout", "x")), "line 2: split is 'holdout', expected train, valid or test"),
    "a clip without a split": (with_groups(("train", "x"), ("", "y")), "line 3: has no split, though other clips have"),
    "splits without train": (with_groups(("valid", "x"), ("test", "y")), "no clip in train"),
    "a fold that is no number": (with_groups(("one", "x"), column="fold"), "line 2: fold is 'one', expected a whole"),
    "a fold between two": (with_groups(("1.5", "x"), column="fold"), "line 2: fold is '1.5', expected a whole number"),
    "a fold of no size": (with_groups(("inf", "x"), column="fold"), "line 2: fold is 'inf', expected a whole number"),
    "a fold that is not there for all": (
        with_groups(("1.0", "x"), ("", "y"), column="fold"),
        "line 3: has no fold, though other clips have",
    ),
    "windows around clips of several labels": (
        lambda folder: {**text_of("path,labels,start,end\n0.wav,a;b,0,0.05\n")(folder), "window_seconds": 0.1},
        "window_seconds is 0.1, but the clips may have several labels",
    ),
    "a group in two given splits": (
        with_groups(("train", "x"), ("train", "x"), ("valid", "y"), ("valid", "y"), ("test", "x"), ("test", "z")),
        "the group 'x' has clips in train (2 clips) and test (1 clips)",
    ),
    "a group in folds of two splits": (
        with_groups(("1", "x"), ("1", "x"), ("2", "y"), ("2", "y"), ("3", "x"), ("3", "z"), column="fold"),
        "the group 'x' has clips in train (2 clips) and test (1 clips)",
    ),
    "a column that is not there": (
        lambda folder: {**table_of()(folder), "group_by": "speaker"},
        "group_by is 'speaker', but",
        "it has path, label",
    ),
    "folds beside folds": (
        lambda folder: {**with_groups(("1", "x"), ("2", "y"), column="fold")(folder), "folds": 3},
        "has folds or splits of its own",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(tmp_path, case):
    make, *parts = BAD[case]
    folder = tmp_path / "data"
    folder.mkdir()
    options = {"data_folder": folder, **make(folder)}
    with pytest.raises(UserError) as caught:
        prepare_custom(manifest_folder=tmp_path / "m", **options)
    one_line(caught, *parts)
    assert not (tmp_path / "m").exists()


#: Clips that are bad one by one.
CLIPS = {
    "start after end": (table_of(("0.wav", "a", 0.5, 0.2), head=TIMES), "start is 0.5 s and end 0.2 s"),
    "start at the end": (table_of(("0.wav", "a", 0.5, 0.5), head=TIMES), "start is 0.5 s and end 0.5 s"),
    "a negative time": (table_of(("0.wav", "a", -1, 0.5), head=TIMES), "start is '-1', expected a number of seconds"),
    "a band for two labels": (
        table_of(("0.wav", "a;b", 100, 900), head=("path", "labels", "low", "high")),
        "line 8: has one band, low to high, and 2 labels: give boxes, with the label of each",
    ),
    "a time that is none": (table_of(("0.wav", "a", "0,5", 1), head=TIMES), "start is '0,5'", "with a decimal point"),
    "not a number": (table_of(("0.wav", "a", 0, "nan"), head=TIMES), "end is 'nan'"),
    "a selection beyond the recording": (
        table_of(("0.wav", "a", 0.5, 1.2), head=TIMES),
        "line 8: 0.5 to 1.2 s lies beyond its recording of 1 s",
    ),
    "a start beyond the recording": (table_of(("0.wav", "a", 1, ""), head=TIMES), "lies beyond its recording of 1 s"),
    "a clip of no samples": (
        lambda folder: folder_of(*GOOD)(folder) or soundfile.write(folder / "a" / "x.wav", [], RATE) or {},
        "holds 0 samples",
    ),
    "no audio": (
        lambda folder: folder_of(*GOOD)(folder) or ((folder / "a" / "x.wav").write_text("hello") and {}),
        "cannot be decoded",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CLIPS)
def test_a_bad_clip_stops_or_is_left_out_alone(tmp_path, case):
    make, *parts = CLIPS[case]
    folder = tmp_path / "data"
    folder.mkdir()
    options = {"data_folder": folder, "group_by": "none", **make(folder)}
    with pytest.raises(UserError) as caught:
        prepare_custom(manifest_folder=tmp_path / "m", **options)
    one_line(caught, *parts, "--skip_bad_clips True")
    prepared = prepare_custom(manifest_folder=tmp_path / "m", **options, skip_bad_clips=True)
    assert sum(prepared.description["n_clips"].values()) == 6
    ((_, reason),) = prepared.skipped
    assert parts[0] in reason


def test_a_label_in_test_that_training_lacks_is_refused_or_left_out(tmp_path):
    rows = [(name, label, "train") for name, label in labelled(tmp_path, ["a", "b"])]
    extra = [(str(sound(tmp_path / f"{i}.wav")), label, split) for i, (label, split) in enumerate(
        [("a", "valid"), ("b", "valid"), ("a", "test"), ("c", "test")]
    )]  # fmt: skip
    table = write_table(tmp_path / "t.csv", [*rows, *extra], head=("path", "label", "split"))
    with pytest.raises(UserError) as caught:
        prepare_custom(None, tmp_path / "m", table=table)
    one_line(caught, "clip '3'", "its label 'c' has no clip in train, but is in test")
    prepared = prepare_custom(None, tmp_path / "m", table=table, skip_bad_clips=True)
    assert prepared.labels == ["a", "b"]
    assert prepared.description["n_clips"] == {"train": 6, "valid": 2, "test": 1}
    assert len(prepared.skipped) == 1


def test_a_clip_that_is_not_finite_is_named_when_it_is_decoded(tmp_path):
    root = make_folder(tmp_path / "data")
    soundfile.write(root / "cat" / "nan.wav", np.full(800, np.nan), RATE, subtype="FLOAT")
    prepared = prepare_custom(root, tmp_path / "m")
    split = next(split for split, clips in clips_of(prepared).items() if "cat_nan" in clips)
    dataset = make_datasets(prepared, ["cat", "dog"], RATE)[split]
    with pytest.raises(UserError, match=r"nan\.wav: 800 of 800 samples are NaN or infinite"):
        list(dataset)
    datasets = make_datasets(prepared, ["cat", "dog"], RATE, skip_bad_clips=True)
    assert sum(map(len, datasets.values())) == 20


def test_some_missing_paths_are_left_out_when_asked_for(tmp_path):
    table = write_table(tmp_path / "t.csv", [*labelled(tmp_path, ["a", "b"]), ("gone.wav", "a")])
    with pytest.raises(MissingError):
        prepare_custom(None, tmp_path / "m", table=table)
    prepared = prepare_custom(None, tmp_path / "m", table=table, skip_bad_clips=True)
    assert [name for name, _ in prepared.skipped] == ["gone"]
    (tmp_path / "t.csv").write_text("path,label\ngone.wav,a\n")
    with pytest.raises(UserError, match="all 1 clips are bad"):
        prepare_custom(None, tmp_path / "m", table=table, skip_bad_clips=True)


def test_a_clip_with_two_labels_is_left_out_when_asked_for(tmp_path):
    rows = labelled(tmp_path, ["a", "b"], n=4)
    table = write_table(tmp_path / "t.csv", [*rows, (rows[0][0], "b"), (rows[0][0], "a"), (rows[0][0], "b")])
    prepared = prepare_custom(None, tmp_path / "m", table=table, skip_bad_clips=True)
    assert sum(prepared.description["n_clips"].values()) == 7
    assert {name for name, _ in prepared.skipped} == {"0-0"}
    assert "0-0" not in {name for members in clips_of(prepared).values() for name in members}


def test_clips_are_listed_where_they_cannot_be_split(tmp_path):
    listing = list_clips(make_folder(tmp_path / "data", ("cat",), 2))
    assert [clip.label for clip in listing.clips] == ["cat", "cat"]
    assert [entry["id"] for entry in listing.entries] == ["cat_s0-cat-0", "cat_s1-cat-1"]
    assert all(entry["duration"] == 0.1 for entry in listing.entries)
