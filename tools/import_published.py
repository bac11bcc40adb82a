"""Make a folder of a published SpeechBrain checkpoint: python tools/import_published.py --out DIR

``--model piq`` (the default): an interpreter, ``speechbrain/PIQ-ESC50`` from the hub. ``DIR`` then works with
``tools/interpret.py``, and ``DIR/classifier`` as ``--classifier_folder`` of the recipes.

``--model cnn14``: a classifier, ``speechbrain/cnn14-esc50``. ``DIR`` then works as ``--classifier_folder``.

``--source FOLDER`` takes the files from a local folder: ``embedding_modelft.ckpt``, ``classifier.ckpt``,
``psi_model.ckpt`` and ``label_encoder.txt`` for PIQ, ``embedding_model.ckpt``, ``classifier.ckpt`` and
``label_encoder.txt`` for CNN14.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from interpretability.command_line import guarded
from interpretability.errors import UserError
from interpretability.hub import CNN14_ESC50, PIQ_ESC50, import_cnn14, import_piq

#: Model -> its published files, and the sizes that it has.
FILES = {"piq": PIQ_ESC50, "cnn14": CNN14_ESC50}
SIZES = {"piq": ("dim", "codebook_size", "shared_keys"), "cnn14": ("n_mels", "emb_dim")}


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=sorted(FILES), default="piq", help="what is imported (default: piq)")
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--source", type=Path, help="local folder with the published files")
    parser.add_argument("--dim", type=int, help="piq: channels of the encoder (default: 256)")
    parser.add_argument("--codebook_size", type=int, help="piq: keys (default: 1024)")
    parser.add_argument("--shared_keys", type=int, help="piq: keys of every class (default: 0)")
    parser.add_argument("--n_mels", type=int, help="cnn14: mel bands (default: 80)")
    parser.add_argument("--emb_dim", type=int, help="cnn14: channels of the last block (default: 2048)")
    known = parser.parse_args(argv)

    def run() -> None:
        given = {name: getattr(known, name) for names in SIZES.values() for name in names}
        sizes = {name: value for name, value in given.items() if value is not None}
        foreign = [f"--{name}" for name in sizes if name not in SIZES[known.model]]
        if foreign:
            expected = ", ".join(f"--{name}" for name in SIZES[known.model])
            raise UserError(
                f"{', '.join(foreign)} given, but --model {known.model} has {expected}: leave it out or name its model"
            )
        paths = None
        if known.source is not None:
            paths = {name: str(known.source.resolve() / Path(path).name) for name, path in FILES[known.model].items()}
        if known.model == "piq":
            interpreter = import_piq(known.out, paths, **sizes)
            print(f"PIQ for {len(interpreter.classifier.labels)} classes in {known.out}")
        else:
            classifier = import_cnn14(known.out, paths, **sizes)
            print(f"CNN14 for {len(classifier.labels)} classes in {known.out}")

    return guarded(run)


if __name__ == "__main__":
    sys.exit(main())
