"""What the package itself offers: ``from interpretability import …``."""

import importlib

import pytest

import interpretability


@pytest.mark.parametrize("name", interpretability.EXPORTS)
def test_every_export_is_there_and_is_no_module(name):
    module = importlib.import_module(interpretability.EXPORTS[name])
    assert getattr(interpretability, name) is getattr(module, name)
    assert callable(getattr(interpretability, name))
    assert name in dir(interpretability)
    # A module of that name would be given in its place as soon as something has imported it.
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(f"interpretability.{name}")


def test_another_name():
    with pytest.raises(AttributeError, match="module 'interpretability' has no attribute 'exlain'"):
        interpretability.exlain  # noqa: B018
    assert {"__version__", "lazy_exports"} <= set(dir(interpretability))
