"""A folder is read again where nothing of the run is known, and refused if it explains its example in another way."""

import json

import pytest
from exported_folders import copied, publish, sign
from safetensors.torch import load_file, save_file

from interpretability.errors import UserError
from interpretability.publishing.check import check_folder, explain_example, main


def test_the_same_folder_gives_the_same(stock_folder):
    ratios = explain_example(stock_folder)
    assert ratios["here"] >= 100
    assert 60 <= ratios["speechbrain"] < 200  # by other code


def test_other_weights_are_noticed(stock_folder, tmp_path, capsys):
    folder = copied(stock_folder, tmp_path / "changed")
    state = load_file(folder / "interpreter.safetensors")
    state["psi.codebook.embedding.weight"] *= -1
    save_file(state, folder / "interpreter.safetensors")
    sign(folder)
    assert explain_example(folder)["here"] < 60
    (folder / "config.json").write_text("{")
    assert main([str(folder)]) == 2
    assert capsys.readouterr().err.startswith(str(folder))


@pytest.mark.slow
def test_in_a_fresh_process(tiny_lmac_run, tmp_path):
    """Elsewhere, without a network: by this package, and by the interface that SpeechBrain's foreign_class loads."""
    folder = publish(tiny_lmac_run, tmp_path / "published")
    assert check_folder(folder) == {"here": 200.0, "speechbrain": 200.0}


def test_what_the_process_says_is_not_believed(stock_folder, monkeypatch):
    answers = [("", 1, "Traceback\nKeyError: 'x'"), ("", 0, ""), ("no JSON", 0, ""), ('{"here": "much"}', 0, "")]
    answers += [('{"here": 59.9}', 0, ""), ("[1]", 0, ""), (json.dumps({"here": None}), 0, "")]
    for out, code, err in answers:

        class Done:
            stdout, returncode, stderr = out, code, err

        monkeypatch.setattr("subprocess.run", lambda *_, done=Done, **__: done)
        with pytest.raises(UserError) as caught:
            check_folder(stock_folder)
        assert "\n" not in str(caught.value)
