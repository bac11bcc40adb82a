"""The help of a recipe script."""

import re

import pytest
import tiny

from interpretability.errors import UserError
from interpretability.settings import list_settings
from interpretability.training.composition import list_yamls
from interpretability.training.runner import main
from interpretability.training.usage import FEATURES, IN_PYTHON, SETTINGS, SOURCE, answer

SCRIPT = str(tiny.RECIPE / "train_piq.py")


def test_a_command_line_that_asks_nothing():
    assert answer(SCRIPT, ["hparams/piq.yaml", "--lr", "0.1"]) is None
    assert answer(SCRIPT, []) is None


@pytest.mark.parametrize(("key", "name"), [(key, name) for key, kinds in SETTINGS.items() for name in kinds])
def test_the_settings_of_everything_that_has_some(key, name):
    text = answer(SCRIPT, ["hparams/piq.yaml", "--list_settings", name])
    how = {
        IN_PYTHON: "EventSettings(NAME=VALUE) in Python\n",
        SOURCE: "--classifier_settings NAME=VALUE, or in the card of a model\n",
        FEATURES: f"a step of features in the card of a model, {name}: {{NAME: VALUE}}\n",
    }.get(key, f"--{key}{'.' if key else ''}NAME VALUE, or ")
    assert text.startswith(f"{name}: {how}")
    for line in list_settings(SETTINGS[key][name]).splitlines():
        assert line in text


def test_settings_of_what_has_none():
    with pytest.raises(UserError, match=r"'compct', expected one of .*compact, conv2d.* \(did you mean compact\?\)"):
        answer(SCRIPT, ["--list_settings", "compct"])
    with pytest.raises(UserError, match="--list_settings takes one name, and got 'stray', too"):
        answer(SCRIPT, ["--list_settings", "compact", "stray"])
    with pytest.raises(UserError, match="--list_settings is '', expected one of"):
        answer(SCRIPT, ["--list_settings"])


def test_help_without_a_yaml_lists_those_that_are_there():
    text = answer(SCRIPT, ["--help"])
    assert text.startswith("Train PIQ.\n")
    assert "usage: python train_piq.py hparams/NAME.yaml" in text
    names = {"piq.yaml", "piq_paper.yaml", "gradients.yaml", "classifier_compact.yaml", "classifier_cnn14.yaml"}
    yamls = list_yamls(tiny.RECIPE / "hparams")
    assert names <= yamls.keys()
    for name, path in yamls.items():
        title = path.read_text("utf-8").splitlines()[0].removeprefix("# ")
        assert re.search(rf"  hparams/{name} +{re.escape(title)}\n", text)
    assert "--device" in text


def test_help_with_a_yaml_lists_its_keys_in_groups_with_values_and_defaults():
    text = answer(SCRIPT, [str(tiny.RECIPE / "hparams" / "piq.yaml"), "-h"])
    top, method = (re.search(rf"{head}\n((?:  --.*\n)+)", text)[1] for head in ("with its value:\n", "\nmethod:"))
    for line in ("  --number_of_epochs 40\n", "  --data_folder !PLACEHOLDER\n", "  --crop_seconds null\n"):
        assert line in top
    assert "__set_seed" not in text
    for line in ("  --method.faithfulness_weight 1.0\n", "  --method.codebook_size 320  (default)\n"):
        assert line in method
    assert "  --training.optimizer !name:torch.optim.AdamW\n" in text


@pytest.mark.slow
def test_a_job_answers_and_does_nothing_else(tmp_path):
    line = [str(tiny.RECIPE / "hparams" / "piq.yaml"), "--output_folder", str(tmp_path / "run"), "--help"]
    outcome = tiny.call(main, "interpreter", SCRIPT, line)
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("Train PIQ.\n")
    assert outcome.err == ""
    assert list(tmp_path.iterdir()) == []
