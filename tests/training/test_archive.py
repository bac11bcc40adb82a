"""The YAML in a run's folder: found, and read only if it names what recipes name."""

import pytest
import tiny

from interpretability.errors import MissingError, UserError
from interpretability.training.archive import ARCHIVED, find_yaml
from interpretability.training.composition import compose, list_yamls
from interpretability.training.paths import anchored

PARTS = ("dictionary", "evaluation")
#: A text that is a text of Python, too: what that says is a tuple, which HyperPyYAML would load.
HIDDEN = '\'"\\x28!!python/object/apply:os.system [\\"touch here\\"]\\x29" #<n>\''


@pytest.fixture
def write(tmp_path):
    def write_yaml(text):
        (tmp_path / ARCHIVED).write_text(text, "utf-8")
        return tmp_path

    return write_yaml


def test_a_file_is_what_was_given(tmp_path):
    assert find_yaml(tmp_path / "piq.yaml", PARTS, False) == (tmp_path / "piq.yaml", {})


def test_a_run_goes_on_in_its_folder_and_with_its_classifier(tmp_path, write):
    with pytest.raises(MissingError, match=r"is a folder without a hyperparams\.yaml: give the output folder of a run"):
        find_yaml(tmp_path, PARTS, False)
    (tmp_path / "evaluation").mkdir()
    (tmp_path / "evaluation" / ARCHIVED).write_text("seed: 1\n", "utf-8")
    assert find_yaml(tmp_path, PARTS, False) == (tmp_path / "evaluation" / ARCHIVED, {"output_folder": tmp_path})
    write("seed: 1\ntrust_remote_code: True\n")
    (tmp_path / "interpreter" / "classifier").mkdir(parents=True)
    known = {"output_folder": tmp_path, "classifier_folder": tmp_path / "interpreter" / "classifier"}
    assert find_yaml(tmp_path, PARTS, False) == (tmp_path / ARCHIVED, {**known, "trust_remote_code": False})
    assert find_yaml(tmp_path, PARTS, True) == (tmp_path / ARCHIVED, {**known, "trust_remote_code": True})


@pytest.mark.parametrize("recipe", ["ESC50", "Synthetic"])
@pytest.mark.slow
def test_what_every_recipe_archives_is_read(write, recipe):
    hparams = tiny.REPOSITORY / "recipes" / recipe / "hparams"
    for name in list_yamls(hparams):
        if name not in ("data.yaml", "augmentation.yaml"):  # no runs of their own
            folder = write(anchored(compose(hparams / name, {"data_folder": "data"}), tiny.REPOSITORY))
            assert find_yaml(folder, PARTS, False)[0] == folder / ARCHIVED, name


@pytest.mark.parametrize(
    "line",
    [
        "a: !apply:os.system [touch here]",
        "a: !new:subprocess.Popen {args: [touch, here]}",
        "a: !name:os.system",
        "classifier: !name:interpretability.classifiers.module.ModuleClassifier {module: 'evil:Net'}",
        "classifier: !name:interpretability.classifiers.sources.ModuleClassifier {module: 'evil:Net'}",
        "a: !!python/object/apply:os.system [touch here]",
        "a: (!!python/object/apply:os.system ['touch here'])",
        "a: [[\"(1, !!python/object/apply:os.system ['touch here'])\"]]",
        "a: !tuple (1, 2)",
        "(!!python/object/apply:os.system ['touch here']): 1",
        "\"(!!python/object/apply:os.system ['touch here'])\": 1",
        "? (!!python/object/apply:os.system ['touch here'])\n: 1",
        "a: {\"(!!python/object/apply:os.system ['touch here'])\": 1}",
        "a: [{'(1, 2)': 1}]",
        "a: !apply:interpretability.files.write_text [here, text]",
        "a: !name:interpretability.methods.folder.save_interpreter",
        "a: !name:interpretability.data.manifest.write_manifests",
        "a: !module:os",
        "a: !include:other.yaml",
        "a: !applyref:os.system {}",
        "a: !ref 9**9**9**9",
        "a: !ref (1)",
        f"a: {HIDDEN}\nn:\nb: !copy <a>",
        f"a: {HIDDEN}\nn:\nb: !ref <a> <n>",
        f"a: {HIDDEN}\nn: 2001-01-01\nb: !ref <a> <n>",
        f"a: {HIDDEN}\nn: [1]\nb: !ref <a><n>",
        f"a: {{x: {HIDDEN}}}\nn:\nc: !ref <a>\nb: !ref <c[x]>",
        f"a: [{HIDDEN}]\nn:\nb: !ref <a[0]>",
        "training:\n  train_logger: {save_file: ../notes.txt}",
        "training:\n  train_logger: {save_file: !ref <output_folder>/../notes.txt}",
        "training:\n  checkpointer: {checkpoints_dir: !ref <seed>/..}",
        "extends: ../other.yaml",
        "extends: [../other.yaml]",
        "a: &a [1, 1]\nb: &b [*a, *a]\nc: [*b, *b]",
        "a: " + "[" * 5000,
        "a: \x00",
    ],
    ids=range(36),
)
def test_what_no_recipe_names_is_refused_and_nothing_of_it_runs(write, tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    folder = write(f"seed: 1\n{line}\n")
    for given in (folder, folder / ARCHIVED):
        with pytest.raises(UserError) as caught:
            find_yaml(given, PARTS, False)
        assert str(tmp_path / ARCHIVED) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == [ARCHIVED]


def test_a_huge_file_is_not_parsed(write):
    with pytest.raises(UserError, match="expected at most"):
        find_yaml(write("a: 1\n" + "# " * 2**20), PARTS, False)
