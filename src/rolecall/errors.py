"""The one error tree.

Every error says who is to blame, whether the same call may succeed later, and what to do next::

    RolecallError                 blame, retryable, hint
    ├── BadInput                  the caller sent something malformed           (caller, final)
    │   ├── BadName               a name that is not one: ARN, namespace, …
    │   ├── BadToken              a token that is not believed, with its reason word
    │   └── BadPolicy             a policy document, with the path of the fault
    ├── Refused                   understood, believed, and denied              (caller, final)
    ├── ServiceError              an AWS-shaped answer: code, status, message   (as its status says)
    ├── Upstream                  somebody we depend on failed                  (upstream, retryable)
    │   └── UpstreamAnswered      it answered, with an error of its own         (as its status says)
    ├── Misconfigured             flags, files or environment cannot work       (operator, final)
    └── StateTaken                another process owns the state directory      (operator, final)

Nothing here ever carries a secret: messages are shown to pods, printed and logged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

if TYPE_CHECKING:
    from rolecall.core.grant import Refusal

Blame = Literal["caller", "operator", "upstream", "us"]


class RolecallError(Exception):
    """Base of all errors that Rolecall raises on purpose."""

    blame: ClassVar[Blame] = "us"
    retryable: bool = False

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    @property
    def word(self) -> str:
        """The stable word that this error is counted and logged under; the kind of error where it has no code."""
        return type(self).__name__


class BadInput(RolecallError):
    """The caller sent something that cannot be read."""

    blame = "caller"


class BadName(BadInput):
    """A name does not have the form that AWS, Kubernetes or OIDC give it."""


class BadToken(BadInput):
    """A token is not believed. `reason` is a stable word such as ``expired`` or ``unknown-key``."""

    def __init__(self, reason: str, message: str, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.reason = reason

    @property
    def word(self) -> str:
        """The reason."""
        return self.reason


class BadPolicy(BadInput):
    """A policy document cannot be read. `path` is a JSON path such as ``$.Statement[1].Action``."""

    def __init__(self, path: str, message: str, *, hint: str = "") -> None:
        super().__init__(f"{path}: {message}", hint=hint)
        self.path = path
        self.detail = message


class Refused(RolecallError):
    """The request was understood and is denied; `refusal` says why."""

    blame = "caller"

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.sentence, hint=refusal.hint)
        self.refusal = refusal

    @property
    def word(self) -> str:
        """The refusal's reason."""
        return self.refusal.reason


class ServiceError(RolecallError):
    """An error in AWS's own shape: what an AWS API would answer.

    `code` is the wire code (``AccessDenied``, ``ResourceInUseException``), `status` the HTTP status.
    """

    blame = "caller"

    def __init__(self, code: str, message: str, *, status: int = 400, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.code = code
        self.status = status
        self.retryable = status == 429 or status >= 500

    @property
    def word(self) -> str:
        """The code."""
        return self.code


class Upstream(RolecallError):
    """A service we depend on could not be reached or gave no usable answer."""

    blame = "upstream"
    retryable = True


class UpstreamAnswered(Upstream):
    """The upstream service answered with an error: its status, code, message and request id."""

    def __init__(self, *, status: int, code: str, message: str, request_id: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.request_id = request_id
        self.retryable = status == 429 or status >= 500

    @property
    def word(self) -> str:
        """The code."""
        return self.code

    @property
    def about_the_asker(self) -> bool:
        """Whether it is about who asked, and not about what was asked for.

        With 401 and 403 every AWS service speaks of who signed; what EKS Auth says of a pod's token is 400 or 404.
        With 407 a proxy on the way wants to know us.
        """
        return self.status in (401, 403, 407)


class Misconfigured(RolecallError):
    """Flags, environment or files ask for something that cannot work."""

    blame = "operator"


class StateTaken(Misconfigured):
    """Another process owns the state directory."""
