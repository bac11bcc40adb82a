"""Several processes at one job: the same results as one, written once; what fails ends all of them, in one line."""

import json
import os
import shutil
import signal

import pytest
import tiny
import torch
import yaml

from interpretability import processes
from interpretability.command_line import guarded
from interpretability.dictionary import Dictionary
from interpretability.training import runner

# Does jobs one after the other in each process. Batch statistics stay as they are: on CPUs each process has its own.
# The last job loses a process in its second step; torchrun's SIGTERM would reach the other one before its last words.
DRIVER = """
import json, os, signal, sys, time
import torch
from interpretability.training import brain, runner

torch.nn.modules.batchnorm._BatchNorm.train = lambda self, mode=True: torch.nn.Module.train(self, False)
lines, rank, fit_batch = json.loads(sys.argv[1]), int(os.environ["RANK"]), brain.ResumableBrain.fit_batch

def die(self, batch):
    if rank == 1 and self.step == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return fit_batch(self, batch)

for number, (job, *line) in enumerate(lines):
    if number == len(lines) - 1:
        brain.ResumableBrain.fit_batch = die
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    began = time.monotonic()
    code = runner.main(job, None, line)
    print(f"process {rank}, job {number}: {code}, {time.monotonic() - began:.1f} s", file=sys.stderr, flush=True)
"""


@pytest.mark.slow
def test_two_processes_do_what_one_does(tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path, monkeypatch):
    frozen = torch.nn.modules.batchnorm._BatchNorm
    monkeypatch.setattr(frozen, "train", lambda self, mode=True: torch.nn.Module.train(self, False))

    def lines(folder):
        explains = {"classifier_folder": tiny_classifier_folder}
        shutil.copytree(tiny_piq_run, folder / "measured")
        return {
            name: [job, *tiny.arguments(job, tiny_esc50, folder / name, **{"batch_size": 3, **settings})]
            for name, job, settings in (
                ("classifier", "classifier", {"ckpt_interval_steps": 1}),
                ("piq", "interpreter", explains),
                ("nmf", "dictionary", explains),
                ("amortised", "dictionary", {"dictionary.algorithm": "amortised", **explains}),
                ("measured", "evaluate", {"batch_size": 2, **explains}),  # three batches: one process has one more
            )
        }

    one, two = tmp_path / "one", tmp_path / "two"
    for job, *line in lines(one).values():
        outcome = tiny.call(runner.main, job, None, line)
        assert outcome.code == 0, outcome.err
    jobs = list(lines(two).values())
    killed = ["classifier", *jobs[0][1:]]
    killed[killed.index(str(two / "classifier"))] = str(two / "killed")
    bad = [*killed[:2], "--no_such_key", "1"]
    (tmp_path / "driver.py").write_text(DRIVER)
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(tmp_path / "driver.py")]
    outcome = tiny.run_process([*launch, json.dumps([["classifier", killed[1], "--help"], bad, *jobs, killed])])

    # What both processes meet is said once; the one that is left at the end says so at once, and does not hang.
    assert outcome.code != 0
    assert outcome.out.count("usage: ") == 1
    assert outcome.out.count("test accuracy") == 1
    assert [line for line in outcome.err.splitlines() if line.startswith(("error:", "interrupted:"))] == [
        f"error: --no_such_key: {killed[1]} has no such key (--help lists the keys)",
        f"error: {processes.ENDED}",
    ]
    for number, code in enumerate([0, 2, *[0] * len(jobs)]):
        assert all(f"process {rank}, job {number}: {code}, " in outcome.err for rank in (0, 1)), outcome.err
    assert outcome.err.count("Traceback (most recent call last)") == 1  # torchrun's own
    assert tiny.leftovers(two) == []

    # Trained with the same batches, of which each process had its share.
    for name in ("classifier", "piq", "amortised/dictionary"):
        ours, theirs = (yaml_of(folder / name) for folder in (one, two))
        assert ours.keys() == theirs.keys()
        assert theirs.pop("seconds") >= 0 <= ours.pop("seconds")
        assert theirs == pytest.approx(ours, rel=1e-3, abs=1e-5), name
    assert tiny.log_epochs(two / "piq") == [1]
    learned = [Dictionary.load(folder / "amortised").matrix for folder in (one, two)]
    torch.testing.assert_close(*learned, rtol=0, atol=1e-4)
    # Learned by the main process alone, and measured batch by batch: the same to the bit.
    assert torch.equal(Dictionary.load(one / "nmf").matrix, Dictionary.load(two / "nmf").matrix)
    results = [folder / "measured" / "evaluation" for folder in (one, two)]
    assert len({(folder / "clips.jsonl").read_bytes() for folder in results}) == 1
    summaries = [json.loads((folder / "summary.json").read_text()) for folder in results]
    assert all(summary.pop("seconds_per_clip") for summary in summaries)
    assert summaries[0] == summaries[1]

    # One process goes on where two stopped in the middle of an epoch, and with more epochs where they had finished.
    checkpoints = [path.read_text() for path in (two / "killed" / "save").glob("CKPT+*/CKPT.yaml")]
    assert [yaml.safe_load(text)["step"] for text in checkpoints] == [1]
    assert tiny.call(runner.main, killed[0], None, killed[1:]).code == 0
    resumed, whole = yaml_of(two / "killed"), yaml_of(one / "classifier")
    assert resumed["train loss"] == pytest.approx(whole["train loss"], rel=1e-3)
    assert resumed["loss"] == pytest.approx(whole["loss"], rel=1e-3)


def yaml_of(run):
    """Return the metadata of the last checkpoint of a run's training, without its time and place."""
    (path,) = (run / "save").glob("CKPT+*/CKPT.yaml")
    meta = yaml.safe_load(path.read_text())
    return {name: value for name, value in meta.items() if name not in ("unixtime", "end-of-epoch")}


def test_one_process_is_its_own_main_one_and_waits_for_nobody():
    assert (processes.count(), processes.rank(), processes.is_main()) == (1, 0, True)
    assert processes.of_main(lambda: 3) == processes.main_first(lambda: 3) == 3
    assert processes.gathered("a") == ["a"]
    assert processes.says_first("again")
    assert processes.says_first("again")
    processes.wait_for_all()


@pytest.fixture
def second_of_two(monkeypatch):
    """The environment of torchrun's second process, without the others."""
    for name, value in {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    texts = []
    monkeypatch.setattr(processes, "_first", lambda key: texts.append(key) or texts.count(key) == 1)


def test_another_one_does_not_print(second_of_two, capsys):
    assert guarded(lambda: print("done")) == 0
    assert capsys.readouterr().out == ""


def test_a_lost_connection_and_the_signal_of_torchrun_end_a_job_in_one_line(second_of_two, capsys):
    def lose():
        raise RuntimeError("[gloo/transport/tcp/pair.cc:547] Connection closed by peer [127.0.0.1]:12692")

    assert guarded(lose) == 2
    assert capsys.readouterr().err == f"error: {processes.ENDED}\n"
    with pytest.raises(RuntimeError, match="ours"):
        guarded(lambda: (_ for _ in ()).throw(RuntimeError("ours")))


def test_the_signal_of_torchrun_is_one_of_several_processes(second_of_two, capsys):
    before = signal.getsignal(signal.SIGTERM)
    assert guarded(lambda: os.kill(os.getpid(), signal.SIGTERM)) == 143
    assert capsys.readouterr().err == f"error: {processes.ENDED}\n"
    assert signal.getsignal(signal.SIGTERM) is before
