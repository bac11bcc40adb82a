"""The model card: what is explained, by what, how well beside masks that explain nothing, and how to use it.

Whatever comes from elsewhere (class names, above all) is escaped: it is text, in Markdown and in HTML.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from huggingface_hub import EvalResult, ModelCardData

from interpretability.events import Event
from interpretability.metrics.statistics import Interval, bootstrap_mean
from interpretability.metrics.suite import metric_info
from interpretability.names import printable
from interpretability.publishing.data_sets import DATA_SETS, DataSet
from interpretability.publishing.stock import STOCK
from interpretability.report.tables import PLACES, SHORT_METRICS, markdown_table, metrics_table

#: Rows of an evaluation that explain nothing at the area of the method, and what the card calls them.
FLOORS = {"energy, same area": "loudest bins, same area", "random, same area": "random bins, same area"}
#: Class names that are written out.
MOST_LABELS = 60
_IN_WORDS = {"spectrogram": "masked spectrogram", "waveform": "as heard"}
_MEANINGS = {
    "fid_in": "share of clips whose class is still predicted from what the mask keeps alone",
    "ff": "probability of the class that is lost without what the mask keeps",
    "ad": "share of the class's probability that is lost when only what the mask keeps is heard",
    "ai": "share of clips for which the class's probability rises then",
    "kept_area": "share of the bins that the mask keeps",
    "energy_precision": "share of what is kept that belongs to the labelled source, where that is known",
}
_TASKS = {"single": "one label per clip", "multi": "any number of labels per clip"}
_PLAIN = re.compile(r"[\w .,:;()%/'?…–-]")
#: What hubs make a link of by themselves.
_LINKS = re.compile(r":(?=//)|(?<=www)\.", re.IGNORECASE)
#: What may stand between backticks.
_CODE = re.compile(r"[\w .,:@/+-]+")


@dataclass(frozen=True)
class Card:
    """What a card is made of.

    Attributes
    ----------
    repo_id, licence : str
    base_model : str or None
        The classifier on the hub that is explained.
    related : mapping of str to str
        Names of other models -> what they are.
    config : mapping
        Of the folder.
    data : mapping
        What the run recorded about its data.
    summary : mapping or None
        Of the evaluation.
    sentences : sequence of str
        The example in words.
    events : sequence of Event
        Of the example.
    example : str
        Where the example comes from.
    kind : type
        The class of the method or of the classifier.
    """

    repo_id: str
    licence: str
    base_model: str | None
    related: Mapping[str, str]
    config: Mapping[str, Any]
    data: Mapping[str, Any]
    summary: Mapping[str, Any] | None
    sentences: Sequence[str]
    events: Sequence[Event]
    example: str
    kind: type

    @property
    def is_interpreter(self) -> bool:
        """Whether it is one of an interpreter, and not of a classifier."""
        return "interpreter" in self.config

    @property
    def described(self) -> Mapping[str, Any]:
        """The description of what is published."""
        return self.config["interpreter" if self.is_interpreter else "classifier"]

    @property
    def name(self) -> str:
        """Of the method or of the classifier."""
        return self.described["method" if self.is_interpreter else "classifier"]


def escaped(text: Any) -> str:
    """Return a text as it stands, in Markdown and in HTML: none of its characters means anything to them.

    Example
    -------
    >>> print(escaped("door_knock (0.9)"), escaped("<b>*x*"))
    door_knock (0.9) &#60;b&#62;&#42;x&#42;
    """
    text = printable(str(text))
    shown = "".join(char if _PLAIN.fullmatch(char) else f"&#{ord(char)};" for char in text)
    shown = _LINKS.sub(lambda match: f"&#{ord(match[0])};", shown)
    return re.sub(r"(?<![^\W_])_|_(?![^\W_])", "&#95;", shown)


def card_text(card: Card) -> str:
    """Return the whole card: metadata for the hub as YAML, then Markdown."""
    parts = [
        f"---\n{metadata(card).to_yaml()}\n---",
        f"# {card.repo_id.partition('/')[2]}",
        _summary(card),
        *_section("Example", _example(card)),
        *_section("Use", _usage(card)),
        *_section("How well it does", _results(card)),
        *_section("What it is for, and what it is not", _limits(card)),
        *_section("Data and licence", _data(card)),
        *_section("Where the numbers come from", _provenance(card)),
        *_section("Related models", _related(card)),
    ]
    return "\n\n".join(parts) + "\n"


def metadata(card: Card) -> ModelCardData:
    """Return the metadata of the card, with every measured mean as an entry of the hub's ``model-index``."""
    known = DATA_SETS.get(str(card.data.get("name")))
    results = list(_eval_results(card)) or None
    return ModelCardData(
        license=card.licence,
        library_name="speechbrain",
        pipeline_tag="audio-classification",
        tags=["speechbrain", "audio", "interpretability", "explainability", card.name, card.config["library"]],
        datasets=[known.hub] if known is not None and known.hub else None,
        base_model=card.base_model,
        model_name=card.repo_id.partition("/")[2] if results else None,
        eval_results=results,
    )


def _eval_results(card: Card) -> Iterator[EvalResult]:
    known = DATA_SETS.get(str(card.data.get("name")))
    name = printable(str(card.data.get("name") or "unknown"))
    shared = {
        "task_type": "audio-classification",
        "task_name": "Explaining an audio classifier" if card.is_interpreter else "Audio classification",
        "dataset_type": known.hub if known is not None and known.hub else re.sub(r"\W+", "-", name).lower(),
        "dataset_name": name,
        "dataset_split": "test",
    }
    accuracy = _accuracy(card)
    if accuracy is not None and not card.is_interpreter:
        args = {"interval_95": [accuracy.low, accuracy.high], "n": accuracy.n}
        named = {"metric_type": "accuracy", "metric_name": "Accuracy"}
        yield EvalResult(**shared, **named, metric_value=accuracy.mean, metric_args=args)
    for place, rows in (card.summary or {}).get("places", {}).items():
        for row, title in _rows(card, rows).items():
            for metric, value in rows[row].items():
                if not isinstance(value, Mapping) or value["mean"] is None or metric in rows[row].get("fixed", ()):
                    continue
                info = metric_info(metric)
                unit = f" ({info.unit})" if info.unit else ""
                floor = f", {title}" if row in FLOORS else ""
                yield EvalResult(
                    **shared,
                    metric_type=metric,
                    metric_name=f"{info.label}{unit}, {_IN_WORDS.get(place, place)}{floor}",
                    metric_value=_short(value["mean"]),
                    metric_args={"interval_95": [_short(value["low"]), _short(value["high"])], "n": value["n"]},
                )


def _short(value: float) -> float:
    return float(f"{value:.6g}")


def _rows(card: Card, rows: Mapping[str, Any]) -> dict[str, str]:
    """Return the rows of an evaluation that a card shows, the method's first, and what they are called."""
    return {next(iter(rows)): card.name, **{name: title for name, title in FLOORS.items() if name in rows}}


def _accuracy(card: Card) -> Interval | None:
    """Return the classifier's accuracy on its test clips; None where clips have several labels, or it is not known."""
    if card.config["classifier"]["task"] != "single":
        return None
    training = card.config["classifier"].get("training") or {}
    share, count = training.get("test_accuracy"), training.get("n_test")
    if not isinstance(share, (int, float)) or not isinstance(count, int) or count < 1:
        return None
    right = round(share * count)
    return bootstrap_mean([1.0] * right + [0.0] * (count - right))


def _section(title: str, paragraphs: Iterator[str]) -> list[str]:
    content = [text for text in paragraphs if text]
    return [f"## {title}", *content] if content else []


def _summary(card: Card) -> str:
    classifier = card.config["classifier"]
    labels, frontend = classifier["labels"], classifier["frontend"]
    names = ", ".join(map(escaped, labels[:MOST_LABELS]))
    more = f", and {len(labels) - MOST_LABELS} more (`label_encoder.txt`)" if len(labels) > MOST_LABELS else ""
    kind = f"`{classifier['classifier']}`, with {_TASKS[classifier['task']]}"
    if card.is_interpreter:
        base = f" ([{card.base_model}](https://huggingface.co/{card.base_model}))" if card.base_model else ""
        what = (
            "It shows which time-frequency regions of a sound made an audio classifier decide, as a picture and as "
            f"sound to listen to. The method is **{card.name}**: {_of_kind(card)}. The classifier is {kind}{base}; it "
            "is in this folder, too."
        )
    else:
        what = f"An audio classifier, made to be explained: {kind}."
    return f"{what}\n\nClasses ({len(labels)}): {names}{more}. Sounds are heard at {frontend['sample_rate']} Hz."


def _of_kind(card: Card) -> str:
    return getattr(card.kind, "SUMMARY", "") or "a mask over the spectrogram"


def _example(card: Card) -> Iterator[str]:
    by = "" if card.is_interpreter else " It is explained by the method that the library takes for any classifier."
    yield card.example + by
    yield "![Input, mask, explanation and residual as spectrograms](example/figure.png)"
    yield "\n".join(f"- {escaped(sentence)}" for sentence in card.sentences)
    yield (
        "Listen: [input](example/input.wav), [explanation](example/explanation.wav) (what the mask keeps), "
        "[residual](example/residual.wav) (what it removes)."
    )
    if not card.events:
        return
    yield (
        "*Events*, the regions that it points to: their share of the explanation, and the probability of the class "
        "with each alone and without it."
    )
    rows = [
        (
            f"{event.start:.2f}–{event.end:.2f}",
            f"{event.low:.0f}–{event.high:.0f}",
            *(f"{value:.2f}" for value in (event.share, event.alone, event.without)),
        )
        for event in card.events
    ]
    yield markdown_table(["time (s)", "band (Hz)", "share", "alone", "without"], rows, left=())
    yield (
        "As [CSV](example/events.csv), for [Raven](example/events.selections.txt) and for "
        "[Audacity](example/events.labels.txt)."
    )


def _usage(card: Card) -> Iterator[str]:
    yield (
        "With the library audio-interpretability (`pip install .` in its repository), from the hub, from its cache "
        "without a network, or from a copy of this folder:"
    )
    load, name = ("load_interpreter", "interpreter") if card.is_interpreter else ("open_classifier", "classifier")
    yield (
        f"```python\nfrom interpretability import explain, {load}\n\n"
        f'{name} = {load}("{card.repo_id}")\n'
        f'explanation = explain({name}, "sound.wav")\n'
        'print(*explanation.sentences(), sep="\\n")\n'
        'explanation.save("explained")  # three wavs, the mask, its events, a figure, a description as JSON\n```'
    )
    if card.config["speechbrain_interface"] != STOCK:
        yield "Through SpeechBrain's interface for models of others, with the library installed:"
        yield (
            "```python\nfrom speechbrain.inference.interfaces import foreign_class\n\n"
            f'model = foreign_class(source="{card.repo_id}")\n'
            'explained, label, rate = model.interpret_file("sound.wav")\nprint(label)\n```'
        )
        return
    frontend = card.config["classifier"]["frontend"]
    # SpeechBrain's class has no level rule, and hears what it is given.
    scaled, why = (" / sound.abs().max()", " at the level of the training") if frontend["level"] == "peak" else ("", "")
    yield "With SpeechBrain alone, whose explanation ends up to 0.35 s early:"
    yield (
        "```python\nfrom speechbrain.dataio import audio_io\n"
        "from speechbrain.inference.interpretability import PIQAudioInterpreter\n\n"
        f'interpreter = PIQAudioInterpreter.from_hparams(source="{card.repo_id}")\n'
        f'sound, rate = audio_io.load("sound.wav")  # of one channel, at {frontend["sample_rate"]} Hz\n'
        f"explained, label = interpreter.interpret_batch(sound{scaled}){f'  #{why}' if why else ''}\n"
        "print(label)\n```"
    )


def _results(card: Card) -> Iterator[str]:
    accuracy = _accuracy(card)
    if accuracy is not None:
        whose = "The explained classifier" if card.is_interpreter else "It"
        yield (
            f"{whose} is right on {accuracy.mean:.1%} of {accuracy.n} test clips of {escaped(card.data.get('name'))} "
            f"(95 % interval {accuracy.low:.1%} to {accuracy.high:.1%})."
        )
    several = (card.summary or {}).get("several") or {}
    if isinstance(several.get("mean_ap"), (int, float)):
        yield (
            "The explained classifier has a mean average precision of "
            f"{several['mean_ap']:.3f} on the {card.summary['n']} test clips."
        )
    if not card.is_interpreter:
        return
    if card.summary is None:
        yield "This interpreter was not measured before it was published."
        return
    count = card.summary["n"]
    yield (
        f"Means over {count} test clips with 95 % bootstrap intervals. A method has to beat masks that explain "
        "nothing, of the same area, clip by clip: the loudest bins, or random ones. "
        + ("Those are the rows beneath it." if _has_floors(card) else "None of them was measured here.")
    )
    yield "\n".join(f"- {metric_info(name).label}: {_MEANINGS[name]}" for name in SHORT_METRICS)
    for place, rows in card.summary["places"].items():
        names = [metric for metric in SHORT_METRICS if any(_has_mean(row.get(metric)) for row in rows.values())]
        shown = [(title, rows[row]) for row, title in _rows(card, rows).items()]
        yield f"Measured on the {PLACES.get(place, place)}:"
        # An interval stays on one line.
        yield re.sub(r"(?<=\[)([^][|]+), ([^][|]+)(?=\])", "\\1,\N{NO-BREAK SPACE}\\2", metrics_table(shown, names))
    if _has_floors(card):
        yield _beaten(card)


def _has_floors(card: Card) -> bool:
    """Return whether a mask that explains nothing was measured beside the method."""
    return any(len(_rows(card, rows)) > 1 for rows in card.summary["places"].values())


def _has_mean(value: Any) -> bool:
    return isinstance(value, Mapping) and value["mean"] is not None


def _beaten(card: Card) -> str:
    """Say in which metrics a mask that explains nothing does better."""
    lost = []
    for place, rows in card.summary["places"].items():
        method, *floors = _rows(card, rows)
        for metric in SHORT_METRICS:
            info, value = metric_info(metric), rows[method].get(metric)
            if info.better == "none" or not _has_mean(value):
                continue
            sign = 1 if info.better == "high" else -1
            better = [
                FLOORS[floor]
                for floor in floors
                if _has_mean(rows[floor].get(metric)) and sign * (rows[floor][metric]["mean"] - value["mean"]) > 0
            ]
            lost += [f"{info.label} ({_IN_WORDS.get(place, place)}): {', '.join(better)}"] if better else []
    if not lost:
        return "In none of these does a mask that explains nothing have the better mean."
    return "A mask that explains nothing has the better mean in:\n\n" + "\n".join(f"- {line}" for line in lost)


def _limits(card: Card) -> Iterator[str]:
    training = card.described.get("training") or {}
    seconds, rate = training.get("clip_seconds"), card.config["classifier"]["frontend"]["sample_rate"]
    length = f" of at most {seconds:g} s" if isinstance(seconds, (int, float)) else ""
    if card.is_interpreter:
        yield (
            "For people who want to know what this classifier listens to: to check it before it is used, to find what "
            "it confuses, and in research on explanations."
        )
        yield (
            "- It explains what the classifier does, whether that is right or not; it says nothing about other "
            "classifiers.\n"
            "- A convincing picture is no evidence. The numbers above say how far its masks can be trusted, on average "
            "and on these data alone; look at the baselines that come with every explanation.\n"
            f"- It was trained on clips{length} at {rate} Hz; longer sounds, other devices and other places may give "
            "other results.\n"
            "- No decision about people, or about anybody's safety, should rest on it alone."
        )
    else:
        yield "For research on explanations, and as the classifier of interpreters that were trained on it."
        single = card.config["classifier"]["task"] == "single"
        yield (
            f"- It was trained on clips{length} at {rate} Hz, and knows the classes above alone"
            f"{': it gives one of them whatever it hears' if single else ''}.\n"
            "- It was not tested on other data, devices or places.\n"
            "- No decision about people, or about anybody's safety, should rest on it alone."
        )


def _data(card: Card) -> Iterator[str]:
    name = str(card.data.get("name") or "unknown")
    known = DATA_SETS.get(name)
    counts = card.data.get("n_clips") or {}
    clips = ", ".join(f"{split} {count}" for split, count in counts.items() if isinstance(count, int))
    about = known.about if known is not None else f"Trained on {escaped(name)}."
    yield f"{about}{f' Clips: {escaped(clips)}.' if clips else ''}"
    if known is not None and known.hub is not None:
        yield (
            f"A third party's copy is on the hub, [{known.hub}](https://huggingface.co/datasets/{known.hub}); it was "
            "not compared with the clips that were used."
        )
    yield f"The weights are published under `{card.licence}`{_licence_of_data(card, known)}."
    place = card.config["classifier"]["architecture"].get("module")
    if place is not None:
        yield f"The network is the class {escaped(place)}: install its package, or load with `trust_remote_code=True`."


def _licence_of_data(card: Card, known: DataSet | None) -> str:
    if known is None:
        return ", as their publisher has chosen; the licence of the data is not known here"
    if known.licence == card.licence:
        return ", which is the licence of the data"
    return f", as their publisher has chosen; the data are under `{known.licence}`"


def _provenance(card: Card) -> Iterator[str]:
    training, classifier = card.described.get("training") or {}, card.config["classifier"]
    measured = (card.summary or {}).get("provenance", {})
    facts = {
        "trained at commit": training.get("commit"),
        "measured at commit": measured.get("commit"),
        "seed": training.get("seed"),
        "best epoch": f"{training['best_epoch']} of {training['epochs']}" if "best_epoch" in training else None,
        "data (hash of names, lengths, labels)": card.data.get("content"),
        "classifier": classifier["sha256"],
        "classifier read from": _hub(classifier.get("hub")),
        "interpreter": card.described["sha256"] if card.is_interpreter else None,
        "published with": card.config.get("made_with"),
        "fine-tuned from": (training.get("finetuned_from") or {}).get("sha256"),
    }
    rows = [(name, _as_code(str(value))) for name, value in facts.items() if value is not None]
    yield markdown_table(["what", "value"], rows, left=(0, 1))
    yield "`config.json` has all settings, and the SHA-256 of every file."


def _as_code(text: str) -> str:
    return f"`{text}`" if _CODE.fullmatch(text) else escaped(text)


def _hub(origin: Mapping[str, str] | None) -> str | None:
    return None if origin is None else f"{origin['repo_id']}@{origin['revision']}"


def _related(card: Card) -> Iterator[str]:
    yield "\n".join(
        f"- [{name}](https://huggingface.co/{name}): {escaped(what)}"
        for name, what in card.related.items()
        if name != card.repo_id
    )
