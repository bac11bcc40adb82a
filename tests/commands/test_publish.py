"""``tools/publish.py``: options that do not fit, folders made for later, nothing sent that is not the same."""

import json
import shutil

import pytest
import tiny
from exported_folders import copied

from interpretability.commands import main, publish


@pytest.fixture
def sent(monkeypatch):
    """What would be sent; no process is started for the check."""
    folders = []
    monkeypatch.setattr(publish, "check_folder", lambda folder, _: {"here": 200.0})
    monkeypatch.setattr(publish, "upload", lambda folder, to: folders.append((folder, to)) or "https://hub/commit/1")
    return folders


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "pass one RUN to publish, or --all FOLDER"),
        (["RUN", "--all", "x"], "pass one RUN to publish, or --all FOLDER"),
        (["RUN"], "no --repo_id"),
        (["RUN", "--repo_id", "birds"], "expected user/name"),
        (["RUN", "--repo_id", "anna/birds", "--out", "x", "--private"], "--private goes with sending"),
        (["RUN", "--repo_id", "anna/birds", "--out", "x", "--dry_run"], "--dry_run goes with sending"),
        (
            ["RUN", "--repo_id", "anna/birds", "--create_pr", "--revision", "v2"],
            "--create_pr proposes files for the main",
        ),
        (["--all", "RUN", "--repo_id", "anna", "--base_model", "a/b"], "--base_model goes with one run"),
        (["FOLDER", "--repo_id", "anna/frogs"], "was made as anna/birds"),
        (["FOLDER", "--repo_id", "anna/birds", "--license", "mit"], "--license goes with a run"),
        (["absent/a/b", "--repo_id", "anna/birds"], "no classifier in absent/a/b"),
    ],
)
def test_options_that_do_not_fit(arguments, words, tiny_piq_run, stock_folder, sent, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    places = {"RUN": str(tiny_piq_run), "FOLDER": str(stock_folder)}
    done = tiny.call(main.publish, [places.get(argument, argument) for argument in arguments])
    assert words in done.line
    assert sent == []
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_made_looked_at_and_sent(stock_folder, sent, tmp_path):
    folder = copied(stock_folder, tmp_path / "birds")
    (folder / "README.md").write_text((folder / "README.md").read_text("utf-8") + "\nMore by hand.\n", "utf-8")
    done = tiny.call(main.publish, [str(folder), "--repo_id", "anna/birds", "--private", "--revision", "v1"])
    assert done.code == 0, done.err
    assert "explains its example as the run does (here 200 dB)" in done.out
    assert "sent: https://hub/commit/1" in done.out
    ((place, to),) = sent
    assert place == folder
    assert (to.repo_id, to.private, to.create_pr, to.revision) == ("anna/birds", True, False, "v1")


def test_a_dry_run_lists_what_would_be_sent(stock_folder, sent):
    done = tiny.call(main.publish, [str(stock_folder), "--repo_id", "anna/birds", "--dry_run"])
    assert done.code == 0, done.err
    assert "example/explanation.wav" in done.out
    assert sent == []


@pytest.mark.slow
def test_all_runs_of_a_folder(tiny_piq_run, tiny_classifier_folder, tmp_path):
    results = tmp_path / "results"
    shutil.copytree(tiny_piq_run / "interpreter", results / "piq" / "interpreter")
    shutil.copytree(tiny_classifier_folder, results / "compact" / "classifier")
    done = tiny.call(main.publish, ["--all", str(results), "--repo_id", "anna/tiny", "--out", str(tmp_path / "out")])
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["tiny-compact", "tiny-piq"]
    card = (tmp_path / "out" / "tiny-piq" / "README.md").read_text("utf-8")
    assert "base_model: anna/tiny-compact" in card
    assert "[anna/tiny-compact](https://huggingface.co/anna/tiny-compact): the classifier compact" in card
    assert "[anna/tiny-piq]" in (tmp_path / "out" / "tiny-compact" / "README.md").read_text("utf-8")
    config = json.loads((tmp_path / "out" / "tiny-piq" / "config.json").read_text("utf-8"))
    assert config["repo_id"] == "anna/tiny-piq"
