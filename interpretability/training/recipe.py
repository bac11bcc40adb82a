"""A recipe's YAML and command line: read, checked, and turned into a run with an output folder."""

import contextlib
import difflib
import inspect
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import MISSING, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.checkpoints import Checkpointer
from speechbrain.utils.distributed import ddp_init_group, if_main_process, is_distributed_initialized
from speechbrain.utils.epoch_loop import EpochCounter
from speechbrain.utils.train_logger import TrainLogger

from interpretability.cases import EXPLAIN
from interpretability.classifiers import Classifier
from interpretability.classifiers.trust import FLAG
from interpretability.data.audio import CHANNELS
from interpretability.dictionary import DictionarySettings
from interpretability.errors import MissingError, UserError, shown, user_errors
from interpretability.files import atomic_path, expanded, write_text
from interpretability.frontend import PLACES, FrontendSettings
from interpretability.methods import Interpreter
from interpretability.report.formats import FORMATS
from interpretability.settings import Settings, setting
from interpretability.training.archive import ARCHIVED, find_yaml
from interpretability.training.augmentation import AugmentationSettings
from interpretability.training.composition import compose
from interpretability.training.options import parse_options, split_arguments
from interpretability.training.paths import anchored, fill_references
from interpretability.training.provenance import environment
from interpretability.training.remembered import Archive, data_of_classifier, moved_paths

RUN_RECORD = "run.json"
#: What a run archives, beside the script: the whole YAML, and the environment.
ARCHIVE = (ARCHIVED, "env.log")
#: Job -> its own folder inside the run's, which records how it was run: the same YAML may serve several jobs.
OWN_FOLDER = {"dictionary": "dictionary", "evaluate": "evaluation"}

_ALWAYS = (
    "seed", "prepare", "output_folder", "cache_folder", "skip_bad_clips", "clip_seconds", "fixed_length", "channel"
)  # fmt: skip
_WHILE_TRAINING = ("batch_size", "weight_decay", "num_workers", "tensorboard")
#: Job -> the top-level keys of a YAML that it reads, besides those of :data:`TRAINED`. All of them are needed.
KEYS: dict[str, tuple[str, ...]] = {
    "classifier": (*_ALWAYS, *_WHILE_TRAINING, "frontend", "classifier", "augmentation"),
    "interpreter": (*_ALWAYS, *_WHILE_TRAINING, "classifier_folder", "method"),
    "dictionary": (*_ALWAYS, "classifier_folder", "dictionary"),
    "evaluate": (*_ALWAYS, "batch_size", "classifier_folder", "method", "n_examples"),
}
#: Keys that a job reads if they are given.
OPTIONAL = (
    "noise", "crop_seconds", "heard_share", "finetune_from", "freeze_epochs", "finetune_lr_factor", "dictionary",
    "trust_remote_code", "sample_rate", "explain", "batch_seconds", "report_clips", "compare_with", "baselines",
    "figure_format", "refine_steps", "split",
    "transfer_to", "places", "target",
)  # fmt: skip
#: In place of a number: what is usual in the data. Of the keys in :data:`AUTOMATIC`.
AUTO = "auto"
AUTOMATIC = ("clip_seconds", "sample_rate")
#: Read by every job on what is trained; an evaluation looks for the checkpoint with them.
TRAINED = ("training", "number_of_epochs", "lr", "selection_key", "selection_mode")
#: Keys of the section ``training`` -> of what class they are.
TRAINING = {
    "epoch_counter": EpochCounter,
    "checkpointer": Checkpointer,
    "train_logger": TrainLogger,
    "optimizer": torch.optim.Optimizer,
}
#: Keys that name a class, or something that makes one of it, for the job -> that class; object: a function will do.
NAMED = {
    "prepare": object,
    "classifier": Classifier,
    "method": Interpreter,
    "noise": object,
    "training.optimizer": TRAINING["optimizer"],
}
#: Keys that hold an object -> its class.
SECTIONS = {
    "frontend": FrontendSettings,
    "augmentation": AugmentationSettings,
    "dictionary": DictionarySettings,
    **{f"training.{name}": kind for name, kind in TRAINING.items() if name != "optimizer"},
}
KNOWN = frozenset({"__set_seed", *TRAINED, *OPTIONAL}.union(*KEYS.values()))


@dataclass(frozen=True)
class RunSettings(Settings):
    """Numbers and switches at the top of a YAML: a job needs those that it reads (see recipes/README.md)."""

    seed: int = setting(MISSING, "of everything that is drawn", least=0, most=2**32 - 1)
    number_of_epochs: int = setting(MISSING, "epochs of the training", least=1, most=10**6)
    batch_size: int = setting(
        MISSING,
        "in training and evaluation; of several processes, of all together",
        unit="clips",
        least=1,
        most=2**20,
    )
    lr: float = setting(MISSING, "highest learning rate", least=0)
    weight_decay: float = setting(MISSING, "of the optimiser", least=0)
    num_workers: int = setting(MISSING, "processes that load clips", least=0, most=1024)
    selection_key: str = setting(MISSING, "validation scalar that chooses the best epoch")
    selection_mode: str = setting(MISSING, "which value of it is best", choices=("min", "max"))
    n_examples: int = setting(MISSING, "explanations that an evaluation saves", least=0)
    clip_seconds: float | None = setting(
        MISSING, "longest clip; null: any; auto: by the clips of the data", unit="s", least=0.01, most=86_400
    )
    fixed_length: bool = setting(MISSING, "whether shorter clips are padded with silence")
    channel: str = setting(MISSING, "what is kept of a clip of several channels", choices=CHANNELS)
    skip_bad_clips: bool = setting(MISSING, "whether bad clips are left out")
    tensorboard: bool = setting(MISSING, "whether TensorBoard gets the statistics")
    freeze_epochs: int = setting(
        MISSING, "first epochs of a classifier's fine-tuning, in which its head alone is trained", least=0, most=10**6
    )
    finetune_lr_factor: float = setting(
        MISSING, "factor of lr in the later epochs of a classifier's fine-tuning, in which all of it is", least=0
    )
    trust_remote_code: bool = setting(False, "whether the classifier may be code of other than installed packages")
    sample_rate: int | None = setting(
        None,
        "of a classifier that is trained; null: the front end's; auto: the most common one of the data",
        unit="Hz",
        least=1,
        most=10_000_000,
    )
    explain: str | None = setting(
        None,
        "which classes of each test clip are explained: top, the most probable one; predicted, each that is heard; "
        "labels, those of the data; null: predicted where clips may have several labels, else top",
        choices=(None, *EXPLAIN),
    )
    target: str | None = setting(
        None,
        "what an evaluation explains in place of what explain says: a class, a set 'a|b', a contrast 'a - b', a "
        "range of time 'a@1.2-1.8' or like:FILE, of the test clips that have a label of it, of a contrast one of its "
        "first side; the results lie in a folder of that name in that of the evaluation",
    )
    report_clips: int = setting(
        100, "most test clips on the page of an evaluation, those classified wrongly first; 0: no page", least=0
    )
    figure_format: str = setting("png", "of the figures of saved explanations", choices=tuple(FORMATS))
    compare_with: tuple[str, ...] = setting(
        (),
        "what an evaluation shows beside the method, clip by clip: names of its baselines, of methods that need no "
        "training, and output folders of runs that explain the same classifier, as NAME=RUN under a name of their own; "
        "what is no baseline is measured, too",
    )
    baselines: tuple[str, ...] | None = setting(
        None, "names of the baselines that an evaluation measures; null: all, which take most of its time"
    )
    split: str = setting(
        "test",
        "clips that an evaluation measures; valid: those that chose the epochs, on which settings are chosen, in a "
        "folder of their own; no test clip is then read",
        choices=("test", "valid"),
    )
    places: tuple[str, ...] = setting(
        PLACES,
        "where an evaluation measures: on the masked spectrogram, and on the waveform, which is what is heard; one of "
        "them takes half the time",
        choices=PLACES,
    )
    refine_steps: int = setting(
        0,
        "steps by which an evaluation refines each mask of the method, by the classifier's answers; the method itself "
        "then has a row beneath. 0: none",
        least=0,
        most=10_000,
    )
    batch_seconds: float | None = setting(
        None,
        "longest batch, padding included; null: twice as long as batch_size clips of mean length",
        unit="s",
        least=0.01,
        most=10**9,
    )
    crop_seconds: float | None = setting(
        None, "stretch of a clip that a training step gets", unit="s", least=0.01, most=86_400
    )
    heard_share: float = setting(
        0.0,
        "share of an interpreter's epochs, the last ones, in which what the mask keeps and removes is classified as it "
        "is heard: as sound, analysed again. If above 0, validation measures that in all epochs",
        least=0,
        most=1,
    )


@dataclass
class Run:
    """One call of a recipe script.

    Attributes
    ----------
    hparams : dict
        The loaded YAML.
    options : RunOptions
        SpeechBrain's run options: device, precision, …
    output_folder : Path
        The run's own folder.
    archive_folder : Path
        Where this call records what was run: the output folder, or the job's own inside it.
    yaml : Path
    text : str
        The whole YAML, with the overrides of the command line.
    script : Path, optional
    tries : Path, optional
        Of a trial (``--debug``), the output folder that was asked for; ``output_folder`` is then one beside it.
    keeps_trial : bool
        Whether the trial's folder is kept (``--debug_persistently``).
    data_of : Path, optional
        The run whose data are taken, as the command names none.
    """

    hparams: dict[str, Any]
    options: Any
    output_folder: Path
    archive_folder: Path
    yaml: Path
    text: str = ""
    script: Path | None = None
    tries: Path | None = None
    keeps_trial: bool = False
    data_of: Path | None = None

    def __getitem__(self, name: str) -> Any:
        if name not in self.hparams:
            raise _missing([name])
        return self.hparams[name]

    @property
    def trainable(self) -> bool:
        """Whether the method of the YAML has anything to train."""
        return bool(getattr(unwrap(self["method"]), "trainable", True))

    @property
    def trusts(self) -> bool:
        """Whether the code that a folder names is run, also if it is of no installed package."""
        return bool(self.hparams.get("trust_remote_code", False))

    @property
    def given_dictionary(self) -> Any:
        """The dictionary that the YAML gives the method; None if there is none."""
        return getattr(self["method"], "keywords", {}).get("dictionary")

    @property
    def in_epochs(self) -> bool:
        """Whether the dictionary that the YAML describes is trained in epochs, as networks are."""
        return "dictionary" in self.hparams and self["dictionary"].in_epochs

    def archive(self) -> None:
        """Write down what was run: the whole YAML, which can be run again, the script and the environment.

        Called only after the check against the run's record: a refused call leaves the run's archive as it was.
        """
        if not if_main_process():
            return
        folder = self.archive_folder
        head = f"# Made from {self.yaml.absolute()}\n# yamllint disable\n"
        for name, text in zip(ARCHIVE, (head + self.text, environment()), strict=True):
            write_text(folder / name, text)
        if self.script is not None:
            with atomic_path(folder / self.script.name) as temporary:
                shutil.copy(self.script, temporary)


def start(script: str | None, argv: list[str], job: str) -> Run:
    """Read the command line and the YAML, and check that the job can be done. Nothing is written.

    Parameters
    ----------
    script : str, optional
        The recipe's script, archived with the run.
    argv : list of str
        The command line: a YAML file, overrides and SpeechBrain's run options.
    job : {"classifier", "interpreter", "dictionary", "evaluate"}
        Those of :data:`OWN_FOLDER` log and archive in their own folder inside the run's.

    Raises
    ------
    MissingError
        If there is no such YAML file; if a trained method is to be evaluated and the folder holds no run.
    UserError
        For all that :func:`~interpretability.training.composition.compose` and :func:`load` refuse, keys that are
        missing or that nothing reads, settings out of range, the training of a method that has nothing to train, or an
        unavailable device.
    """
    if not argv or argv[0].startswith("-"):
        raise UserError(
            f"no YAML file given, expected one first: python {Path(script or 'script').name} hparams/NAME.yaml "
            "[--key value …] (--help lists them), or the output folder of a run"
        )
    run_options, overrides = split_arguments(argv[1:])
    options = parse_options(run_options)
    trusts = overrides.get(FLAG, "").lower() == "true"
    path, known = find_yaml(expanded(argv[0]), OWN_FOLDER.values(), trusts)
    data_of, parts = None, tuple(OWN_FOLDER.values())
    if known:
        archive = Archive.of_run(expanded(argv[0]), parts, trusts)
        if "data_folder" in overrides:
            known |= moved_paths(archive, overrides["data_folder"])
        elif "table" not in overrides:
            archive.check_data()
    elif job != "classifier":
        taken, data_of = data_of_classifier(path, overrides, parts, trusts)
        known |= taken
    text = compose(path, {**known, **overrides})
    hparams = load(text, path)
    if hparams.get("output_folder") is None:
        raise _missing(["output_folder"], set(hparams) - KNOWN)
    tries, folder = None, Path(hparams["output_folder"])
    keeps_trial = options.debug and options.debug_persistently
    if options.debug:
        # In a folder of its own, so that nothing of a trial looks like a finished run.
        tries = folder.resolve()
        folder = tries.with_name(f"{tries.name}.debug")
        text = compose(path, {**known, **overrides, "output_folder": folder})
        hparams = load(text, path)
        # SpeechBrain would save in yet another folder.
        given = {*options.overridden_args, "debug_persistently"}
        options = replace(options, debug_persistently=True, overridden_args=given)
    archive_folder = folder / OWN_FOLDER.get(job, "")
    script_path = None if script is None else Path(script)
    run = Run(
        hparams,
        options,
        folder,
        archive_folder,
        path,
        anchored(text, Path.cwd()),
        script_path,
        tries,
        keeps_trial,
        data_of,
    )
    with _of_yaml(path):
        RunSettings.checked({key: hparams[key] for key in hparams if not is_automatic(key, hparams[key])})
    _check_job(run, job)
    if job == "evaluate" and run.trainable and not ((tries or folder) / RUN_RECORD).is_file():
        raise no_run(tries or folder)
    with user_errors("processes cannot work in parallel", ValueError, advice=": see --distributed_backend"):
        if not is_distributed_initialized():
            ddp_init_group(options)
    return run


def load(text: str, path: str | Path) -> dict[str, Any]:
    """Load the whole YAML of a recipe.

    Raises
    ------
    UserError
        For a reference to a key that is not there, a class or function that is not there, or settings that an object
        refuses: one line, with ``path`` in front.
    """
    try:
        return load_hyperpyyaml(fill_references(text))
    except UserError:
        raise
    except Exception as error:  # YAML errors, unknown keys and refused arguments have no common type
        # HyperPyYAML puts its own message in front of the object's: both are needed.
        parts = error.args if len(error.args) > 1 and all(isinstance(part, str) for part in error.args) else [error]
        reason = str(error.args[0]) if isinstance(error, KeyError) and error.args else ": ".join(map(str, parts))
        reason = " ".join(reason.split())
        reason = reason if len(reason) <= 400 else reason[:399] + "…"
        raise UserError(f"{path}: {reason} ({type(error).__name__}); correct the YAML or the command line") from error


def is_automatic(key: str, value: Any) -> bool:
    """Return whether the data say what a key stands for."""
    return key in AUTOMATIC and value == AUTO


def unwrap(factory: Callable) -> Callable:
    """Return the class or function that a YAML names: HyperPyYAML wraps it in a ``functools.partial``."""
    return getattr(factory, "func", factory)


def build(what: str, factory: Callable, *args: Any, **kwargs: Any) -> Any:
    """Make a model from the YAML's settings; a :class:`UserError` for those that it refuses."""
    check_arguments(what, factory, *args, **kwargs)
    advice = "; correct the YAML or the command line"
    # Networks of impossible sizes fail in many ways.
    kinds = (TypeError, ValueError, RuntimeError, ArithmeticError, IndexError, MemoryError)
    with user_errors(f"{what} refuses its settings", *kinds, advice=advice, whole=True):
        return factory(*args, **kwargs)


def check_arguments(what: str, factory: Callable, *args: Any, **kwargs: Any) -> None:
    """Refuse arguments in the YAML that a callable (a ``functools.partial`` of HyperPyYAML) does not take."""
    function = unwrap(factory)
    known = inspect.signature(function)
    try:
        known.bind(*getattr(factory, "args", ()), *args, **{**getattr(factory, "keywords", {}), **kwargs})
    except TypeError as error:
        takes = f"{function.__name__} takes {', '.join(known.parameters)}"
        raise UserError(f"{what}: {error}; {takes}: correct the YAML") from error


def no_run(folder: Path) -> MissingError:
    """Return the error for a folder without a run."""
    return MissingError(f"no run in {folder}: train first, or pass the --output_folder or --seed of a trained run")


def _check_job(run: Run, job: str) -> None:
    """Refuse a YAML without a key that the job reads, or with one that nothing reads: a typing error in either."""
    hparams = run.hparams
    section = hparams.get("training")
    within = section if isinstance(section, dict) else {}
    given = {**hparams, **{f"training.{name}": value for name, value in within.items()}}
    for name, kind in NAMED.items():
        if name in given and not _makes(given[name], kind) and not (name == "noise" and given[name] is None):
            what = "class or function" if kind is object else f"kind of {kind.__name__}"
            raise UserError(
                f"{run.yaml}: {name} is {_named(given[name])}, expected a {what}: give {name}: !name:MODULE.NAME"
            )
    for name, kind in SECTIONS.items():
        if name in given and not isinstance(given[name], kind):
            raise UserError(
                f"{run.yaml}: {name} is {_named(given[name])}, expected {kind.__name__}: give "
                f"{name}: !new:{kind.__module__}.{kind.__name__}"
            )
    for name in ("method", "classifier"):
        if (kind := getattr(unwrap(hparams.get(name)), "Settings", None)) is not None:
            with _of_yaml(run.yaml):
                kind.checked(getattr(hparams[name], "keywords", {}))
    if job == "interpreter" and "method" in hparams and not run.trainable:
        raise UserError(
            f"{run.yaml}: the method {unwrap(run['method']).__name__} has nothing to train; "
            "run evaluate.py with the same YAML"
        )
    needed = KEYS[job]
    if job == "dictionary":
        needed += (*_WHILE_TRAINING, *TRAINED) if run.in_epochs else ()
    elif job != "evaluate" or run.trainable:
        needed += TRAINED
    # Of the YAML without the overrides, one of which may replace the reference.
    referred = set(re.findall(r"<\s*([^<>\[\]\s]+)", compose(run.yaml, complete=False)))
    stray = [name for name in hparams if name not in KNOWN and name not in referred]
    missing = [name for name in needed if name not in hparams]
    missing += [name for name in ("data_folder", "classifier_folder") if hparams.get(name, "") is None]
    if hparams.get("table") is not None and "data_folder" in missing:
        missing.remove("data_folder")  # the paths of a table start where it lies
    if "training" in hparams:
        stray += [f"training.{name}" for name in within if name not in TRAINING]
        missing += [f"training.{name}" for name in TRAINING if name not in within]
    if missing:
        raise _missing(missing, stray)
    if {*TRAINED} <= {*needed}:
        if within["epoch_counter"].limit != hparams["number_of_epochs"]:
            raise UserError(f"{run.yaml}: training.epoch_counter.limit is no number_of_epochs: set that alone")
        if not isinstance(getattr(within["train_logger"], "save_file", ""), str):
            raise UserError(f"{run.yaml}: training.train_logger.save_file is null, expected a path")
        # Its parameters come later: one is enough to see what it takes.
        build("training.optimizer", within["optimizer"], [torch.nn.Parameter(torch.zeros(1))])
    if stray:
        names = [*sorted(KNOWN | referred), *(f"training.{name}" for name in TRAINING)]
        close = difflib.get_close_matches(stray[0], names, n=3)
        advice = f"did you mean {' or '.join(close)}? Correct it" if close else "correct it"
        raise UserError(
            f"{run.yaml}: {stray[0]!r} is not a known key and is not used in the YAML: {advice} or remove it "
            "(recipes/README.md lists the keys)"
        )


@contextlib.contextmanager
def _of_yaml(path: Path) -> Iterator[None]:
    """Put the path of a YAML in front of the errors of the block."""
    try:
        yield
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _makes(factory: Any, kind: type) -> bool:
    """Return whether something that a YAML names can be called and makes a ``kind``; of a function, anybody's guess."""
    function = unwrap(factory)
    function = getattr(function, "__self__", function)  # of a class method: its class
    return callable(function) and (kind is object or (isinstance(function, type) and issubclass(function, kind)))


def _named(value: Any) -> str:
    """Return a value of a YAML as an error shows it."""
    value = unwrap(value)
    return f"{value.__module__}.{value.__qualname__}" if hasattr(value, "__qualname__") else shown(value)


def _missing(names: Iterable[str], stray: Iterable[str] = ()) -> UserError:
    """Return the error for keys that the YAML does not have; it may have one that looks like it."""
    names = list(names)
    close = difflib.get_close_matches(names[0], sorted(stray), n=1)
    hint = f" (it has {close[0]!r}: a typing error?)" if close else ""
    return UserError(
        f"the YAML has no {', '.join(map(repr, names))}, which this job needs{hint}: see the YAMLs in hparams/"
    )
