# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""The networks: dual encoders, hyper head, q-nets; and the checkpoints they are loaded from."""

from hypensearch.models.config import ModelConfig, QNetConfig
from hypensearch.models.dual_encoder import DualEncoder
from hypensearch.models.hyper_head import HyperHead
from hypensearch.models.loading import load_model
from hypensearch.models.publish import publish
from hypensearch.models.q_net import QNets

__all__ = ["DualEncoder", "HyperHead", "ModelConfig", "QNetConfig", "QNets", "load_model", "publish"]


def __dir__() -> list[str]:
    return __all__
