"""Published folders of people who mean harm, or whose disks do: each is one line at every door, and none runs code."""

import json
import os
import pickle
import shutil
import struct
import time
import zipfile

import pytest
import tiny
import torch
from exported_folders import copied, sign
from payloads import HELPERS, RUNNING
from safetensors.torch import load_file, save_file

from interpretability import explain, load_interpreter, open_classifier
from interpretability.classifiers import load_classifier
from interpretability.classifiers.folder import digest_of
from interpretability.command_line import guarded
from interpretability.commands import main
from interpretability.dictionary import Dictionary
from interpretability.errors import UserError
from interpretability.exported import read_exported
from interpretability.files import sha256
from interpretability.methods import is_interpreter_folder
from interpretability.publishing.check import explain_example

WEIGHTS = ("interpreter.safetensors", "classifier.safetensors")
CHECKPOINTS = ("psi.ckpt", "embedding_model.ckpt", "classifier.ckpt", "model.ckpt")


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def config_of(folder):
    return json.loads((folder / "config.json").read_text("utf-8"))


def change_config(folder, change, rehash=True):
    """Change the description, with hashes that fit: whoever makes a folder can make them."""
    config = config_of(folder)
    change(config)
    if rehash and isinstance(config.get("classifier"), dict):
        known = config["classifier"]
        known["sha256"] = digest_of(known["weights_sha256"], known)
        config["interpreter"]["classifier_sha256"] = known["sha256"]
    (folder / "config.json").write_text(json.dumps(config), "utf-8")


def bomb(name, protocol=None):
    def make(folder, mark):
        if protocol is None:
            torch.save({"weight": torch.zeros(2), "bomb": Bomb(mark)}, folder / name)
        else:
            (folder / name).write_bytes(pickle.dumps({"weight": Bomb(mark)}, protocol))
        sign(folder)

    return make


def yaml(line):
    def make(folder, mark):
        path = folder / "hyperparams.yaml"
        path.write_text(f"{path.read_text('utf-8')}\n{HELPERS}evil: {line}\n".replace("MARK", str(mark)), "utf-8")
        sign(folder)

    return make


def state(name, change):
    def make(folder, mark):
        content = load_file(folder / name)
        change(content)
        save_file(content, folder / name)
        sign(folder)

    return make


def content(name, change):
    def make(folder, mark):
        whole = (folder / name).read_bytes()
        (folder / name).write_bytes(change(whole))
        sign(folder)

    return make


def config(change, rehash=True):
    return lambda folder, mark: change_config(folder, change, rehash)


def raw_config(text):
    return lambda folder, mark: (folder / "config.json").write_bytes(text)


def link_out(name):
    def make(folder, mark):
        outside = folder.parent / "outside"
        shutil.move(folder / name, outside)
        (folder / name).symlink_to(outside)

    return make


def zip_bomb(folder, mark):
    """Zeros that unfold to a thousand times their size, in a checkpoint that says it is one of PyTorch's."""
    with zipfile.ZipFile(folder / "psi.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("psi/data.pkl", b"\x80\x02}.")
        with archive.open("psi/data/0", "w") as stream:
            for _ in range(8):
                stream.write(bytes(2**20))
    sign(folder)


def header(size=None, entries=None, data=b""):
    """A file of safetensors that claims more than it has."""

    def make(folder, mark):
        text = json.dumps(entries or {}).encode()
        (folder / "classifier.safetensors").write_bytes(struct.pack("<Q", size or len(text)) + text + data)
        sign(folder)

    return make


CLAIM = {"x": {"dtype": "F32", "shape": [2_500_000_000], "data_offsets": [0, 10_000_000_000]}}
SMALL = {"x": {"dtype": "F32", "shape": [10**6, 10**6], "data_offsets": [0, 8]}}
OVERLAP = {name: {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} for name in ("x", "y")}


def set_nan(content):
    content["psi.codebook.embedding.weight"][0, 0] = float("nan")


def set_integers(content):
    content["psi.codebook.embedding.weight"] = content["psi.codebook.embedding.weight"].to(torch.int32)


def set_shape(content):
    content["psi.codebook.embedding.weight"] = torch.zeros(30, 5)


def set_labels(labels):
    return lambda config: config["classifier"].update(labels=list(labels))


def set_kernel(config):
    config["classifier"].update(classifier="torch", architecture={"module": "os:system", "arguments": {}})


def evil_module(folder, mark):
    """A model that is code beside the weights, or in the current folder, where it is imported from."""
    (folder / "evil_net.py").write_text(f"open({str(mark)!r}, 'w').close()\n{tiny.NETWORK}")
    known = {"module": "evil_net:Net"}
    change_config(folder, lambda config: config["classifier"].update(classifier="torch", architecture=known))


#: What is wrong with a folder -> how it is made so, and the words of the line.
HOSTILE = {
    **{f"a pickle that runs code as {name}": (bomb(name), "not opened: it calls .*system") for name in WEIGHTS},
    **{f"a bare pickle as {name}": (bomb(name, 2), "not a file of safetensors") for name in WEIGHTS},
    **{f"a pickle that runs code as {name}": (bomb(name), "not opened: it calls .*system") for name in CHECKPOINTS},
    **{f"a bare pickle as {name}": (bomb(name, 4), "not a weights file") for name in CHECKPOINTS},
    "a pickle among the files that are not listed": (bomb("optimizer.pt"), "not opened: it calls"),
    "a pickle as dictionary.pt": (bomb("dictionary.pt"), "not opened: it calls"),
    "a pickle as label encoder": (bomb("label_encoder.ckpt", 4), "not text in UTF-8"),
    "a command in the YAML": (yaml("!apply:os.system ['touch MARK']"), "the tag .* is refused"),
    "a process in the YAML": (yaml("!new:subprocess.Popen [[touch, MARK]]"), "the tag .* is refused"),
    "a network that fetches code": (yaml("!new:speechbrain.lobes.models.huggingface_transformers.X"), "is refused"),
    "a function of a class that may be built": (yaml("!apply:speechbrain.processing.features.STFT"), "is refused"),
    "a name of Python's in the YAML": (yaml("!!python/name:os.system"), "the tag .* is refused"),
    "a file outside in the YAML": (yaml("!include:../outside.yaml"), "the tag .* is refused"),
    "an attribute in the YAML": (yaml("!ref <layer.weight>"), "is refused"),
    "a link out of the folder": (link_out("interpreter.safetensors"), "leads out of the folder"),
    "a link out, of a checkpoint": (link_out("psi.ckpt"), "leads out of the folder"),
    "a file above the folder": (
        config(lambda c: c["files"].update({"../x": "0"})),
        r"'\.\./x' is no file of the folder",
    ),
    "an absolute path": (config(lambda c: c["files"].update({"/etc/passwd": "0"})), "'/etc/passwd' is no file of"),
    "a listing without the weights": (config(lambda c: c.update(files={})), "lacks classifier.safetensors"),
    "no description": (lambda folder, mark: (folder / "config.json").unlink(), "no such file"),
    "weights that are not there": (lambda folder, mark: (folder / WEIGHTS[0]).unlink(), "is not there"),
    "a zip bomb": (zip_bomb, "a compressed archive"),
    "a header of 10 GB": (header(size=10_000_000_000), "its header is damaged"),
    "a header that claims 10 GB": (header(entries=CLAIM, data=bytes(64)), "damaged or cut off"),
    "a shape that claims 4 TB": (header(entries=SMALL, data=bytes(8)), "damaged or cut off"),
    "tensors over each other": (header(entries=OVERLAP, data=bytes(8)), "damaged or cut off"),
    "control characters in a class name": (config(set_labels(["a\x1b]0;x\x07", "b", "c"])), "holds control characters"),
    "a class name that turns the line around": (
        config(set_labels(["\u202egpj", "b", "c"])),
        "holds control characters",
    ),
    "a million classes": (config(set_labels(map(str, range(10**6)))), "bytes, expected at most 4194304"),
    "a hundred thousand classes": (config(set_labels(map(str, range(10**5)))), "expected at most 20000"),
    "classes that are no text": (config(set_labels([1, {}, None])), "labels"),
    "other classes than the hash knows": (
        config(set_labels(["x", "y", "z"]), rehash=False),
        "class list.* was changed",
    ),
    "JSON 100,000 deep": (raw_config(b'{"library": ' + b"[" * 10**5 + b"]" * 10**5 + b"}"), "nested deeper than"),
    "JSON that is cut off": (raw_config(b'{"library": "audio-interpretability", '), "not valid JSON"),
    "JSON that is not UTF-8": (raw_config(b'{"library": "\xff"}'), "not text in UTF-8"),
    "a list in place of an object": (raw_config(b'["audio-interpretability"]'), "expected a JSON object"),
    "NaN weights": (state(WEIGHTS[0], set_nan), "NaN or infinite"),
    "whole numbers as weights": (state(WEIGHTS[0], set_integers), "torch.int32, expected floating point"),
    "weights of another shape": (state(WEIGHTS[0], set_shape), "weights do not fit"),
    "weights too many": (state(WEIGHTS[0], lambda c: c.update(more=torch.zeros(2))), "it has no|unknown"),
    "weights that are cut off": (content(WEIGHTS[0], lambda b: b[:-100]), "damaged or cut off"),
    "weights that are cut to nothing": (content(WEIGHTS[1], lambda b: b""), "empty"),
    "weights with more behind them": (content(WEIGHTS[0], lambda b: b + bytes(100)), "damaged or cut off"),
    "weights that differ from their hash": (lambda f, m: save_file({}, f / WEIGHTS[0]), "damaged or was changed"),
    "auto_map": (config(lambda c: c.update(auto_map={"AutoModel": "evil.Model"})), "names code for another library"),
    "a codebook of 10^9 keys": (config(lambda c: c["interpreter"]["settings"].update(codebook_size=10**9)), "codebook"),
    "a codebook beyond the weights": (
        config(lambda c: c["interpreter"]["settings"].update(codebook_size=2**20)),
        r"weights do not fit .* is \[30, 4\] in the file",
    ),
    "a method that there is not": (
        config(lambda c: c["interpreter"].update(method="os.system")),
        "method is 'os.system'",
    ),
    "a model that is a function of Python": (config(set_kernel), "code that is of no installed package|no subclass"),
    "a model that is code in the folder": (evil_module, "code that is of no installed package"),
    "a form of the future": (config(lambda c: c.update(form=99)), "form is 99, expected a whole number >= 1 and <= 1"),
}
#: What is odd, and harms no one: the folder is loaded, and nothing of it is run or believed.
HARMLESS = {
    "HTML in a class name": config(set_labels(["<script>alert(1)</script>", "b", "c"])),
    "HTML in the card": content("README.md", lambda text: text + b"<script>alert(1)</script>\x1b[31m"),
    "code in the interface of SpeechBrain": lambda folder, mark: (
        (folder / "custom.py").write_text(f"open({str(mark)!r}, 'w').close()")
    ),
    "code in the label encoder": lambda folder, mark: (
        (folder / "label_encoder.txt").write_text(f"__import__('os').system('touch {mark}') => 0"),
        sign(folder),
    ),
}
#: Of an interpreter: its classifier is sound, and loads.
OF_THE_INTERPRETER = (
    "NaN weights",
    "whole numbers as weights",
    "weights of another shape",
    "weights too many",
    "a codebook of 10^9 keys",
    "a codebook beyond the weights",
    "a method that there is not",
)


@pytest.fixture
def place(stock_folder, tmp_path, monkeypatch):
    """A copy of a published folder, the current folder, and the mark that code would leave."""
    folder = copied(stock_folder, tmp_path / "folder")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    yield folder, tmp_path / "mark"
    assert not (tmp_path / "mark").exists(), "code was run"


def test_there_are_enough_of_them():
    assert len(HOSTILE) >= 40
    assert {*OF_THE_INTERPRETER} <= {*HOSTILE}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_folder_is_one_line(name, place):
    folder, mark = place
    make, words = HOSTILE[name]
    make(folder, mark)
    doors = [load_interpreter] if name in OF_THE_INTERPRETER else [load_interpreter, load_classifier]
    began = time.perf_counter()
    for door in doors:
        with pytest.raises(UserError, match=words) as caught:
            door(folder)
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1100
    assert time.perf_counter() - began < 20


@pytest.mark.parametrize("name", HARMLESS)
def test_an_odd_folder_harms_no_one(name, place):
    folder, mark = place
    HARMLESS[name](folder, mark)
    assert load_interpreter(folder).classifier.labels == open_classifier(folder).labels


def test_no_value_of_a_yaml_is_handed_on(place):
    """Neither HyperPyYAML nor SpeechBrain is to meet it: the folder is refused as a whole."""
    folder, mark = place
    whole = (folder / "hyperparams.yaml").read_bytes()
    for line in RUNNING.values():
        yaml(line)(folder, mark)
        with pytest.raises(UserError):
            read_exported(folder)
        assert not mark.exists(), line
        (folder / "hyperparams.yaml").write_bytes(whole)


@pytest.mark.slow
def test_every_command_and_recipe_refuses_such_folders(place, tiny_esc50, tmp_path):
    folder, mark = place
    yaml("!apply:os.system ['touch MARK']")(folder, mark)
    bomb("psi.ckpt")(folder, mark)
    sound = str(next((tiny_esc50 / "audio").glob("*.wav")))
    out = ["--out", str(tmp_path / "out")]
    lmac, nmf = (tiny.RECIPE / "hparams" / f"{name}.yaml" for name in ("lmac", "nmf"))
    outcomes = [
        tiny.call(main.interpret, [str(folder), sound, *out]),
        tiny.call(main.interpret, [str(folder), "--list_classes"]),
        tiny.call(main.interpret, ["--classifier", str(folder), sound, *out]),
        tiny.call(main.interpret, ["--classifier", str(folder), "--list_methods"]),
        tiny.call(guarded, (lambda: explain(str(folder), torch.zeros(16000)))),
        tiny.call(guarded, (lambda: open_classifier(folder))),
        tiny.call(guarded, (lambda: explain_example(folder))),
        tiny.call(main.import_classifier, [str(folder), *out]),
        tiny.call(main.publish, [str(folder), "--repo_id", "anna/birds", "--dry_run"]),
        tiny.run("interpreter", tiny_esc50, tmp_path / "new", lmac, classifier_folder=folder),
        tiny.run("evaluate", tiny_esc50, tmp_path / "energy", nmf, classifier_folder=folder),
    ]
    for outcome in outcomes:
        assert "is refused: it could run any code" in outcome.line
    assert not (tmp_path / "out").exists()


def test_who_trusts_a_folder_is_told_and_runs_nothing(place, caplog):
    """What loads is tensors and settings, whatever the YAML holds; only what SpeechBrain would run is let pass."""
    folder, mark = place
    yaml("!apply:os.system ['touch MARK']")(folder, mark)
    assert load_interpreter(folder, trust_remote_code=True).classifier.labels
    assert "as trust_remote_code says" in caplog.text
    bomb(WEIGHTS[0])(folder, mark)
    with pytest.raises(UserError, match="not opened: it calls"):
        load_interpreter(folder, trust_remote_code=True)


def test_a_pickle_as_dictionary_is_refused_where_it_is_given(place):
    folder, mark = place
    bomb("dictionary.pt")(folder, mark)
    with pytest.raises(UserError, match="not opened: it calls"):
        Dictionary.load(folder)


def test_other_folders_are_not_taken_for_published_ones(tmp_path, tiny_piq_run):
    for content in (b"{}", b"[]", b'{"library": "transformers"}', b"\xff", b"{"):
        (tmp_path / "config.json").write_bytes(content)
        assert read_exported(tmp_path) is None
    assert read_exported(tiny_piq_run) is None
    assert read_exported(tmp_path / "absent") is None
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").symlink_to(tmp_path / "fifo")
    assert read_exported(tmp_path) is None  # and does not wait for it
    assert not is_interpreter_folder(tmp_path)


def test_the_hashes_are_those_of_the_files(stock_folder):
    for name, digest in config_of(stock_folder)["files"].items():
        assert sha256(stock_folder / name) == digest
