"""One call from a model and a recording of any length to a folder: what is heard when, and what speaks for a class.

The recording is read in blocks, three times: windows are classified, then those in which the class is active are
explained, then their explanations are stitched and written. Memory goes by the length of a window, not by that of the
recording. What is known of windows is kept beside the folder as it comes, and an interrupted run goes on from there.
"""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpretability.classifiers import Classifier
from interpretability.classifiers.base import Target
from interpretability.classifiers.targeted import targeted
from interpretability.data.inputs import Sounds
from interpretability.data.streaming import SoundStream
from interpretability.errors import UserError, shown
from interpretability.events import EventSettings
from interpretability.explaining import interpreter_for, open_model
from interpretability.files import claim, expanded, place_errors, remove_claimed, remove_leftovers, sha256
from interpretability.journal import Journal
from interpretability.methods import Interpreter
from interpretability.names import safe_name
from interpretability.recordings.merging import merged
from interpretability.recordings.passes import classify_windows, examples, explain_windows
from interpretability.recordings.result import Explained, RecordingExplanation
from interpretability.recordings.saving import save
from interpretability.recordings.store import EXPLAINED, KNOWN, MASKS, WINDOWS, Masks, identity_of, link_or_copy
from interpretability.recordings.timeline import Timeline
from interpretability.recordings.windows import DEFAULT_SECONDS, WindowPlan
from interpretability.report.destination import CLASSES, check_destination
from interpretability.weights import fingerprint

#: Raised whenever the same recording and settings would give other results.
FORMAT = 1
#: Behind the name of a folder: that of what is known of its windows before it is finished.
UNFINISHED = ".unfinished"


def explain_recording(
    model: Interpreter | Classifier | str | Path,
    path: str | Path,
    folder: str | Path,
    target: Target | None = None,
    method: str | None = None,
    settings: Mapping[str, Any] | None = None,
    window: float | None = None,
    hop: float | None = None,
    threshold: float | None = None,
    channel: str = "mean",
    trust_remote_code: bool = False,
    progress: bool = False,
) -> RecordingExplanation:
    """Find when a classifier hears a class in a recording of any length, and explain it there.

    The recording is cut into windows that overlap, each of which is a clip of its own: at its own level, by the rule
    of the front end. Windows in which the class is active are explained; the explanations are stitched.

    Parameters
    ----------
    model : Interpreter, Classifier, str or Path
        As of :func:`~interpretability.explain`.
    path : str or Path
        The recording: any audio file, of at least 0.1 s.
    folder : str or Path
        Gets the results, see :func:`.saving.save`; written whole. While the work goes on, ``FOLDER.unfinished`` holds
        what is known: called again, only what is missing is done.
    target : int or str, optional
        Class to explain: index or name; or a set or a contrast of classes, as of :func:`~interpretability.explain`. By
        default the class with the highest mean probability over all windows.
    method, settings
        Of a classifier: see :func:`~interpretability.explain`.
    window : float, optional
        Length of a window, in s, 0.1 to 60; by default that of the clips that the model was trained on, or 5 s.
    hop : float, optional
        From one window to the next, in s: half a window by default.
    threshold : float, optional
        Probability, in [0, 1], from which on the class is active in a window. By default the classifier's own
        threshold for the class; 0.5 where it has none.
    channel : {"mean", "left", "right"}
        What is heard of several channels.
    trust_remote_code : bool
        See :func:`~interpretability.explain`.
    progress : bool
        Whether to show progress bars.

    Returns
    -------
    RecordingExplanation

    Raises
    ------
    UserError
        For a model, a recording, a class or a setting that cannot be used, or a folder that holds anything else. A
        window that cannot be explained raises nothing: the result says so.

    Examples
    --------
    ``explain_recording("results/piq/1234", "night.flac", "results/night", target="dog").sentences()``
    """
    model = open_model(model, method, settings, trust_remote_code)
    asked = model.classifier if isinstance(model, Interpreter) else model
    classifier = targeted(asked, target)
    if classifier is not asked:
        target = classifier.target
    trained = model.asked(classifier) if isinstance(model, Interpreter) else None

    def make(sounds: Sounds) -> Interpreter:
        return trained or interpreter_for(classifier, sounds, method, settings)

    seconds = clip_seconds(model) if window is None else window
    request = RecordingRequest(expanded(path).absolute(), target, seconds, hop, threshold, channel)
    return explain_request(request, classifier, make, folder, progress)


def clip_seconds(model: Interpreter | Classifier) -> float:
    """Return the length of the clips that a model was trained on, in s; 5 s if it does not say that."""
    classifier = model.classifier if isinstance(model, Interpreter) else model
    for known in (model, classifier):
        seconds = (known.description.get("training") or {}).get("clip_seconds")
        if isinstance(seconds, (int, float)) and seconds > 0:
            return float(seconds)
    fixed = getattr(classifier.settings, "input_length", None)
    return fixed / classifier.frontend.settings.sample_rate if fixed else DEFAULT_SECONDS


@dataclass(frozen=True)
class RecordingRequest:
    """What is asked of a recording; the parameters of :func:`explain_recording`.

    Attributes
    ----------
    path : Path
    target : int or str, optional
    window : float
    hop : float, optional
    threshold : float, optional
    channel : str
    events : EventSettings
    format : {"png", "svg", "pdf"}
        Of the figure.
    """

    path: Path
    target: Target | None = None
    window: float = DEFAULT_SECONDS
    hop: float | None = None
    threshold: float | None = None
    channel: str = "mean"
    events: EventSettings = EventSettings()
    format: str = "png"


def explain_request(
    request: RecordingRequest,
    classifier: Classifier,
    make: Callable[[Sounds], Interpreter],
    folder: str | Path,
    progress: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> RecordingExplanation:
    """Do what :func:`explain_recording` says, with a classifier, and a method that ``make`` returns for given sounds.

    ``facts`` are added to the description that is written.
    """
    run, folder = _Run.of(request, classifier, make, progress), expanded(folder)
    target = None if request.target is None else classifier.target_index(request.target)
    check_destination(folder, [request.path])
    with _working_folder(folder) as work:
        heard = run.classify(work)
        target = heard.timeline.overall() if target is None else target
        return run.explain(work, folder, heard, target, facts or {})


def explain_classes(
    request: RecordingRequest,
    classifier: Classifier,
    make: Callable[[Sounds], Interpreter],
    folder: str | Path,
    choose: Callable[[Timeline], Sequence[int]],
    progress: bool = False,
    facts: Mapping[str, Any] | None = None,
) -> list[RecordingExplanation]:
    """Do what :func:`explain_request` does for several classes, each in a folder of its name: classified once.

    ``choose`` returns the classes, at least one, from what is heard.
    """
    run, folder = _Run.of(request, classifier, make, progress), expanded(folder)
    results = []
    with _working_folder(folder, [path for path in sorted(folder.glob("*")) if path.is_dir()]) as work:
        heard = run.classify(work)
        targets = choose(heard.timeline)
        facts = {**(facts or {}), CLASSES: [classifier.labels[target] for target in targets]}
        for target in targets:
            place = folder / safe_name(classifier.labels[target])
            check_destination(place, [request.path])
            with _working_folder(place) as of_class:
                if not (of_class / WINDOWS).exists():
                    link_or_copy(work / WINDOWS, of_class / WINDOWS)
                results.append(run.explain(of_class, place, heard, target, facts))
    return results


@dataclass(frozen=True)
class _Heard:
    """What is heard in all windows, notes on it, and how long it took, in s."""

    timeline: Timeline
    notes: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class _Run:
    """A request, and what it is done with; ``known`` identifies the recording and how it is heard."""

    request: RecordingRequest
    classifier: Classifier
    make: Callable[[Sounds], Interpreter]
    stream: SoundStream
    plan: WindowPlan
    known: dict[str, Any]
    progress: bool

    @classmethod
    def of(
        cls,
        request: RecordingRequest,
        classifier: Classifier,
        make: Callable[[Sounds], Interpreter],
        progress: bool,
    ) -> _Run:
        """Check what can be checked before anything is done."""
        if classifier.question is not None and classifier.question.span is not None:
            raise UserError(
                f"target is {shown(classifier.question.label)}, a range of one sound, and a recording is heard in "
                "windows: cut the part that matters, or leave the range out"
            )
        if request.threshold is not None and not 0 <= request.threshold <= 1:
            raise UserError(f"threshold is {request.threshold:g}, expected a probability from 0 to 1")
        if request.target is not None:
            classifier.target_index(request.target)
        frontend = classifier.frontend.settings
        stream = SoundStream(request.path, frontend.sample_rate, frontend.resampling, request.channel)
        plan = WindowPlan.of(frontend, request.window, request.hop)
        known = {
            "format": FORMAT,
            "sound": sha256(request.path),
            "classifier": fingerprint(classifier),
            "frontend": frontend.to_dict(),
            "channel": request.channel,
            "window": [plan.length, plan.hop],
        }
        return cls(request, classifier, make, stream, plan, known, progress)

    def classify(self, work: Path) -> _Heard:
        """Classify all windows, as far as that was not done."""
        journal, start = Journal(work / WINDOWS, identity_of(self.known)), time.perf_counter()
        timeline, notes = classify_windows(self.classifier, self.stream, self.plan, journal, self.progress)
        return _Heard(timeline, notes, time.perf_counter() - start)

    def explain(
        self, work: Path, folder: Path, heard: _Heard, target: int, facts: Mapping[str, Any]
    ) -> RecordingExplanation:
        """Explain a class where it is active, and write what is known of it into a folder."""
        request, classifier, timeline, known = self.request, self.classifier, heard.timeline, dict(self.known)
        took = {"classifying": heard.seconds}
        threshold = float(classifier.thresholds[target]) if request.threshold is None else request.threshold
        active = [
            window.span for window in timeline.windows if window.peak > 0 and window.probabilities[target] >= threshold
        ]
        windows: list[Explained] = []
        interpreter = masks = None
        if any(window.peak > 0 for window in timeline.windows):
            interpreter = self.make(examples(self.stream, self.plan, timeline, classifier))
            settings = {"method": interpreter.recorded_settings(), "events": request.events.to_dict()}
            known |= {"model": interpreter.identity(), "state": fingerprint(interpreter), **settings, "target": target}
            masks = Masks(work / MASKS, identity_of(known))
            journal = Journal(work / EXPLAINED, identity_of(known))
            start = time.perf_counter()
            windows = explain_windows(
                interpreter, self.stream, self.plan, active, target, request.events, journal, masks, self.progress
            )
            took["explaining"] = time.perf_counter() - start
        result = RecordingExplanation(
            path=request.path,
            folder=folder,
            classifier=classifier,
            interpreter=interpreter,
            timeline=timeline,
            target=target,
            threshold=threshold,
            windows=windows,
            events=merged([event for window in windows for event in window.events], timeline.seconds),
            notes=heard.notes,
            sound_sha256=known["sound"],
            took=took,
        )
        whole = identity_of(known | {"threshold": threshold, "format": request.format, "facts": facts})
        save(result, self.stream, work, masks, whole, facts, self.progress, request.format)
        return result


@contextlib.contextmanager
def _working_folder(folder: Path, classes: Sequence[Path] = ()) -> Iterator[Path]:
    """Yield the folder of what is known of windows; it goes when the block ends well, or knows nothing.

    What an earlier result in ``folder`` knows is put there first; where it has a folder for each of several
    ``classes``, what is heard according to the first of them.
    """
    work = folder.with_name(f"{folder.name}{UNFINISHED}")
    with place_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    remove_leftovers(work)
    claim(work, KNOWN)
    for name in (WINDOWS, EXPLAINED):
        if (folder / name).is_file() and not (work / name).exists():
            shutil.copyfile(folder / name, work / name)
    known = [path / WINDOWS for path in classes if (path / WINDOWS).is_file()]
    if known and not (work / WINDOWS).exists():
        shutil.copyfile(known[0], work / WINDOWS)
    if (folder / MASKS).is_dir() and not (work / MASKS).exists():
        # Files of masks are replaced, never changed: links to them take no time and no room.
        shutil.copytree(folder / MASKS, work / MASKS, copy_function=link_or_copy)
    try:
        yield work
    except BaseException:
        if not any((work / name).exists() for name in KNOWN):  # nothing to go on from
            _remove(work)
        raise
    _remove(work)


def _remove(work: Path) -> None:
    remove_claimed(work)
    work.rmdir()
