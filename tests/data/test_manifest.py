"""The manifest: what is written is what SpeechBrain and the package read; every fault gives one line that names the
clip."""

import json
import logging
import os
import shutil

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset

from interpretability.data.audio import ClipCache
from interpretability.data.manifest import (
    PreparedData,
    decodable,
    read_manifest,
    speechbrain_dataset,
    write_manifest,
    write_manifests,
)
from interpretability.errors import MissingError, UserError
from interpretability.files import write_json_if_changed

RATE = 8000


@pytest.fixture
def root(tmp_path):
    """A data folder with three clips; clip i holds 100 * (i + 1) samples of value i / 10."""
    folder = tmp_path / "data"
    (folder / "audio").mkdir(parents=True)
    for i, name in enumerate("abc"):
        soundfile.write(folder / "audio" / f"{name}.wav", np.full(100 * (i + 1), i / 10), RATE, subtype="FLOAT")
    return folder


def entry(name, **members):
    base = {"id": name, "wav": f"{{data_root}}/audio/{name}.wav", "duration": 0.1, "sample_rate": RATE, "label": "dog"}
    return {**base, **members}


def without_id(members):
    return {key: value for key, value in members.items() if key != "id"}


def raw(path, *entries):
    """Write a manifest by hand, without any check."""
    path.write_text(json.dumps({item["id"]: without_id(item) for item in entries}))
    return path


def assert_fault(path, root, clip, *reasons, **options):
    """The manifest is refused in one line that names the clip; with skip_bad_clips just that clip is left out."""
    with pytest.raises(UserError) as caught:
        read_manifest(path, root, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in (str(path), repr(clip), "--skip_bad_clips True", *reasons):
        assert part in message, f"{part!r} is not in: {message}"
    manifest = read_manifest(path, root, skip_bad_clips=True, **options)
    assert [clip_id for clip_id, _ in manifest.skipped] == [clip]
    assert reasons[0] in manifest.skipped[0][1]
    return manifest


# ---- Writing ----


def test_manifests_of_others_are_not_replaced(root, tmp_path):
    """In whatever folder they are asked for: what differs and was not written by us stays."""
    folder = tmp_path / "m"
    folder.mkdir()
    entries = {split: [entry(name)] for split, name in (("train", "a"), ("valid", "b"), ("test", "a"))}
    given = (folder, root, ["dog"], entries, {"name": "made up"}, [])
    (folder / "train.json").write_text('{"mine": {}}')
    with pytest.raises(UserError, match=r"holds train\.json, which this program is not known to have written"):
        write_manifests(*given)
    assert [path.name for path in folder.iterdir()] == ["train.json"]
    (folder / "train.json").unlink()
    write_manifests(*given)
    entries["train"] = [entry("b")]
    write_manifests(*given)
    assert list(json.loads((folder / "train.json").read_text())) == ["b"]


def test_round_trip(tmp_path, root):
    entries = [entry("b", fold=2, take={"n": [1, "x"]}), entry("a", label="cat", target_wav="{data_root}/audio/c.wav")]
    assert write_manifest(tmp_path / "m" / "train.json", entries) is True
    manifest = read_manifest(tmp_path / "m" / "train.json", root, labels=["cat", "dog"])
    assert list(manifest.entries) == ["b", "a"]
    assert len(manifest) == 2
    assert manifest.skipped == []
    assert manifest.data_root == root
    assert manifest.entries["b"] == {
        "wav": f"{root}/audio/b.wav",
        "duration": 0.1,
        "sample_rate": RATE,
        "label": "dog",
        "fold": 2,
        "take": {"n": [1, "x"]},
    }
    assert manifest.entries["a"]["target_wav"] == f"{root}/audio/c.wav"


def test_speechbrain_reads_the_file_as_we_do(tmp_path, root):
    soundfile.write(root / "audio" / "{odd} na{me.wav", np.zeros(10), RATE)
    write_manifest(tmp_path / "m.json", [entry("a", fold=1), entry("{odd} na{me", label="{x}", fold=1)])
    theirs = DynamicItemDataset.from_json(tmp_path / "m.json", replacements={"data_root": str(root)})
    ours = read_manifest(tmp_path / "m.json", root, labels=["dog", "{x}"])
    assert theirs.data == ours.entries


def test_boxes_go_with_their_clips(tmp_path, root):
    """Through the file and into the data set, if any clip has some; SpeechBrain reads them as we do."""
    boxes = [{"label": "{dog}", "start": 0.01, "end": 0.05, "low": 100.0}]
    write_manifest(tmp_path / "m.json", [entry("a", boxes=boxes), entry("b")])
    manifest = read_manifest(tmp_path / "m.json", root)
    assert manifest.entries["a"]["boxes"] == boxes
    theirs = DynamicItemDataset.from_json(tmp_path / "m.json", replacements={"data_root": str(root)})
    assert theirs.data == manifest.entries
    dataset = speechbrain_dataset(manifest, lambda path: torch.zeros(800))
    assert [item["boxes"] for item in dataset] == [boxes, []]
    write_manifest(tmp_path / "n.json", [entry("a"), entry("b", boxes=[])])
    plain = speechbrain_dataset(read_manifest(tmp_path / "n.json", root), lambda path: torch.zeros(800))
    assert set(plain[0]) == {"id", "signal", "label"}


def test_a_manifest_that_says_the_same_is_not_touched(tmp_path):
    path = tmp_path / "m.json"
    assert write_manifest(path, [entry("a"), entry("b")])
    before = path.stat()
    assert not write_manifest(path, [entry("a"), entry("b")])
    after = path.stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    assert write_manifest(path, [entry("b"), entry("a")])
    assert list(json.loads(path.read_text())) == ["b", "a"]
    assert [item.name for item in tmp_path.iterdir()] == ["m.json"]


def test_json_if_changed_refuses_nan(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json_if_changed(tmp_path / "a.json", [float("nan")])
    assert list(tmp_path.iterdir()) == []


def test_a_duplicate_id_is_not_written(tmp_path):
    with pytest.raises(UserError, match="clip 'a': duplicate id"):
        write_manifest(tmp_path / "m.json", [entry("a"), entry("b"), entry("a")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [[], [entry("")], [without_id(entry("a"))], [entry("a", duration=0)]])
def test_what_does_not_fit_the_schema_is_not_written(tmp_path, bad):
    with pytest.raises(UserError):
        write_manifest(tmp_path / "m.json", bad)
    assert list(tmp_path.iterdir()) == []


# ---- The identity of the data ----


def prepared_copy(root, folder, change=lambda copy, entries: None, labels=("dog", "cat")):
    """Copy the data, change something, and prepare them."""
    copy = folder / "copy"
    shutil.copytree(root, copy)
    split = {"train": [entry("a"), entry("b", label="cat")], "test": [entry("c")]}
    change(copy, split)
    return write_manifests(folder / "manifests", copy, list(labels), split, {"name": "three"}, []).description


def another_sample(copy, _):
    """One sample in the middle of a file, whose size stays."""
    content = bytearray((copy / "audio" / "b.wav").read_bytes())
    content[len(content) // 2] ^= 1
    (copy / "audio" / "b.wav").write_bytes(content)


def another_size(copy, _):
    with open(copy / "audio" / "b.wav", "ab") as stream:
        stream.write(b"\x00")


CHANGES = {
    "a sample": another_sample,
    "a size": another_size,
    "a label": lambda _, split: split["train"][1].update(label="dog"),
    "a duration": lambda _, split: split["train"][1].update(duration=0.2),
    "a name": lambda _, split: split["train"][1].update(id="z"),
    "a target": lambda _, split: split["test"][0].update(target_wav="{data_root}/audio/a.wav"),
    "the splits": lambda _, split: split["test"].append(split["train"].pop()),
}


def test_a_zero_is_a_zero_whatever_its_sign(tmp_path, root):
    """A manifest holds 0.0 for -0.0: what was drawn, and what is read again, are the same data."""
    drawn, read = (
        prepared_copy(root, tmp_path / name, lambda _, split, zero=zero: split["train"][0].update(snr_db=zero))
        for name, zero in (("drawn", -0.0), ("read", 0.0))
    )
    assert drawn == read


@pytest.mark.parametrize("change", [*CHANGES, "the order of the classes"])
def test_data_that_differ_are_told_apart_although_names_and_numbers_are_the_same(tmp_path, root, change):
    before = prepared_copy(root, tmp_path / "before")
    labels = ("cat", "dog") if change not in CHANGES else ("dog", "cat")
    after = prepared_copy(root, tmp_path / "after", CHANGES.get(change, lambda *_: None), labels)
    assert before["content"] != after["content"]


def test_data_that_moved_or_are_listed_in_another_order_are_the_same(tmp_path, root):
    before = prepared_copy(root, tmp_path / "before")
    after = prepared_copy(root, tmp_path / "after", lambda _, split: split["train"].reverse())
    assert before == after


# ---- Names ----


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "a\\b", "..", "a\nb", "\x1b[2J", "x" * 1001])
def test_an_id_that_is_no_plain_name_is_neither_written_nor_believed(tmp_path, root, name):
    with pytest.raises(UserError, match="a clip has the id"):
        write_manifest(tmp_path / "m.json", [entry("a"), entry("a", id=name)])
    assert not (tmp_path / "m.json").exists()
    members = without_id(entry("a"))
    (tmp_path / "m.json").write_text(json.dumps({"a": members, name: members}))
    with pytest.raises(UserError, match="as an id, "):
        read_manifest(tmp_path / "m.json", root)
    manifest = read_manifest(tmp_path / "m.json", root, skip_bad_clips=True)
    assert list(manifest.entries) == ["a"]
    assert len(manifest.skipped) == 1


def test_names_that_are_not_utf8_are_prepared_read_and_loaded(tmp_path, root, caplog):
    name = os.fsdecode(b"ch\xe8vre")
    (root / "audio" / "a.wav").rename(root / "audio" / f"{name}.wav")
    clips = {"train": [entry(name, label=name), entry("b")]}
    prepared = write_manifests(tmp_path, root, [name, "dog"], clips, {"name": "odd"}, [])
    assert prepared.labels == ["ch%E8vre", "dog"]
    assert json.loads((tmp_path / "labels.json").read_text()) == prepared.labels
    manifest = read_manifest(prepared.manifests["train"], root, prepared.labels)
    assert list(manifest.entries) == ["ch%E8vre", "b"]
    assert manifest.entries["ch%E8vre"]["label"] == "ch%E8vre"
    dataset = speechbrain_dataset(manifest, ClipCache(tmp_path / "cache", RATE).load)
    assert len(dataset[0]["signal"]) == 100
    (root / "audio" / f"{name}.wav").write_text("words")
    manifest = read_manifest(prepared.manifests["train"], root, skip_bad_clips=True)
    assert list(manifest.entries) == ["b"]
    assert caplog.text.encode()
    assert "ch\\xe8vre.wav: cannot be decoded" in caplog.text


# ---- Reading: the file ----


def test_a_missing_manifest(tmp_path):
    with pytest.raises(MissingError, match=r"m\.json: no such manifest"):
        read_manifest(tmp_path / "m.json", tmp_path)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not valid JSON"),
        ('{"a": {"wav": ', "not valid JSON"),
        ('{"a": {"duration": NaN}}', "NaN is not a JSON number"),
        ("[]", "holds a JSON list"),
        ('"words"', "holds a JSON str"),
        ("{}", "holds no clips"),
        ("\xff", "not text in UTF-8"),
    ],
)
@pytest.mark.parametrize("skip", [False, True])
def test_a_file_that_is_no_manifest_is_refused_even_when_bad_clips_are_skipped(tmp_path, text, reason, skip):
    (tmp_path / "m.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(UserError, match=reason) as caught:
        read_manifest(tmp_path / "m.json", tmp_path, skip_bad_clips=skip)
    assert "m.json" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_data_folder_is_one_fault_not_one_per_clip(tmp_path):
    write_manifest(tmp_path / "m.json", [entry("a")])
    with pytest.raises(MissingError, match="gone: no such data folder"):
        read_manifest(tmp_path / "m.json", tmp_path / "gone", skip_bad_clips=True)
    assert len(read_manifest(tmp_path / "m.json", tmp_path / "gone", check_audio=False)) == 1


# ---- Reading: the clips ----


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"label": 3}, "label is 3"),
        ({"label": ""}, "label is ''"),
        ({"wav": None}, "wav is None"),
        ({"wav": "audio/b.wav"}, "expected a path that starts with {data_root}/"),
        ({"wav": "{data}/audio/b.wav"}, "braces without a meaning"),
        ({"wav": "{data_root/b.wav"}, "braces without a meaning"),
        ({"target_wav": 1}, "target_wav is 1"),
        ({"duration": "5"}, "duration is '5'"),
        ({"duration": True}, "duration is True"),
        ({"duration": -1.0}, "duration is -1.0"),
        ({"sample_rate": 8000.0}, "sample_rate is 8000.0"),
        ({"sample_rate": 0}, "sample_rate is 0"),
        ({"fold": "1"}, "fold is '1'"),
        ({"boxes": [{"label": "dog", "start": 0.05, "end": 0.02}]}, "does not lie in its clip of 0.1 s"),
        ({"label": "cow"}, "the label 'cow' is not one of the 2 classes cat, dog"),
        ({"wav": "{data_root}/audio/gone.wav"}, "gone.wav: no such audio file"),
        ({"wav": "{data_root}/audio"}, "is a folder"),
        ({"target_wav": "{data_root}/audio/gone.wav"}, "gone.wav: no such audio file"),
    ],
)
def test_a_bad_clip_is_named(tmp_path, root, members, reason):
    path = raw(tmp_path / "m.json", entry("a"), entry("b", **members), entry("c"))
    manifest = assert_fault(path, root, "b", reason, labels=["cat", "dog"])
    assert list(manifest.entries) == ["a", "c"]


@pytest.mark.parametrize("key", ["wav", "duration", "sample_rate", "label"])
def test_a_member_that_is_missing_is_named(tmp_path, root, key):
    bad = {name: value for name, value in entry("b").items() if name != key}
    assert_fault(raw(tmp_path / "m.json", entry("a"), bad), root, "b", f"lacks {key}")


def test_a_clip_that_is_no_object(tmp_path, root):
    (tmp_path / "m.json").write_text(json.dumps({"a": without_id(entry("a")), "b": "audio/b.wav"}))
    assert_fault(tmp_path / "m.json", root, "b", "is a JSON str")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"words", "cannot be decoded"), (b"", "the file is empty"), (None, "holds 0 samples")],
)
def test_audio_that_cannot_be_used(tmp_path, root, content, reason):
    bad = root / "audio" / "b.wav"
    bad.write_bytes(content) if content is not None else soundfile.write(bad, np.zeros(0), RATE)
    path = raw(tmp_path / "m.json", entry("a"), entry("b"))
    assert_fault(path, root, "b", reason)
    assert len(read_manifest(path, root, check_audio=False)) == 2


def test_a_duplicate_id_in_the_text(tmp_path, root):
    first, second = json.dumps(without_id(entry("a"))), json.dumps(without_id(entry("a", label="cat")))
    (tmp_path / "m.json").write_text(f'{{"a": {first}, "b": {first}, "a": {second}}}')
    manifest = assert_fault(tmp_path / "m.json", root, "a", "duplicate id")
    assert list(manifest.entries) == ["a", "b"]
    assert manifest.entries["a"]["label"] == "dog"  # the first of the two


def test_a_duplicate_member_in_the_text(tmp_path, root):
    good = json.dumps(without_id(entry("a")))
    (tmp_path / "m.json").write_text(f'{{"a": {good}, "b": {good[:-1]}, "label": "cat"}}}}')
    assert_fault(tmp_path / "m.json", root, "b", "the member 'label' appears twice")


def test_skipped_clips_are_counted_and_listed_in_the_log(tmp_path, root, caplog):
    path = raw(tmp_path / "m.json", entry("a"), entry("gone"), entry("b"), entry("lost"))
    with caplog.at_level(logging.WARNING):
        manifest = read_manifest(path, root, skip_bad_clips=True)
    assert list(manifest.entries) == ["a", "b"]
    assert [clip_id for clip_id, _ in manifest.skipped] == ["gone", "lost"]
    assert "2 bad clips left out, 2 left" in caplog.text
    assert "'gone'" in caplog.text
    assert "'lost'" in caplog.text
    caplog.clear()
    read_manifest(raw(tmp_path / "n.json", entry("a")), root, skip_bad_clips=True)
    assert caplog.text == ""


def test_nothing_left_is_an_error(tmp_path, root):
    path = raw(tmp_path / "m.json", entry("gone"), entry("lost"))
    with pytest.raises(UserError, match="all 2 clips are bad, the first is 'gone'"):
        read_manifest(path, root, skip_bad_clips=True)


def test_checking_reads_headers_only(tmp_path, root, monkeypatch):
    write_manifest(tmp_path / "m.json", [entry("a"), entry("b")])
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("a clip was decoded"))
    assert len(read_manifest(tmp_path / "m.json", root)) == 2


# ---- SpeechBrain's data set ----


def test_the_data_set_loads_what_the_manifest_lists(tmp_path, root):
    write_manifest(tmp_path / "m.json", [entry("b"), entry("a", label="cat")])
    manifest = read_manifest(tmp_path / "m.json", root)
    dataset = speechbrain_dataset(manifest, ClipCache(None, RATE).load)
    assert len(dataset) == 2
    assert set(dataset[0]) == {"id", "signal", "label"}
    assert (dataset[0]["id"], dataset[0]["label"], dataset[1]["label"]) == ("b", "dog", "cat")
    torch.testing.assert_close(dataset[0]["signal"], torch.full((200,), 0.1))


def test_a_clip_that_is_a_part_of_its_file_is_loaded_as_that(tmp_path, root):
    """Clip i / 10 of the fixture lies behind another in one file; in what is loaded, and in what is decoded first."""
    wav = np.concatenate([np.full(400, 0.1), np.full(800, 0.2)])
    soundfile.write(root / "audio" / "two.wav", wav, RATE, subtype="FLOAT")
    path = {"wav": "{data_root}/audio/two.wav"}
    parts = [entry("x", **path, start=0.0) | {"duration": 0.05}, entry("y", **path, start=0.05)]
    write_manifest(tmp_path / "m.json", [*parts, entry("a")])
    manifest = decodable(read_manifest(tmp_path / "m.json", root), ClipCache(None, RATE).load)
    dataset = speechbrain_dataset(manifest, ClipCache(None, RATE).load)
    torch.testing.assert_close(dataset[0]["signal"], torch.full((400,), 0.1))
    torch.testing.assert_close(dataset[1]["signal"], torch.full((800,), 0.2))
    assert len(dataset[2]["signal"]) == 100
    write_manifest(tmp_path / "m.json", [entry("z", **path, start=0.1), entry("a")])
    assert_fault(tmp_path / "m.json", root, "z", "has 0.15 s, but the clip in it ends at 0.2 s")


def test_the_target_is_there_where_the_manifest_has_one_and_it_is_asked_for(tmp_path, root):
    targets = {"target_wav": "{data_root}/audio/c.wav"}
    load = ClipCache(None, RATE).load
    write_manifest(tmp_path / "m.json", [entry("a", **targets), entry("b", **targets)])
    item = speechbrain_dataset(read_manifest(tmp_path / "m.json", root), load, with_targets=True)[1]
    assert set(item) == {"id", "signal", "label", "target_signal"}
    torch.testing.assert_close(item["target_signal"], torch.full((300,), 0.2))
    assert set(speechbrain_dataset(read_manifest(tmp_path / "m.json", root), load)[1]) == {"id", "signal", "label"}
    write_manifest(tmp_path / "m.json", [entry("a", **targets), entry("b")])
    for with_targets in (False, True):
        with pytest.raises(UserError, match="clip 'b' has no target_wav"):
            speechbrain_dataset(read_manifest(tmp_path / "m.json", root), load, with_targets)
    write_manifest(tmp_path / "m.json", [entry("a"), entry("b")])
    with pytest.raises(UserError, match="no clip has a target_wav"):
        speechbrain_dataset(read_manifest(tmp_path / "m.json", root), load, with_targets=True)


def test_prepared_data_say_which_splits_have_targets(tmp_path, root):
    manifests = {split: tmp_path / f"{split}.json" for split in ("train", "valid", "test")}
    prepared = PreparedData(manifests, root, ["dog"], {})
    targets = {"target_wav": "{data_root}/audio/c.wav"}
    write_manifest(manifests["train"], [entry("a"), entry("b")])
    write_manifest(manifests["test"], [entry("a", **targets), entry("b", **targets)])
    assert not prepared.has_targets("train")
    assert prepared.has_targets("test")
    assert prepared.has_targets()
    with pytest.raises(MissingError, match=r"valid\.json: no such manifest"):
        prepared.has_targets("valid")


def test_clips_whose_body_is_bad_are_left_out_when_decoded(tmp_path, root, caplog):
    soundfile.write(root / "audio" / "nan.wav", np.full(200, np.nan), RATE, subtype="FLOAT")
    bad = {"wav": "{data_root}/audio/nan.wav"}
    load = ClipCache(None, RATE).load
    write_manifest(tmp_path / "m.json", [entry("b"), entry("x", **bad), entry("a")])
    before = read_manifest(tmp_path / "m.json", root)
    manifest = decodable(before, load)
    assert list(manifest.entries) == ["b", "a"]
    ((clip, reason),) = manifest.skipped
    assert clip == "x"
    assert "NaN" in reason
    assert "clip 'x' left out" in caplog.text
    assert "1 bad clips left out, 2 left" in caplog.text
    assert len(before) == 3
    assert before.skipped == []
    write_manifest(tmp_path / "m.json", [entry("a", target_wav=bad["wav"]), entry("b", target_wav=entry("b")["wav"])])
    before = read_manifest(tmp_path / "m.json", root)
    assert list(decodable(before, load).entries) == ["a", "b"]
    assert list(decodable(before, load, with_targets=True).entries) == ["b"]
    write_manifest(tmp_path / "m.json", [entry("x", **bad)])
    with pytest.raises(UserError, match="all 1 clips are bad, the first is 'x'"):
        decodable(read_manifest(tmp_path / "m.json", root), load)


def test_sorting_the_data_set_leaves_the_manifest_alone(tmp_path, root):
    write_manifest(tmp_path / "m.json", [entry("b"), entry("a")])
    manifest = read_manifest(tmp_path / "m.json", root)
    dataset = speechbrain_dataset(manifest, ClipCache(None, RATE).load)
    dataset.filtered_sorted(sort_key="duration")
    assert all("id" not in members for members in manifest.entries.values())
    assert len(speechbrain_dataset(manifest, ClipCache(None, RATE).load)) == 2


# ---- Several labels for each clip ----


def tagged(name, *labels, **members):
    return {**{key: value for key, value in entry(name).items() if key != "label"}, "labels": list(labels), **members}


def sources(name, *labels):
    """A clip of which each label's source is known."""
    return tagged(name, *labels, target_wavs=dict.fromkeys(labels, f"{{data_root}}/audio/{name}.wav"))


def test_clips_of_several_labels_come_back_as_they_were(tmp_path, root):
    shutil.copy(root / "audio" / "a.wav", root / "audio" / "{odd}.wav")
    odd = tagged(
        "{odd}", "{x}", "cat", target_wavs={"{x}": "{data_root}/audio/{odd}.wav", "cat": "{data_root}/audio/a.wav"}
    )
    write_manifest(tmp_path / "m.json", [odd, tagged("b"), sources("c", "dog")])
    manifest = read_manifest(tmp_path / "m.json", root, labels=["cat", "dog", "{x}"])
    assert manifest.task == "multi"
    assert [members["labels"] for members in manifest.entries.values()] == [["{x}", "cat"], [], ["dog"]]
    assert manifest.entries["{odd}"]["target_wavs"] == {
        "{x}": f"{root}/audio/{{odd}}.wav",
        "cat": f"{root}/audio/a.wav",
    }
    theirs = DynamicItemDataset.from_json(tmp_path / "m.json", replacements={"data_root": str(root)})
    assert theirs.data == manifest.entries


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"labels": "dog"}, "labels is 'dog', expected a list of non-empty texts"),
        ({"labels": ["dog", ""]}, "expected a list of non-empty texts"),
        ({"labels": ["dog", 1]}, "expected a list of non-empty texts"),
        ({"labels": ["dog", "cat", "dog"]}, "labels has 'dog' twice"),
        ({"labels": ["bird"]}, "the label 'bird' is not one of the 2 classes"),
        ({"label": "dog"}, "has both label and labels"),
        ({"target_wav": "{data_root}/audio/a.wav"}, "has target_wav but no label"),
        ({"target_wavs": ["{data_root}/audio/a.wav"]}, "expected an object of label -> path"),
        ({"target_wavs": {"cat": "{data_root}/audio/a.wav"}}, "target_wavs has 'cat', labels 'dog'"),
        ({"target_wavs": {"dog": "{data_root}/audio/none.wav"}}, "none.wav"),
        ({"target_wavs": {"dog": "a.wav"}}, "target_wavs of 'dog' is 'a.wav', expected a path that starts with"),
    ],
)
def test_labels_and_sources_that_do_not_fit_are_refused_in_one_line(tmp_path, root, members, reason):
    bad = tagged("a", "dog", **members)
    path = raw(tmp_path / "m.json", tagged("b", "cat"), bad)
    assert list(assert_fault(path, root, "a", reason, labels=["cat", "dog"]).entries) == ["b"]


def test_one_label_and_several_do_not_mix(tmp_path, root):
    mixed = [entry("a"), tagged("b", "dog")]
    reason = "clip 'b' has labels but others have label; give all clips the one or the other"
    with pytest.raises(UserError, match=reason):
        write_manifest(tmp_path / "m.json", mixed)
    with pytest.raises(UserError, match=reason):
        read_manifest(raw(tmp_path / "m.json", *mixed), root)
    splits = {"train": [tagged("a", "dog")], "test": [entry("b")]}
    with pytest.raises(UserError, match=r"test\.json: clip 'b' has label but others have labels"):
        write_manifests(tmp_path / "m", root, ["dog"], splits, {"name": "x"}, [])
    assert not (tmp_path / "m").exists()
    with pytest.raises(UserError, match="has target_wavs but no labels"):
        write_manifest(tmp_path / "m.json", [entry("a", target_wavs={})])


def test_the_task_of_the_data_is_said_and_the_sources_count(tmp_path, root):
    def prepare(folder, labels=("dog", "cat"), source="b"):
        splits = {"train": [tagged("a")], "test": [sources("c", *labels)]}
        splits["test"][0]["target_wavs"]["dog"] = f"{{data_root}}/audio/{source}.wav"
        return write_manifests(tmp_path / folder, root, ["dog", "cat"], splits, {"name": "x"}, [])

    prepared = prepare("m")
    assert (prepared.task, prepared.description["task"]) == ("multi", "multi")
    assert prepared.has_targets("test")
    assert not prepared.has_targets("train")
    assert prepared.description == prepare("again").description
    for other in (prepare("label", ["dog"]), prepare("source", source="a")):
        assert other.description["content"] != prepared.description["content"]
    one = write_manifests(tmp_path / "one", root, ["dog"], {"train": [entry("a")]}, {"name": "x"}, [])
    assert one.task == "single"
    assert "task" not in one.description  # so that what was recorded before stays the same


def test_items_and_batches_have_the_labels_and_the_sound_of_each(tmp_path, root):
    load = ClipCache(None, RATE).load
    write_manifest(tmp_path / "m.json", [tagged("a"), sources("b", "dog", "cat"), sources("c", "cat")])
    manifest = read_manifest(tmp_path / "m.json", root)
    dataset = speechbrain_dataset(manifest, load, with_targets=True)
    for order in ([0, 1, 2], [1, 2, 0]):
        batch = PaddedBatch([dataset[place] for place in order])
        labels, targets = [[], ["dog", "cat"], ["cat"]], [set(), {"dog", "cat"}, {"cat"}]
        assert batch.labels == [labels[place] for place in order]
        assert [set(sounds) for sounds in batch.target_signals] == [targets[place] for place in order]
    torch.testing.assert_close(dataset[1]["target_signals"]["dog"], torch.full((200,), 0.1))
    assert set(speechbrain_dataset(manifest, load)[1]) == {"id", "signal", "labels"}
    write_manifest(tmp_path / "m.json", [tagged("a"), tagged("b", "dog"), sources("c", "cat")])
    with pytest.raises(UserError, match="clip 'b' has no target_wavs but others have one"):
        speechbrain_dataset(read_manifest(tmp_path / "m.json", root), load)
    write_manifest(tmp_path / "m.json", [tagged("a"), tagged("b")])
    with pytest.raises(UserError, match="no clip has a target_wavs"):
        speechbrain_dataset(read_manifest(tmp_path / "m.json", root), load, with_targets=True)


def test_a_bad_source_of_one_label_leaves_the_clip_out(tmp_path, root):
    soundfile.write(root / "audio" / "nan.wav", np.full(200, np.nan), RATE, subtype="FLOAT")
    bad = sources("b", "dog", "cat")
    bad["target_wavs"]["cat"] = "{data_root}/audio/nan.wav"
    write_manifest(tmp_path / "m.json", [sources("a", "dog"), bad])
    manifest, load = read_manifest(tmp_path / "m.json", root), ClipCache(None, RATE).load
    assert list(decodable(manifest, load).entries) == ["a", "b"]
    assert list(decodable(manifest, load, with_targets=True).entries) == ["a"]
