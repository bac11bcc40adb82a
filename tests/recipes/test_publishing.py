"""docs/publishing.md: every command of the page runs, at a tiny size, in the order in which it stands.

They send to a hub on this machine and load from it, by a cache that is empty at the beginning.
"""

import json
import os
import shutil

import pytest
import tiny
from hub_client import connect
from local_hub import local_hub
from pages import blocks, commands, run

from interpretability.commands import publish
from interpretability.publishing.check import explain_example

pytestmark = pytest.mark.slow

PAGE = tiny.REPOSITORY / "docs" / "publishing.md"
SETTINGS = {"train_lmac.py": tiny.SETTINGS["lmac"], "train_piq.py": tiny.SETTINGS["piq"]}


@pytest.fixture(scope="module")
def outcomes(tiny_esc50, tiny_piq_run, tiny_classifier_folder, tmp_path_factory):
    """What every command of the page gives, and the hub."""
    copy = tmp_path_factory.mktemp("publishing") / "repository"
    for part in ("recipes/ESC50", "hparams", "tools"):
        without = shutil.ignore_patterns("__pycache__", "results", "data")
        shutil.copytree(tiny.REPOSITORY / part, copy / part, ignore=without)
    shutil.copytree(tiny_piq_run, copy / "results" / "demo" / "piq")
    shutil.copytree(tiny_classifier_folder, copy / "results" / "demo" / "classifier_compact" / "classifier")
    sound = next((tiny_esc50 / "audio").glob("*.wav"))
    shutil.copy(sound, copy / "sound.wav")
    before, results = os.getcwd(), {}
    with pytest.MonkeyPatch.context() as patch, local_hub() as hub:
        connect(patch, hub, copy / "cache")
        patch.setattr(publish, "check_folder", explain_example)
        os.chdir(copy)
        try:
            for line in commands(PAGE):
                if line.startswith("cd "):
                    os.chdir(line.split()[1])
                else:
                    results[line] = run(line.replace("DIR", str(tiny_esc50)), SETTINGS.get(line.split()[1], {}))
            os.chdir(copy)
            (code,) = blocks(PAGE, "python")
            exec(code, {})
        finally:
            os.chdir(before)
    return results, hub, copy


def test_every_command_of_the_page_succeeds(outcomes):
    results, hub, copy = outcomes
    assert len(results) == 11
    assert {line: outcome.err for line, outcome in results.items() if outcome.code} == {}
    assert sorted(hub.models) == ["anna/compact-synthetic", "anna/piq-synthetic"]
    assert sorted(hub.models["anna/piq-synthetic"].branches) == ["main", "v2"]
    assert len([path for method, path in hub.writes if "/commit/" in path]) == 3
    assert (copy / "results" / "from_python" / "explanation.wav").is_file()


def test_results_say_which_commit_they_are_of(outcomes):
    _, hub, copy = outcomes
    branches = hub.models["anna/piq-synthetic"].branches
    for name, branch in (("heard", "main"), ("heard_v2", "v2"), ("from_python", "main")):
        described = json.loads((copy / "results" / name / "explanation.json").read_text("utf-8"))
        assert described["hub"]["interpreter"] == {"repo_id": "anna/piq-synthetic", "revision": branches[branch]}
    described = json.loads((copy / "results" / "heard_untrained" / "explanation.json").read_text("utf-8"))
    assert described["hub"]["classifier"]["revision"] == hub.models["anna/compact-synthetic"].branches["main"]
    run_folder = next((copy / "recipes" / "ESC50" / "results" / "piq").glob("*/interpreter"))
    training = json.loads((run_folder / "interpreter.json").read_text("utf-8"))["training"]
    assert training["finetuned_from"]["hub"]["revision"] == branches["v2"]


def test_the_cards_name_each_other(outcomes):
    _, _, copy = outcomes
    text = (copy / "results" / "collection" / "demo-piq" / "README.md").read_text("utf-8")
    assert "base_model: anna/demo-classifier_compact" in text


def test_the_page_lists_what_a_folder_holds(outcomes):
    _, _, copy = outcomes
    page = PAGE.read_text("utf-8")
    for path in (copy / "results" / "published" / "piq-synthetic").iterdir():
        named = f"`{path.name}" if path.suffix != ".ckpt" else "`*.ckpt`"
        assert named in page or path.name == "contents.json", path.name
