"""Fine-tuning in two processes gives what one gives; forked, as importing everything twice would cost more than it."""

import contextlib
import multiprocessing
import os
from pathlib import Path

import pytest
import tiny
import torch
import torch.distributed
import yaml

from interpretability.classifiers import load_classifier
from interpretability.methods import load_interpreter
from interpretability.training import runner

pytestmark = pytest.mark.slow


def work(rank: int, port: int, lines: list[list[str]], log: Path) -> None:
    """Do the jobs as a process that torchrun has started; what it prints goes into a file."""
    places = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ |= {name: str(value) for name, value in places.items()} | {"TORCHELASTIC_USE_AGENT_STORE": "True"}
    with open(log, "w", encoding="utf-8") as stream, contextlib.redirect_stdout(stream):
        for job, *line in lines:
            code = runner.main(job, None, line)
            print(f"code {code}", flush=True)
    os._exit(0)


def test_two_processes_fine_tune_as_one_does(tiny_classifier_folder, tiny_piq_run, tmp_path, monkeypatch):
    # On CPUs each process has batch statistics of its own, and everywhere it draws its own dropout.
    monkeypatch.setattr(torch.nn.Dropout, "forward", lambda self, values: values)
    frozen = torch.nn.modules.batchnorm._BatchNorm
    monkeypatch.setattr(frozen, "train", lambda self, mode=True: torch.nn.Module.train(self, False))
    data = tiny.make_data(tmp_path / "data", {"shrill": 3500.0, "high": 2500.0, "low": 300.0})

    def lines(folder):
        classifier = {"finetune_from": tiny_classifier_folder, "freeze_epochs": 1, "number_of_epochs": 2}
        piq = {"finetune_from": tiny_piq_run, "classifier_folder": folder / "classifier"}
        jobs = (("classifier", classifier), ("interpreter", piq))
        return [[job, *tiny.arguments(job, data, folder / job, **{"batch_size": 3, **more})] for job, more in jobs]

    one, two = tmp_path / "one", tmp_path / "two"
    alone = [tiny.call(runner.main, job, None, line) for job, *line in lines(one)]
    assert [outcome.code for outcome in alone] == [0, 0]
    store = torch.distributed.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    logs = [tmp_path / f"{rank}.log" for rank in (0, 1)]
    fork = multiprocessing.get_context("fork").Process
    children = [
        fork(target=work, args=(rank, store.port, lines(two), log), daemon=True) for rank, log in enumerate(logs)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(timeout=300)
        assert child.exitcode == 0
    texts = [log.read_text("utf-8").splitlines() for log in logs]
    assert texts[1] == ["code 0", "code 0"]  # the other one neither prints nor writes
    for outcome in alone:
        told = [line for line in outcome.out.splitlines() if line.startswith(("starts from", "  "))]
        assert told == [line for line in texts[0] if line in told]
    for name in ("classifier", "interpreter"):
        ours, theirs = (last_of(folder / name) for folder in (one, two))
        assert theirs == pytest.approx(ours, rel=1e-3, abs=1e-5), name
        first, second = (tiny.weights(folder / name) for folder in (one, two))
        for key, value in first.items():
            torch.testing.assert_close(second[key], value, rtol=0, atol=1e-4, msg=key)
    records = [load_classifier(folder / "classifier").description["training"] for folder in (one, two)]
    assert records[0]["finetuned_from"] == records[1]["finetuned_from"]
    assert records[0]["seen_clips"] == records[1]["seen_clips"]
    records = [load_interpreter(folder / "interpreter").description["training"] for folder in (one, two)]
    assert records[0]["finetuned_from"]["parts"] == records[1]["finetuned_from"]["parts"]
    assert tiny.leftovers(two) == []


def last_of(run: Path) -> dict[str, float]:
    """Return the values of the last checkpoint of a training, without its time, its place, and what may tip over."""
    (path,) = (run / "save").glob("CKPT+*/CKPT.yaml")
    meta = yaml.safe_load(path.read_text())
    left_out = ("unixtime", "end-of-epoch", "seconds", "accuracy", "train accuracy")
    return {name: value for name, value in meta.items() if name not in left_out}
