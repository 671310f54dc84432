"""How the API refuses. Its two versions do it in bodies of their own; what isn't v1 answers as v2."""

from __future__ import annotations

from typing import TYPE_CHECKING

from integration_tests.sandbox.messages import json_answer, refusal

if TYPE_CHECKING:
    from integration_tests.sandbox.messages import Answer, Call

V1_DOCS = "https://sandbox.example/v1"


def forbidden(call: Call) -> Answer:
    """Refuse the token, or what it lacks the permission for: the API doesn't tell them apart."""
    return json_answer(403, {"reason": "Token not valid"} if _is_v1(call) else {"status": "forbidden"})


def not_found(_: Call) -> Answer:
    """Refuse a path that isn't there."""
    return json_answer(404, {"status": "not-found"})


def method_not_allowed(_: Call) -> Answer:
    """Refuse whatever isn't GET."""
    return json_answer(405, {"status": "failure", "reason": "method not allowed"}, {"Allow": "GET"})


def invalid_parameters(call: Call, message: str = "the request is not valid") -> Answer:
    """Refuse the parameters."""
    if _is_v1(call):
        return json_answer(400, {"reason": message, "docs": V1_DOCS})
    return refusal(400, "invalid_parameters", message)


def no_such_record(call: Call) -> Answer:
    """Refuse a record that doesn't exist."""
    return not_found(call) if _is_v1(call) else refusal(404, "org_not_found", "there is no such organization")


def server_error(call: Call, status: int = 500) -> Answer:
    """Own a mistake; with the status 200, one that the status doesn't tell."""
    message = "something went wrong"
    if _is_v1(call):
        return json_answer(status, {"status": "failure", "reason": message})
    return refusal(status, "internal_server_error", message)


def _is_v1(call: Call) -> bool:
    return call.path.startswith("/v1/")
