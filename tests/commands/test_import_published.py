"""``tools/import_published.py``: what it refuses in one line. ``tests/test_published.py`` imports with it."""

import pytest
import tiny

from interpretability.commands import main


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--model", "pic"], "--model is 'pic', expected one of cnn14, focalnet, piq, vit"),
        (["--n_mels", "64"], "--n_mels given, but --model piq has"),
        (["--source", "nowhere"], "could not get"),
    ],
)
def test_what_cannot_be_imported(tmp_path, options, words):
    outcome = tiny.call(main.import_published, ["--out", str(tmp_path / "out"), *options])
    assert outcome.code == 2
    assert words in outcome.line
    assert not (tmp_path / "out").exists()
