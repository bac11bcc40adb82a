"""The commands' options and help. What a command does is imported once its command line is understood.

Each function here takes a command line (``sys.argv[1:]`` by default) and returns the exit status. The scripts in
``tools/`` and the commands of the installed package call it.
"""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Sequence
from pathlib import Path

from interpretability.command_line import command


def interpret(argv: Sequence[str] | None = None) -> int:
    """Explain sounds, by a trained method or with no training at all.

        interpret MODEL SOUND --out DIR [--target CLASS | --top_k N | --every_label]
        interpret MODEL FILE_FOLDER_OR_TABLE … --out DIR [--method NAME[,NAME…]] [--json]
        interpret MODEL RECORDING --out DIR --target CLASS [--threshold P] [--window SECONDS]
        interpret MODEL --clip ID --out DIR
        interpret MODEL --list_methods | --list_classes
        interpret --list_settings METHOD

    MODEL is the output folder of a finished run, of a method or of a classifier; a saved folder of one; ``user/name``
    on the Hugging Face hub; or another source of a classifier: ``hf:FOLDER``, ``speechbrain:FOLDER``,
    ``torch:package.module:Class``, ``python:package.module:function``, ``onnx:FILE``, ``tflite:FILE``, ``jit:FILE``. A
    classifier is explained by methods that need no training. NAME is one of these, that of MODEL's own trained
    method, or a run that explains the same classifier; ``--settings KEY=VALUE`` are those of all methods that
    need no training, ``NAME.KEY=VALUE`` of one.

    CLASS is a name or an index; ``"a|b"``, a set of classes, by the sum of their probabilities; ``"a - b"``, a
    contrast: what speaks for a and not for b; ``"a@1.2-1.8"``, one of these in a range of time, of a model with scores
    for frames; or ``like:FILE``, the likeness to another sound, of a model that gives embeddings. A name is always that
    class, whatever characters it holds.

    A sound can be of any rate, mono or not, from 0.1 s. ID is the id of a clip of the run's own data, which
    are where the run had them, or in ``--data_folder``; it may also stand in place of SOUND. DIR gets the sound as the
    classifier hears it, the explanation and the residual as wav, the mask as numbers (mask.npz), a figure, and a
    description with all settings and every metric as JSON; and for methods that explain by components (L2I, NMF) also
    the components, drawn and as sounds.

    A RECORDING of more than 60 s, or any sound with ``--window`` or ``--threshold``, is heard in windows that overlap:
    DIR gets what is heard when (timeline.csv, timeline.png), what speaks for one class where its probability is at
    least P (explanation.wav, on the time axis of the recording), and the events in it, each with a short sound. What
    was interrupted goes on when the same command is run again.

    Of many sounds each has a folder of its own in DIR, where its file lies in the folder that was named; in that each
    of several methods, and in that each of several classes (``--top_k``, ``--every_label``). A table lists ``path``,
    and if needed ``start`` and ``end`` in seconds, as CSV, TSV or JSON lines. What cannot be explained is reported,
    and the rest is done: the exit status is then 2. What is finished is not done again. Of all sounds together DIR
    gets ``summary.csv``, the events (events.csv, events.json, for Raven events.selections.txt, for Audacity
    events.labels.txt) and, with ``--report``, a page to look at and to hear. ``--json`` prints one line of JSON per
    explanation, and nothing else, for pipes.
    """
    parser = _parser(interpret, usage=argparse.SUPPRESS)
    parser.add_argument(
        "paths",
        type=Path,
        nargs="*",
        help="MODEL, and audio files (m4a, webm, … with ffmpeg), folders, or tables of them",
    )
    parser.add_argument("--clip", metavar="ID", help="a clip of the run's own data, in place of SOUND")
    parser.add_argument("--data_folder", type=Path, help="where these data are now, if they were moved")
    parser.add_argument("--classifier", metavar="MODEL", help="the older way to name a classifier, in place of MODEL")
    parser.add_argument("--method", metavar="NAME[,NAME…]", help="one or several; --list_methods names the default")
    parser.add_argument(
        "--settings", nargs="+", default=[], metavar="KEY=VALUE", help="of the methods; NAME.KEY=VALUE of one of them"
    )
    parser.add_argument(
        "--refine_steps", type=int, default=0, metavar="N", help="steps that refine each mask, by the model's answers"
    )
    parser.add_argument(
        "--classifier_settings",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="of the source (--list_settings source)",
    )
    parser.add_argument("--list_methods", action="store_true", help="list what can be done with MODEL")
    parser.add_argument("--list_classes", action="store_true", help="list the classes, with their indices")
    parser.add_argument("--list_settings", metavar="METHOD", help="list what a method or classifier can be set to")
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument("--channel", default="mean", help="of several: mean (the default), left or right")
    parser.add_argument(
        "--target",
        metavar="CLASS",
        help="what to explain: a class (name or index), a set 'a|b', a contrast 'a - b', a range 'a@1.2-1.8', "
        "or like:FILE; the most probable class by default",
    )
    parser.add_argument(
        "--top_k", type=int, default=1, metavar="N", help="explain the N most probable classes, each in a folder"
    )
    parser.add_argument(
        "--every_label", action="store_true", help="explain each class that is heard, in a folder of its own in DIR"
    )
    parser.add_argument("--format", default="png", help="of the figures: png (the default), svg or pdf")
    parser.add_argument("--scale", default="auto", help="of their axis of frequency: auto (the default), linear or mel")
    parser.add_argument("--column", action="store_true", help="draw figures as wide as a column of a paper, 3.3 in")
    parser.add_argument(
        "--report", action="store_true", help="also write a page of the results, to look at and to hear: report.html"
    )
    parser.add_argument("--json", action="store_true", help="print one line of JSON per explanation, and nothing else")
    parser.add_argument(
        "--window", type=float, metavar="SECONDS", help="length of windows; that of the model's training clips, or 5"
    )
    parser.add_argument("--hop", type=float, metavar="SECONDS", help="from window to window; half a window by default")
    parser.add_argument(
        "--threshold", type=float, metavar="P", help="explain windows from this probability on; the model's, or 0.5"
    )
    parser.add_argument("--revision", help="branch, tag or commit of a model on the hub")
    parser.add_argument("--device", default="cpu")
    _add_trust(parser)
    return command(parser, "interpretability.commands.interpret:interpret", argv)


def import_classifier(argv: Sequence[str] | None = None) -> int:
    """Save any model as a classifier's folder.

        import_classifier SOURCE --out DIR
        import_classifier SOURCE --list_layers
        import_classifier SOURCE --probe

    SOURCE is ``hf:FOLDER`` (or a name on the Hugging Face hub), ``speechbrain:FOLDER``,
    ``torch:package.module:Class`` or a saved classifier's folder. DIR then works as ``--classifier_folder``
    of every recipe, and loads without anything else (except the package of a ``torch:`` model).
    ``--list_layers`` prints the layers whose outputs can be feature maps, with a star at those that are used
    by default, and writes nothing. ``--probe`` asks a model that is given as it runs
    (``python:package.module:function``, ``onnx:FILE``, ``tflite:FILE``, ``jit:FILE``) a few short sounds, and prints
    what it found: the card to complete, ``model.yaml``.
    """
    parser = _parser(import_classifier)
    parser.add_argument("source", help="hf:FOLDER, speechbrain:FOLDER, torch:package.module:Class, or a saved folder")
    parser.add_argument("--out", type=Path, help="folder to make; replaced as a whole")
    parser.add_argument("--list_layers", action="store_true", help="list what can be a feature map; write nothing")
    parser.add_argument("--probe", action="store_true", help="find out what the model's card has to say; write nothing")
    parser.add_argument("--layers", help="names of the layers to use, separated by commas")
    parser.add_argument("--task", help="single or multi: one label or several; as the model says by default")
    parser.add_argument("--level", help="the level rule, none or peak (default: none, as the model is used)")
    parser.add_argument("--resampling", help="filter for other rates, accurate or published (as SpeechBrain's own)")
    parser.add_argument("--labels", help="file with a class name per line, or a JSON list; in the order of the logits")
    parser.add_argument("--scale", help="scale of the maps' frequency axis, mel or linear (default: mel)")
    parser.add_argument("--sample_rate", type=int, help="torch: in Hz (16000 is assumed, and said)")
    parser.add_argument("--arguments", help="torch: what the class is called with, a JSON object")
    parser.add_argument(
        "--weights",
        type=Path,
        help="torch: its state_dict, or a checkpoint around it",
    )
    parser.add_argument(
        "--classifier_settings",
        nargs="+",
        default=[],
        metavar="KEY=VALUE",
        help="what else the source takes: output, pool, thresholds, input_length, …",
    )
    _add_trust(parser)
    return command(parser, "interpretability.commands.import_classifier:import_classifier", argv)


def import_published(argv: Sequence[str] | None = None) -> int:
    """Save a published SpeechBrain checkpoint as a folder.

        import_published --out DIR [--model piq] [--source FOLDER]

    ``--model piq`` (the default): an interpreter, ``speechbrain/PIQ-ESC50`` from the hub. DIR then works with
    the command that explains a sound, and ``DIR/classifier`` as ``--classifier_folder`` of the recipes.

    ``--model cnn14``, ``vit`` or ``focalnet``: a classifier, ``speechbrain/cnn14-esc50``,
    ``speechbrain/vit-base-esc50`` or ``speechbrain/focalnet-base-esc50``. DIR then works as ``--classifier_folder``.

    ``--source FOLDER`` takes the files from a local folder: ``embedding_modelft.ckpt``, ``classifier.ckpt``,
    ``psi_model.ckpt`` and ``label_encoder.txt`` for PIQ, ``embedding_model.ckpt``, ``classifier.ckpt`` and
    ``label_encoder.txt`` for the others; ViT and FocalNet of other sizes than the published ones have a
    ``config.json`` beside them, and CNN14 the ``hyperparams.yaml`` that says which features it was trained with.
    """
    parser = _parser(import_published)
    parser.add_argument("--model", default="piq", help="what is imported: piq (the default), cnn14, vit or focalnet")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--source", type=Path, help="local folder with the published files")
    sizes = parser.add_argument_group("sizes, by default those of the published model")
    sizes.add_argument("--dim", type=int, help="piq: channels of the encoder")
    sizes.add_argument("--codebook_size", type=int, help="piq: keys")
    sizes.add_argument("--shared_keys", type=int, help="piq: keys that every class may use")
    sizes.add_argument("--n_mels", type=int, help="cnn14: mel bands")
    sizes.add_argument("--emb_dim", type=int, help="cnn14: channels of the last block")
    sizes.add_argument("--features", help="cnn14: log1p or db, where no hyperparams.yaml beside the files says it")
    sizes.add_argument("--image_frames", type=int, help="vit, focalnet: frames of an image")
    return command(parser, "interpretability.commands.import_published:import_as_folder", argv)


def publish(argv: Sequence[str] | None = None) -> int:
    """Publish an interpreter or a classifier on a hub, with a card that says what it is and how well it does.

        publish RUN --repo_id USER/NAME [--out FOLDER]
        publish FOLDER --repo_id USER/NAME
        publish --all RESULTS --repo_id USER[/PREFIX] [--out FOLDER]

    RUN is the output folder of a training, or the folder of an interpreter or of a classifier. With --out the folder
    is made and nothing is sent; FOLDER, made so, can be sent later. Otherwise it is made, read again in a fresh
    process, and sent to the Hugging Face hub if it explains its example as the run does. ``hf auth login`` keeps the
    token that this needs. --all takes every run below a folder, each classifier once, and the cards name each other.
    """
    parser = _parser(publish)
    parser.add_argument("source", type=Path, nargs="?", metavar="RUN", help="run, interpreter, classifier; or FOLDER")
    parser.add_argument("--repo_id", help="name on the hub, user/name; with --all user or user/prefix")
    parser.add_argument("--all", type=Path, metavar="RESULTS", help="folder of runs, all of which are published")
    parser.add_argument("--out", type=Path, help="folder to make, replaced as a whole; nothing is sent")
    parser.add_argument("--license", help="of the weights, such as cc-by-4.0 (default: that of the data)")
    parser.add_argument("--base_model", help="name on the hub of the classifier that an interpreter explains")
    parser.add_argument("--example", type=Path, help="a sound to publish with it, explained: you need the right to")
    parser.add_argument("--private", action="store_true", help="make the model private, if it is new")
    parser.add_argument("--create_pr", action="store_true", help="propose the files as a pull request")
    parser.add_argument("--revision", help="branch to send to, made if absent (default: the main one)")
    parser.add_argument("--dry_run", action="store_true", help="make and check all, list the files, send nothing")
    _add_trust(parser)
    return command(parser, "interpretability.commands.publish:publish", argv)


def results_table(argv: Sequence[str] | None = None) -> int:
    """Print one table of several methods, as Markdown.

        results_table RUN [NAME=RUN …] [--out FILE]

    RUN is the output folder of a run that was evaluated; NAME, if given, stands for the method in the tables.
    The runs have to be measured on the same clips of the same data with the same classifier; otherwise
    nothing is written, and one line says what differs. For each place of measurement there is every method,
    with the loudest bins of the same area beneath it, and the baselines they share; notes on the rows; then
    what each method took to train and to explain.

    With --any_classifier the runs may explain different classifiers: every row says which, and the baselines of fixed
    area, which depend on the classifier, are left out. Rows of one classifier can be compared as usual; across
    classifiers, a difference may also come from the classifiers.

    With --brief each place has one table of what matters most, with the time that each method takes to explain a clip
    and how often it asks the classifier for that; also of the methods that a run was compared with (compare_with).
    """
    parser = _parser(results_table)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="output folder of an evaluated run, or NAME=RUN")
    parser.add_argument("--out", type=Path, help="Markdown file to write")
    parser.add_argument("--any_classifier", action="store_true", help="the runs may explain different classifiers")
    parser.add_argument(
        "--brief", action="store_true", help="one table: what matters most, time and calls; of compared methods, too"
    )
    return command(parser, "interpretability.commands.results_table:results_table", argv)


def inspect_data(argv: Sequence[str] | None = None) -> int:
    """Look at a data set before anything is trained on it.

        inspect_data DIR [--out FOLDER]
        inspect_data [DIR] --table FILE [--out FOLDER]
        inspect_data YAML | RUN_FOLDER [--data_folder DIR] [--out FOLDER]

    DIR has a folder per class, as for recipes/Custom, and all data options of that recipe can be given: --table,
    --group_by, --group_pattern, --test_groups, --folds, --split_seed, …; YAML is that of another recipe (its
    hparams/data.yaml will do), with the options of that one.

    Every clip is decoded once. What needs attention is printed first: clips that cannot be read, are silent, clipped,
    cut off or not finite; the same sound in two splits or under two labels; labels that look like typing errors;
    uneven and small classes; what gives a class away, such as its sampling rate. Then lengths, rates, levels, and a
    table of the classes. A bad clip stops nothing.

    FOLDER gets all of it as one page of HTML with players and spectrograms, which asks for nothing from anywhere
    (data.html), and every number of every clip as JSON (data.json).
    """
    parser = _parser(inspect_data, usage=argparse.SUPPRESS)
    parser.add_argument("source", type=Path, nargs="?", help="folder of the data, YAML of a recipe, or folder of a run")
    parser.add_argument("--out", type=Path, help="folder for the page and the numbers; replaced as a whole")
    parser.add_argument("--examples", type=int, default=3, help="clips of each class that the page plays (default: 3)")
    return command(parser, "interpretability.commands.inspect_data:inspect_data", argv, others=True)


def wrong_predictions(argv: Sequence[str] | None = None) -> int:
    """Explain what a classifier gets wrong: the wrongly classified clips of a run, the most confident first.

        wrong_predictions RUN [--n 10] [--split test] [--out DIR]
        wrong_predictions RUN --method NAME [--settings KEY=VALUE …]
        wrong_predictions RUN --interpreter RUN2

    RUN is the output folder of a run that trained a classifier, or of one that explains one; the data, their splits
    and the classifier are those of its record. A classifier's clips are explained by a method that needs no training,
    or by the trained one of RUN2; a run of a method is explained by that method. DIR (RUN/wrong_predictions by
    default) gets a folder for each clip, with the sound, what speaks for the class that is heard and what speaks for
    the true one, as sounds and side by side in a figure; and a table of all, as Markdown and as CSV. Clips that are
    finished are not explained again.

    Of clips that may have several labels, the labels that are missed and the false alarms are explained, each in a
    folder of its own.
    """
    parser = _parser(wrong_predictions)
    parser.add_argument("run", type=Path, metavar="RUN", help="output folder of a run")
    parser.add_argument("--n", type=int, default=10, help="at most so many clips (10)")
    parser.add_argument("--split", default="test", help="train, valid or test (the default)")
    parser.add_argument("--out", type=Path, help="folder for the results")
    parser.add_argument("--method", help="of a classifier's run: a method that needs no training")
    parser.add_argument("--settings", nargs="+", default=[], metavar="KEY=VALUE", help="of that method")
    parser.add_argument(
        "--interpreter", type=Path, metavar="RUN2", help="of a classifier's run: a run that explains it"
    )
    parser.add_argument("--data_folder", type=Path, help="where the data are now, if they were moved")
    parser.add_argument("--device", default="cpu")
    _add_trust(parser)
    return command(parser, "interpretability.commands.wrong_predictions:wrong_predictions", argv)


def _add_trust(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--trust_remote_code",
        action="store_true",
        help="run the code that a saved folder names, also if it is of no installed package",
    )


def _parser(function, **settings) -> argparse.ArgumentParser:
    """Return a parser whose help is what a function here says it does."""
    return argparse.ArgumentParser(
        description=inspect.getdoc(function), formatter_class=argparse.RawDescriptionHelpFormatter, **settings
    )
