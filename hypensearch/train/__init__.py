# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Training: from queries with their relevant texts to a checkpoint."""
