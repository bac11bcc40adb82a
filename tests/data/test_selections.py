"""Recordings with label tracks, from files to manifests: which track is of which recording, and what is left out."""

import csv
import json

import numpy as np
import pytest
import soundfile

from interpretability.data.custom import SPLITS_TABLE, prepare_custom
from interpretability.data.manifest import SPLITS, read_manifest
from interpretability.errors import MissingError, UserError

RATE = 8000
COLUMNS = (
    "Selection",
    "View",
    "Channel",
    "Begin Time (s)",
    "End Time (s)",
    "Low Freq (Hz)",
    "High Freq (Hz)",
    "Species",
)
#: Of each recording: begin, end, low, high, label.
NIGHT = [(0.5, 0.8, 300, 900, "owl"), (2.0, 2.5, 1000, 3000, "frog"), (3.1, 3.3, 350, 800, "owl")]


def recording(path, seconds=4.0, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal(round(seconds * rate)), rate)
    return path


def raven(path, selections=NIGHT, columns=COLUMNS, further=(), **options):
    """Write a selection table, with a row for both views of each selection."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        (number, f"{view} 1", 1, *selection, *further)
        for number, selection in enumerate(selections, 1)
        for view in ("Waveform", "Spectrogram")
    ]
    with open(path, "w", newline="", **{"encoding": "utf-8", **options}) as stream:
        csv.writer(stream, delimiter="\t", lineterminator="\r\n").writerows([columns, *rows])
    return path


def audacity(path, selections=NIGHT, **options):
    """Write a label track with bands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"{begin}\t{end}\t{label}\n\\\t{low:.6f}\t{high:.6f}\n" for begin, end, low, high, label in selections]
    path.write_text("".join(lines), **{"encoding": "utf-8", **options})
    return path


def nights(root, n=5):
    """Write recordings, half of them with a selection table and half with a label track."""
    for place in range(n):
        recording(root / f"night{place}.wav")
        raven(root / f"night{place}.Table.1.selections.txt") if place % 2 else audacity(root / f"night{place}.txt")
    return root


def clips_of(prepared):
    """Return all clips, id -> members, and the split of each."""
    entries = {split: read_manifest(prepared.manifests[split], prepared.data_root).entries for split in SPLITS}
    clips = {name: clip for members in entries.values() for name, clip in members.items()}
    return clips, {name: split for split, members in entries.items() for name in members}


def test_clips_are_cut_from_recordings_and_keep_their_boxes(tmp_path):
    prepared = prepare_custom(nights(tmp_path / "data"), tmp_path / "m")
    clips, splits = clips_of(prepared)
    assert prepared.labels == ["frog", "owl"]
    assert len(clips) == 15
    assert {round(clip["duration"], 6) for clip in clips.values()} == {0.8}  # half as long again as 0.5 s, in tenths
    # Whichever program wrote them, the clips are the same.
    for place in range(5):
        (frog,) = [clip for clip in clips.values() if f"night{place}.wav" in clip["wav"] and clip["label"] == "frog"]
        assert frog["start"] == pytest.approx(1.85)
        (box,) = frog["boxes"]
        assert box == {
            "label": "frog",
            "start": pytest.approx(0.15),
            "end": pytest.approx(0.65),
            "low": 1000,
            "high": 3000,
        }
    by_recording = {}
    for name, clip in clips.items():
        by_recording.setdefault(clip["wav"], set()).add(splits[name])
    assert sorted(map(len, by_recording.values())) == [1] * 5
    assert "label tracks: 3 of Audacity, 2 of Raven; 15 selections in 5 recordings" in prepared.notes
    # The written splits are a table that gives the same data set.
    listed = prepare_custom(tmp_path / "data", tmp_path / "listed", table=tmp_path / "m" / SPLITS_TABLE)
    assert clips_of(listed) == (clips, splits)
    assert listed.description["content"] == prepared.description["content"]
    assert listed.description["clips"] == prepared.description["clips"]


def test_times_survive_the_table_of_splits_to_the_last_digit(tmp_path):
    """A clip that ends a rounding earlier would be another one, and the same splits refused."""
    rng = np.random.default_rng(1)
    recording(tmp_path / "data" / "x.wav", seconds=4.0001)
    times = zip(rng.uniform(0, 3.8, 150), rng.uniform(0.01, 0.2, 150), strict=True)
    selections = [(begin, begin + length, 100, 200, "ab"[place % 2]) for place, (begin, length) in enumerate(times)]
    raven(tmp_path / "data" / "x.selections.txt", selections)
    options = {"group_by": "none", "window_seconds": 0.123}
    prepared = prepare_custom(tmp_path / "data", tmp_path / "m", **options)
    again = prepare_custom(tmp_path / "data", tmp_path / "n", table=tmp_path / "m" / SPLITS_TABLE, group_by="none")
    assert clips_of(again) == clips_of(prepared)


def test_tracks_in_a_folder_of_their_own(tmp_path):
    """At the same place, or under a name that only one recording has; and recordings in folders of splits."""
    for split in ("train", "valid", "test"):
        recording(tmp_path / "data" / split / "a.wav")
        raven(tmp_path / "labels" / split / "a.Table.1.selections.txt")
    recording(tmp_path / "data" / "train" / "b.flac")
    audacity(tmp_path / "labels" / "elsewhere" / "b.flac.txt")
    prepared = prepare_custom(tmp_path / "data", tmp_path / "m", label_folder=tmp_path / "labels")
    assert prepared.description["n_clips"] == {"train": 6, "valid": 3, "test": 3}
    assert prepared.description["splits"] == {"by": "given"}


def test_one_selection_table_of_several_recordings(tmp_path):
    """Its times go on from one recording to the next; the offset begins with each."""
    columns = (*COLUMNS, "Begin File", "File Offset (s)", "Site")
    rows = []
    for place in range(4):
        recording(tmp_path / "data" / f"{place}.wav")
        for begin, *rest in NIGHT:
            end, low, high, label = rest
            rows.append((begin + 4 * place, end + 4 * place, low, high, label, f"{place}.wav", begin, "ab"[place % 2]))
    table = raven(tmp_path / "night.Table.1.selections.txt", rows, columns)
    prepared = prepare_custom(tmp_path / "data", tmp_path / "m", table=table)
    clips, _ = clips_of(prepared)
    assert len(clips) == 12
    assert {round(clip["start"], 6) for clip in clips.values() if clip["label"] == "frog"} == {1.85}
    assert {clip["wav"].split("/")[-1] for clip in clips.values()} == {f"{place}.wav" for place in range(4)}
    # Beside the recordings it is found by itself.
    table.rename(tmp_path / "data" / table.name)
    assert clips_of(prepare_custom(tmp_path / "data", tmp_path / "n"))[0].keys() == clips.keys()
    sites = prepare_custom(tmp_path / "data", tmp_path / "o", table=tmp_path / "data" / table.name, group_by="none")
    assert all("group" not in clip for clip in clips_of(sites)[0].values())
    with pytest.raises(UserError, match="2 groups of clips"):
        prepare_custom(tmp_path / "data", tmp_path / "p", table=tmp_path / "data" / table.name, group_by="Site")


def test_a_table_with_bands_and_windows(tmp_path):
    """``begin, end, low, high, label`` in a table of any separator; and windows around its rows, if asked for."""
    recording(tmp_path / "x.wav")
    lines = ["path;label;start;end;low;high"]
    lines += [
        f"x.wav;{'ab'[place % 2]};{place / 10};{place / 10 + 0.2};{'' if place else 100};900" for place in range(12)
    ]
    (tmp_path / "t.csv").write_text("\n".join(lines))
    clips, _ = clips_of(prepare_custom(None, tmp_path / "m", table=tmp_path / "t.csv", group_by="none"))
    first, *others = sorted(clips.values(), key=lambda clip: clip["start"])
    assert first["boxes"] == [{"label": "a", "start": 0.0, "end": 0.2, "low": 100.0, "high": 900.0}]
    assert {len(clip["boxes"]) for clip in others} == {1}
    assert all("low" not in clip["boxes"][0] for clip in others)
    wide = prepare_custom(None, tmp_path / "n", table=tmp_path / "t.csv", group_by="none", window_seconds=0.4)
    wide = clips_of(wide)[0].values()
    assert {round(clip["duration"], 6) for clip in wide} == {0.3, 0.4}  # the first one begins with its recording
    assert max(len(clip["boxes"]) for clip in wide) == 5


def test_the_column_with_the_labels_can_be_chosen(tmp_path):
    for place in range(6):
        recording(tmp_path / f"{place}.wav")
        raven(tmp_path / f"{place}.selections.txt", columns=(*COLUMNS, "Type"), further=(f"type {place % 2}",))
    with pytest.raises(UserError, match="may be any of 'species', 'type': name it, --label_column NAME"):
        prepare_custom(tmp_path, tmp_path / "m")
    assert prepare_custom(tmp_path, tmp_path / "m", label_column="species").labels == ["frog", "owl"]
    options = {"label_column": "Type", "group_by": "none"}
    assert prepare_custom(tmp_path, tmp_path / "n", **options).labels == ["type 0", "type 1"]
    (tmp_path / "t.csv").write_text("path,label,bird\n" + "".join(f"{n}.wav,x,{'ab'[n % 2]}\n" for n in range(6)))
    assert prepare_custom(None, tmp_path / "o", table=tmp_path / "t.csv", label_column="Bird").labels == ["a", "b"]


def test_what_is_left_out_is_counted(tmp_path):
    root = nights(tmp_path / "data")
    recording(root / "without.wav")
    recording(root / "quiet.wav")
    raven(root / "quiet.selections.txt", [])
    raven(root / "gone.selections.txt")
    raven(root / "gone too.selections.txt", columns=(*COLUMNS, "Begin File"), further=("gone too.wav",))
    (root / "README.txt").write_text("recorded with care")
    audacity(root / "night1.txt")  # says the same as its selection table
    raven(root / "._night1.Table.1.selections.txt", [])
    notes = prepare_custom(root, tmp_path / "m").notes
    assert "label tracks: 4 of Audacity, 3 of Raven; 15 selections in 6 recordings" in notes
    assert "1 recordings have no label track, and are left out, such as 'without.wav'" in notes
    assert "2 label tracks have no recording, and are left out, such as 'gone too.selections.txt'" in notes
    assert "1 label tracks are empty, such as 'quiet.selections.txt'" in notes


def test_files_of_windows(tmp_path):
    """UTF-16 as Excel writes it, a byte order mark, and commas in numbers."""
    for place, encoding in enumerate(("utf-16", "utf-8-sig", "utf-8")):
        recording(tmp_path / f"{place}.wav")
        raven(tmp_path / f"{place}.selections.txt", [(*row[:4], "größer") for row in NIGHT], encoding=encoding)
        recording(tmp_path / f"{place}a.wav")
        audacity(tmp_path / f"{place}a.txt", encoding=encoding)
        text = (tmp_path / f"{place}a.txt").read_text(encoding)
        (tmp_path / f"{place}a.txt").write_text(text.replace(".", ","), encoding)
    prepared = prepare_custom(tmp_path, tmp_path / "m")
    assert prepared.labels == ["frog", "größer", "owl"]
    assert len(clips_of(prepared)[0]) == 18


def test_texts_beside_the_sounds_of_classes_are_no_label_tracks(tmp_path):
    for label in "ab":
        for place in range(3):
            recording(tmp_path / label / f"{place}.wav", seconds=0.1)
            (tmp_path / label / f"{place}.txt").write_text("what is said here\n")
    assert prepare_custom(tmp_path, tmp_path / "m").labels == ["a", "b"]


# ---- Bad input ----


def beside(text=None, name="night1.txt", **options):
    """Return what writes recordings with good label tracks, and a text beside them."""

    def make(root):
        nights(root)
        if text is not None:
            (root / "night1.Table.1.selections.txt").unlink()
            (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return options

    return make


def table(name, *, columns=COLUMNS, **options):
    """Return what writes recordings, and a selection table that is given as a table."""

    def make(root):
        nights(root)
        return {"table": raven(root.parent / name, columns=columns, **options)}

    return make


def also(path, write, **options):
    """Return what writes recordings with good label tracks, and a further file."""

    def make(root):
        nights(root)
        write(root / path)
        return options

    return make


def only(*paths):
    """Return what writes recordings and texts without content alone."""

    def make(root):
        for path in paths:
            (raven(root / path, []) if path.endswith(".txt") else recording(root / path))
        return {}

    return make


def loose(root):
    """Write a recording in no folder, and words beside it."""
    recording(root / "x.wav")
    (root / "x.txt").write_text("words")
    return {}


OFFSET = (*COLUMNS, "Begin File")
BAD = {
    "words for a label track": (beside("some words\n"), "night1.txt: is no label track"),
    "a column that is missing": (
        beside("Selection\tBegin Time (s)\tSpecies\n1\t0.5\towl\n", "night1.selections.txt"),
        "night1.selections.txt: lacks the column 'end time (s)'",
    ),
    "no column with labels": (
        beside("Selection\tBegin Time (s)\tEnd Time (s)\n1\t0.5\t0.7\n", "night1.selections.txt", label_column="Bird"),
        "label_column is 'Bird', but",
        "has no such column",
    ),
    "a table of other columns": (
        beside("Name,Size\nx,3\n", "night1.Table.1.selections.txt"),
        "night1.Table.1.selections.txt: is no label track",
    ),
    "both kinds in one file": (beside("0.5\t0.8\towl\nSelection\tView\n"), "night1.txt, line 2: is 'Sele"),
    "binary": (beside(b"RIFF\xff\xfe\x00\x00WAVE\x9c", "night1.selections.txt"), "selections.txt: not text in UTF-8"),
    "another encoding": (beside("0.5\t0.8\tgr\xfcn\n".encode("latin-1")), "night1.txt: not text in UTF-8"),
    "two tracks that differ": (
        also("night1.txt", lambda path: audacity(path, NIGHT[:2])),
        "night1.wav: has two label tracks that differ, night1.Table.1.selections.txt and night1.txt",
    ),
    "a track of two recordings": (also("night1.flac", recording), "night1.Table.1.selections.txt: fits 2 recordings"),
    "a track under the name of another recording": (
        also(
            "night1.Table.1.selections.txt",
            lambda path: raven(path, columns=OFFSET, further=("night0.wav",)),
        ),
        "is named after night1.wav, but its selections are of night0.wav",
    ),
    "labels for sounds in no folder": (loose, "x.txt: is no label track"),
    "head lines alone": (only("a.wav", "a.selections.txt", "b.wav", "b.selections.txt"), "there are no selections"),
    "tracks without recordings": (only("b/x.wav", "a.selections.txt"), "no selections", "tracks have no recording"),
    "a folder that is not there": (beside(label_folder="/gone"), "/gone: no such folder of label tracks"),
    "a folder without tracks": (
        lambda root: (nights(root), (root / "empty").mkdir()) and {"label_folder": root / "empty"},
        "has no label tracks: expected text files of Raven or Audacity",
    ),
    "a folder and a table": (
        lambda root: {**table("t.txt")(root), "label_folder": root},
        "both label_folder and table are given",
    ),
    "a window of nothing": (beside(window_seconds=0), "window_seconds is 0, expected a number of seconds above 0"),
    "a table that names no recording": (table("night1.txt"), "does not say which recordings it is about", "Begin File"),
    "a label track as a table": (
        lambda root: {"table": audacity(nights(root) / "night0.txt")},
        "is a label track of Audacity, which names no recording",
    ),
    "a table of a head alone": (table("t.txt", selections=[]), "lists no selections"),
    "a table of several recordings without offsets": (
        lambda root: {
            "table": raven(nights(root) / "t.txt", [(*row, f"night{n}.wav") for n, row in enumerate(NIGHT)], OFFSET)
        },
        "is about 3 recordings, such as 'night0.wav', but has no column File Offset (s)",
    ),
    "recordings that do not exist": (
        table("t.txt", columns=OFFSET, further=("gone.wav",)),
        "3 of 3 paths do not exist, the first 'gone.wav' (line 3)",
    ),
    "a group that is no column": (
        lambda root: {**table("t.txt", columns=OFFSET, further=("night1.wav",))(root), "group_by": "Site"},
        "group_by is 'Site', but",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_in_one_line_and_nothing_is_written(tmp_path, case):
    make, *parts = BAD[case]
    with pytest.raises(UserError) as caught:
        prepare_custom(tmp_path / "data", tmp_path / "m", **make(tmp_path / "data"))
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message
    assert not (tmp_path / "m").exists()


#: A selection that is bad alone -> why.
SELECTIONS = {
    "beyond the recording": ((3.5, 4.2, 100, 200, "owl"), "3.5 to 4.2 s lies beyond its recording of 4 s"),
    "start after end": ((2.0, 1.0, 100, 200, "owl"), "begins at 2 s and ends at 1 s"),
    "of no length": ((2.0, 2.0, 100, 200, "owl"), "begins at 2 s and ends at 2 s"),
    "low above high": ((1.0, 2.0, 300, 200, "owl"), "its band is 300 to 200 Hz, expected low before high"),
    "above what is recorded": (
        (1.0, 2.0, 4500, 5000, "owl"),
        "its band begins at 4500 Hz, but its recording of 8000 Hz",
    ),
    "no label": ((1.0, 2.0, 100, 200, ""), "the label is empty"),
    "no number": (("soon", 2.0, 100, 200, "owl"), "begin time (s) is 'soon', expected a number"),
    "another label at the same time": ((2.0, 2.5, 100, 200, "owl"), "'owl' covers the same time as 'frog' in line 5"),
}


@pytest.mark.parametrize("case", SELECTIONS)
def test_a_bad_selection_stops_or_is_left_out_alone(tmp_path, case):
    selection, reason = SELECTIONS[case]
    root = nights(tmp_path / "data")
    raven(root / "night1.Table.1.selections.txt", [*NIGHT, selection])
    with pytest.raises(UserError) as caught:
        prepare_custom(root, tmp_path / "m")
    message = str(caught.value)
    assert reason in message
    assert "night1.Table.1.selections.txt, line 9: " in message
    assert "\n" not in message
    assert not (tmp_path / "m").exists()
    prepared = prepare_custom(root, tmp_path / "m", skip_bad_clips=True)
    ((name, skipped),) = prepared.skipped
    assert name.startswith("night1")
    assert reason in skipped
    # The other label has no clip left at this time either.
    assert len(clips_of(prepared)[0]) == 15 - (case == "another label at the same time")


def test_some_missing_recordings_are_left_out_when_asked_for(tmp_path):
    root = nights(tmp_path / "data")
    rows = [(*row, f"night{n}.wav", 0.5) for n, row in enumerate([*NIGHT, *NIGHT])]
    path = raven(tmp_path / "t.txt", rows, (*OFFSET, "File Offset (s)"))
    with pytest.raises(MissingError, match=r"1 of 6 paths do not exist, the first 'night5.wav' \(line 13\)") as caught:
        prepare_custom(root, tmp_path / "m", table=path)
    assert "--skip_bad_clips True" in str(caught.value)
    prepared = prepare_custom(root, tmp_path / "m", table=path, skip_bad_clips=True)
    assert [name for name, _ in prepared.skipped] == ["night5"]
    assert json.loads((tmp_path / "m" / "labels.json").read_text()) == ["frog", "owl"]
