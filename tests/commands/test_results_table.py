"""``tools/results_table.py``: comparable runs in one table, others refused in one line; baselines once; times."""

import copy
import io
import json
import re
import shutil
import sys

import pytest
import tiny

from interpretability.commands import main
from interpretability.frontend import PLACES
from interpretability.metrics.suite import METRICS, metric_info


def interval(mean):
    return {"mean": mean, "low": mean - 0.1, "high": mean + 0.1, "n": 80, "undefined": 0}


def results(mean, **more):
    return {
        **{name: interval(mean) for name in METRICS},
        "clips": 80,
        "silent": 0,
        "median_ag": 1.0,
        "share_saturated": 0.0,
        **{name: interval(value) for name, value in more.items()},
    }


def summary_of(method="piq", mean=0.5, scores=None, training=None, **provenance):
    """A summary as an evaluation writes it; the waveform's numbers are 0.1 above the spectrogram's."""
    places = {}
    for place, shift in zip(PLACES, (0.0, 0.1), strict=True):
        places[place] = {
            method: results(mean + shift, **(scores or {})),
            "energy, same area": results(mean + shift - 0.25),
            "random, same area": results(0.01),
            "M = 1": results(1 + shift),
            "energy top 20%": results(0.3 + shift),
        }
    return {
        "provenance": {
            "commit": "e" * 40,
            "seed": 1234,
            "classifier": "feedfacecafe0000",
            "data": {
                "name": "ESC-10",
                "folds": {"train": [1, 2, 3], "valid": [4], "test": [5]},
                "n_clips": {"train": 240, "valid": 80, "test": 80},
                "n_skipped": 0,
            },
            "clip_seconds": 5.0,
            "fixed_length": False,
            "suite": "clean",
            "apply": "log",
            "method": method,
            "settings": {"apply": "log"},
            "training": {"epochs": 40, "best_epoch": 36, "seconds": 390.12, "commit": "c" * 40}
            if training is None
            else training,
            **provenance,
        },
        "n": 80,
        "companions": ["energy, same area", "random, same area"],
        "accuracy": 0.8625,
        "seconds_per_clip": {method: 0.0084, "energy, same area": 0.001, "M = 1": 0.0},
        "places": places,
        "paired": {},
    }


@pytest.fixture
def make(tmp_path):
    """Write a summary into a run folder, and return the folder."""

    def write(name, summary):
        folder = tmp_path / name
        (folder / "evaluation").mkdir(parents=True)
        (folder / "evaluation" / "summary.json").write_text(json.dumps(summary), "utf-8")
        return folder

    return write


def run(*argv):
    return tiny.call(main.results_table, [str(text) for text in argv])


def table_rows(text, title):
    """The rows of the table under a bold title: name -> cells."""
    section = text.split(f"**{title}")[1].split("\n\n")[1]
    head, _, *rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines()]
    return head, [row[0] for row in rows], {row[0]: dict(zip(head, row, strict=True)) for row in rows}


SPECTROGRAM, WAVEFORM = "Measured on the masked spectrogram", "Measured on the masked sound"


def test_methods_with_their_own_baselines_and_the_common_ones_once(make, tmp_path):
    a = make("a", summary_of("piq", 0.5))
    b = make(
        "b", summary_of("lmac", 0.6, training={"epochs": 20, "best_epoch": 7, "seconds": 61.7, "commit": "d" * 40})
    )
    outcome = run(a, f"L-MAC={b}", "--out", tmp_path / "new folder" / "table.md")
    assert outcome.code == 0, outcome.err
    (tmp_path / "notes.md").write_text("of the user")
    assert "is no table of this command" in run(a, "--out", tmp_path / "notes.md").line
    assert (tmp_path / "notes.md").read_text() == "of the user"
    again = run(a, f"L-MAC={b}", "--out", tmp_path / "new folder" / "table.md")
    assert again.out == outcome.out
    text = (tmp_path / "new folder" / "table.md").read_text("utf-8")
    assert outcome.out == text + "\n"
    assert text.startswith("data: ESC-10; test folds: 5; n: 80; seed: 1234; classifier: feedfacecafe; ")
    for title, shift in ((SPECTROGRAM, 0.0), (WAVEFORM, 0.1)):
        head, names, rows = table_rows(text, title)
        assert names == [
            "piq",
            "↳ energy, same area",
            "L-MAC",
            "↳ energy, same area",
            "M = 1",
            "energy top 20%",
        ]
        assert len(head) == len(METRICS) + 2
        for name, mean in {"piq": 0.5, "L-MAC": 0.6, "M = 1": 1.0, "energy top 20%": 0.3}.items():
            values = [f"{mean + shift + d:.2f}" for d in (0.0, -0.1, 0.1)]
            assert rows[name]["FF ↑"] == f"{values[0]} [{values[1]}, {values[2]}]"
            assert rows[name]["FF-In ↓"] == rows[name]["FF ↑"]
    baselines = [line.split("|")[4] for line in text.splitlines() if line.startswith("| ↳")]
    assert [cell.split()[0] for cell in baselines] == ["0.25", "0.35", "0.35", "0.45"]
    head, _, rows = table_rows(text, "What each method took")
    assert list(rows["piq"].values()) == ["piq", "40", "36", "390", "8.4", "0.50", "c" * 12, "e" * 12]
    assert list(rows["L-MAC"].values()) == ["L-MAC", "20", "7", "62", "8.4", "0.60", "d" * 12, "e" * 12]


@pytest.mark.parametrize("columns", [80, 1000])
def test_a_terminal_gets_what_fits_and_the_file_everything(make, tmp_path, monkeypatch, columns):
    runs = [str(make("a", summary_of())), f"L-MAC={make('b', summary_of('lmac'))}"]
    whole = run(*runs).out

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main.results_table([*runs, "--out", str(tmp_path / "table.md")]) == 0
    text = sys.stdout.getvalue()
    assert (tmp_path / "table.md").read_text("utf-8") + "\n" == whole
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert main.results_table([*runs, "--brief"]) == 0
    assert sys.stdout.getvalue().count("| calls a clip |") == 2
    if columns == 1000:
        assert text == whole
        return
    assert max(map(len, text.splitlines()[:-1])) <= 80
    assert text.splitlines()[-1] == f"All metrics, with intervals: {tmp_path / 'table.md'}"
    names = ["piq", "↳ energy, same area", "L-MAC", "↳ energy, same area", "M = 1", "energy top 20%"]
    lines = text.splitlines()
    starts = [position for position, line in enumerate(lines) if line.startswith("Means over 80 clips")]
    assert len(starts) == 2
    for start in starts:
        assert [line.split("  ")[0] for line in lines[start + 2 : start + 8]] == names


def test_heads_come_from_the_table_of_metrics(make):
    l2i = summary_of("l2i", scores={"fid_top1": 0.9, "auroc": 0.8})
    outcome = run(make("a", summary_of()), make("b", l2i))
    head, _, rows = table_rows(outcome.out, SPECTROGRAM)
    wanted = [metric_info(name) for name in (*METRICS, "auroc", "fid_top1")]
    assert [text.split(" (")[0].rstrip(" ↑↓") for text in head[2:]] == [info.label for info in wanted]
    arrows = {"high": "↑", "low": "↓", "none": ""}
    for text, info in zip(head[2:], wanted, strict=True):
        assert "".join(c for c in text if c in "↑↓") == arrows[info.better], text
    assert rows["l2i"]["top-1 fidelity ↑"].startswith("0.90 [")
    assert rows["piq"]["top-1 fidelity ↑"] == rows["M = 1"]["AUROC ↑"] == "–"


def change(path, value):
    """A change of one entry of a summary, and what the refusal says."""

    def apply(summary):
        place = summary
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return apply


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (change(["provenance", "data", "name"], "ESC-50"), "data: ESC-10 and ESC-50"),
        (change(["provenance", "data", "folds", "test"], [4]), "test folds: [5] and [4]"),
        (change(["provenance", "data", "folds", "train"], [1, 2, 5]), "other folds: "),
        (
            change(["provenance", "data", "settings"], {"seed": 7}),
            'settings of the data: {} and {"settings": {"seed": 7}}',
        ),
        (change(["n"], 79), "n: 80 and 79"),
        (change(["provenance", "seed"], 7), "seed: 1234 and 7"),
        (change(["provenance", "classifier"], "0123"), "classifier: feedfacecafe0000 and 0123"),
        (change(["provenance", "clip_seconds"], None), "clip_seconds: 5.0 and null"),
        (change(["provenance", "fixed_length"], True), "fixed_length: false and true"),
        (change(["provenance", "suite"], "mixtures"), "suite: clean and mixtures"),
    ],
)
def test_what_was_not_measured_alike_is_refused(make, tmp_path, alter, message):
    other = summary_of("lmac")
    alter(other)
    a, b, c = make("a", summary_of()), make("b", summary_of("l2i")), make("c", other)
    outcome = run(a, b, c, "--out", tmp_path / "table.md")
    assert outcome.code == 2
    assert f"({message}" in outcome.line
    assert str(a) in outcome.line
    assert str(c) in outcome.line
    assert outcome.out == ""
    assert not (tmp_path / "table.md").exists()


def test_runs_on_several_classifiers_if_asked_for(make):
    one = make("one", summary_of("piq"))
    two = make("two", summary_of("lmac", classifier="0123456789abcdef"))
    refused = run(one, two)
    assert "classifier: feedfacecafe0000 and 0123456789abcdef" in refused.line
    outcome = run(one, two, "--any_classifier")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("data: ESC-10; test folds: 5; n: 80; seed: 1234. Means")
    assert "| feedfacecafe | 0.863 | piq |" in outcome.out
    assert "| 0123456789ab | 0.863 | lmac |" in outcome.out
    _, names, _ = table_rows(outcome.out, SPECTROGRAM)
    # Baselines of a fixed area depend on the classifier: only those at each method's own area stay.
    assert names == ["piq", "↳ energy, same area", "lmac", "↳ energy, same area"]
    other = make("other", summary_of("l2i", seed=1, classifier="0123"))
    assert "seed: 1234 and 1" in run(one, other, "--any_classifier").line


def test_every_difference_is_named(make):
    other = summary_of("lmac", seed=7, clip_seconds=2.0)
    line = run(make("a", summary_of()), make("b", other)).line
    assert "(seed: 1234 and 7; clip_seconds: 5.0 and 2.0)" in line


def test_what_does_not_decide_the_clips_may_differ(make):
    other = summary_of("lmac", commit="f" * 40)
    other["provenance"]["data"]["n_clips"] = {"train": 240, "valid": 80, "test": 80}
    other["provenance"]["data"]["n_skipped"] = 3
    outcome = run(make("a", summary_of()), make("b", other))
    assert outcome.code == 0, outcome.err
    assert "| " + "f" * 12 + " |" in outcome.out


def test_baselines_of_two_domains_are_distinguished(make):
    outcome = run(make("a", summary_of()), make("b", summary_of("lmac", apply="linear")))
    _, names, _ = table_rows(outcome.out, WAVEFORM)
    assert names[-4:] == [
        "M = 1 (log masks)",
        "energy top 20% (log masks)",
        "M = 1 (linear masks)",
        "energy top 20% (linear masks)",
    ]


@pytest.mark.parametrize(
    ("origin", "cell"),
    [(None, "62"), ({"sha256": "ab", "seconds": 390.4}, "390 + 62"), ({"sha256": "ab", "seconds": None}, "– + 62")],
)
def test_fine_tuning_shows_the_extra_time(make, origin, cell):
    training = {"epochs": 2, "best_epoch": 1, "seconds": 61.7, "commit": "d" * 40, "finetuned_from": origin}
    outcome = run(make("a", summary_of("lmac", training=training)))
    assert outcome.code == 0, outcome.err
    _, _, rows = table_rows(outcome.out, "What each method took")
    assert rows["lmac"]["training (s)"] == cell


@pytest.mark.parametrize(("seconds", "cell"), [(61.7, "14 + 62"), (None, "14")])
def test_the_time_of_a_dictionary_counts(make, seconds, cell):
    training = {
        "commit": "d" * 40,
        "dictionary": {"seconds": 14.2},
        **({} if seconds is None else {"seconds": seconds}),
    }
    outcome = run(make("a", summary_of("l2i", training=training)))
    assert outcome.code == 0, outcome.err
    _, _, rows = table_rows(outcome.out, "What each method took")
    assert rows["l2i"]["training (s)"] == cell


def test_a_brief_table_has_what_matters_most_with_time_and_calls(make, tmp_path):
    counting, older = summary_of("rise"), summary_of("piq")
    counting |= {"calls_per_clip": {"rise": 499.6, "energy top 20%": 7, "M = 1": 0}, "compared": ["energy top 20%"]}
    counting |= {"notes": {"rise": ["take it with care"]}}
    out = tmp_path / "brief.md"
    first, other = make("a", counting), make("b", older)
    outcome = run(first, f"mine={other}", "--brief", "--out", out)
    assert outcome.code == 0, outcome.err
    head, _, rows = table_rows(outcome.out, "What matters most, measured on the masked spectrogram")
    assert head[:4] == ["method", "calls a clip", "ms a clip", "Fid-In ↑"]
    calls = {"rise": "500", "energy top 20%": "7", "mine": "–", "M = 1": "0"}
    assert {name: rows[name]["calls a clip"] for name in calls} == calls
    assert rows["↳ energy, same area"]["ms a clip"] == "1.0"
    assert "take it with care" in outcome.out
    assert f"commit: {'e' * 12}" in outcome.out
    for name, row in (
        ("rise", counting["places"]["spectrogram"]["rise"]),
        ("mine", older["places"]["spectrogram"]["piq"]),
    ):
        assert rows[name]["AD (%) ↓"].startswith(f"{row['ad']['mean']:.1f} [")
    assert "What each method took" not in outcome.out
    assert run(first, "--brief", "--out", out).code == 0  # which it knows as its own
    # A run may have the name of a row: each keeps its own numbers.
    renamed = run(f"energy top 20%={first}", "--brief").out.split("measured on the masked sound")[0]
    assert re.findall(r"\n\| energy top 20% \| (\d+) \|", renamed) == ["500", "7"]


def test_a_method_without_training_and_an_older_evaluation(make):
    amt = summary_of("amt", training={"seed": 1234})
    amt["seconds_per_clip"]["amt"] = None  # an evaluation that was only finished, with nothing left to measure
    old = summary_of("piq")
    del old["companions"]
    for results_of_place in old["places"].values():
        for name in ("energy, same area", "random, same area"):
            del results_of_place[name]
    outcome = run(make("a", amt), make("b", old))
    assert outcome.code == 0, outcome.err
    _, names, _ = table_rows(outcome.out, SPECTROGRAM)
    assert names == ["amt", "↳ energy, same area", "piq", "M = 1", "energy top 20%"]
    _, _, rows = table_rows(outcome.out, "What each method took")
    assert list(rows["amt"].values())[1:] == ["–", "–", "–", "–", "0.50", "–", "e" * 12]


def test_what_settings_decide_is_not_ranked_and_notes_stand_below(make):
    amt = summary_of("amt", training={"seed": 1234})
    amt["notes"] = {"amt": ["class-agnostic", "SPS is fixed"], "M = 1": ["never mind"]}
    for results_of_place in amt["places"].values():
        results_of_place["amt"]["fixed"] = ["sps", "comp"]
    plain = summary_of("piq")
    outcome = run(f"AMT, mean={make('a', amt)}", make("b", {**plain, "notes": {}}))
    assert outcome.code == 0, outcome.err
    for title in (SPECTROGRAM, WAVEFORM):
        _, _, rows = table_rows(outcome.out, title)
        assert [head for head, cell in rows["AMT, mean"].items() if cell == "fixed"] == ["SPS ↑", "COMP (nats) ↓"]
        for name in ("piq", "M = 1", "↳ energy, same area"):
            assert "fixed" not in rows[name].values()
    assert outcome.out.count("**Notes**\n\n- AMT, mean: class-agnostic; SPS is fixed.\n\n**What each method took") == 1
    assert "never mind" not in outcome.out
    assert "Notes" not in run(make("c", plain)).out


def test_names(make):
    a, b = make("a", summary_of()), make("seed=1234", summary_of())
    assert "two runs are called piq: give each a name, NAME=RUN" in run(a, b).line
    outcome = run(a, f"other | seed={b}")
    assert outcome.code == 0, outcome.err
    assert "| other \\| seed | 80 |" in outcome.out
    assert "| other \\| seed | 40 |" in outcome.out


@pytest.mark.parametrize(
    "content",
    ["", "[]", "{}", '{"places": {}, "provenance": {}, "n": 3}', '{"places": {"a": {"x": {}}, "b": {}}, "n": 3}'],
)
def test_what_is_no_summary_is_one_clear_line(make, content):
    folder = make("a", {})
    (folder / "evaluation" / "summary.json").write_text(content, "utf-8")
    outcome = run(folder)
    assert outcome.code == 2
    assert str(folder / "evaluation" / "summary.json") in outcome.line


def test_a_run_that_was_not_evaluated(make, tmp_path):
    outcome = run(make("a", summary_of()), f"new={tmp_path / 'new'}")
    assert outcome.code == 2
    assert "evaluate it first" in outcome.line
    assert str(tmp_path / "new" / "evaluation" / "summary.json") in outcome.line


def test_summaries_are_read_only(make):
    summary = summary_of()
    folder = make("a", copy.deepcopy(summary))
    assert run(folder).code == 0
    assert json.loads((folder / "evaluation" / "summary.json").read_text("utf-8")) == summary


@pytest.mark.slow
def test_a_real_run(tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path):
    folder = tmp_path / "piq run"
    shutil.copytree(tiny_piq_run, folder)
    evaluated = tiny.run("evaluate", tiny_esc50, folder, classifier_folder=tiny_classifier_folder)
    assert evaluated.code == 0, evaluated.err
    outcome = run(folder, f"PIQ again={folder}")
    assert outcome.code == 0, outcome.err
    summary = json.loads((folder / "evaluation" / "summary.json").read_text("utf-8"))
    table = (folder / "evaluation" / "table.md").read_text("utf-8")
    lines = outcome.out.splitlines()
    for line in table.splitlines():
        # Every head, method and common baseline is there as in the evaluation's own table.
        if line.startswith("|") and line.split("|")[1].strip() not in summary["companions"]:
            assert lines.count(line) == table.splitlines().count(line), line
    assert sum(line.startswith("| PIQ again | 6 |") for line in lines) == 2
    training = summary["provenance"]["training"]
    _, _, rows = table_rows(outcome.out, "What each method took")
    assert rows["PIQ again"]["epochs"] == "3"
    assert rows["PIQ again"]["best epoch"] == str(training["best_epoch"])
    assert rows["PIQ again"]["training (s)"] == f"{training['seconds']:.0f}"
    assert rows["PIQ again"]["explaining a clip (ms)"] == f"{1000 * summary['seconds_per_clip']['piq']:.1f}"
    assert rows["PIQ again"]["commit of evaluation"] == summary["provenance"]["commit"][:12]
