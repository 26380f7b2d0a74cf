# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Hypencoder retrieval for Pyserini: encode a corpus, search it with q-nets, evaluate the run.

::

    corpus --encode--> document vectors --> flat index ------+
    topics --query encoder + hyper head--> q-nets -----------+--search--> run --eval--> measures
"""

__version__ = "0.1.0"
