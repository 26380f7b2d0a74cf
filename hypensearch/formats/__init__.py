# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The field's files, read and written: corpora, topics, qrels, runs. numpy at most, no torch."""
