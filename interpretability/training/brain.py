"""The SpeechBrain Brains: one base for resuming, schedules, statistics and selection, and three kinds on top of it."""

import logging
import math
import random
import re
import time
import zlib
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import speechbrain as sb
import torch
import yaml
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.utils.checkpoints import mark_as_loader, mark_as_saver, register_checkpoint_hooks
from speechbrain.utils.distributed import ddp_barrier, ddp_broadcast
from speechbrain.utils.train_logger import FileTrainLogger
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from interpretability import processes
from interpretability.classifiers.base import AnalysedBatch, Classifier, ClassifierOutput
from interpretability.dictionary.amortised import Factorisation
from interpretability.errors import UserError
from interpretability.files import write_text
from interpretability.frontend import MaskedPair
from interpretability.methods.base import Interpreter
from interpretability.metrics.detection import mean_average_precision
from interpretability.metrics.suite import MetricSuite
from interpretability.predictions import class_truth
from interpretability.probabilities import MaskedLogits, probabilities
from interpretability.training.augmentation import (
    AugmentationSettings,
    crop_in_time,
    mask_stripes,
    mix_up,
    shift_in_time,
)
from interpretability.training.checkpoints import END_OF_EPOCH, IN_EPOCH, STEP

logger = logging.getLogger(__name__)

#: Prefix of the training's scalars in a checkpoint's metadata, beside those of the validation.
TRAIN_PREFIX = "train "
#: Wrappers that SpeechBrain puts around modules for parallel training.
WRAPPERS = (torch.nn.parallel.DistributedDataParallel, torch.nn.DataParallel)


@dataclass(frozen=True)
class Selection:
    """Which validation scalar chooses the best checkpoint.

    Attributes
    ----------
    key : str
        Name of a scalar that the validation stage reports; checked at the end of the first one.
    mode : {"min", "max"}
    """

    key: str
    mode: str

    def __post_init__(self):
        if self.mode not in ("min", "max"):
            raise UserError(f"selection_mode is {self.mode!r}, expected 'min' or 'max'")

    def keys(self) -> dict[str, list[str]]:
        """Return the argument of ``Checkpointer.save_and_keep_only``."""
        return {f"{self.mode}_keys": [self.key]}

    def key_argument(self) -> dict[str, str]:
        """Return the argument of ``Checkpointer.find_checkpoint``."""
        return {f"{self.mode}_key": self.key}


def one_cycle(progress: float, warmup: float = 0.25, start: float = 0.04, end: float = 1e-3) -> float:
    """Return the learning-rate factor of a one-cycle schedule: cosine up, cosine down.

    A function of progress alone, so that a resumed run needs no state to go on as if it had never stopped.

    Parameters
    ----------
    progress : float
        Share of all optimiser steps done, in [0, 1].
    warmup : float
        Share of the steps that go up.
    start, end : float
        First and last factor; the highest is 1.

    Example
    -------
    >>> [round(one_cycle(p), 3) for p in (0.0, 0.25, 1.0)]
    [0.04, 1.0, 0.001]
    """
    progress = min(max(progress, 0.0), 1.0)
    if progress < warmup:
        low, share = start, progress / warmup
    else:
        low, share = end, (1 - progress) / (1 - warmup)
    return low + (1 - low) * (1 - math.cos(math.pi * share)) / 2


def seed_step(*parts: int | str) -> None:
    """Seed every generator from what identifies a step, so that a resumed step repeats its draws."""
    seed = zlib.crc32("/".join(map(str, parts)).encode())
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


# The totals are gathered over processes while saving: every one of them has to take part.
@partial(register_checkpoint_hooks, save_on_main_only=False)
class ResumableBrain(sb.Brain):
    """What all kinds of training have in common.

    - Every training step is seeded from (seed, epoch, step), and the learning rate is a function of progress:
      a run killed in the middle of an epoch and started again gives the same result.
    - Of several processes (torchrun) each has the whole batch of a training step, changes it as one alone would, and
      works on its share of the clips (:meth:`share`); a validation batch is measured by one of them.
    - Statistics are means over clips (not over batches), plain floats, gathered over processes.
    - The best checkpoint by a named validation scalar is kept, and the last one.

    Hyperparameters it reads: ``seed``, ``lr``, ``number_of_epochs``, ``selection`` (:class:`Selection`) and
    ``stopwatch``.
    """

    #: Name of what is trained, for the progress bar.
    TRAINS = ""
    epoch = 0
    steps_per_epoch = 1
    # The progress bar of the whole training; a Brain that only measures has none.
    _bar = tqdm(disable=True)
    _announces_epochs = False
    # Sums and counts of the first part of an epoch, from a checkpoint in its middle.
    _carried: Mapping[str, list[float]] = MappingProxyType({})
    # How much the loss of this process's share of a batch counts, so that the mean over processes is that over clips.
    _weight = 1.0

    def fit(self, epoch_counter, train_set, valid_set, progressbar=None, loggers=(), **kwargs):
        """See :meth:`speechbrain.Brain.fit`; ``loggers``: SpeechBrain's, for each epoch's statistics.

        One progress bar, on a terminal, shows the whole training with an estimate of the time left; elsewhere each
        epoch gets a line.

        Raises
        ------
        UserError
            If the checkpoints have more epochs than were asked for.
        """
        self.steps_per_epoch = max(1, len(train_set))
        self.train_sampler = getattr(train_set, "batch_sampler", None)  # which has an order for each epoch
        self._epoch_counter = epoch_counter
        self._loggers = loggers
        self.hparams.stopwatch.start()
        wanted = not self.noprogressbar if progressbar is None else progressbar
        wanted = wanted and sb.utils.distributed.if_main_process()
        self._batches_per_epoch = self.steps_per_epoch + len(valid_set)
        with tqdm(
            total=self.hparams.number_of_epochs * self._batches_per_epoch,
            desc=f"training {self.TRAINS}",
            bar_format="{desc} |{bar:20}| {percentage:3.0f} % [{elapsed}<{remaining}{postfix}]",
            # None: on anything but a terminal.
            disable=None if wanted else True,
        ) as self._bar:
            self._announces_epochs = wanted and self._bar.disable
            super().fit(epoch_counter, train_set, valid_set, progressbar=False, **kwargs)

    def on_fit_start(self):
        """Resume, and remove what a killed process left; refuse fewer epochs than are already trained."""
        super().on_fit_start()
        ddp_barrier()  # all have read the checkpoints
        done, asked = self._epoch_counter.current, self.hparams.number_of_epochs
        self._begun = time.monotonic(), done
        if done > asked:
            raise UserError(
                f"{self.checkpointer.checkpoints_dir} holds {done} epochs, number_of_epochs is {asked}: "
                f"ask for at least {done}, or give another output_folder"
            )
        self.checkpointer.clean(**self.hparams.selection.keys())
        for log in self._loggers:
            if isinstance(log, FileTrainLogger) and sb.utils.distributed.if_main_process():
                _keep_epochs(Path(log.save_file), done)

    def _wrap_distributed(self):
        """Wrap trained modules for parallel training; on CPUs without SyncBatchNorm, which only GPUs have."""
        if not (self.distributed_launch and self.device_type == "cpu"):
            super()._wrap_distributed()
            return
        for name, module in self.modules.items():
            if any(parameter.requires_grad for parameter in module.parameters()):
                self.modules[name] = torch.nn.parallel.DistributedDataParallel(
                    module, find_unused_parameters=self.find_unused_parameters
                )

    def fit_batch(self, batch):
        """Seed the step and set its learning rate, then train on the batch."""
        seed_step(self.hparams.seed, self.epoch, self.step, 0)
        lr = self.learning_rate()
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if not self._bar.n:  # of a resumed run: earlier steps do not count for the estimate
            self._bar.initial = self._bar.n = (self.epoch - 1) * self._batches_per_epoch + self.step - 1
        loss = super().fit_batch(batch)
        self._bar.update()
        return loss

    def learning_rate(self) -> float:
        """Return the learning rate of the step: one cycle over the whole training."""
        done = (self.epoch - 1) * self.steps_per_epoch + self.step - 1
        return self.hparams.lr * one_cycle(done / (self.hparams.number_of_epochs * self.steps_per_epoch))

    def evaluate_batch(self, batch, stage):
        """See :meth:`speechbrain.Brain.evaluate_batch`."""
        loss = super().evaluate_batch(batch, stage)
        self._bar.update()
        return loss

    def on_stage_start(self, stage, epoch=None):
        """Begin counting."""
        if stage == sb.Stage.TRAIN:
            self.epoch = epoch
            self._bar.set_description_str(f"training {self.TRAINS}, epoch {epoch} of {self.hparams.number_of_epochs}")
        self._sums: dict[str, float] = defaultdict(float)
        self._counts: dict[str, float] = defaultdict(float)
        if stage == sb.Stage.TRAIN:
            for name, (total, count) in self._carried.items():
                self._sums[name], self._counts[name] = total, count
            self._carried = {}
        else:
            self._weight = 1.0
        if stage == sb.Stage.VALID:
            self._share_buffers()

    def share(self, n_clips: int, stage: sb.Stage) -> slice:
        """Return which of a batch's clips are this process's: of a training batch its share, of others all.

        What is drawn afterwards is drawn anew in each process. Whoever has no clip, as there are more processes than
        clips, gets the first one, which does not count.
        """
        n_processes, rank = processes.count(), processes.rank()
        if stage != sb.Stage.TRAIN or n_processes == 1:
            return slice(None)
        if rank:
            seed_step(self.hparams.seed, self.epoch, self.step, rank)
        n_own = len(range(rank, n_clips, n_processes))
        self._weight = n_own * n_processes / n_clips
        return slice(rank, None, n_processes) if n_own else slice(0, 1)

    def weighted(self, loss: Tensor) -> Tensor:
        """Return the mean loss of this process's share, so that the mean over processes is the mean over clips."""
        return loss if self._weight == 1 else loss * self._weight

    def network(self, name: str, stage: sb.Stage) -> torch.nn.Module:
        """Return a module as a stage calls it: only training needs what processes exchange in each step."""
        module = self.modules[name]
        parallel = isinstance(module, torch.nn.parallel.DistributedDataParallel)
        return module.module if parallel and stage != sb.Stage.TRAIN else module

    def _share_buffers(self) -> None:
        """Give all processes the batch statistics of the main one, whose are saved."""
        for module in self.modules.values():
            if not isinstance(module, torch.nn.parallel.DistributedDataParallel):
                continue
            buffers = dict(module.module.named_buffers())
            of_main = ddp_broadcast({key: value.cpu() for key, value in buffers.items()})
            for key, value in buffers.items():
                value.copy_(of_main[key])

    def count(self, values: dict[str, Tensor], n_clips: int | None = None) -> None:
        """Add a batch's statistics: means over ``n_clips`` clips, or [B] values with NaN for undefined ones."""
        if not self._weight:  # clips of another process
            return
        for name, value in values.items():
            value = value.detach().double()
            if n_clips is None:
                value = value[~value.isnan()]
                self._sums[name] += float(value.sum())
                self._counts[name] += value.numel()
            else:
                self._sums[name] += float(value) * n_clips
                self._counts[name] += n_clips

    def statistics(self) -> dict[str, float]:
        """Return the stage's means as plain floats, over all processes."""
        return {name: total / count if count else float("nan") for name, (total, count) in self._totals().items()}

    def _totals(self) -> dict[str, list[float]]:
        """Return the stage's sums and counts, over all processes."""
        totals: dict[str, list[float]] = {}
        for ours in processes.gathered({name: (self._sums[name], self._counts[name]) for name in sorted(self._sums)}):
            for name, pair in ours.items():
                totals[name] = [a + b for a, b in zip(totals.get(name, (0.0, 0.0)), pair, strict=True)]
        return totals

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Log, and save after validation."""
        stats = self.statistics()
        if stage == sb.Stage.TRAIN:
            self.train_stats = stats
            return
        if stage != sb.Stage.VALID:
            return
        selection = self.hparams.selection
        if selection.key not in stats:
            raise UserError(
                f"selection_key is {selection.key!r}, which validation does not report; it reports {', '.join(stats)}"
            )
        if not math.isfinite(stats[selection.key]):
            raise UserError(
                f"epoch {epoch}: validation {selection.key} is {stats[selection.key]}; training has diverged: "
                "lower lr, or look at the data"
            )
        reached = f"validation {selection.key} {stats[selection.key]:.4g}"
        self._bar.set_postfix_str(reached)
        if self._announces_epochs:
            epochs, (began, before) = self.hparams.number_of_epochs, self._begun
            left = (time.monotonic() - began) / max(1, epoch - before) * (epochs - epoch)
            print(f"epoch {epoch} of {epochs}: {reached}, about {tqdm.format_interval(left)} left", flush=True)
        where = {"epoch": epoch, "lr": self.optimizer.param_groups[0]["lr"]}
        for log in self._loggers:
            # Every process calls it: SpeechBrain lets the main one write, and makes the others wait for it.
            log.log_stats(where, train_stats=self.train_stats, valid_stats=stats)
        meta = {
            "epoch": float(epoch),
            "seconds": self.hparams.stopwatch.seconds,
            **{name: value for name, value in stats.items() if math.isfinite(value)},
            **{f"{TRAIN_PREFIX}{name}": value for name, value in self.train_stats.items() if math.isfinite(value)},
        }
        self.checkpointer.save_and_keep_only(meta=meta, num_to_keep=1, **selection.keys())

    def _save_intra_epoch_ckpt(self):
        """Save in the middle of an epoch, and only the last of these checkpoints is kept."""
        self.checkpointer.save_and_keep_only(
            meta={IN_EPOCH: self.epoch, STEP: self.step},
            end_of_epoch=False,
            num_to_keep=1,
            ckpt_predicate=lambda checkpoint: not checkpoint.meta[END_OF_EPOCH],
            verbosity=logging.DEBUG,
        )

    def load_best(self) -> dict:
        """Recover the best checkpoint by the selection; return its metadata.

        Raises
        ------
        UserError
            If there is none.
        """
        best = self.checkpointer.find_checkpoint(**self.hparams.selection.key_argument())
        if best is None:
            raise UserError(
                f"no checkpoint with a validation {self.hparams.selection.key!r} in "
                f"{self.checkpointer.checkpoints_dir}; train first, or pass the output_folder of a finished run"
            )
        self.checkpointer.load_checkpoint(best)
        return dict(best.meta)

    def progress(self) -> tuple[int, float]:
        """Return how many whole epochs the checkpoints hold, and how many seconds of training they took."""
        metas = [checkpoint.meta for checkpoint in self.checkpointer.list_checkpoints()]
        last = max((meta for meta in metas if "epoch" in meta), key=lambda meta: meta["epoch"], default={})
        return int(last.get("epoch", 0)), float(last.get("seconds", 0.0))

    @mark_as_saver
    def _save(self, path):
        totals = self._totals()  # of all processes, each of which is here
        if sb.utils.distributed.if_main_process():
            super()._save(path)
            with open(path, "a", encoding="utf-8") as stream:
                yaml.safe_dump({"totals": totals}, stream)

    @mark_as_loader
    def _recover(self, path, end_of_epoch):
        super()._recover(path, end_of_epoch)
        if not end_of_epoch:
            with open(path, encoding="utf-8") as stream:
                totals = yaml.safe_load(stream)["totals"]
            # They are totals of all processes: one process has them, the others only know the names.
            main = sb.utils.distributed.if_main_process()
            self._carried = {name: pair if main else [0.0, 0.0] for name, pair in totals.items()}

    def bare(self, name: str) -> torch.nn.Module:
        """Return a module without the wrapper of parallel training: for attributes, never for its ``forward``."""
        module = self.modules[name]
        # By its type: a classifier that wraps a third-party model may also have an attribute of that name.
        return module.module if isinstance(module, WRAPPERS) else module

    def wavs_of(self, batch: PaddedBatch) -> tuple[Tensor, Tensor]:
        """Return a batch's waveforms [B, N] and relative lengths [B] on the Brain's device."""
        batch = batch.to(self.device)
        return batch.signal.data.float(), batch.signal.lengths


@dataclass(frozen=True)
class ClassifiedBatch:
    """A classifier's ``output`` on a batch.

    Attributes
    ----------
    output : ClassifierOutput
    truth : Tensor [B, C]
        1 for the classes of each clip, and 0.
    shares : Tensor [B, C]
        The same of the clips as they were mixed.
    """

    output: ClassifierOutput
    truth: Tensor
    shares: Tensor


class ClassifierBrain(ResumableBrain):
    """Train a classifier: mixup, random time shift, SpecAugment; cross-entropy with label smoothing.

    Of clips with several labels each it is one binary cross-entropy per class; a mixed clip has each label of its two
    parts by the share of these. Validation then reports the mean average precision, ``mAP``, in place of ``accuracy``.

    Further hyperparameters: ``augmentation`` (:class:`~interpretability.training.augmentation.AugmentationSettings`)
    and ``stages`` (:class:`~interpretability.training.finetuning.Stages`) of a fine-tuning, or None.
    """

    TRAINS = "classifier"

    def learning_rate(self) -> float:
        """See :meth:`ResumableBrain.learning_rate`; in fine-tuning one cycle in each stage."""
        if self.hparams.stages is None:
            return super().learning_rate()
        stage = self.hparams.stages.of(self.epoch, self.hparams.number_of_epochs)
        done = (self.epoch - 1 - stage.before) * self.steps_per_epoch + self.step - 1
        return self.hparams.lr * stage.lr_factor * one_cycle(done / (stage.epochs * self.steps_per_epoch))

    def compute_forward(self, batch, stage):
        """Classify a batch; in training an augmented one."""
        wavs, lengths = self.wavs_of(batch)
        classifier: Classifier = self.bare("classifier")
        frontend = classifier.frontend
        clips = frontend.clips(wavs, lengths).levelled()
        truth = shares = class_truth(classifier, batch).to(self.device)
        settings: AugmentationSettings = self.hparams.augmentation
        if stage == sb.Stage.TRAIN:
            shifted = shift_in_time(clips.wavs, lengths, settings.time_shift)
            mixed = mix_up(shifted, lengths, shares, settings.mixup_alpha)
            clips, shares = frontend.clips(mixed.wavs, mixed.lengths).levelled(), mixed.shares
        if stage == sb.Stage.TRAIN and settings.masks_stripes:
            spectrogram = clips.spectrogram
            spectrogram = replace(spectrogram, magnitude=mask_stripes(spectrogram.magnitude, settings))
            inputs = classifier.inputs(spectrogram)
        else:
            inputs = classifier.sound_inputs(clips)
        ours = self.share(len(clips), stage)
        inputs = [value[ours] if torch.is_tensor(value) else value for value in inputs]
        output = self.network("classifier", stage)(*inputs)
        return ClassifiedBatch(output, truth[ours], shares[ours])

    def compute_objectives(self, predictions, batch, stage):
        """Return the mean cross-entropy.

        Raises
        ------
        UserError
            If training has diverged.
        """
        now: ClassifiedBatch = predictions
        logits = now.output.logits.float()
        if not bool(logits.isfinite().all()):
            raise UserError(f"epoch {self.epoch}: training has diverged (logits are not finite): lower lr")
        smoothing = self.hparams.augmentation.label_smoothing if stage == sb.Stage.TRAIN else 0.0
        task = self.bare("classifier").task
        loss = classification_loss(logits, now.shares, task, smoothing)
        self.count({"loss": loss})
        if task == "single":
            self.count({"accuracy": (now.output.predicted == now.truth.argmax(1)).double()})
        elif stage != sb.Stage.TRAIN:
            answers = probabilities(logits.double(), task).cpu().numpy()
            self._answers |= dict(zip(batch.id, zip(now.truth.bool().cpu().numpy(), answers, strict=True), strict=True))
        return self.weighted(loss.mean())

    def on_stage_start(self, stage, epoch=None):
        """Begin counting; in fine-tuning freeze the encoder, or train it, as the epoch's stage says."""
        super().on_stage_start(stage, epoch)
        self._answers: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # clip -> its classes, and their probabilities
        if stage != sb.Stage.TRAIN or self.hparams.stages is None:
            return
        classifier: Classifier = self.bare("classifier")
        frozen = self.hparams.stages.freezes(epoch)
        if frozen != classifier.encoder_frozen:
            self.modules["classifier"] = classifier.freeze_encoder(frozen)
            self._wrap_distributed()  # anew: the wrapper notes which parameters are trained

    def statistics(self):
        """See :meth:`ResumableBrain.statistics`; of clips with several labels also their ``mAP``."""
        stats = super().statistics()
        if self.bare("classifier").task == "multi":
            answers = _gathered(self._answers)
            if answers:
                truth, answered = map(np.stack, zip(*answers.values(), strict=True))
                mean = mean_average_precision(truth, answered)
                stats["mAP"] = math.nan if mean is None else mean
        return stats


@dataclass
class InterpretedBatch:
    """A batch on its way through the interpreter's training."""

    analysed: AnalysedBatch
    prediction: Any
    masked: MaskedLogits | None


class InterpreterBrain(ResumableBrain):
    """Train any interpreter on the frozen classifier; validation measures it with the whole metric suite.

    What is explained is the predicted class. Of a multi-label classifier a training step explains one of each clip's
    active classes (:meth:`.Classifier.active`), at random, and validation every one of them: a method that had only
    ever explained the most probable class would know of no others.

    Further hyperparameters, or None: ``crop_seconds``, a random stretch of each clip that a training step sees, and
    ``noise`` (:class:`~interpretability.data.noise.NoiseMixer`), which is mixed in. Validation hears the clips as they
    are. With a ``heard_share`` above 0 In and Out are classified as sound, analysed again, in that share of the epochs,
    the last ones, and in all validations, so that these can be compared.
    """

    TRAINS = "interpreter"

    def place(self, stage: sb.Stage) -> str:
        """Return where In and Out are classified now: one of :data:`~interpretability.frontend.PLACES`."""
        share, epochs = self.hparams.heard_share, self.hparams.number_of_epochs
        heard = share > 0 and (stage != sb.Stage.TRAIN or self.epoch > round(epochs * (1 - share)))
        return "waveform" if heard else "spectrogram"

    def compute_forward(self, batch, stage):
        """Analyse, classify, interpret; classify In and Out where the objective or the metrics need it."""
        wavs, lengths = self.wavs_of(batch)
        classifier: Classifier = self.bare("classifier")
        interpreter = self.interpreter
        clean = None
        if stage == sb.Stage.TRAIN:
            if self.hparams.crop_seconds is not None:
                n_samples = round(self.hparams.crop_seconds * classifier.frontend.settings.sample_rate)
                wavs, lengths = crop_in_time(wavs, lengths, n_samples)
            if self.hparams.noise is not None:
                clean = classifier.frontend.clips(wavs, lengths).levelled().wavs
                wavs = self.hparams.noise(clean, lengths)
        ours = self.share(len(wavs), stage)
        analysed = classifier.analyse(wavs[ours], lengths[ours], clean=None if clean is None else clean[ours])
        if classifier.task == "multi":
            analysed = explain_active(classifier, analysed, at_random=stage == sb.Stage.TRAIN)
        prediction = self.network("interpreter", stage)(analysed)
        masked = None
        if interpreter.uses_masked_logits or stage != sb.Stage.TRAIN:
            pair = MaskedPair.of(analysed.clips, prediction.mask, interpreter.settings.apply)
            masked = classifier.classify_pair(pair, self.place(stage))
        return InterpretedBatch(analysed, prediction, masked)

    def compute_objectives(self, predictions, batch, stage):
        """Return the method's loss; count its terms, and every metric in validation."""
        now: InterpretedBatch = predictions
        if not bool(now.prediction.mask.isfinite().all()):
            raise UserError(f"epoch {self.epoch}: training has diverged (the mask is not finite): lower lr")
        terms = self.interpreter.objective(now.analysed, now.prediction, now.masked)
        self.count(terms, n_clips=len(now.analysed))
        if stage != sb.Stage.TRAIN:
            suite = MetricSuite(self.bare("classifier"), self.interpreter.settings.apply)
            place = self.place(stage)
            measured = suite(now.analysed, now.prediction.mask, (place,), masked={place: now.masked})[place]
            # As in evaluation, silence is left out of the means.
            audible = measured["silent"] == 0
            self.count({name: value[audible] for name, value in measured.items() if name != "silent"})
        return self.weighted(terms["loss"])

    @property
    def interpreter(self) -> Interpreter:
        """The interpreter itself."""
        return self.bare("interpreter")


def explain_active(classifier: Classifier, analysed: AnalysedBatch, at_random: bool) -> AnalysedBatch:
    """Return the batch with the active classes of each clip as those that are explained.

    ``at_random`` one of each clip, drawn from torch's generator; otherwise every one, so that a clip may be there more
    than once.
    """
    active = classifier.active(analysed.output.logits)  # [B, C]
    if at_random:
        return replace(analysed, target=torch.multinomial(active.float(), 1)[:, 0])
    clips, classes = active.nonzero(as_tuple=True)
    return replace(analysed[clips], target=classes)


@dataclass(frozen=True)
class FactorisedBatch:
    """The ``factorisation`` of a batch of log magnitudes [B, T, F], of which the frames ``valid`` [B, T] count."""

    factorisation: Factorisation
    log_magnitude: Tensor
    valid: Tensor


class DictionaryBrain(ResumableBrain):
    """Train an :class:`~interpretability.dictionary.AmortisedFactorisation`, the module named ``dictionary``.

    Validation reports ``loss``, ``error`` and ``activity``, as defined by its ``objective``.
    """

    TRAINS = "dictionary"

    def compute_forward(self, batch, stage):
        """Analyse a batch and factorise it."""
        wavs, lengths = self.wavs_of(batch)
        frontend = self.bare("dictionary").frontend
        ours = self.share(len(wavs), stage)
        spectrogram = frontend.clips(wavs[ours], lengths[ours]).levelled().spectrogram
        log_magnitude, valid = spectrogram.log_magnitude, spectrogram.valid
        return FactorisedBatch(self.network("dictionary", stage)(log_magnitude, valid), log_magnitude, valid)

    def compute_objectives(self, predictions, batch, stage):
        """Return the mean loss.

        Raises
        ------
        UserError
            If training has diverged.
        """
        now: FactorisedBatch = predictions
        terms = self.bare("dictionary").objective(now.factorisation, now.log_magnitude, now.valid)
        loss = terms["loss"].mean()
        if not bool(loss.isfinite()):
            raise UserError(f"epoch {self.epoch}: training has diverged (the loss is not finite): lower lr")
        loss = self.weighted(loss)
        self.count(terms)
        if stage == sb.Stage.VALID:
            self.bare("dictionary").mark_in_use((now.factorisation.activations > 0).any(2).any(0))
        return loss

    def on_stage_start(self, stage, epoch=None):
        """Start counting, and note which components are in use."""
        super().on_stage_start(stage, epoch)
        if stage == sb.Stage.VALID:
            self.bare("dictionary").begin_validation()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Keep the validation loss with the weights that had it; then log and save."""
        if stage == sb.Stage.VALID:
            network = self.bare("dictionary")
            for used in processes.gathered(network.in_use.cpu()):
                network.mark_in_use(used.to(network.in_use.device))
            network.end_validation(self.statistics()["loss"])
        super().on_stage_end(stage, stage_loss, epoch)


def _gathered(answers: dict[str, Any]) -> dict[str, Any]:
    """Return what all processes have, by clip, in the order of the clips' ids."""
    everything = {clip: answer for part in processes.gathered(answers) for clip, answer in part.items()}
    return dict(sorted(everything.items()))


def _keep_epochs(log: Path, done: int) -> None:
    """Take the lines of epochs that will be trained again out of a log, and one that was cut off.

    A process killed between an epoch's line and its checkpoint does the epoch once more.
    """
    if not log.is_file():
        return
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    epochs = [re.match(r"epoch: (\d+),.*\n$", line) for line in lines]
    kept = [line for line, epoch in zip(lines, epochs, strict=True) if epoch and int(epoch[1]) <= done]
    if kept != lines:
        write_text(log, "".join(kept))


def classification_loss(logits: Tensor, shares: Tensor, task: str, smoothing: float = 0.0) -> Tensor:
    """Return the loss of each clip, [B] in nats: cross-entropy over classes, or one binary cross-entropy per class.

    Parameters
    ----------
    logits : Tensor [B, C]
    shares : Tensor [B, C]
        Shares of the classes, in [0, 1].
    task : {"single", "multi"}
    smoothing : float
        Label smoothing: that much of the shares is spread evenly (``multi``: drawn towards one half).
    """
    if task == "single":
        return functional.cross_entropy(logits, shares, label_smoothing=smoothing, reduction="none")
    shares = shares * (1 - smoothing) + smoothing / 2
    return functional.binary_cross_entropy_with_logits(logits, shares, reduction="none").mean(dim=1)
