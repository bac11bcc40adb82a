"""The script that a file of tests is about."""

import importlib.util
import sys
from pathlib import Path

import pytest
import tiny


@pytest.fixture(scope="module")
def tool(request):
    """The module of ``tools/NAME.py``, in ``test_NAME.py``."""
    name = Path(request.module.__file__).stem.removeprefix("test_")
    spec = importlib.util.spec_from_file_location(f"{name}_tool", tiny.REPOSITORY / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        yield module
