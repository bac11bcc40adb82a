"""docs/python.md: its code runs in a notebook, block by block, on a tiny method; explanations show themselves there."""

import json
import re
import shutil

import pages
import pytest
import soundfile
import tiny

pytestmark = pytest.mark.slow

PAGE = tiny.REPOSITORY / "docs" / "python.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_piq_run):
    """A folder with what the page names of the demo."""
    copy = tmp_path_factory.mktemp("python")
    shutil.copytree(tiny_piq_run, copy / "results" / "demo" / "piq")
    audio = copy / "results" / "demo" / "data" / "audio"
    audio.mkdir(parents=True)
    soundfile.write(audio / "test-00000.wav", tiny.noise(8000).numpy() / 10, tiny.RATE)
    return copy


def shown(cell) -> dict:
    """Return what a cell shows, by its kind."""
    return {kind: text for output in cell.outputs for kind, text in output.get("data", {}).items()}


def printed(cell) -> str:
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")


def test_the_page_is_a_notebook_that_runs(folder, tmp_path, monkeypatch):
    nbclient = pytest.importorskip("nbclient", reason="no nbclient: pip install -r requirements-dev.txt")
    nbformat = pytest.importorskip("nbformat", reason="no nbformat: pip install -r requirements-dev.txt")
    pytest.importorskip("ipykernel", reason="no ipykernel: pip install -r requirements-dev.txt")
    for name, value in {
        "PYTHONPATH": tiny.REPOSITORY,
        "OMP_NUM_THREADS": 1,
        "PYDEVD_DISABLE_FILE_VALIDATION": 1,
    }.items():
        monkeypatch.setenv(name, str(value))
    for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    cells = [nbformat.v4.new_code_cell(block) for block in pages.blocks(PAGE, "python")]
    notebook = nbformat.v4.new_notebook(cells=cells)
    nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    nbformat.validate(notebook)

    whole, _, part, words, values, arrays, *_, gradients, contrast = notebook.cells
    for cell, seconds in ((whole, 1.0), (part, 0.5)):
        html = shown(cell)["text/html"]
        assert (html.count("<audio"), html.count("<img")) == (3, 1)
        assert set(re.findall(r'src="(\w+:\w+)/', html)) == {"data:audio", "data:image"}
        assert f"of 1 clip (up to {seconds:g} s)" in shown(cell)["text/plain"]
    saved = json.loads((folder / "results" / "from_python" / "explanation.json").read_text("utf-8"))
    assert saved["sentences"]
    assert saved["events"]
    for sentence in saved["sentences"]:
        assert sentence in printed(words)
    assert printed(words).count("without it\n") == len(saved["events"])
    assert json.loads(printed(values)) == saved["events"]
    assert "tensor(" in shown(arrays)["text/plain"]
    assert (folder / "results" / "for_a_paper" / "figure.pdf").read_bytes().startswith(b"%PDF")
    assert len(list((folder / "results" / "several").glob("*/explanation.json"))) == 2
    assert re.search(r"\w+ \(\d.*% kept\)", shown(gradients)["text/plain"])
    assert re.match(r"Asked why \w+ and not \w+: .* Asked how like test-00000.wav: \d\.\d\d ", printed(contrast))
    assert shown(contrast)["text/plain"] == "True"
