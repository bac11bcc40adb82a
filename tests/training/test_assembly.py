"""The parts of the jobs: TensorBoard, where its package is and where it is not."""

import sys

import pytest
import tiny


def test_tensorboard(tiny_esc50, tmp_path):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    outcome = tiny.run("classifier", tiny_esc50, tmp_path / "run", tensorboard=True)
    assert outcome.code == 0, outcome.err
    assert list((tmp_path / "run" / "tensorboard").rglob("events.out*"))


def test_tensorboard_without_its_package(tiny_esc50, tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith(("tensorboard", "torch.utils.tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    outcome = tiny.run("classifier", tiny_esc50, tmp_path / "run", tensorboard=True)
    assert outcome.code == 2
    assert "the package tensorboard cannot be used" in outcome.line
    assert "pip install tensorboard" in outcome.line
    assert not (tmp_path / "run" / "classifier").exists()
