"""Failures that concern one request, where the server may go on with others."""

from __future__ import annotations

from pytest_speedbench.errors import EngineDied, EngineError


class RequestRefused(EngineError):
    """The server cannot run this request, but goes on with others."""


class AnswerFailed(EngineDied):
    """The server broke off one answer; whether it goes on with others has to be asked.

    Attributes:
        reason: why, in the server's own words where it gave any, such as ``HTTP 500: no memory``.
    """

    def __init__(self, message: str, reason: str) -> None:
        """Take the message for a run that ends with it, and the reason."""
        super().__init__(message)
        self.reason = reason
