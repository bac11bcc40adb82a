"""``tools/choose_default.py``: the criterion, and a trial on a tiny run."""

import json

import pytest

NAMES = ("saliency, top10", "smoothgrad, top20", "nmf")


def measured(**changed):
    """A result in which every candidate is as good as any, but for those named: (Fid-In, AD, area, level)."""
    names = (*NAMES, "loudest bins, 10%", "loudest bins, 20%")
    candidates = dict.fromkeys(names, (0.9, 10.0, 0.2, -6.0)) | changed
    keys = ("fid_in", "ad", "kept_area", "level")
    return {
        "methods": {
            name: {key: {"mean": value} for key, value in zip(keys, values, strict=True)}
            for name, values in candidates.items()
        }
    }


@pytest.mark.parametrize(
    ("first", "second", "chosen"),
    [
        ({"nmf": (0.95, 10.0, 0.2, -6.0)}, {}, "nmf"),  # the highest mean Fid-In
        ({"nmf": (0.904, 9.0, 0.2, -6.0)}, {}, "nmf"),  # equal to two decimals: the lower AD
        (
            {"nmf": (0.99, 1.0, 0.26, -6.0), "saliency, top10": (0.9, 9.0, 0.1, -6.0)},
            {},
            "saliency, top10",
        ),  # too large
        ({"nmf": (0.99, 1.0, 0.2, -6.0)}, {"nmf": (0.99, 1.0, 0.2, -13.0)}, "saliency, top10"),  # too quiet on one
        ({}, {"saliency, top10": (0.99, 10.1, 0.1, -6.0)}, "smoothgrad, top20"),  # worse than the loudest bins on one
    ],
)
def test_the_criterion(tool, monkeypatch, first, second, chosen):
    monkeypatch.setattr(tool, "CANDIDATES", NAMES)
    assert tool.choose([measured(**first), measured(**second)]) == chosen


def test_nothing_small_and_loud_enough(tool, monkeypatch):
    monkeypatch.setattr(tool, "CANDIDATES", ("nmf",))
    assert tool.choose([measured(nmf=(1.0, 0.0, 0.9, -3.0))]) is None


@pytest.mark.slow
def test_a_run_is_measured_once_and_the_tables_are_written(
    tool, tiny_classifier_folder, tiny_esc50, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(tool, "GRADIENT_ALONE", ("saliency",))
    monkeypatch.setattr(tool, "CANDIDATES", ("saliency, soft", "saliency, top10", "saliency, top20", "nmf"))
    run = tiny_classifier_folder.parent
    command = [f"{run}={tiny_esc50}", "--out", str(tmp_path)]
    assert tool.main(command) == 0, capsys.readouterr().err
    result = json.loads((tmp_path / f"{run.name}.json").read_text("utf-8"))
    assert result["split"] == "valid"
    assert result["n"] == len(json.loads((run / "manifests" / "valid.json").read_text("utf-8")))
    assert list(result["methods"])[: len(tool.CANDIDATES)] == list(tool.CANDIDATES)
    rows = [json.loads(line) for line in (tmp_path / f"{run.name}.clips.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == result["n"] * len(result["methods"])
    assert all(-60 <= row["level"] <= 1 for row in rows)
    table = (tmp_path / "table.md").read_text("utf-8")
    assert table in capsys.readouterr().out
    assert "Chosen: **" in table
    monkeypatch.setattr(tool, "measure", None)
    assert tool.main(command) == 0
    path = tmp_path / f"{run.name}.json"
    path.write_text(json.dumps({**result, "classifier": "0" * 64}), "utf-8")
    assert tool.main(command) == 2
    assert "was measured on another classifier" in capsys.readouterr().err


@pytest.mark.slow
def test_by_answers_alone_some_clips_are_measured_with_their_calls(
    tool, tiny_classifier_folder, tiny_esc50, tmp_path, capsys, monkeypatch
):
    class Few(tool.BY_ANSWERS["rise"]):
        def __init__(self, classifier):
            super().__init__(classifier, calls=6, times=3, bands=2)

    monkeypatch.setattr(tool, "BY_ANSWERS", {"rise": Few})
    monkeypatch.setattr(tool, "ANSWERS_ONLY", ("rise, soft", "rise, top10", "rise, top20", "nmf"))
    run = tiny_classifier_folder.parent
    command = [f"{run}={tiny_esc50}", "--out", str(tmp_path), "--answers_only", "--clips", "2"]
    assert tool.main(command) == 0, capsys.readouterr().err
    result = json.loads((tmp_path / f"{run.name}.answers_only.json").read_text("utf-8"))
    assert result["n"] == 2
    assert list(result["methods"])[:4] == list(tool.ANSWERS_ONLY)
    assert {name: row["calls"]["mean"] for name, row in result["methods"].items() if "nmf" not in name} == {
        **dict.fromkeys(("rise, soft", "rise, top10", "rise, top20"), 6),
        **{f"{kind} bins, {area}%": 0 for area in (10, 20) for kind in ("loudest", "random")},
    }
    assert result["methods"]["nmf"]["calls"]["mean"] > 6
    assert "| calls |" in capsys.readouterr().out


def test_some_clips_are_at_least_one(tool, tmp_path):
    with pytest.raises(SystemExit):
        tool.main(["a=b", "--out", str(tmp_path), "--clips", "0"])


@pytest.mark.parametrize("pair", ["run", "=data", "run="])
def test_runs_come_with_their_data(tool, tmp_path, capsys, pair):
    assert tool.main([pair, "--out", str(tmp_path)]) == 2
    assert f"got {pair!r}, expected RUN=DATA_FOLDER" in capsys.readouterr().err
