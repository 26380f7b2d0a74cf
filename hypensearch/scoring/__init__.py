# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Scoring: document vectors under q-nets, on CPUs; on GPUs in :mod:`hypensearch.scoring.gpu`."""
