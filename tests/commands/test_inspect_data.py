"""The command that looks at a data set: any source, any fault, nothing stops it but the absence of data."""

import json
import shutil

import numpy as np
import pytest
import soundfile
import tiny

from interpretability.commands.main import inspect_data
from interpretability.data.custom import prepare_custom
from interpretability.data.speech import make_speech
from interpretability.training.composition import compose

RATE = 8000


def sound(path, seconds=0.1, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    wav = 0.1 * np.random.default_rng(list(str(path).encode())).standard_normal(round(seconds * RATE))
    soundfile.write(path, wav, RATE, **options)
    return path


def look(*words):
    """Run the command; return what it says and how it ends."""
    return tiny.call(inspect_data, [str(word) for word in words])


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """A folder with one of every fault."""
    root = tmp_path_factory.mktemp("bad") / "data"
    for split, n in (("train", 10), ("valid", 1), ("test", 1)):
        for label in ("dog", "cat"):
            for index in range(n):
                sound(root / split / label / f"{split}-{label}-{index}.wav")
    sound(root / "train" / "Dog" / "x.wav")
    sound(root / "train" / "dgo" / "x.wav")
    soundfile.write(root / "train" / "cat" / "silent.wav", np.zeros(800), RATE)
    soundfile.write(root / "train" / "cat" / "clipped.wav", np.ones(800), RATE)
    soundfile.write(root / "train" / "cat" / "nan.wav", np.full(800, np.nan), RATE, subtype="FLOAT")
    cut = sound(root / "train" / "cat" / "cut.wav")
    cut.write_bytes(cut.read_bytes()[:1000])
    (root / "train" / "cat" / "text.wav").write_text("hello")
    shutil.copy(root / "train" / "dog" / "train-dog-0.wav", root / "test" / "dog" / "again.wav")
    return root


def test_every_fault_is_named_on_the_screen_in_the_page_and_in_the_numbers(bad, tmp_path):
    outcome = look(bad, "--out", tmp_path / "look")
    assert outcome.code == 0, outcome.err
    data = json.loads((tmp_path / "look" / "data.json").read_text("utf-8"))
    expected = {
        "unusable": ["train_cat_text"],
        "leak": ["train_dog_train-dog-0", "test_dog_again"],
        "silent": ["train_cat_silent"],
        "clipped": ["train_cat_clipped"],
        "not finite": ["train_cat_nan"],
        "cut": ["train_cat_cut"],
    }
    page = (tmp_path / "look" / "data.html").read_text("utf-8")
    by_kind = {finding["kind"]: finding for finding in data["findings"]}
    for kind, clips in expected.items():
        assert by_kind[kind]["clips"] == clips
        for clip in clips:
            assert f"\n       {clip}" in outcome.out
            assert clip in page
    assert "The classes 'Dog' (1) and 'dog' (13) differ only by case" in outcome.out
    assert "The classes 'dgo' (1) and 'dog' (13) differ by one letter" in outcome.out
    assert data["counts"]["clips"] == 32
    assert data["counts"]["splits"] == {"train": 25, "valid": 2, "test": 3}
    assert page.count("<audio") == page.count("data:audio/mpeg") == page.count("data:image/png")
    assert outcome.err == ""
    # The same data give the same page; another folder is not replaced.
    assert look(bad, "--out", tmp_path / "look").code == 0
    assert (tmp_path / "look" / "data.html").read_text("utf-8") == page
    refused = look(bad, "--out", tmp_path.parent)
    assert refused.code == 2
    assert "which this program is not known to have written" in refused.line


def test_a_table_with_options_of_the_recipe(tmp_path):
    rows = ["path,label,speaker"]
    for label in ("yes", "no"):
        for index in range(6):
            rows.append(f"{sound(tmp_path / 'wavs' / f'{label}{index}.wav').name},{label},s{index % 3}")
    rows += ["gone.wav,yes,s1", "yes0.wav,no,s0"]
    (tmp_path / "t.csv").write_text("\n".join(rows), "utf-8")
    options = ("--table", tmp_path / "t.csv", "--data_folder", tmp_path / "wavs", "--group_by", "speaker")
    outcome = look(*options, "--test_groups", "[s2]")
    assert outcome.code == 0, outcome.err
    assert "wavs: 13 clips of 2 classes, of which 11 can be used" in outcome.out
    assert "test is the group 's2'" in outcome.out
    assert "'gone.wav': no such file" in outcome.out
    assert "'yes0.wav' is 'no' here and 'yes' in line 2: a clip has one label" in outcome.out
    again = look(tmp_path / "wavs", "--table", tmp_path / "t.csv", "--group_by", "nothing")
    assert "group_by is 'nothing', but" in again.line


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        (["cat/a.wav", "cat/b.wav", "cat/c.wav"], "has only one class, 'cat'"),
        (["cat/a.wav", "dog/b.wav"], "2 groups of clips"),
    ],
)
def test_clips_that_cannot_be_split_are_looked_at_nonetheless(tmp_path, names, reason):
    for name in names:
        sound(tmp_path / "data" / name)
    outcome = look(tmp_path / "data")
    assert outcome.code == 0, outcome.err
    assert f"data: {len(names)} clips" in outcome.out
    assert "There are no splits: " in outcome.out
    assert reason in outcome.out


def test_other_recipes_and_their_runs(tmp_path, tiny_esc50):
    hparams = tiny.REPOSITORY / "recipes" / "ESC50" / "hparams"
    folds = {"train_folds": "[1]", "valid_folds": "[2]", "test_folds": "[3]"}
    options = [word for name, value in folds.items() for word in (f"--{name}", value)]
    outcome = look(hparams / "data.yaml", "--data_folder", tiny_esc50, *options)
    assert outcome.code == 0, outcome.err
    assert "data: 18 clips of 3 classes (train 6, valid 6, test 6)" in outcome.out
    (tmp_path / "run").mkdir()
    run = compose(hparams / "classifier_compact.yaml", {"data_folder": tiny_esc50, **folds})
    (tmp_path / "run" / "hyperparams.yaml").write_text(run, "utf-8")
    assert look(tmp_path / "run").out == outcome.out
    assert "--data_folder VALUE" in look(hparams / "data.yaml").line
    assert "esc_10" in look(hparams / "data.yaml", "--data_folder", tiny_esc50, "--esc_10", "True").line


def test_manifests(tmp_path):
    make_speech(tmp_path / "speech", takes=2)
    prepare_custom(tmp_path / "speech", tmp_path / "m")
    outcome = look(tmp_path / "m", "--data_folder", tmp_path / "speech")
    assert outcome.code == 0, outcome.err
    assert "m: 32 clips of 4 classes (train 16, valid 8, test 8)" in outcome.out
    assert "give --data_folder DIR" in look(tmp_path / "m").line


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "give --data_folder DIR"),
        (("gone",), "no such data folder"),
        ((".",), "holds no sounds"),
        ((".", "--folds", "x"), "holds no sounds"),
        ((".", "--fold", "3"), "unexpected keyword argument 'fold'"),
        ((".", "--device", "cpu"), "'--device', which is no option of data"),
        ((".", "--examples", "-1"), "--examples is -1"),
        ((".", "--data_folder", "x"), "two folders are given"),
        (("t.csv",), "give a table as --table t.csv"),
    ],
)
def test_no_data(tmp_path, monkeypatch, words, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.csv").write_text("path,label\n")
    outcome = look(*words)
    assert outcome.code == 2
    assert message in outcome.line


@pytest.mark.slow
def test_real_clips(esc10_folder, tmp_path):
    """Of one fold of ESC-10: nothing is wrong with it, but for one clip at full scale, and what was padded."""
    rows = (esc10_folder / "meta" / "esc50.csv").read_text("utf-8").splitlines()
    kept = [row for row in rows[1:] if row.split(",")[1] == "5"][:40]
    (tmp_path / "t.csv").write_text("\n".join([rows[0].replace("fold", "number"), *kept]), "utf-8")
    outcome = look(esc10_folder / "audio", "--table", tmp_path / "t.csv", "--out", tmp_path / "look", "--examples", "1")
    assert outcome.code == 0, outcome.err
    data = json.loads((tmp_path / "look" / "data.json").read_text("utf-8"))
    assert data["counts"]["usable"] == 40
    assert not [finding for finding in data["findings"] if finding["level"] == "serious"]
    assert all(clip["sample_rate"] == 44100 and 3 < clip["seconds"] < 8 for clip in data["clips"])
