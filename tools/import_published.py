"""Make an interpreter folder of a published SpeechBrain checkpoint: python tools/import_published.py --out DIR

By default ``speechbrain/PIQ-ESC50`` from the hub; ``--source FOLDER`` takes ``embedding_modelft.ckpt``,
``classifier.ckpt``, ``psi_model.ckpt`` and ``label_encoder.txt`` from a local folder. ``DIR`` then works with
``tools/interpret.py``, and ``DIR/classifier`` as ``--classifier_folder`` of the recipes.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from interpretability.command_line import guarded
from interpretability.hub import PIQ_ESC50, import_piq


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, help="folder to make")
    parser.add_argument("--source", type=Path, help="local folder with the published files")
    parser.add_argument("--dim", type=int, default=256, help="channels of the encoder")
    parser.add_argument("--codebook_size", type=int, default=1024)
    parser.add_argument("--shared_keys", type=int, default=0)
    known = parser.parse_args(argv)

    def run() -> None:
        paths = None
        if known.source is not None:
            paths = {name: str(known.source.resolve() / Path(path).name) for name, path in PIQ_ESC50.items()}
        interpreter = import_piq(known.out, paths, known.dim, known.codebook_size, known.shared_keys)
        print(f"PIQ for {len(interpreter.classifier.labels)} classes in {known.out}")

    return guarded(run)


if __name__ == "__main__":
    sys.exit(main())
