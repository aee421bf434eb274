#!/usr/bin/env bash
# Trains the shipped checkpoint from nothing: VAE, latents, transformer. Run it again to resume where it stopped.
# Two CPU cores take hours, a CUDA machine minutes. Usage: runs/moving_mnist.sh [OUTPUT_FOLDER]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
make --no-print-directory environment
out="${1:-outputs/moving-mnist}"
.venv/bin/minisora train moving-mnist --out "$out"
echo "To ship it: cp $out/model/* $out/log-*.jsonl $out/curves.png data/checkpoints/moving-mnist/"
