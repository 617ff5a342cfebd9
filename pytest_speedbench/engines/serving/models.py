"""The model that a server serves, which must be that of the case."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_speedbench.engines.demo import resolve_model
from pytest_speedbench.engines.protocol import EngineConfig
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.errors import EngineError


def _cards(http: Http) -> list[Mapping[str, Any]]:
    found = http.get_json("/v1/models")
    cards = found.get("data") or [] if isinstance(found, dict) else found
    if not isinstance(cards, list) or not all(isinstance(card, dict) for card in cards):
        raise http.unexpected("/v1/models", found, "expected a list of models in 'data'")
    return cards


def find_model(http: Http, config: EngineConfig) -> Mapping[str, Any]:
    """The entry of ``/v1/models`` for the model of the case.

    Raises:
        EngineError: the server serves other models; the message lists them.
    """
    cards = _cards(http)
    asked = config.option("served_model_name")
    names = (asked,) if asked else (config.model, resolve_model(config.model))
    for card in cards:
        if card.get("id") in names or (not asked and card.get("root") in names):
            found: Mapping[str, Any] = card
            return found
    served = ", ".join(repr(card.get("id")) for card in cards) or "none"
    raise EngineError(
        f"the server at {http.address.url} does not serve {names[0]!r}; it serves: {served}. Name "
        "that model with --speed-model, or, if only the name differs, add "
        "--speed-engine-arg served_model_name=NAME"
    )
