"""The root of all errors, and its four branches, by what a reader should do about an error."""

from __future__ import annotations

from typing import ClassVar


class ConvergenceError(Exception):
    """Raised when Convergence can't do what was requested; the root of all its errors.

    Remedy: read the message and the code of the error's own class.

    Attributes:
        message: one sentence for a person.
        details: the values behind the sentence (org, file, field, accepted values, …); never a
            secret.
    """

    code: ClassVar[str] = "error"
    http_status: ClassVar[int] = 500

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message)
        self.message = message
        self.details = details

    def __str__(self) -> str:
        if not self.details:
            return self.message
        shown = ", ".join(f"{name}={value!r}" for name, value in self.details.items())
        return f"{self.message} ({shown})"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild_error, (type(self), self.message, self.details)


def _rebuild_error(
    kind: type[ConvergenceError], message: str, details: dict[str, object]
) -> ConvergenceError:
    return kind(message, **details)


class ConfigurationError(ConvergenceError):
    """Raised when a configuration file or a setting of this installation is wrong.

    Remedy: correct the file or setting that the message names; `errors` lists all that is wrong.
    """

    code = "configuration_invalid"
    http_status = 409


class RequestError(ConvergenceError):
    """Raised when a request is wrong, and a corrected request would succeed.

    Remedy: correct the field that the message names and send the request again.
    """

    code = "request_invalid"
    http_status = 422


class RetryableError(ConvergenceError):
    """Raised when the same call may succeed later; `retry_after` (s) when the other side said it.

    Remedy: try again. A task tries again by itself.
    """

    code = "unavailable"
    http_status = 503


class FatalError(ConvergenceError):
    """Raised when another try can't help, and the request itself is right.

    Remedy: read the message; report it to the operator if it does not say what to do.
    """

    code = "failed"
