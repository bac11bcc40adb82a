"""The job behind ``evaluate.py``."""

from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from interpretability.cases import clips_about
from interpretability.classifiers import Classifier
from interpretability.classifiers.second import asked_alike, open_second
from interpretability.classifiers.targeted import targeted
from interpretability.data.inputs import Origin, Sounds
from interpretability.data.manifest import PreparedData, labels_of
from interpretability.errors import UserError, placed, shown
from interpretability.evaluation import evaluate
from interpretability.explaining import learns_from_sounds, untrained_method
from interpretability.files import atomic_folder, check_replaceable, expanded
from interpretability.frontend import PLACES
from interpretability.matched import ANOTHER_LABEL
from interpretability.methods import Interpreter, load_interpreter
from interpretability.methods.baselines import baselines, matched_baselines
from interpretability.methods.folder import RUN_SUBFOLDER
from interpretability.methods.refined import refined
from interpretability.names import name_fault, named, safe_name
from interpretability.report.tables import short_table
from interpretability.training.assembly import describe_data, device_of, load_datasets, prepare, shows_progress
from interpretability.training.jobs.interpreter import (
    assemble,
    load_explained_classifier,
    make_interpreter_brain,
    save_best,
    save_in_run,
    saved_training,
)
from interpretability.training.leakage import UNKNOWN, SeenClips, refuse_seen_clips, without_seen
from interpretability.training.predictions import has_predictions, predict_splits, save_predictions
from interpretability.training.recipe import Run, RunSettings
from interpretability.training.record import ALWAYS, SELECTION, keep_record, origin, values_of
from interpretability.training.workspace import EXAMPLES, REPORT
from interpretability.weights import fingerprint


def evaluate_interpreter(run: Run) -> None:
    """Reload the best checkpoint of a run and measure it, with the baselines, on the test split, or another one.

    A method that is not trained has neither run nor checkpoint: it is measured with the settings of the YAML.
    """
    prepared = prepare(run)
    classifier = load_explained_classifier(run, prepared)
    assembled = assemble(run, prepared, classifier)
    interpreter, record = assembled.interpreter, assembled.record
    target = run.hparams.get("target")
    asked = targeted(classifier, target)
    name = None if target is None else asked.labels[asked.target_index(target) if asked is classifier else asked.target]
    interpreter.asked(asked)  # which it may refuse: nothing is written then
    split = run.hparams.get("split", RunSettings.split)
    parts = [*([] if split == RunSettings.split else ["split", split]), *([] if name is None else [safe_name(name)])]
    # Beside that of the test clips' classes, which it leaves as it is.
    run = replace(run, archive_folder=run.archive_folder.joinpath(*parts))
    brain = make_interpreter_brain(run, interpreter) if run.trainable else None
    guarded_settings = (*ALWAYS, *SELECTION) if run.trainable else ALWAYS
    folder = run.output_folder / RUN_SUBFOLDER
    examples = (run.archive_folder if parts else run.output_folder) / EXAMPLES
    keep_record(
        run.output_folder,
        {**record, **values_of(run, *guarded_settings)},
        binds=run.trainable or folder.exists(),
        must_exist=run.trainable,
    )
    run.archive()
    for part in (run.output_folder / REPORT, *([examples] if run["n_examples"] else [])):
        check_replaceable(part)
    if brain is None:
        made_by = origin(run, assembled.dictionary_training)
        training = saved_training(run) or {"data": prepared.description, **made_by}
    else:
        # Of an unfinished run: what it started from is not at hand.
        before = UNKNOWN if run.hparams.get("finetune_from") or run.given_dictionary is not None else SeenClips()
        learned = assembled.dictionary_training
        training = save_best(brain, run, prepared.description, learned, lambda: SeenClips.of_data(prepared) | before)
    second = _second(run, prepared, interpreter)
    second = second if second is None else asked_alike(second, asked)
    measured = refined(interpreter, run.hparams.get("refine_steps", RunSettings.refine_steps))
    methods = {interpreter.NAME: interpreter}
    if measured is not interpreter:
        methods = {f"{interpreter.NAME}, refined": measured, **methods}
    rows, companions = baselines(asked, run["seed"], interpreter.settings.apply), matched_baselines(run["seed"])
    known, names = {*rows, *companions}, run.hparams.get("compare_with") or ()
    others = compared_methods(interpreter, names, known, {*methods, ANOTHER_LABEL}, run.trusts)
    beside = [name for name in names if name in known] + list(others)
    rows, companions = (_chosen(run.hparams.get("baselines"), beside, known, some) for some in (rows, companions))
    methods, others = ({row: each.asked(asked) for row, each in rows.items()} for rows in (methods, others))
    datasets = load_datasets(run, prepared, classifier, (split,), with_targets=prepared.has_targets(split))
    if name is not None:
        answers = (name,) if asked.question is None else asked.question.answers
        datasets[split] = clips_about(datasets[split], answers)
    if run.options.debug:
        n_clips = run.options.debug_batches * run["batch_size"]
        datasets[split] = datasets[split].filtered_sorted(select_n=n_clips)
    provenance = {
        **origin(run),
        **{name: record[name] for name in ("classifier", "method", "settings")},
        "data": describe_data(prepared, datasets),
        **({} if split == RunSettings.split else {"split": split}),
        "suite": "clean",
        "apply": interpreter.settings.apply,
        "training": without_seen(training),
        **({"hub": interpreter.hub} if interpreter.hub else {}),
        **({} if second is None else {"transfer_to": second.description.get("sha256") or fingerprint(second)}),
        **({} if name is None else {"target": name if asked.question is None else asked.question.identity()}),
    }
    result = evaluate(
        asked,
        {**methods, **others, **rows},
        datasets[split],
        run.archive_folder,
        provenance,
        batch_size=run["batch_size"],
        places=tuple(run.hparams.get("places") or PLACES),
        device=device_of(run),
        progress=shows_progress(run),
        companions=companions,
        explain=run.hparams.get("explain"),
        batch_seconds=run.hparams.get("batch_seconds"),
        report_clips=run.hparams.get("report_clips", RunSettings.report_clips),
        beside=beside,
        compared=[*list(methods)[1:], *others],
        transfer_to=second,
        target=name,
    )
    if result is None:
        return
    digest = classifier.description["sha256"]
    if not parts and not has_predictions(run, prepared, digest, ("test",)):
        save_predictions(run, prepared, classifier, digest, predict_splits(run, prepared, classifier, datasets))
    if brain is None:
        # Not before it was measured: a method that cannot be does not keep the folder from another one.
        save_in_run(interpreter, run, training)
    print(f"\n{short_table(result.summary)}\nAll metrics and rows, with intervals: {result.folder / 'table.md'}")
    if result.page is not None:
        print(f"The same as a page, with clips to look at and to hear: {result.page}")
    if run["n_examples"]:
        format = run.hparams.get("figure_format", RunSettings.figure_format)
        _save_examples(measured, datasets[split], examples, run["n_examples"], format, target)


def _second(run: Run, prepared: PreparedData, interpreter: Interpreter) -> Classifier | None:
    """Return the classifier that hears the same masks, if the YAML names one.

    Neither it nor a further classifier that the masks are made for may have heard the test clips.
    """
    for further in interpreter.classifiers[1:]:
        refuse_seen_clips(further.description.get("training") or {}, prepared, "a further classifier (also)")
    source = run.hparams.get("transfer_to")
    if source is None:
        return None
    second = open_second(source, interpreter.classifier, trust_remote_code=run.trusts)
    its, explained, *also = map(fingerprint, (second, *interpreter.classifiers))
    if its == explained:
        raise UserError(f"transfer_to is {source}, the explained classifier itself: name one that was trained apart")
    if its in also:
        raise UserError(
            f"transfer_to is {source}, which the masks are made for (also): name one that was trained apart"
        )
    refuse_seen_clips(second.description.get("training") or {}, prepared, f"the classifier in {source}")
    return second


def _chosen(names: Sequence[str] | None, beside: Sequence[str], known: Collection[str], rows: dict) -> dict:
    """Return the rows of these names, and those that stand beside the method; all without names.

    Raises
    ------
    UserError
        For a name that is none of those known.
    """
    unknown = [name for name in names or () if name not in known]
    if unknown:
        raise UserError(f"baselines: there is no {', '.join(unknown)}, expected among {', '.join(sorted(known))}")
    return {name: row for name, row in rows.items() if names is None or name in names or name in beside}


def compared_methods(
    interpreter: Interpreter,
    names: Sequence[str],
    baselines: Collection[str],
    rows: Collection[str],
    trust_remote_code: bool = False,
) -> dict[str, Interpreter]:
    """Return the methods that one is compared with, by the name of their row.

    Parameters
    ----------
    interpreter : Interpreter
        The method that is evaluated.
    names : sequence of str
        Names of baselines, which are left out, of methods that need no training, or output folders of runs.
        ``NAME=RUN`` gives the row of a run, or of a method, a name of its own.
    baselines : collection of str
        Names of all baselines.
    rows : collection of str
        Further names that rows have anyway.
    trust_remote_code : bool
        As of :func:`.load_interpreter`.

    Raises
    ------
    UserError
        For a method that there is not or that has to be trained, a run on another classifier, or two rows of one name.
    """
    methods: dict[str, Interpreter] = {}
    for name in names:
        if name in baselines:
            continue
        given, source = named(name)
        if given and (fault := name_fault(given)):
            raise UserError(f"compare_with: the name in {shown(name)} {fault}")
        if (folder := expanded(source)).is_dir():
            other = load_interpreter(folder, trust_remote_code)
            if other.identity()["classifier_sha256"] != interpreter.identity()["classifier_sha256"]:
                raise UserError(
                    f"compare_with: {source} explains another classifier: give a run that explains this one"
                )
            row = given or other.NAME
        else:
            with placed("compare_with", f"; or a folder of a run, or one of {', '.join(sorted(baselines))}"):
                if learns_from_sounds(source, {}):
                    raise UserError(f"{source} has to learn a dictionary first: name a run of train_nmf.py")
                row, other = given or source, untrained_method(interpreter.classifier, source, {})
        if row in methods or row in rows or row in baselines:
            raise UserError(f"compare_with: {name} gives a second row {row}: give each its own name, NAME={source}")
        methods[row] = other
    return methods


@torch.no_grad()
def _save_examples(
    interpreter: Interpreter,
    dataset: DynamicItemDataset,
    folder: Path,
    n_examples: int,
    format: str = "png",
    target: str | None = None,
) -> None:
    """Save explanations of clips spread over the split, of one target if given: wavs, figure, description."""
    count = min(n_examples, len(dataset))
    with atomic_folder(folder) as temporary:  # all or nothing: a partial folder would look complete
        for position in [round(k * (len(dataset) - 1) / max(count - 1, 1)) for k in range(count)]:
            item = dataset[position]
            sound = Sounds(item["signal"][None], None, (Origin(label=item["id"]),))
            place, true = temporary / safe_name(item["id"]), ", ".join(labels_of(item)) or "no label"
            if target is not None or "label" in item:
                interpreter.explain(sound, target=target).save(place, true_label=true, format=format)
                continue
            place.mkdir()
            explanation = interpreter.explain(sound, every_label=True)
            for index, label in enumerate(explanation.target.tolist()):
                explanation.save(place / safe_name(explanation.labels[label]), index, true, format=format)
    each = "" if target is not None or "label" in item else ", of each class that is heard"
    print(f"{count} examples{each} (input, explanation and residual as wav, figure) in {folder}")
