"""docs/publishing.md: every command of the page runs, at a tiny size, in the order in which it stands.

In place of the hub there is the cache of its client: what is sent is put there, and nothing is connected to.
"""

import json
import os
import re
import runpy
import shlex
import shutil
import sys

import exported_folders
import pytest
import tiny
from huggingface_hub import constants

from interpretability.commands import publish
from interpretability.publishing.check import explain_example

pytestmark = pytest.mark.slow

PAGE = tiny.REPOSITORY / "docs" / "publishing.md"
SETTINGS = {"train_lmac.py": tiny.SETTINGS["lmac"], "train_piq.py": tiny.SETTINGS["piq"]}


def blocks(language: str) -> list[str]:
    """Return the code blocks of the page in a language."""
    pattern = r"^```(\w*)\n(.*?)^```$"
    return [block for kind, block in re.findall(pattern, PAGE.read_text("utf-8"), re.M | re.S) if kind == language]


class Hub:
    """Puts what is sent into the cache, as the main branch and under the revision that is given."""

    def __init__(self, root):
        self.root, self.sent = root, []

    def upload(self, folder, destination):
        self.sent.append((destination.repo_id, destination.revision))
        commit, branch = f"{len(self.sent):040x}", destination.revision or "main"
        exported_folders.put_in_cache(self.root, destination.repo_id, folder, commit, branch)
        return f"https://hub/{destination.repo_id}/commit/{commit}"


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
    hub, before, results = Hub(copy / "cache"), os.getcwd(), {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(constants, "HF_HUB_CACHE", str(hub.root))
        patch.setattr(publish, "check_folder", explain_example)
        patch.setattr(publish, "upload", hub.upload)
        patch.setattr("socket.getaddrinfo", lambda *_, **__: (_ for _ in ()).throw(OSError("no network")))
        os.chdir(copy)
        try:
            for line in "".join(blocks("")).splitlines():
                if line.startswith("cd "):
                    os.chdir(line.split()[1])
                else:
                    results[line] = run(line.replace("DIR", str(tiny_esc50)))
            os.chdir(copy)
            (code,) = blocks("python")
            exec(code, {})
        finally:
            os.chdir(before)
    return results, hub, copy


def run(line: str) -> tiny.Outcome:
    """Run a command of the page in this process."""
    words = shlex.split(line)[1:]
    for name, value in SETTINGS.get(words[0], {}).items():
        words += [f"--{name}"] if value is None else [f"--{name}", str(value)]

    def script() -> int:
        with pytest.raises(SystemExit) as ended:
            runpy.run_path(words[0], run_name="__main__")
        return ended.value.code or 0

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", words)
        return tiny.call(script)


def test_every_command_of_the_page_succeeds(outcomes):
    results, hub, copy = outcomes
    assert len(results) == 11
    assert {line: outcome.err for line, outcome in results.items() if outcome.code} == {}
    assert hub.sent == [("anna/piq-synthetic", None), ("anna/compact-synthetic", None), ("anna/piq-synthetic", "v2")]
    assert (copy / "results" / "from_python" / "explanation.wav").is_file()


def test_results_say_which_commit_they_are_of(outcomes):
    _, _, copy = outcomes
    for name, commit in (("heard", 1), ("heard_v2", 3), ("from_python", 1)):
        described = json.loads((copy / "results" / name / "explanation.json").read_text("utf-8"))
        assert described["hub"]["interpreter"] == {"repo_id": "anna/piq-synthetic", "revision": f"{commit:040x}"}
    described = json.loads((copy / "results" / "heard_untrained" / "explanation.json").read_text("utf-8"))
    assert described["hub"]["classifier"]["revision"] == f"{2:040x}"
    run_folder = next((copy / "recipes" / "ESC50" / "results" / "piq").glob("*/interpreter"))
    training = json.loads((run_folder / "interpreter.json").read_text("utf-8"))["training"]
    assert training["finetuned_from"]["hub"]["revision"] == f"{3:040x}"


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
