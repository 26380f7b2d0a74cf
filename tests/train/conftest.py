# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
from tests.train.toy import backbone, data, settings

__all__ = ["backbone", "data", "settings"]
