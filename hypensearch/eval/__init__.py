# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""From a run and relevance judgements to measures, as trec_eval computes them."""

from hypensearch.eval.measures import DEFAULT_MEASURES, Evaluation, evaluate, resolve_measures
from hypensearch.eval.significance import compare

__all__ = ["DEFAULT_MEASURES", "Evaluation", "compare", "evaluate", "resolve_measures"]


def __dir__() -> list[str]:
    return __all__
