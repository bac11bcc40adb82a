#!/usr/bin/env bash
# Make sounds, train a classifier and PIQ on them, evaluate, listen: everything lands in results/demo.
# Run again, it continues where it stopped and skips what is finished; --fresh starts over.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  "") ;;
  --fresh) rm -rf results/demo ;;
  *) echo "error: unknown option $1; usage: bash tools/demo.sh [--fresh]" >&2; exit 2 ;;
esac
source tools/environment.sh requirements.txt
demo="$root/results/demo"
# Half the clips to choose and to measure with, and half the epochs, of what the recipe's YAMLs say: it takes minutes.
settings=(--data_folder "$demo/data" --cache_folder "$demo/cache" --seed 1234 --n_valid 100 --n_test 100)
began=$SECONDS
cd recipes/Synthetic
"$venv/bin/python" train_classifier.py hparams/classifier_compact.yaml "${settings[@]}" --number_of_epochs 5 \
  --output_folder "$demo/classifier_compact"
"$venv/bin/python" train_piq.py hparams/piq.yaml "${settings[@]}" --number_of_epochs 4 \
  --output_folder "$demo/piq" --classifier_folder "$demo/classifier_compact"
if [ ! -f "$demo/piq/evaluation/table.md" ] || [ ! -d "$demo/piq/examples" ]; then
  "$venv/bin/python" evaluate.py "$demo/piq"
fi
cp "$demo/piq/evaluation/table.md" "$demo/piq/evaluation/summary.json" "$demo/"
examples=("$demo"/piq/examples/*/)
first=${examples[0]%/}
"$venv/bin/python" - "$first" <<'WORDS'
import json, pathlib, sys
first = pathlib.Path(sys.argv[1])
clip = json.loads((first / "explanation.json").read_text(encoding="utf-8"))
print(f"\nThe first test clip ({first.name}), which is {clip['true']}:", *clip["sentences"], sep="\n  ")
WORDS
cat <<DONE
Listen to $first/:
  input.wav, explanation.wav (what the mask keeps), residual.wav (what it removes), figure.png; 7 more clips beside it.

Finished in $((SECONDS - began)) s. Results:
  $demo/table.md, summary.json   all metrics and rows, with intervals
  $demo/piq/evaluation/          report.html: the same as a page, with clips to look at and to hear; clips.jsonl: a line
                                 per clip, method and place of measurement
  $demo/classifier_compact/      the classifier; its test accuracy is in classifier/classifier.json
Explain a sound of your own:
  .venv/bin/python tools/interpret.py results/demo/piq SOUND --out results/mine
DONE
