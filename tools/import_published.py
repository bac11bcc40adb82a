"""Save a published SpeechBrain checkpoint as a folder: python tools/import_published.py --out DIR

``--model piq`` (the default): an interpreter, ``speechbrain/PIQ-ESC50`` from the hub. ``DIR`` then works with
``tools/interpret.py``, and ``DIR/classifier`` as ``--classifier_folder`` of the recipes.

``--model cnn14``, ``vit`` or ``focalnet``: a classifier, ``speechbrain/cnn14-esc50``, ``speechbrain/vit-base-esc50`` or
``speechbrain/focalnet-base-esc50``. ``DIR`` then works as ``--classifier_folder``.

``--source FOLDER`` takes the files from a local folder: ``embedding_modelft.ckpt``, ``classifier.ckpt``,
``psi_model.ckpt`` and ``label_encoder.txt`` for PIQ, ``embedding_model.ckpt``, ``classifier.ckpt`` and
``label_encoder.txt`` for the others; ViT and FocalNet of other sizes than the published ones have a ``config.json``
beside them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from interpretability.classifiers.folder import DESCRIPTION as CLASSIFIER
from interpretability.command_line import guarded
from interpretability.errors import UserError
from interpretability.files import check_replaceable
from interpretability.methods.folder import DESCRIPTION as INTERPRETER
from interpretability.published import PUBLISHED, import_published


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(PUBLISHED), default="piq", help="what is imported (default: piq)")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--source", type=Path, help="local folder with the published files")
    sizes = parser.add_argument_group("sizes, by default those of the published model")
    sizes.add_argument("--dim", type=int, help="piq: channels of the encoder")
    sizes.add_argument("--codebook_size", type=int, help="piq: keys")
    sizes.add_argument("--shared_keys", type=int, help="piq: keys that every class may use")
    sizes.add_argument("--n_mels", type=int, help="cnn14: mel bands")
    sizes.add_argument("--emb_dim", type=int, help="cnn14: channels of the last block")
    sizes.add_argument("--image_frames", type=int, help="vit, focalnet: frames of an image")
    options = parser.parse_args(argv)

    def run() -> None:
        model = PUBLISHED[options.model]
        given = {name: getattr(options, name) for other in PUBLISHED.values() for name in other.sizes}
        settings = {name: value for name, value in given.items() if value is not None}
        foreign = [f"--{name}" for name in settings if name not in model.sizes]
        if foreign:
            expected = ", ".join(f"--{name}" for name in model.sizes)
            raise UserError(
                f"{', '.join(foreign)} given, but --model {options.model} has {expected}: leave it out or name its "
                "model"
            )
        check_replaceable(options.out, CLASSIFIER if model.interpreter is None else INTERPRETER)
        paths = None
        if options.source is not None:
            folder = options.source.resolve()
            paths = {name: str(folder / Path(path).name) for name, path in model.paths.items()}
            if "config" in model.settings and (folder / "config.json").is_file():
                settings["config"] = folder
        imported = import_published(options.model, options.out, paths, **settings)
        labels = imported.labels if model.interpreter is None else imported.classifier.labels
        print(f"{model.title} for {len(labels)} classes in {options.out}")

    return guarded(run)


if __name__ == "__main__":
    sys.exit(main())
