# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported, by whichever test or conftest comes first
