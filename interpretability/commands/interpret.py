"""What ``tools/interpret.py`` does: explain sounds, by a trained method or with no training at all."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from interpretability.classifiers.check import check_classifier
from interpretability.command_line import check_device
from interpretability.commands.explainers import make_explainers
from interpretability.commands.many_sounds import explain_many, refuse_faults, words_of_many
from interpretability.commands.models import Model, Named, list_methods, named_model, open_model
from interpretability.commands.one_sound import explain_sound, words, write_explanation
from interpretability.commands.output import Output, output
from interpretability.commands.recording import explain_long, is_recording, request_of_recording, words_of_recording
from interpretability.commands.results_folder import Shown, names_of_all, write_page
from interpretability.commands.work import Choice, Sound, Windows, Work, asked_of, listed_sound
from interpretability.data.sound_list import ListedSound, is_one_sound, list_sounds
from interpretability.errors import UserError, placed
from interpretability.files import LISTING, expanded, sha256
from interpretability.names import printable
from interpretability.report.destination import DESCRIPTION, check_destination
from interpretability.report.explained import REPORT, row_of
from interpretability.report.formats import FigureSettings, check_format
from interpretability.report.tables import methods_table
from interpretability.training.run_data import read_run_data
from interpretability.training.usage import settings_text
from interpretability.training.workspace import MANIFESTS


def interpret(arguments: argparse.Namespace) -> None:
    """Explain the sounds and say where the results are.

    Raises
    ------
    UserError
        For a model or a sound that cannot be used, an unknown class, method or setting, or a sound of less than
        0.1 s. Of several sounds those that can be explained are, first.
    """
    if arguments.list_settings is not None:
        if arguments.paths:
            raise UserError(f"--list_settings takes one name, and got {str(arguments.paths[0])!r}, too: leave it out")
        print(settings_text(arguments.list_settings))
        return
    check_device(arguments.device)
    named = named_model(arguments)
    if arguments.list_classes or arguments.list_methods:
        _refuse_paths(named.paths, "--list_classes" if arguments.list_classes else "--list_methods")
        print(_listing(open_model(named.source, arguments), arguments))
        return
    if arguments.clip is None and not named.paths:
        raise UserError("no sound: name files, folders or tables behind the model, or --clip ID of the data of a run")
    if arguments.out is None:
        raise UserError("no --out: name the folder for the results")
    model = open_model(named.source, arguments)
    model, choice = asked_of(model, Choice(arguments.target, arguments.top_k, arguments.every_label))
    explainers = make_explainers(model, arguments)
    with output(arguments.json) as to:
        windows = Windows(arguments.window, arguments.hop, arguments.threshold)
        results = {"out": arguments.out, "report": arguments.report, "format": check_format(arguments.format)}
        results["figures"] = FigureSettings.make("figures", {"scale": arguments.scale, "column": arguments.column})
        work = Work(model, explainers, choice, channel=arguments.channel, windows=windows, **results)
        if _is_one(named, arguments):
            _explain_one(work, named, arguments, to)
            return
        _refuse_data_folder(arguments)
        listing = list_sounds(named.paths, arguments.out, [*names_of_all(work), LISTING])
        done = explain_many(work, listing, to)
        if done.explained:
            to.say(words_of_many(done, work))
        refuse_faults(done, work.out)


def _listing(model: Model, arguments: argparse.Namespace) -> str:
    if arguments.list_classes:
        return "\n".join(f"{index}\t{label}" for index, label in enumerate(model.classifier.labels))
    return list_methods(model, check_classifier(model.classifier))


def _is_one(named: Named, arguments: argparse.Namespace) -> bool:
    """Return whether one sound is named, by its file or as a clip of a run, whose results go into ``--out`` itself."""
    if arguments.clip is not None and named.paths:
        raise UserError(f"got {_counted(named.paths)} and --clip: name a sound, or a clip of the run's own data")
    return arguments.clip is not None or is_one_sound(named.paths)


def _explain_one(work: Work, named: Named, arguments: argparse.Namespace, to: Output) -> None:
    """Explain one sound, and say what its explanations say and where they are."""
    sound, several = _sound(work, named, arguments), work.choice.several
    folders = [work.folder("", explainer) for explainer in work.explainers]
    if (several or len(folders) > 1) and (work.out / DESCRIPTION).exists():
        raise UserError(f"{work.out} holds one explanation, these are several: name another folder")
    for folder in folders if not several else ():
        check_destination(folder, [sound.path])
    if is_recording(work, sound):
        _explain_recording(work, sound, folders, to)
        return
    taken = sound.read()
    rows, shown = [], []
    for explainer, folder in zip(work.explainers, folders, strict=True):
        explained = explain_sound(sound, taken, explainer, work.choice, folder)
        if explained.learned:
            n_components = explained.interpreter.settings.dictionary["n_components"]
            to.say(f"no dictionary given: {n_components} components were learned from the sound itself")
        if not rows and sound.split is not None:
            to.say(f"The clip {printable(sound.name)} of the {sound.split} split, which is {printable(sound.label)}:")
        request = work.request(sound, explainer)
        for result in write_explanation(explained, folder, request, work.model, sound.label):
            head = [explainer.name] if len(folders) > 1 else []
            head += [printable(result.description["explained"])] if several else []
            if head:
                to.say(f"{', '.join(head)}:")
            to.say(words(result, work.model.classifier.task, with_table=not head) + "\n" * bool(head))
            rows.append(row_of(result.description, sound.path, result.folder))
            shown.append(Shown(rows[-1], "", sound.path, result.folder))
            to.emit(rows[-1])
    if several or len(folders) > 1:
        to.say(methods_table(rows))
    _write_page(work, shown, to)
    heard = int(work.model.classifier.heard(explained.explanation.output.logits)[0].sum())
    if work.model.classifier.task == "multi" and work.choice == Choice() and heard > 1:
        to.say(
            f"explained is the most probable of the {heard} classes that are heard; another one: --target NAME; each "
            "of them: --every_label"
        )


def _explain_recording(work: Work, sound: Sound, folders: Sequence[Path], to: Output) -> None:
    """Explain one sound window by window, and say what was heard and where it is."""
    shown = []
    for explainer, folder in zip(work.explainers, folders, strict=True):
        request = request_of_recording(work, sound, explainer)
        for result in explain_long(work, sound, explainer, folder, request):
            head = [explainer.name] if len(folders) > 1 else []
            head += [printable(result.description["explained"])] if work.choice.several else []
            if head:
                to.say(f"{', '.join(head)}:")
            to.say(words_of_recording(result) + "\n" * bool(head))
            shown.append(Shown(row_of(result.description, sound.path, result.folder), "", sound.path, result.folder))
            to.emit(shown[-1].row)
    _write_page(work, shown, to)


def _write_page(work: Work, shown: Sequence[Shown], to: Output) -> None:
    """Write the page of one sound, if it is asked for, and say where it is."""
    if work.report:
        write_page(work, shown)
        to.say(f"the page of it: {printable(str(work.out / REPORT))}")


def _sound(work: Work, named: Named, arguments: argparse.Namespace) -> Sound:
    """Return the sound that is named: a file, or a clip of the run's own data."""
    classifier, clip_id = work.model.classifier, arguments.clip
    if clip_id is None:
        (path,) = named.paths
        # A name that is no file may be that of a clip.
        if path.exists() or path.name != str(path) or not (expanded(named.source) / MANIFESTS).is_dir():
            _refuse_data_folder(arguments)
            return listed_sound(ListedSound(path, ""), classifier, arguments.channel)
        clip_id = str(path)
    if arguments.channel != "mean":
        raise UserError(f"--channel is {arguments.channel!r}, but a clip of a run is heard as the run heard it")
    data = read_run_data(named.source, arguments.data_folder, arguments.trust_remote_code)
    with placed("" if arguments.clip is not None else f"{clip_id}: no such file"):
        clip = data.clip(clip_id, classifier)
    content = {"clip": clip_id, "sha256": sha256(clip.path)}
    return Sound(clip_id, clip.path, lambda: clip.sounds, content, clip.label, clip.split)


def _refuse_data_folder(arguments: argparse.Namespace) -> None:
    if arguments.data_folder is not None:
        raise UserError("--data_folder goes with a clip of a run")


def _refuse_paths(paths: Sequence[Path], option: str) -> None:
    if paths:
        raise UserError(f"got {_counted(paths)} with {option}, expected the model alone: leave out {paths[0]}")


def _counted(paths: Sequence[Path]) -> str:
    return f"{len(paths)} sound{'s' * (len(paths) != 1)}"
