"""Whatever a file holds, reading it gives a result or one line: in bounded memory, with no code run.

Good files of every kind that is read are changed at random, always in the same way: bits, numbers, cut ends, repeated
parts, and fragments that were trouble elsewhere.
"""

import contextlib
import gc
import io
import json
import os
import sys
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.lobes.models.PIQ import Conv2dEncoder_v2
from speechbrain.utils.importutils import LazyModule

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.speechbrain import SpeechBrainClassifier
from interpretability.data.audio import audio_header, read_audio
from interpretability.data.esc50 import prepare_esc50
from interpretability.data.manifest import read_manifest
from interpretability.errors import UserError
from interpretability.reading import read_json
from interpretability.report.summary import read_summary
from interpretability.weights import load_weights

#: Without shrinking: what fails is small, and shrinking it takes long.
PHASES = (Phase.explicit, Phase.generate)
#: Of memory that reading a small file may take, in bytes.
LIMIT = 400 * 2**20

BINARY = [
    b"\xff" * 4,
    b"\x00" * 8,
    b"\xff\xff\xff\x7f",
    b"\x80",
    b"RIFF",
    b"data",
    b"\x7f" + b"\xff" * 7,
    b"PK\x03\x04",
]
JSON = [b"[", b"{", b"]}", b'"', b"NaN", b"1e999", b"-1", b"10000000000", b"null", b'"\\ud800"', b"\xff", b"[" * 3000]
YAML = [
    b"!!python/object/apply:os.system ['touch RAN']",
    b"(!!python/object/apply:os.system ['touch RAN'])",
    b"!apply:os.system ['touch RAN']",
    b"!new:os.system",
    b"!tuple (!!python/object/apply:os.system ['touch RAN'])",
    b"!ref <9**9**9>",
    b"!ref <n_mels>",
    b"&a [*a, *a]",
    b": ",
    b"\t",
    b"- " * 3000,
    b"10000000000",
    b"\xff",
]
TABLE = [b",", b"\n", b'"', b"\x00", b"\xff", b"../", b"9" * 5000, b"-1", b"nan", b",,,,,,,,", b"\r"]


def edits(fragments):
    """Changes of a file: where (from the start, or anywhere), how, and with what."""
    place = st.one_of(st.integers(0, 80), st.integers(0, 10**6))
    how = st.sampled_from(["set", "put", "flip", "cut", "drop", "twice"])
    return st.lists(st.tuples(place, how, st.sampled_from(fragments)), min_size=1, max_size=5)


def edited(content, changes):
    content = bytearray(content)
    for place, how, fragment in changes:
        at = place % max(1, len(content))
        if how == "set":
            content[at : at + len(fragment)] = fragment
        elif how == "put":
            content[at:at] = fragment
        elif how == "flip" and content:
            content[at] ^= 1 << (len(fragment) % 8)
        elif how == "cut":
            del content[at:]
        elif how == "drop":
            del content[at : at + len(fragment)]
        else:
            content[at:at] = content[at : at + 200]
    return bytes(content)


@contextlib.contextmanager
def bounded_memory():
    """Fail if the process grows by more than :data:`LIMIT` in the block, at any moment."""
    if not Path("/proc/self/clear_refs").exists():
        yield
        return
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here

    def peak():
        (line,) = [line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024

    before = peak()
    yield
    assert peak() - before < LIMIT


def sound(form, subtype=None):
    stream = io.BytesIO()
    samples = 0.5 * np.sin(np.arange(4000) / 5)
    soundfile.write(stream, np.stack([samples, samples], 1), 8000, format=form, subtype=subtype)
    return stream.getvalue()


def listen(path):
    audio_header(path)
    read_audio(path, 16000, max_seconds=1.0)


def a_state_dict(path, **options):
    torch.save({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, path, **options)


def a_manifest(path):
    members = {"wav": "{data_root}/a.wav", "duration": 1.0, "sample_rate": 8000, "label": "a", "fold": 1}
    path.write_text(json.dumps({"a": members, "b": {**members, "note": ["{{x}}", {"y": None}]}}))


def a_summary(path):
    row = {"clips": 2, "silent": 0, "ad": {"mean": 0.1, "low": 0.0, "high": 0.2, "n": 2, "undefined": 0}}
    content = {"provenance": {"seed": 1, "data": {"name": "x"}}, "n": 2, "places": {"waveform": {"a": row}}}
    path.write_text(json.dumps(content))


def a_table(path):
    path.parent.mkdir(exist_ok=True)
    rows = [
        f"{name}-{fold}.wav,{fold},{index},{name},False,1,A" for index, name in enumerate("ab") for fold in (1, 2, 3)
    ]
    path.write_text("filename,fold,target,category,esc10,src_file,take\n" + "\n".join(rows) + "\n")
    audio = path.parents[1] / "audio"
    audio.mkdir(exist_ok=True)
    for row in rows:
        (audio / row.split(",")[0]).write_bytes(sound("WAV"))


def read_table(path):
    root = path.parents[1]
    prepare_esc50(root, root / "manifests", esc10_only=False, train_folds=[1], valid_folds=[2], test_folds=[3])


def a_classifier(path):
    frontend = {"sample_rate": 8000, "n_fft": 64, "win_length_ms": 8.0, "hop_length_ms": 4.0}
    save_classifier(CompactClassifier(["a", "b"], frontend, n_mels=8, channels=(2, 2, 4, 4)), path.parent)


def a_yaml(path):
    torch.save(Conv2dEncoder_v2(dim=6).state_dict(), path.with_name("embedding_model.ckpt"))
    torch.save(CosineHead(6, out_neurons=3).state_dict(), path.with_name("classifier.ckpt"))
    path.write_text(
        """sample_rate: 8000
n_mels: 16
embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2
    dim: 6
compute_stft: !new:speechbrain.processing.features.STFT
    sample_rate: !ref <sample_rate>
    n_fft: 256
    hop_length: 16
    win_length: 32
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: 6
    out_neurons: 3
use_melspectra: False
modules:
    compute_stft: !ref <compute_stft>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
"""
    )


def open_folder(path):
    SpeechBrainClassifier.from_folder(path.parent, labels=["a", "b", "c"])


#: Kind of file -> name, what makes it, what reads it, fragments, examples.
FILES = {
    "WAV": ("a.wav", lambda path: path.write_bytes(sound("WAV")), listen, BINARY, 30),
    "FLAC": ("a.flac", lambda path: path.write_bytes(sound("FLAC")), listen, BINARY, 30),
    "Ogg": ("a.ogg", lambda path: path.write_bytes(sound("OGG", "VORBIS")), listen, BINARY, 15),
    "MP3": ("a.mp3", lambda path: path.write_bytes(sound("MP3")), listen, BINARY, 15),
    "manifest": ("m.json", a_manifest, partial(read_manifest, data_root=".", check_audio=False), JSON, 25),
    "JSON": ("x.json", a_summary, read_json, JSON, 40),
    "summary": ("summary.json", a_summary, read_summary, JSON, 25),
    "table": ("meta/esc50.csv", a_table, read_table, TABLE, 12),
    "description": ("c/classifier.json", a_classifier, lambda path: load_classifier(path.parent), JSON, 25),
    "classifier's weights": ("c/weights.pt", a_classifier, lambda path: load_classifier(path.parent), BINARY, 8),
    "weights": ("w.pt", a_state_dict, lambda path: load_weights(torch.nn.Linear(3, 2), path), BINARY, 30),
    "older weights": (
        "w.pt",
        partial(a_state_dict, _use_new_zipfile_serialization=False),
        lambda path: load_weights(torch.nn.Linear(3, 2), path),
        BINARY,
        30,
    ),
    "safetensors": (
        "w.safetensors",
        lambda path: save_file({"weight": torch.ones(2, 3), "bias": torch.zeros(2)}, path),
        lambda path: load_weights(torch.nn.Linear(3, 2), path),
        [*BINARY, *JSON],
        25,
    ),
    "YAML": ("s/hyperparams.yaml", a_yaml, open_folder, YAML, 15),
}


SETTINGS = partial(
    settings, derandomize=True, database=None, deadline=None, suppress_health_check=list(HealthCheck), phases=PHASES
)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.slow
def test_a_file_that_was_changed_at_random_is_read_or_is_one_line(tmp_path, monkeypatch, kind):
    name, make, read, fragments, examples = FILES[kind]
    monkeypatch.chdir(tmp_path)
    # Hypothesis looks at all modules, and those of SpeechBrain's old names would import what is not installed.
    for old in [old for old, module in sys.modules.items() if isinstance(module, LazyModule)]:
        monkeypatch.delitem(sys.modules, old)
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    make(path)
    content = path.read_bytes()
    read(path)  # as it is

    @SETTINGS(max_examples=examples)
    @given(edits(fragments))
    def attempt(changes):
        path.write_bytes(edited(content, changes))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                read(path)
                line = ""
            except UserError as error:
                line = str(error)
        assert line == "" or line.isprintable(), repr(line)
        assert len(line) < 1100, line

    with bounded_memory():
        attempt()
    assert not any(Path(file).name == "RAN" for folder in os.walk(tmp_path) for file in folder[2])
