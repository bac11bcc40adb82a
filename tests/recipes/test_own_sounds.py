"""docs/own_sounds.md: every command of the page runs, at a tiny size, in the order in which it stands."""

import csv
import json
import os
import shlex
import shutil
from functools import partial
from pathlib import Path

import pages
import pytest
import soundfile
import tiny

from interpretability.data import calls, speech

pytestmark = pytest.mark.slow

PAGE = tiny.REPOSITORY / "docs" / "own_sounds.md"
#: What makes the runs of a script tiny.
RUN = {"device": "cpu", "noprogressbar": None, "batch_size": 4, "number_of_epochs": 1}
EXPLAINED = {"device": "cpu", "noprogressbar": None, "batch_size": 8, "n_examples": 1, "report_clips": 2}
SETTINGS = {
    "train_classifier.py": {**RUN, "classifier.channels": "[4, 4, 8, 8]"},
    "train_piq.py": {**RUN, "method.channels": 8, "method.decoder_channels": "[8, 4]", "method.codebook_size": 16},
    "train_lmac.py": {**RUN, "method.channels": 8, "method.decoder_channels": "[4]"},
    "evaluate.py": EXPLAINED,
    "../../tools/wrong_predictions.py": {"n": 1, "method": "saliency"},
}
GRADIENTS = {"method.n_steps": 2}


def run(line: str) -> tiny.Outcome:
    """Run a command of the page in this process, inside the recipe's folder."""
    words = shlex.split(line)[1:]
    if words[0] == "-c":
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(speech, "make_speech", partial(speech.make_speech, takes=2))
            patch.setattr(calls, "make_nights", partial(calls.make_nights, recordings=6, seconds=8.0))
            exec(words[1], {})
        return tiny.Outcome(0, "", "")
    return pages.run(line, SETTINGS.get(words[0], {}) | (GRADIENTS if "hparams/gradients.yaml" in words else {}))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory) -> Path:
    """A copy of the recipe, in which every command of the page has run."""
    copy = tmp_path_factory.mktemp("own") / "repository"
    for part in ("recipes/Custom", "hparams", "tools"):
        without = shutil.ignore_patterns("__pycache__", "results", "data")
        shutil.copytree(tiny.REPOSITORY / part, copy / part, ignore=without)
    return copy / "recipes" / "Custom"


@pytest.fixture(scope="module")
def outcomes(recipe) -> dict[str, tiny.Outcome]:
    """What every command of the page gives."""
    first, *lines = pages.commands(PAGE)
    assert first.startswith("cd recipes/Custom && ")
    before = os.getcwd()
    os.chdir(recipe)
    try:
        return {line: run(line) for line in lines}
    finally:
        os.chdir(before)


def test_every_command_of_the_page_succeeds(outcomes):
    assert len(outcomes) == 19
    assert {line: outcome.err for line, outcome in outcomes.items() if outcome.code} == {}


def test_one_speaker_tests_and_the_rate_and_the_length_are_those_of_the_data(outcomes, recipe):
    text = next(outcome.out for line, outcome in outcomes.items() if line.startswith("python train_classifier.py"))
    assert "data: splits are made, with the seed 1234: valid is the group 'anna'; test is the group 'dora'" in text
    assert (
        "data: Custom, 4 classes, 32 clips (train 16, valid 8, test 8), 16 s in all, 0.5 s each, 8000 Hz each\n" in text
    )
    assert "data: the splits are listed in " in text
    assert "clip_seconds 0.5: the clips have 0.5 to 0.5 s\n" in text
    assert "sample_rate 8000: 32 of 32 clips have 8000 Hz\n" in text
    results = recipe / "results"
    known = json.loads((results / "classifier_compact" / "1234" / "classifier" / "classifier.json").read_text("utf-8"))
    assert known["frontend"]["sample_rate"] == 8000
    assert known["frontend"]["n_fft"] == 1024
    assert known["training"]["clip_seconds"] == 0.5
    for method in ("piq", "lmac"):
        table = results / method / "1234" / "manifests" / "splits.csv"
        rows = list(csv.DictReader(table.read_text("utf-8").splitlines()))
        assert {row["group"] for row in rows if row["split"] == "test"} == {"dora"}
        assert len(rows) == 32
        summary = json.loads((results / method / "1234" / "evaluation" / "summary.json").read_text("utf-8"))
        assert summary["n"] == 8
        (example,) = (path for path in (results / method / "1234" / "examples").iterdir() if path.is_dir())
        assert "dora" in example.name
        assert soundfile.info(example / "explanation.wav").samplerate == 8000
        assert soundfile.info(example / "explanation.wav").frames == 4000


def test_a_look_at_the_data_shows_the_splits_that_are_then_used(outcomes, recipe):
    text = next(outcome.out for line, outcome in outcomes.items() if "inspect_data.py" in line)
    assert "speech: 32 clips of 4 classes (train 16, valid 8, test 8); 16 s in all, 0.5 s each, 8000 Hz each." in text
    assert "valid is the group 'anna'; test is the group 'dora'" in text
    assert (recipe / "results" / "look" / "data.html").read_text("utf-8").count("<audio") >= 4
    looked = json.loads((recipe / "results" / "look" / "data.json").read_text("utf-8"))
    table = recipe / "results" / "classifier_compact" / "1234" / "manifests" / "splits.csv"
    splits = {
        Path(row["path"]).parts[-2:]: row["split"] for row in csv.DictReader(table.read_text("utf-8").splitlines())
    }
    assert {Path(clip["path"]).parts[-2:]: clip["split"] for clip in looked["clips"]} == splits


def test_the_data_are_named_once(outcomes):
    """Later commands take them, and their splits, from the run of the classifier."""
    later = [line for line in outcomes if line.startswith("python train_") or "hparams/gradients.yaml" in line][1:]
    later = [line for line in later if "data/more" not in line and "nights" not in line]
    assert len(later) == 4
    for line in later:
        assert "data" not in line
        assert outcomes[line].out.startswith("data: those of the classifier's run, ")
        assert "test is the group 'dora'" in outcomes[line].out


def test_what_fine_tuning_keeps_and_makes_new(outcomes, recipe):
    (text,) = (outcome.out for line, outcome in outcomes.items() if "--finetune_from results/classifier" in line)
    assert "starts from results/classifier_compact/1234 (compact, 4 classes, " in text
    assert "  kept: the encoder, and the head rows of wa\n  made new: the head's rows of ow, you\n" in text
    assert "sample_rate 8000: that of the classifier that training starts from\n" in text
    (text,) = (outcome.out for line, outcome in outcomes.items() if "--finetune_from results/piq" in line)
    assert "  by class: psi.codebook\n  classes kept: wa; new: ow, you\n" in text


def test_what_is_heard_of_a_clip_and_of_another_sound(outcomes, recipe):
    of_clip, of_file = (outcome.out for line, outcome in outcomes.items() if "interpret.py" in line)
    assert of_clip.startswith("The clip ya_dora-1 of the test split, which is ya:\nHeard as")
    assert of_file.startswith("Heard as")
    assert soundfile.info(recipe / "results" / "ya" / "explanation.wav").frames == 4000


def test_other_splits_of_the_same_clips_are_refused(outcomes, recipe, monkeypatch):
    """They would measure the classifier on clips that it was trained on; the same options give the same splits."""
    monkeypatch.chdir(recipe)
    line = "python train_piq.py hparams/piq.yaml --data_folder data/speech --output_folder results/other"
    outcome = run(line)
    assert outcome.code == 2
    assert "has seen clips in its training that would measure it here (" in outcome.line
    assert "splits.csv" in outcome.line
    assert run(f'{line} --group_pattern "^([a-z]+)-" --test_groups dora').code == 0
    table = "results/classifier_compact/1234/manifests/splits.csv"
    assert run(f"{line.replace('other', 'table')} --table {table}").code == 0


def test_a_rate_and_a_length_that_are_given_are_taken(outcomes, recipe, monkeypatch):
    """Whichever option gives the rate; both at once are refused. The size of the FFT follows."""
    monkeypatch.chdir(recipe)
    line = "python train_classifier.py hparams/classifier_compact.yaml --data_folder data/speech --clip_seconds 0.25"
    for rates, expected in (("--sample_rate 48000", (48000, 2048)), ("--frontend.sample_rate 4000", (4000, 1024))):
        outcome = run(f"{line} {rates} --debug --debug_persistently --output_folder results/{expected[0]}")
        assert outcome.code == 0, outcome.err
        assert "sample_rate" not in outcome.out.replace("_sample_rate", "")
        record = json.loads((recipe / "results" / f"{expected[0]}.debug" / "run.json").read_text("utf-8"))
        assert (record["frontend"]["sample_rate"], record["frontend"]["n_fft"]) == expected
        assert record["clip_seconds"] == 0.25
    outcome = run(f"{line} --sample_rate 8000 --frontend.sample_rate 4000 --output_folder results/both")
    assert "both sample_rate and frontend.sample_rate are given: leave one out" in outcome.line
    outcome = run(f"{line.replace('0.25', 'often')} --output_folder results/often")
    assert "clip_seconds is 'often', expected a number" in outcome.line


def test_explanations_of_clips_from_recordings_are_measured_by_the_boxes_of_their_label_tracks(outcomes, recipe):
    text = next(outcome.out for line, outcome in outcomes.items() if "--data_folder data/nights" in line)
    assert "label tracks: 3 of Raven, 3 of Audacity; 24 selections in 6 recordings" in text
    folder = recipe / "results" / "piq_nights" / "1234" / "evaluation"
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["truth"] == "boxes"
    for row in summary["places"]["waveform"].values():
        assert row["energy_precision"]["n"] + row["energy_precision"]["undefined"] == summary["n"]
    assert "boxes that people drew" in (folder / "table.md").read_text("utf-8")
