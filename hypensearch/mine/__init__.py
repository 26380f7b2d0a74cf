# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Mining: from runs of any first stage to training records with hard negatives and a teacher's scores."""
