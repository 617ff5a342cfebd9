"""The model that a server serves, which must be that of the case."""

from __future__ import annotations

from pytest_speedbench.engines.demo import resolve_model
from pytest_speedbench.engines.protocol import EngineConfig
from pytest_speedbench.engines.serving.http import Http
from pytest_speedbench.engines.serving.schema import ModelCard, ModelList
from pytest_speedbench.errors import EngineError

PATH = "/v1/models"


def find_model(http: Http, config: EngineConfig) -> ModelCard:
    """The entry of ``/v1/models`` for the model of the case.

    Raises:
        EngineError: the server serves other models; the message lists them.
    """
    cards = http.get(PATH, ModelList).data or []
    asked = config.option("served_model_name")
    names = (asked,) if asked else (config.model, resolve_model(config.model))
    for card in cards:
        if card.id in names or (not asked and card.root in names):
            return card
    served = ", ".join(repr(card.id) for card in cards) or "none"
    raise EngineError(
        f"the server at {http.address.url} does not serve {names[0]!r}; it serves: {served}. Name "
        "that model with --speed-model, or, if only the name differs, add "
        "--speed-engine-arg served_model_name=NAME"
    )
