"""Only classes of modules are imported by name: no functions, nothing that downloads."""

import pytest
from torch import nn
from transformers.utils import logging

from interpretability.classifiers.importing import build_module, imported_class, quiet_transformers
from interpretability.errors import UserError


def test_folders_name_classes_of_models_and_nothing_else(package):
    assert imported_class("torch.nn:Linear") is nn.Linear
    for bad, message in (
        (f"{package}:make", "functions are not run"),
        ("os:system", "functions are not run"),
        ("builtins:dict", "functions are not run"),
        ("nowhere_at_all:Net", "cannot be imported"),
        (f"{package}:Nut", "cannot be imported"),
        ("just_a_name", "package.module:Class"),
    ):
        with pytest.raises(UserError, match=message):
            imported_class(bad)
    for settings in ({"colour": 3}, {"width": -1}):
        with pytest.raises(UserError, match="cannot be built with"):
            build_module(f"{package}:Net", settings)


def test_modules_that_fail_when_they_are_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "half_written.py").write_text("def (:\n")
    (tmp_path / "needs_a_key.py").write_text("raise RuntimeError('no key')\n")
    for place in ("half_written:Net", "needs_a_key:Net", ".relative:Net"):
        with pytest.raises(UserError, match=f"'{place}' cannot be imported"):
            imported_class(place)


def test_networks_that_fetch_models_when_they_are_built_are_refused():
    place = "speechbrain.integrations.huggingface.huggingface:HFTransformersInterface"
    with pytest.raises(UserError, match="is refused: building it downloads models"):
        build_module(place, {"source": "someone/model", "save_path": "here", "trust_remote_code": True})
    assert imported_class("speechbrain.nnet.linear:Linear").__name__ == "Linear"


@pytest.mark.parametrize("bars", [True, False])
def test_transformers_speaks_again_afterwards(bars):
    level, before = logging.get_verbosity(), logging.is_progress_bar_enabled()
    (logging.enable_progress_bar if bars else logging.disable_progress_bar)()
    try:
        with quiet_transformers():
            assert not logging.is_progress_bar_enabled()
        with pytest.raises(KeyError), quiet_transformers():
            raise KeyError
        assert logging.is_progress_bar_enabled() is bars
        assert logging.get_verbosity() == level
    finally:
        (logging.enable_progress_bar if before else logging.disable_progress_bar)()
