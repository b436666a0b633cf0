#!/usr/bin/env bash
# Trains styles.yaml on one GPU within a number of seconds, up to its sheet, ONNX file and figures:
#
#   NST_SHARED=DATA configs/bundled/train_on_gpu.sh SECONDS [options of fit ...]
#
# Options that follow override the recipe: `--model.freeze_shared false --model.optimizer.name muon` trains the whole
# network. A content target finds the style weights, for which the recipe's runs had factors set by hand. RESERVE
# seconds, 100 by default, are kept from the steps: for the start (imports, a trial of the network), and for what
# follows the last step. The learning rate falls to zero when the time of the steps is over.
# RUNS is the folder of all runs, PYTHON the interpreter. SIGTERM and Ctrl-C save the step under way.
set -euo pipefail
[[ ${1:-} =~ ^[1-9][0-9]*$ ]] || { echo "usage: $0 SECONDS [options of fit ...]" >&2; exit 2; }
limit=$1 reserve=${RESERVE:-100} runs=${RUNS:-runs/styles} python=${PYTHON:-.venv/bin/python}
shift
steps=$((limit - reserve))
((steps > 0)) || { echo "$0: SECONDS must be > $reserve, which RESERVE sets, got $limit" >&2; exit 2; }
time=$(printf '%02d:%02d:%02d:%02d' $((steps / 86400)) $((steps / 3600 % 24)) $((steps / 60 % 60)) $((steps % 60)))
recipe=$(dirname "$0")/styles.yaml
export PYTHONUNBUFFERED=1

run() { # ends ten seconds early, to save, if something takes longer than expected
  local left=$((limit - SECONDS - 10))
  ((left > 0)) || { echo "no time is left for $1" >&2; return; }
  timeout --kill-after=10 "$left" "$python" -m nst_lightning "$@" &
  trap "kill -TERM $!" TERM INT HUP
  wait $! || wait $! # a signal interrupts the first
}

[[ -e examples/styles/impasto.png ]] || run examples
workers=$(($(nproc) > 2 ? $(nproc) - 1 : 1))
run fit --config "$recipe" --trainer.max_steps -1 --trainer.max_time "$time" --trainer.limit_val_batches 0 \
  --trainer.accelerator gpu --trainer.devices 1 --trainer.precision bf16-mixed \
  --trainer.default_root_dir "$runs" --data.batch_size 24 --data.workers "$workers" \
  --checkpoint.every_n_steps 250 --sheet.every_n_steps 1000 --sheet.short_side 512 "$@"
echo "trained after $SECONDS s"
newest=$(ls -d "$runs"/version_* | sort -V | tail -1)
run validate --config "$newest/config.yaml" --ckpt_path "$newest/checkpoints/last.ckpt" --trainer.limit_val_batches 12 \
  >"$newest/figures.txt"
cat "$newest/figures.txt"
echo "finished after $SECONDS s: $newest"
