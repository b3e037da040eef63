"""Failures as clients of OpenAI's API read them: a status, and one object with a sentence. Pure values.

{"error": {"message": ..., "type": ..., "param": ..., "code": ...}}
"""

from dataclasses import dataclass
from typing import Any

from app.chat.queue import NoThread, QueueFull
from engine.errors import ContextOverflow, EngineBusy, EngineError, NoModelLoaded

INTERNAL = "The answer ended with an internal error; the log of the server says more."
BUSY_S = 2  # when to try again where the model is just being changed, or the system is full


class Refused(ValueError):
    """A request that is not answered; `str()` of it is one sentence with the next step."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> None:
        super().__init__(message)
        self.param = param
        self.code = code
        self.status = status


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What is answered in place of an answer."""

    status: int
    message: str
    type: str
    param: str | None = None
    code: str | None = None
    retry_after_s: int | None = None

    @property
    def body(self) -> dict[str, Any]:
        return {"error": {"message": self.message, "type": self.type, "param": self.param, "code": self.code}}

    @property
    def headers(self) -> dict[str, str]:
        headers = {"WWW-Authenticate": "Bearer"} if self.status == 401 else {}
        return headers | ({"Retry-After": str(self.retry_after_s)} if self.retry_after_s is not None else {})


def failure_of(exc: BaseException) -> Failure:
    """The failure that an exception is for a client; what is no sentence for people is not shown."""
    match exc:
        case Refused():
            kind = "authentication_error" if exc.status == 401 else "invalid_request_error"
            return Failure(status=exc.status, message=str(exc), type=kind, param=exc.param, code=exc.code)
        case QueueFull():
            code, after_s = "rate_limit_exceeded", exc.retry_after_s
            return Failure(status=429, message=str(exc), type="rate_limit_error", code=code, retry_after_s=after_s)
        case ContextOverflow():
            code = "context_length_exceeded"
            return Failure(status=400, message=str(exc), type="invalid_request_error", param="messages", code=code)
        case ValueError():
            return Failure(status=400, message=str(exc), type="invalid_request_error")
        case NoModelLoaded() | EngineBusy() | NoThread():
            kind, code = "server_error", "model_not_ready"
            return Failure(status=503, message=str(exc), type=kind, code=code, retry_after_s=BUSY_S)
        case EngineError():
            return Failure(status=500, message=str(exc), type="server_error", code=exc.type)
    return Failure(status=500, message=INTERNAL, type="server_error", code="internal_error")
