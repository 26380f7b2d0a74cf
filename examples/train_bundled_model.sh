#!/bin/sh
# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
# Train the model that ships with hypensearch: examples/train_bundled_model.sh BACKBONE COLLECTIONS RUN [FLAGS]
# BACKBONE: a folder of all-MiniLM-L6-v2; COLLECTIONS: arxiv, squad-sentences, medquad, scifact; RUN: new files.
# FLAGS go to both phases. To try it out in minutes: PAIRS=300 examples/train_bundled_model.sh .. --max-steps 20
set -eu
backbone=$1 collections=$2 run=$3
shift 3
examples=$(dirname "$0")

python "$examples/train_bundled_model_data.py" --collections "$collections" --output "$run/data" ${PAIRS:+--pairs "$PAIRS"}
for phase in twin head; do
    maps=$([ $phase = head ] && echo "--start-maps $run/twin" || true)
    python -m hypensearch.train --config "$examples/train_bundled_model_$phase.yaml" $maps \
        --backbone "$backbone" --cache "$run/cache" --output "$run/$phase" \
        --train "$run"/data/arxiv.jsonl "$run"/data/docstrings.jsonl "$run"/data/medquad.jsonl "$run"/data/squad.jsonl \
        --validation "$run"/data/validation/* "$@"
done
