# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Scores by the authors' code, as its README's quick start makes them; run by test_released_code.py under a Python that
has transformers 4.57 and ``hypencoder_cb``, not hypensearch.

``python released_code_scores.py CHECKPOINT < texts.json > scores.json``: texts are ``{"queries": [..],
"documents": [..], "batch_size": n}``, the answer ``{"scores": [[..]], "vectors": [[..]]}``.
"""

from __future__ import annotations

import json
import sys

import torch
from hypencoder_cb.modeling.hypencoder import HypencoderDualEncoder
from transformers import AutoTokenizer


def main() -> None:
    texts = json.load(sys.stdin)
    model = HypencoderDualEncoder.from_pretrained(sys.argv[1]).eval()
    tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
    with torch.no_grad():
        vectors = torch.cat(
            [
                model.passage_encoder(**tokens(tokenizer, texts["documents"][start : start + texts["batch_size"]]))[0]
                for start in range(0, len(texts["documents"]), texts["batch_size"])
            ]
        )
        queries = model.query_encoder(**tokens(tokenizer, texts["queries"])).representation
        scores = queries(vectors.repeat(len(texts["queries"]), 1, 1)).squeeze(2)
    json.dump({"scores": scores.tolist(), "vectors": vectors.tolist()}, sys.stdout)


def tokens(tokenizer: object, texts: list[str]) -> dict[str, torch.Tensor]:
    batch = tokenizer(texts, padding=True, truncation=True, max_length=64, return_tensors="pt")  # type: ignore[operator]
    return {key: batch[key] for key in ("input_ids", "attention_mask")}


if __name__ == "__main__":
    main()
