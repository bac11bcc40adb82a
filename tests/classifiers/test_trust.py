"""The code that a saved folder names runs only if it is installed, or trusted by name: never what lies beside it."""

import json
import shutil
import sys

import pytest
import tiny

from interpretability.classifiers import load_classifier, open_classifier, save_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.speechbrain import SpeechBrainClassifier
from interpretability.classifiers.trust import check_trusted
from interpretability.classifiers.waveform import WaveformClassifier, frontend_for
from interpretability.commands import main
from interpretability.errors import UserError
from interpretability.methods import load_interpreter, save_interpreter
from interpretability.methods.lmac import LMAC

LABELS = list(tiny.CLASSES)


@pytest.fixture(params=["beside the weights", "in the current folder", "on the path"])
def folder(request, tmp_path, monkeypatch):
    """A run's folder, with its classifier, whose model is a module that leaves a mark when it is imported."""
    mark = tmp_path / "mark"
    home, name = {
        "beside the weights": (tmp_path / "run" / "interpreter", "run.interpreter.evil_net"),
        "in the current folder": (tmp_path, "evil_net"),
        "on the path": (tmp_path / "elsewhere", "evil_net"),
    }[request.param]
    home.mkdir(parents=True, exist_ok=True)
    source = f"{tiny.NETWORK}\nopen({str(mark)!r}, 'w').close()\n"
    (home / "evil_net.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(home if request.param == "on the path" else tmp_path))
    known = set(sys.modules)

    def forget():
        for module in set(sys.modules) - known:
            if module.split(".")[0] in ("run", "evil_net"):
                del sys.modules[module]
        mark.unlink(missing_ok=True)

    classifier = ModuleClassifier(LABELS, frontend_for(tiny.RATE), module=f"{name}:Net", layers=["conv"]).freeze()
    save_interpreter(LMAC(classifier, channels=4, decoder_channels=[4]), tmp_path / "saved")
    shutil.copytree(tmp_path / "saved", tmp_path / "run" / "interpreter", dirs_exist_ok=True)
    forget()
    yield tmp_path / "run"
    forget()


def test_no_door_imports_it(folder, tiny_esc50, tmp_path):
    inner = folder / "interpreter" / "classifier"
    sound = next((tiny_esc50 / "audio").glob("*.wav"))
    for opener, place in ((load_classifier, inner), (open_classifier, inner), (load_interpreter, folder)):
        with pytest.raises(UserError, match=r"code that is of no installed package .*--trust_remote_code") as caught:
            opener(place)
        assert str(inner / "classifier.json") in str(caught.value)
    yaml = tiny.RECIPE / "hparams" / "lmac.yaml"
    outcomes = [
        tiny.call(main.interpret, ["--classifier", str(inner), str(sound), "--out", str(tmp_path / "out")]),
        tiny.call(main.interpret, ["--classifier", str(inner), "--list_methods"]),
        tiny.call(main.interpret, [str(folder), str(sound), "--out", str(tmp_path / "out")]),
        tiny.call(main.import_classifier, [str(inner), "--list_layers"]),
        tiny.call(main.import_classifier, [str(inner), "--out", str(tmp_path / "out")]),
        tiny.run("interpreter", tiny_esc50, tmp_path / "new", yaml, classifier_folder=inner),
        tiny.run(
            "evaluate", tiny_esc50, tmp_path / "energy", tiny.RECIPE / "hparams" / "nmf.yaml", classifier_folder=inner
        ),
    ]
    for outcome in outcomes:
        assert "--trust_remote_code" in outcome.line
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "out").exists()


def test_an_installed_class_imports_nothing_for_a_folder(folder, tmp_path, monkeypatch):
    """Classifiers of this package are installed; one that wraps another would import what its arguments name."""
    inner = folder / "interpreter" / "classifier"
    description = json.loads((inner / "classifier.json").read_text())
    evil = description["architecture"]["module"]
    monkeypatch.setattr("interpretability.classifiers.folder.digest_of", lambda *_: description["sha256"])
    for kind in (ModuleClassifier, WaveformClassifier, SpeechBrainClassifier, CompactClassifier):
        description["architecture"]["module"] = f"{kind.__module__}:{kind.__name__}"
        description["architecture"]["arguments"] = {"labels": LABELS, "module": evil}
        (inner / "classifier.json").write_text(json.dumps(description))
        with pytest.raises(UserError, match="it is a classifier already"):
            load_classifier(inner)
    assert not (tmp_path / "mark").exists()


def test_with_the_flag_it_runs_and_that_is_said(folder, tiny_esc50, tmp_path):
    inner = folder / "interpreter" / "classifier"
    for place in (["--classifier", str(inner)], [str(folder)]):
        listed = tiny.call(main.interpret, [*place, "--list_classes", "--trust_remote_code"])
        assert listed.code == 0, listed.err
        assert LABELS[0] in listed.out
    done = tiny.call(main.import_classifier, [str(inner), "--list_layers", "--trust_remote_code"])
    assert done.code == 0, done.err
    assert "warning: " in done.err
    assert "running the code of" in done.err
    assert (tmp_path / "mark").is_file()
    assert load_interpreter(folder, trust_remote_code=True).classifier.labels == LABELS
    yaml = tiny.RECIPE / "hparams" / "lmac.yaml"
    settings = {"classifier_folder": inner, "trust_remote_code": True, "debug": None}
    outcome = tiny.run("interpreter", tiny_esc50, tmp_path / "new", yaml, **settings)
    assert outcome.code == 0, outcome.err
    assert "running the code of" in outcome.err


def test_installed_packages_need_no_flag(tmp_path, caplog):
    for place in ("torch.nn:Linear", "speechbrain.lobes.models.ECAPA_TDNN:ECAPA_TDNN", "interpretability.blocks:Block"):
        check_trusted(place, "a folder", False)
    assert not caplog.records
    for place in ("os:system", "builtins:dict", "__main__:Net", "nowhere_at_all:Net", ".relative:Net", "", None, 5):
        with pytest.raises(UserError, match="of no installed package"):
            check_trusted(place, "a folder", False)


def test_a_package_that_is_installed_in_place_is_the_package_alone(tmp_path, monkeypatch):
    """Its repository may hold downloaded folders: they are not part of what was installed."""
    packages, repository = tmp_path / "site-packages", tmp_path / "repository"
    (packages / "theirs-1.0.dist-info").mkdir(parents=True)
    (packages / "theirs-1.0.dist-info" / "METADATA").write_text("Name: theirs\nVersion: 1.0\n")
    (packages / "theirs-1.0.dist-info" / "top_level.txt").write_text("their_models\n")
    origin = {"url": repository.as_uri(), "dir_info": {"editable": True}}
    (packages / "theirs-1.0.dist-info" / "direct_url.json").write_text(json.dumps(origin))
    for name in ("their_models", "downloaded"):
        (repository / name).mkdir(parents=True)
        (repository / name / "net.py").touch()
    monkeypatch.syspath_prepend(str(packages))
    monkeypatch.syspath_prepend(str(repository))
    check_trusted("their_models.net:Net", "a folder", False)
    with pytest.raises(UserError, match="of no installed package"):
        check_trusted("downloaded.net:Net", "a folder", False)


def test_a_module_of_ones_own_is_not_asked_about(package, tmp_path):
    """What is typed is the user's own word; what a folder names is not."""
    classifier = open_classifier(f"torch:{package}:Net", labels=LABELS)
    save_classifier(classifier, tmp_path / "saved")
    with pytest.raises(UserError, match="--trust_remote_code"):
        open_classifier(tmp_path / "saved")
    assert open_classifier(tmp_path / "saved", trust_remote_code=True).labels == LABELS
