# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The names of precisions and scorers, for commands that have not loaded torch."""

PRECISIONS = ("fp32", "bf16", "fp16", "int8")
SCORERS = ("auto", "triton", "fused", "int8", "eager")
