"""A server that answers as vLLM does, for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .fake import serving
from .vllm_fake import Vllm


@pytest.fixture
def vllm() -> Iterator[Vllm]:
    fake = Vllm()
    with serving(fake.script) as url:
        fake.url = url
        yield fake
