"""What later commands take from a run: the data of its classifier, where they are now, and what has changed."""

import re
import shutil

import pytest
import tiny
from ruamel.yaml import YAML

from interpretability.training.recipe import OWN_FOLDER
from interpretability.training.remembered import Archive, data_of_classifier, moved_paths

PARTS = tuple(OWN_FOLDER.values())
PIQ = tiny.RECIPE / "hparams" / "piq.yaml"
CUSTOM = tiny.REPOSITORY / "recipes" / "Custom" / "hparams" / "piq.yaml"


@pytest.fixture
def run(tiny_classifier_folder, tmp_path):
    return shutil.copytree(tiny_classifier_folder.parent, tmp_path / "run")


def custom_run(folder, **data):
    """Write the YAML of a run of the recipe Custom, as far as its data go."""
    text = (CUSTOM.parent / "data.yaml").read_text("utf-8").replace("extends:", "#").replace("auto  #", "auto  #")
    text += "    data_folder: !ref <data_folder>\n    manifest_folder: !ref <output_folder>/manifests\n"
    text += "output_folder: x\nchannel: left\n"
    for name, value in data.items():
        text = re.sub(rf"^{name}: .*$", f"{name}: {value}", text, flags=re.MULTILINE)
    folder.mkdir(parents=True)
    (folder / "hyperparams.yaml").write_text(text, "utf-8")
    return folder


def test_every_option_of_the_data_is_taken_from_the_classifiers_run(tmp_path):
    (tmp_path / "a b").mkdir()
    run = custom_run(
        tmp_path / "run",
        data_folder=f'"{tmp_path / "a b"}"',
        group_pattern='".{0}(x|y)-"',
        test_groups="[dora, ben]",
        split_seed="7",
    )
    (run / "classifier").mkdir()
    for place in (run, run / "classifier"):
        known, source = data_of_classifier(CUSTOM, {"classifier_folder": str(place)}, PARTS, False)
        assert source == run
        assert {
            name: known[name] for name in ("group_pattern", "test_groups", "split_seed", "channel", "valid_share")
        } == {
            "group_pattern": ".{0}(x|y)-",
            "test_groups": ["dora", "ben"],
            "split_seed": 7,
            "channel": "left",
            "valid_share": 0.2,
        }
        assert known["data_folder"] == str(tmp_path / "a b")
        assert not {"seed", "output_folder", "number_of_epochs", "prepare.manifest_folder"} & known.keys()


@pytest.mark.parametrize(
    ("yaml", "given"),
    [
        (CUSTOM, {"data_folder": "{data}"}),
        (CUSTOM, {"table": "{data}/x.csv"}),
        (CUSTOM, {"classifier_folder": "{data}"}),
        (PIQ, {}),
    ],
    ids=["its own folder", "its own table", "no run", "another data set"],
)
def test_nothing_is_taken_by_a_command_that_names_its_data_or_has_others(tmp_path, yaml, given):
    run = custom_run(tmp_path / "run", data_folder=str(tmp_path), split_seed="7")
    given = {name: value.format(data=tmp_path) for name, value in given.items()}
    assert data_of_classifier(yaml, {"classifier_folder": str(run), **given}, PARTS, False) == ({}, None)


def test_data_that_were_moved_together_with_their_table(tmp_path):
    new = tmp_path / "new"
    (new / "lists").mkdir(parents=True)
    (new / "lists" / "x.csv").write_text("path,label\n", "utf-8")
    old = tmp_path / "old"
    run = custom_run(tmp_path / "run", data_folder=str(old), table=str(old / "lists" / "x.csv"), split_seed="7")
    assert moved_paths(Archive.of_run(run, PARTS), str(new)) == {"table": new / "lists" / "x.csv"}
    assert moved_paths(Archive.of_run(run, PARTS), str(tmp_path)) == {}
    given = {"classifier_folder": str(run), "data_folder": str(new)}
    known, source = data_of_classifier(CUSTOM, given, PARTS, False)
    assert (source, known["split_seed"], known["table"]) == (run, 7, new / "lists" / "x.csv")
    assert data_of_classifier(CUSTOM, {**given, "split_seed": "5"}, PARTS, False) == ({}, None)


@pytest.mark.slow
def test_a_later_training_needs_no_data_and_says_whose_it_takes(tiny_esc50, run, tmp_path):
    settings = {**tiny.SETTINGS["piq"], "output_folder": tmp_path / "piq", "classifier_folder": run}
    for name in ("train_folds", "valid_folds", "test_folds"):
        settings.pop(name)

    def train(**given):
        options = {**settings, **given}.items()
        line = [
            word for name, value in options for word in ([f"--{name}"] if value is None else [f"--{name}", str(value)])
        ]
        return tiny.call(tiny.runner.main, "interpreter", str(tiny.RECIPE / "train_piq.py"), [str(PIQ), *line])

    outcome = train()
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"data: those of the classifier's run, {run} (--data_folder names others)\n")
    archived = YAML().load((tmp_path / "piq" / "hyperparams.yaml").read_text("utf-8"))
    assert (archived["data_folder"], archived["train_folds"]) == (str(tiny_esc50), 1)

    # The data are not what the classifier was trained on any more.
    data = shutil.copytree(tiny_esc50, tmp_path / "data")
    yaml = run / "hyperparams.yaml"
    yaml.write_text(yaml.read_text("utf-8").replace(str(tiny_esc50), str(data)), "utf-8")
    table = data / "meta" / "esc50.csv"
    table.write_text(table.read_text("utf-8").replace("low-5.wav,3", "low-5.wav,1"), "utf-8")
    line = train(output_folder=tmp_path / "other").line
    assert f"the data of {run} were changed after the classifier was trained" in line
    shutil.rmtree(data)
    line = train(output_folder=tmp_path / "other").line
    assert f"the data of {run} were in {data}, which is not there: if they were moved, give --data_folder" in line


@pytest.mark.slow
def test_a_run_whose_data_were_moved_is_measured_where_they_are_now(tiny_esc50, tiny_piq_run, tmp_path):
    run = shutil.copytree(tiny_piq_run, tmp_path / "piq")
    yaml = run / "hyperparams.yaml"
    yaml.write_text(yaml.read_text("utf-8").replace(str(tiny_esc50), str(tmp_path / "before")), "utf-8")
    line = tiny.call(tiny.runner.main, "evaluate", None, [str(run), "--device", "cpu"]).line
    assert f"the data of {run} were in {tmp_path / 'before'}, which is not there" in line
    assert not (tmp_path / "before").exists()  # nor downloaded
    outcome = tiny.call(
        tiny.runner.main, "evaluate", None, [str(run), "--device", "cpu", "--data_folder", str(tiny_esc50)]
    )
    assert outcome.code == 0, outcome.err
