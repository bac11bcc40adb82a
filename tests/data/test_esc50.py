"""ESC-50: splits, labels, faults of the table and the folder, and a download that leaves all or nothing."""

import http.server
import io
import json
import logging
import shutil
import socket
import stat
import threading
import zipfile

import numpy as np
import pytest
import soundfile

from interpretability.data import esc50
from interpretability.data.esc50 import SPLITS, parse_folds, prepare_esc50
from interpretability.data.manifest import read_manifest
from interpretability.errors import MissingError, UserError
from interpretability.files import sha256

# Targets are neither consecutive nor in the order of the names: only the CSV says what comes first.
CLASSES = {0: ("zebra", True), 7: ("ant", False), 20: ("mule", True)}
HEADER = "filename,fold,target,category,esc10,src_file,take"
RATE = 8000


def rows():
    return [
        f"{fold}-{target}-A.wav,{fold},{target},{name},{in_esc10},1,A"
        for fold in range(1, 6)
        for target, (name, in_esc10) in sorted(CLASSES.items(), reverse=True)
    ]


def make_data(folder, lines=None, header=HEADER):
    """A data set of 15 clips of 0.1 s or so in the layout of ESC-50."""
    lines = rows() if lines is None else lines
    (folder / "meta").mkdir(parents=True)
    (folder / "audio").mkdir()
    (folder / "meta" / "esc50.csv").write_text("\n".join([header, *lines]) + "\n")
    for i, line in enumerate(lines):
        soundfile.write(folder / "audio" / line.split(",")[0], np.full(800 + i, 0.1), RATE)
    return folder


@pytest.fixture
def data(tmp_path):
    return make_data(tmp_path / "ESC-50")


USUAL = {"download": False, "esc10_only": False, "train_folds": (1, 2, 3), "valid_folds": 4, "test_folds": 5}


def prepare(data, tmp_path, **options):
    return prepare_esc50(data, tmp_path / "manifests", **{**USUAL, **options})


def assert_refused(tmp_path, data, *parts, error=UserError, **options):
    with pytest.raises(error) as caught:
        prepare(data, tmp_path, **options)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message, f"{part!r} is not in: {message}"
    assert not (tmp_path / "manifests").exists()


# ---- The splits ----


def test_the_usual_splits(data, tmp_path):
    prepared = prepare(data, tmp_path)
    assert prepared.labels == ["zebra", "ant", "mule"]
    assert json.loads((tmp_path / "manifests" / "labels.json").read_text()) == prepared.labels
    assert prepared.data_root == data
    assert prepared.skipped == []
    assert len(prepared.description.pop("content")) == 64
    assert prepared.description == {
        "name": "ESC-50",
        "folds": {"train": [1, 2, 3], "valid": [4], "test": [5]},
        "n_clips": {"train": 9, "valid": 3, "test": 3},
        "n_skipped": 0,
    }
    folds = {}
    for split in SPLITS:
        assert prepared.manifests[split] == tmp_path / "manifests" / f"{split}.json"
        manifest = read_manifest(prepared.manifests[split], data, labels=prepared.labels)
        folds[split] = {members["fold"] for members in manifest.entries.values()}
    assert folds == {"train": {1, 2, 3}, "valid": {4}, "test": {5}}
    assert manifest.entries["5-20-A"] == {
        "wav": str(data / "audio" / "5-20-A.wav"),
        "duration": 812 / RATE,
        "sample_rate": RATE,
        "label": "mule",
        "fold": 5,
    }


def test_esc10_only_is_true_or_false(data, tmp_path):
    with pytest.raises(UserError, match="esc10_only is 'maybe', expected True or False"):
        prepare(data, tmp_path, esc10_only="maybe")


def test_esc10_only(data, tmp_path):
    prepared = prepare(data, tmp_path, esc10_only=True)
    assert prepared.labels == ["zebra", "mule"]
    assert prepared.description["name"] == "ESC-10"
    assert prepared.description["n_clips"] == {"train": 6, "valid": 2, "test": 2}


def test_labels_come_from_all_folds_not_from_the_splits(tmp_path):
    lines = [line for line in rows() if not (line.split(",")[2] == "7" and line[0] != "2")]
    data = make_data(tmp_path / "ESC-50", lines)
    prepared = prepare(data, tmp_path, train_folds=[1], valid_folds=[3], test_folds=[5])
    assert prepared.labels == ["zebra", "ant", "mule"]  # no clip of "ant" is in any of the three


def test_a_fold_of_no_split_is_left_out_unread(data, tmp_path):
    (data / "audio" / "2-0-A.wav").unlink()
    prepared = prepare(data, tmp_path, train_folds=[1])
    assert prepared.description["n_clips"]["train"] == 3


def test_other_columns_order_spaces_and_extensions(tmp_path):
    data = tmp_path / "ESC-50"
    (data / "meta").mkdir(parents=True)
    (data / "audio").mkdir()
    lines = [f"cat, {fold} , 3,c{fold}.v2.flac" for fold in range(1, 6)]
    text = "\n".join(
        ["\ufeffcategory,fold,target,filename", *lines]
    )  # with a byte-order mark, as spreadsheets write it
    (data / "meta" / "esc50.csv").write_text(text, "utf-8")
    for fold in range(1, 6):
        soundfile.write(data / "audio" / f"c{fold}.v2.flac", np.zeros((10, 2)), RATE)
    prepared = prepare(data, tmp_path)
    assert prepared.labels == ["cat"]
    assert list(read_manifest(prepared.manifests["test"], data).entries) == ["c5.v2"]


def test_a_second_run_touches_no_file(data, tmp_path):
    def states():
        return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in (tmp_path / "manifests").iterdir()}

    prepare(data, tmp_path)
    before = states()
    assert sorted(before) == ["contents.json", "labels.json", "test.json", "train.json", "valid.json"]
    prepare(data, tmp_path)
    assert states() == before
    prepare(data, tmp_path, train_folds="1,2")
    changed = {name for name, state in states().items() if state != before[name]}
    assert changed == {"train.json"}


def test_manifests_outlive_a_move_of_the_data(data, tmp_path):
    prepared = prepare(data, tmp_path)
    data.rename(tmp_path / "elsewhere")
    assert len(read_manifest(prepared.manifests["train"], tmp_path / "elsewhere")) == 9


# ---- Folds ----


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ([1, 2], [1, 2]),
        ((3, 1, 3), [1, 3]),
        ("1,2,3", [1, 2, 3]),
        ("[1, 2]", [1, 2]),
        ("4", [4]),
        (4, [4]),
        (["1", "2"], [1, 2]),
        (np.array([5, 2]), [2, 5]),
    ],
)
def test_folds_in_every_form(value, expected):
    assert parse_folds(value) == expected


@pytest.mark.parametrize("value", [[], "", "[]", "a", "1;2", [1.5], 2.0, None, True, [None]])
def test_what_is_no_list_of_folds(data, tmp_path, value):
    assert_refused(tmp_path, data, "valid_folds is", "expected", valid_folds=value)


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"train_folds": [1, 4]}, ("train_folds", "valid_folds", "[4]")),
        ({"train_folds": [1, 5]}, ("train_folds", "test_folds", "[5]")),
        ({"valid_folds": "4,5"}, ("valid_folds", "test_folds", "[5]")),
    ],
)
def test_folds_that_overlap(data, tmp_path, options, names):
    assert_refused(tmp_path, data, *names, "must not overlap", **options)


def test_folds_that_are_not_in_the_table(data, tmp_path):
    assert_refused(tmp_path, data, "train_folds names [6]", "[1, 2, 3, 4, 5]", train_folds=[1, 6])


# ---- Faults of the table ----


@pytest.mark.parametrize("column", ["filename", "fold", "target", "category", "esc10"])
def test_a_missing_column_is_named(tmp_path, column):
    data = make_data(tmp_path / "ESC-50", header=HEADER.replace(column, "other"))
    assert_refused(tmp_path, data, "esc50.csv", f"lacks the columns {column};", "other", esc10_only=True)


def test_esc10_is_needed_only_for_esc10(tmp_path):
    data = make_data(tmp_path / "ESC-50", header=HEADER.replace("esc10", "other"))
    assert prepare(data, tmp_path).description["n_clips"]["train"] == 9


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("6.wav,x,0,zebra,True", "line 17: fold is 'x'"),
        ("6.wav,1,0.5,zebra,True", "line 17: target is '0.5'"),
        ("6.wav,1,0,zebra,maybe", "line 17: esc10 is 'maybe'"),
        ("6.wav,1,0,,True", "line 17: category is empty"),
        ("6.wav,1", "line 17: target, category, esc10 is empty"),
        ("../6.wav,1,0,zebra,True", "line 17: filename is '../6.wav'"),
        ("6.wav,1,0,horse,True", "target 0 is both"),
        ("6.wav,1,3,zebra,True", "category 'zebra' has more than one target"),
    ],
)
def test_an_impossible_line_is_named(data, tmp_path, line, reason):
    with open(data / "meta" / "esc50.csv", "a") as stream:
        stream.write(line + "\n")
    assert_refused(tmp_path, data, "esc50.csv", reason, esc10_only=True)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "lacks the columns"), (HEADER.encode(), "lists no clips"), (b"\xff\xfe\x00", "is not a CSV file")],
)
def test_a_table_that_is_none(data, tmp_path, content, reason):
    (data / "meta" / "esc50.csv").write_bytes(content)
    assert_refused(tmp_path, data, reason)


def test_no_clip_of_esc10(tmp_path):
    data = make_data(tmp_path / "ESC-50", [line.replace("True", "False") for line in rows()])
    assert_refused(tmp_path, data, "part of ESC-10", esc10_only=True)


# ---- Faults of the clips ----


def test_a_missing_clip_stops_or_is_skipped_and_listed(data, tmp_path, caplog):
    (data / "audio" / "2-7-A.wav").unlink()
    (data / "audio" / "4-0-A.wav").write_text("words")
    assert_refused(tmp_path, data, "'2-7-A'", "no such audio file", "--skip_bad_clips True")
    with caplog.at_level(logging.WARNING):
        prepared = prepare(data, tmp_path, skip_bad_clips=True)
    assert [clip_id for clip_id, _ in prepared.skipped] == ["2-7-A", "4-0-A"]
    assert prepared.description["n_clips"] == {"train": 8, "valid": 2, "test": 3}
    assert prepared.description["n_skipped"] == 2
    assert prepared.labels == ["zebra", "ant", "mule"]
    assert "'2-7-A'" in caplog.text
    assert "2 bad clips left out" in caplog.text


@pytest.mark.parametrize("name", ["x" * 300 + ".wav", "a\x1b[2J.wav", "a\x00b.wav"])
def test_a_name_that_no_clip_can_have_is_skipped_and_counted_like_other_bad_clips(tmp_path, name):
    data = make_data(tmp_path / "ESC-50")
    table = data / "meta" / "esc50.csv"
    table.write_text(table.read_text() + f"{name},1,0,zebra,True,1,A\n")
    assert_refused(tmp_path, data, "--skip_bad_clips True")
    prepared = prepare(data, tmp_path, skip_bad_clips=True)
    assert len(prepared.skipped) == prepared.description["n_skipped"] == 1
    assert prepared.description["n_clips"]["train"] == 9


def test_a_file_listed_twice(data, tmp_path):
    with open(data / "meta" / "esc50.csv", "a") as stream:
        stream.write(rows()[0] + "\n")
    assert_refused(tmp_path, data, "'1-20-A'", "duplicate id")
    assert prepare(data, tmp_path, skip_bad_clips=True).description["n_clips"]["train"] == 9


def test_a_split_with_no_good_clip(data, tmp_path):
    for path in (data / "audio").glob("5-*"):
        path.unlink()
    assert_refused(tmp_path, data, "no good clip is left in the test split", skip_bad_clips=True)


def test_no_audio_folder(data, tmp_path):
    shutil.rmtree(data / "audio")
    assert_refused(tmp_path, data, "no audio folder", error=MissingError)


# ---- Faults of the folder ----


def test_a_folder_that_holds_other_things_is_left_alone(tmp_path):
    other = tmp_path / "photos"
    other.mkdir()
    (other / "a.jpg").write_bytes(b"x")
    url = "http://127.0.0.1:9/never-asked.zip"
    assert_refused(tmp_path, other, other, "has no meta/esc50.csv", error=MissingError, download=True, archive_url=url)
    assert [path.name for path in other.iterdir()] == ["a.jpg"]


def test_the_folder_above_the_data_set_is_answered_with_the_right_one(data, tmp_path):
    assert_refused(tmp_path, tmp_path, f"give {data}", download=True)


def test_a_file_in_place_of_the_folder(tmp_path):
    (tmp_path / "ESC-50").write_text("x")
    assert_refused(tmp_path, tmp_path / "ESC-50", "is a file", download=True)


def test_download_switched_off(tmp_path):
    assert_refused(
        tmp_path, tmp_path / "ESC-50", "download https://github.com", tmp_path / "ESC-50", error=MissingError
    )
    assert list(tmp_path.iterdir()) == []


# ---- The download ----


def zip_of(members):
    """Zip bytes of (name or ZipInfo, content) pairs."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    """The members of an archive like the published one, with things that are not data."""
    folder = make_data(tmp_path_factory.mktemp("archive") / "ESC-50")
    top = "ESC-50-master"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    listed = [(f"{top}/{path.relative_to(folder).as_posix()}", path.read_bytes()) for path in files]
    extra = ["README.md", "LICENSE", "utils/setup.py", ".hidden"]
    return [(f"{top}/audio/", b""), *listed, *((f"{top}/{name}", b"text") for name in extra)]


class Server:
    """Serves bytes at any path; ``reply`` may be replaced to misbehave."""

    def __init__(self):
        self.content, self.code, self.claimed, self.requests = b"", 200, None, 0
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                outer.requests += 1
                self.send_response(outer.code)
                self.send_header("Content-Length", str(outer.claimed or len(outer.content)))
                self.end_headers()
                self.wfile.write(outer.content)

            def log_message(self, *_):
                pass

        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}/master.zip"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def stop(self):
        self.http.shutdown()
        self.http.server_close()
        self.thread.join()


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    server = Server()
    yield server
    server.stop()


def assert_nothing_left(tmp_path, server, *parts, error=UserError, **options):
    assert_refused(tmp_path, tmp_path / "ESC-50", *parts, error=error, download=True, archive_url=server.url, **options)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("state", ["absent", "empty", "link"])
@pytest.mark.parametrize("top", [True, False])
def test_download_to_an_absent_or_empty_folder(tmp_path, server, members, state, top):
    server.content = zip_of(members if top else [(name.split("/", 1)[1] or "x/", data) for name, data in members])
    folder = tmp_path / "deep" / "ESC-50"
    if state == "empty":
        folder.mkdir(parents=True)
    elif state == "link":
        folder.parent.mkdir()
        (tmp_path / "disk").mkdir()
        folder.symlink_to(tmp_path / "disk")
    prepared = prepare(folder, tmp_path, download=True, archive_url=server.url)
    assert prepared.description["n_clips"] == {"train": 9, "valid": 3, "test": 3}
    assert sorted(path.name for path in folder.iterdir()) == ["LICENSE", "README.md", "audio", "meta"]
    assert len(list((folder / "audio").iterdir())) == 15
    assert [path.name for path in folder.parent.iterdir()] == ["ESC-50"]  # no temporary files
    assert folder.is_symlink() == (state == "link")
    prepare(folder, tmp_path, download=True, archive_url=server.url)
    assert server.requests == 1


def test_the_hash_is_checked_when_given(tmp_path, server, members):
    server.content = zip_of(members)
    assert_nothing_left(tmp_path, server, "SHA-256", "f" * 64, archive_sha256="f" * 64)
    (tmp_path / "a.zip").write_bytes(server.content)
    digest = sha256(tmp_path / "a.zip").upper()
    prepare(tmp_path / "ESC-50", tmp_path, download=True, archive_url=server.url, archive_sha256=digest)


def test_settings_are_checked_before_the_download(tmp_path, server):
    assert_nothing_left(tmp_path, server, "must not overlap", valid_folds=[5])
    assert server.requests == 0


def test_not_found(tmp_path, server):
    server.code = 404
    parts = ("HTTP 404", f"download {server.url}", f"folders in {tmp_path / 'ESC-50'}")
    assert_nothing_left(tmp_path, server, *parts, error=MissingError)


def test_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:  # bound but not listening: the connection is refused
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/master.zip"
        parts = ("refused", f"download {url}", f"folders in {tmp_path / 'ESC-50'}")
        assert_refused(tmp_path, tmp_path / "ESC-50", *parts, error=MissingError, download=True, archive_url=url)
    assert list(tmp_path.iterdir()) == []


def test_no_address(tmp_path):
    assert_refused(tmp_path, tmp_path / "E", "unknown url type", error=MissingError, download=True, archive_url="words")


def test_a_download_that_breaks_off(tmp_path, server, members):
    server.content = zip_of(members)
    server.claimed = len(server.content) + 1000
    assert_nothing_left(tmp_path, server, "broke off", server.url, error=MissingError)


def unsafe(name, kind=stat.S_IFREG):
    info = zipfile.ZipInfo("placeholder")
    info.filename = name
    info.external_attr = (kind | 0o644) << 16
    return info


@pytest.mark.parametrize(
    ("member", "reason"),
    [
        (unsafe("ESC-50-master/../../evil.txt"), "leads out of the folder"),
        (unsafe("ESC-50-master/audio/../../../evil.txt"), "leads out of the folder"),
        (unsafe("/tmp/evil.txt"), "leads out of the folder"),
        (unsafe("C:/evil.txt"), "leads out of the folder"),
        (unsafe("ESC-50-master\\..\\evil.txt"), "leads out of the folder"),
        (unsafe("ESC-50-master/audio/evil.wav", stat.S_IFLNK), "is a link"),
        (unsafe("ESC-50-master/audio", stat.S_IFLNK), "is a link"),
        (unsafe("ESC-50-master/audio/evil.wav", stat.S_IFIFO), "is a link or not a regular file"),
    ],
    ids=lambda value: getattr(value, "filename", value),
)
def test_an_unsafe_archive(tmp_path, server, members, member, reason):
    server.content = zip_of([*members, (member, b"/etc/passwd")])
    assert_nothing_left(tmp_path, server, member.filename if "\\" not in member.filename else "evil.txt", reason)


@pytest.mark.parametrize("name", ["README.md", "audio/1-0-A.wav"])
def test_a_damaged_member(tmp_path, server, members, name):
    name = f"ESC-50-master/{name}"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for member, content in [*members, (name, b"needle-to-damage")][1:]:
            if member != name or content == b"needle-to-damage":
                archive.writestr(member, content)
    server.content = buffer.getvalue().replace(b"needle-to-damage", b"needle-is-damaged"[:16])
    assert_nothing_left(tmp_path, server, "damaged or not a zip file", "try the download again")


@pytest.mark.parametrize("keep", [0, 10, 0.5, 0.999])
def test_a_truncated_archive(tmp_path, server, members, keep):
    whole = zip_of(members)
    server.content = whole[: keep if isinstance(keep, int) else int(keep * len(whole))]
    assert_nothing_left(tmp_path, server, "damaged or not a zip file")


def test_another_archive(tmp_path, server):
    server.content = zip_of([("other/README.md", b"text")])
    assert_nothing_left(tmp_path, server, "holds no meta/esc50.csv", "archive_url")


MANY_ZEROS = bytes(10**6)


def test_members_that_the_table_does_not_name_are_not_unpacked_however_large(tmp_path, server, members, monkeypatch):
    monkeypatch.setattr(esc50, "_MOST_BYTES", len(MANY_ZEROS) - 1)
    top = "ESC-50-master"
    names = ["audio/bomb.wav", "audio/deep/1-0-A.wav", "meta/bomb.csv", "meta/deep/esc50.csv", "bomb", ".git/x"]
    server.content = zip_of([*members, *((f"{top}/{name}", MANY_ZEROS) for name in names)])
    folder = tmp_path / "ESC-50"
    prepare(folder, tmp_path, download=True, archive_url=server.url)
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    assert files == sorted(
        ["LICENSE", "README.md", "meta/esc50.csv", *(f"audio/{row.split(',')[0]}" for row in rows())]
    )


@pytest.mark.parametrize("name", ["audio/1-0-A.wav", "README.md", "meta/esc50.csv"])
def test_members_that_are_far_too_large_are_refused(tmp_path, server, members, name, monkeypatch):
    monkeypatch.setattr(esc50, "_MOST_BYTES", len(MANY_ZEROS) - 1)
    name = f"ESC-50-master/{name}"
    server.content = zip_of([*((member, content) for member, content in members if member != name), (name, MANY_ZEROS)])
    assert_nothing_left(tmp_path, server, "999999")


def test_an_archive_that_is_far_too_large_is_refused(tmp_path, server, members, monkeypatch):
    monkeypatch.setattr(esc50, "_MOST_ARCHIVE_BYTES", 1000)
    server.content = zip_of(members)
    assert_nothing_left(tmp_path, server, "more than 1000 bytes")


def test_folders_made_for_a_refused_download_are_removed(tmp_path, server):
    server.content = b"words"
    with pytest.raises(UserError, match="not a zip file"):
        prepare(tmp_path / "a" / "b" / "ESC-50", tmp_path, download=True, archive_url=server.url)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a").mkdir()
    with pytest.raises(UserError, match="not a zip file"):
        prepare(tmp_path / "a" / "b" / "ESC-50", tmp_path, download=True, archive_url=server.url)
    assert list((tmp_path / "a").iterdir()) == []


def test_a_disk_that_is_too_small(tmp_path, server, members, monkeypatch):
    server.content = zip_of(members)
    monkeypatch.setattr("interpretability.data.esc50.shutil.disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    assert_nothing_left(tmp_path, server, "make room")


# ---- The real thing ----


def test_the_real_esc10(esc10_folder, tmp_path):
    prepared = prepare(esc10_folder, tmp_path, esc10_only=True)
    assert prepared.labels == [
        "dog", "rooster", "rain", "sea_waves", "crackling_fire", "crying_baby", "sneezing", "clock_tick", "helicopter",
        "chainsaw",
    ]  # fmt: skip
    assert prepared.description["n_clips"] == {"train": 240, "valid": 80, "test": 80}
    ids = set()
    for split in SPLITS:
        manifest = read_manifest(prepared.manifests[split], esc10_folder, labels=prepared.labels)
        ids |= set(manifest.entries)
        durations = [members["duration"] for members in manifest.entries.values()]
        assert min(durations) > 3.5
        assert max(durations) < 7.5
    assert len(ids) == 400
