"""Where a sound is known to be: boxes around tones, whose place and share of the energy are known."""

import json

import pytest
import soundfile
import tiny
import torch
from speechbrain.dataio.batch import PaddedBatch
from tiny import LABELS

from interpretability.data.batches import make_datasets
from interpretability.data.custom import prepare_custom
from interpretability.evaluation import evaluate
from interpretability.files import csv_text
from interpretability.frontend import Frontend, FrontendSettings
from interpretability.methods.base import Interpreter
from interpretability.methods.baselines import ConstantMask, RandomMask
from interpretability.metrics.suite import LOCALISATION
from interpretability.truth import boxed, known_truth

RATE = 16000
#: 33 frequency bins at 0, 250, … 8000 Hz, and a frame every 16 ms.
FRONTEND = Frontend(FrontendSettings(sample_rate=RATE, n_fft=64, win_length_ms=4.0, hop_length_ms=2.0))


def spectrogram(*seconds):
    """Return an analysed batch of noises."""
    wavs = [tiny.noise(round(length * RATE)) for length in seconds]
    longest = max(map(len, wavs))
    lengths = torch.tensor([len(wav) / longest for wav in wavs])
    padded = torch.stack([torch.nn.functional.pad(wav, (0, longest - len(wav))) for wav in wavs])
    return FRONTEND.analyse(padded, lengths)


def test_bins_of_boxes():
    """Frames stand 2 ms apart and bins 250 Hz; what is thinner than these has the nearest one."""
    boxes = [
        {"label": "x", "start": 0.01, "end": 0.02, "low": 1000.0, "high": 2000.0},
        {"label": "x", "start": 0.0305, "end": 0.0306, "low": 1100.0, "high": 1110.0},
        {"label": "x", "start": 0.05, "end": 9.0, "low": 7900.0},
    ]
    truth = boxed(
        FRONTEND, [boxes, boxes[:1], [{**boxes[0], "low": 9000.0, "high": 9500.0}], []], spectrogram(*4 * [0.1])
    )
    expected = torch.zeros(51, 33, dtype=torch.bool)
    expected[5:11, 4:9] = True
    expected[15, 4] = True
    expected[25:, 32] = True
    assert torch.equal(truth.bins[0], expected)
    expected[11:] = False
    assert torch.equal(truth.bins[1], expected)
    # What lies above the highest frequency, and a clip without a box, is not known.
    assert truth.known.tolist() == [True, True, False, False]
    assert not truth.bins[2:].any()


def test_boxes_in_the_padding_do_not_count():
    boxes = [[{"label": "x", "start": 0.03, "end": 0.05}]] * 2
    truth = boxed(FRONTEND, boxes, spectrogram(0.1, 0.02))
    assert truth.known.tolist() == [True, False]
    assert truth.bins[0].sum() == 11 * 33
    assert not truth.bins[1].any()


def test_the_boxes_of_the_explained_label_count():
    box = {"start": 0.0, "end": 0.05}
    clips = [[{"label": "cat", **box}, {"label": "dog", "start": 0.07, "end": 0.09}]] * 3
    batch = PaddedBatch(
        [{"id": str(place), "signal": torch.zeros(1600), "boxes": boxes} for place, boxes in enumerate(clips)]
    )
    truth = known_truth(FRONTEND, batch, batch.signal.data, spectrogram(*3 * [0.1]), ["cat", "dog", "rain"])
    assert truth.known.tolist() == [True, True, False]
    assert truth.bins[:, 10].all(dim=1).tolist() == [True, False, False]
    assert truth.bins[:, 40].all(dim=1).tolist() == [False, True, False]
    bare = PaddedBatch([{"id": "a", "signal": torch.zeros(1600)}])
    assert known_truth(FRONTEND, bare, bare.signal.data, spectrogram(0.1), ["cat"]) is None


# ---- In an evaluation ----


class Tones(list):
    """A data set of clips with a tone in a box, beside one that lasts."""

    data_ids = property(lambda self: [clip["id"] for clip in self])

    def __init__(self, n_clips, label):
        super().__init__()
        for place in range(n_clips):
            time = torch.arange(RATE) / RATE
            start, hertz = 0.1 + 0.05 * place, 1000.0 + 250 * place
            wav = torch.sin(2 * torch.pi * hertz * time) * ((time > start) & (time < start + 0.3))
            wav += 0.5 * torch.sin(2 * torch.pi * 6000 * time) + 0.01 * tiny.noise(RATE, seed=place)
            box = {"label": label, "start": start, "end": start + 0.3, "low": hertz - 300, "high": hertz + 300}
            other = {"label": "another", "start": 0.0, "end": 1.0, "low": 5700.0, "high": 6300.0}
            self.append({"id": f"c{place}", "label": "cat", "signal": wav, "boxes": [box, other]})


class Oracle(Interpreter):
    """The mask that keeps the boxes of the clips, all of which have to be in one batch."""

    NAME, SUMMARY, trainable = "oracle", "boxes", False
    boxes = ()

    def mask(self, batch):
        return boxed(self.classifier.frontend, self.boxes, batch.spectrogram).bins.float()


@pytest.fixture(scope="module")
def classifier():
    return tiny.listening_classifier(LABELS)


def test_a_mask_of_the_box_is_right_and_a_random_one_by_the_share_of_the_box(classifier, tmp_path):
    heard = classifier.analyse(torch.stack([clip["signal"] for clip in Tones(4, "")])).target
    (label,) = {classifier.labels[int(index)] for index in heard}
    clips = Tones(4, label)
    oracle = Oracle(classifier)
    oracle.boxes = [clip["boxes"][:1] for clip in clips]
    rows = {
        "oracle": oracle,
        "random": RandomMask(classifier, area=0.3, seed=1),
        "M = 1": ConstantMask(classifier, value=1.0),
    }
    result = evaluate(classifier, rows, clips, tmp_path, {"seed": 1, "commit": "0"}, progress=False)
    means = {
        place: {row: {name: values[name]["mean"] for name in LOCALISATION} for row, values in of_place.items()}
        for place, of_place in result.summary["places"].items()
    }
    here = means["spectrogram"]
    assert here["oracle"] == pytest.approx(dict.fromkeys(LOCALISATION, 1.0))
    assert means["waveform"]["oracle"]["energy_precision"] > 0.97  # a window reaches beyond the box
    # The share of a clip's energy that lies in its box: that of a mask which keeps everything.
    share = here["M = 1"]["energy_precision"]
    assert share == pytest.approx(0.3 / (0.3 + 0.25), abs=0.03)
    assert here["random"]["energy_precision"] == pytest.approx(share, abs=0.05)
    assert here["random"]["auroc"] == pytest.approx(0.5, abs=0.05)
    assert result.summary["truth"] == "boxes"
    assert "boxes that people drew" in result.table


def test_clips_in_which_the_explained_class_has_no_box_are_undefined(classifier, tmp_path):
    clips = Tones(2, "another one")
    result = evaluate(
        classifier, {"M = 1": ConstantMask(classifier, value=1.0)}, clips, tmp_path, {"seed": 1}, progress=False
    )
    for line in (tmp_path / "clips.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert [row[name] for name in LOCALISATION] == [None] * len(LOCALISATION)
        assert row["kept_area"] == 1.0
    assert result.summary["places"]["spectrogram"]["M = 1"]["energy_precision"]["undefined"] == 2


def test_boxes_of_several_labels_each_measure_the_explanation_of_their_own(tmp_path):
    """From a table with several labels and boxes for each clip: a mask that keeps all has the share of each box."""
    head, rows = ["path", "labels", "split", "boxes"], []
    for place, clip in enumerate(Tones(4, "cat")):
        path = tmp_path / f"{place}.wav"
        soundfile.write(path, 0.5 * clip["signal"].numpy(), RATE)
        boxes = [clip["boxes"][0], {**clip["boxes"][1], "label": "dog"}]
        split = ("train", "valid", "test", "test")[place]
        rows.append([path.name, "cat;dog" if place < 3 else "rain;cat", split, json.dumps(boxes)])
    rows[0][1] = "cat;dog;rain"
    (tmp_path / "t.csv").write_text(csv_text([head, *rows]), "utf-8")
    prepared = prepare_custom(None, tmp_path / "m", table=tmp_path / "t.csv")
    several = tiny.listening_classifier(prepared.labels, task="multi")
    test = make_datasets(prepared, prepared.labels, RATE, splits=("test",))["test"]
    keeps_all = {"M = 1": ConstantMask(several, value=1.0)}
    result = evaluate(several, keeps_all, test, tmp_path / "out", {"seed": 1}, progress=False, explain="labels")
    lines = map(json.loads, (tmp_path / "out" / "clips.jsonl").read_text().splitlines())
    known = {(row["clip"], row["explained"]): row["energy_precision"] for row in lines if row["place"] == "spectrogram"}
    assert known.pop(("3", "rain")) is None  # a label without a box
    assert known == {
        ("2", "cat"): pytest.approx(0.3 / 0.55, abs=0.03),
        ("2", "dog"): pytest.approx(0.25 / 0.55, abs=0.03),
        ("3", "cat"): pytest.approx(0.3 / 0.55, abs=0.03),
    }
    assert result.summary["truth"] == "boxes"
