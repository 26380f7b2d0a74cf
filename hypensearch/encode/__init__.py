# Copyright 2026 The hypensearch authors
# SPDX-License-Identifier: Apache-2.0
"""Encoding: a corpus to an index of document vectors, topics to saved q-nets."""

from hypensearch.encode.encode_corpus import encode_corpus, import_vectors
from hypensearch.encode.options import EncodingOptions, OutputOptions
from hypensearch.encode.texts import DocumentEncoder
from hypensearch.formats.corpus import TextRule

__all__ = ["DocumentEncoder", "EncodingOptions", "OutputOptions", "TextRule", "encode_corpus", "import_vectors"]


def __dir__() -> list[str]:
    return __all__
