"""What a request came to that could not be served: whose fault it was, and what the client deserves to hear."""

from enum import Enum


class Kind(Enum):
    """Whose fault a failure was. The plan of attempts and the circuit breaker look at nothing else.

    The letters are the classes that the vendors' errors are sorted into (docs/translation.md, "Errors").
    """

    CALLER = "caller"  # C: the request is wrong; nobody else would take it either
    TOO_LONG = "too_long"  # C: too long for this model; a larger window might do
    UNSUPPORTED = "unsupported"  # C: this vendor has no way to honour a parameter
    POLICY = "policy"  # P: content policy; asking elsewhere would be shopping for a yes
    TRANSIENT = "transient"  # T: the vendor broke
    OVERLOADED = "overloaded"  # T: the vendor is too busy; short cooldown
    TIMEOUT = "timeout"  # T: the vendor said nothing in time
    UNREACHABLE = "unreachable"  # T: no connection could be made (DNS, TCP, TLS)
    RATE_LIMITED = "rate_limited"  # L: our account sends too fast; not a sickness
    QUOTA = "quota"  # Q: our account has no money left
    KEY = "key"  # K: our key or our configuration is wrong
    MODEL = "model"  # K, for this model only: the vendor does not know it
    REQUEST = "request"  # R: this request only; somebody else may serve it, and the vendor is well
    BUDGET = "budget"  # ours: no money can be held for it; a cheaper model, or another provider's budget, might do
    STORE = "store"  # ours: where the money is counted cannot be asked

    @property
    def callers_fault(self) -> bool:
        """True when no other vendor may be asked: the same request would be wrong there too."""
        return self in _CALLERS


_CALLERS = frozenset({Kind.CALLER, Kind.TOO_LONG, Kind.UNSUPPORTED, Kind.POLICY})


REMOVED = "[removed]"


class Failure(Exception):
    """A request that could not be served, with what the client deserves to hear.

    `status` and the four members of OpenAI's error object are what leaves for the client if nobody else can serve;
    `retry_after` is in seconds; `body` is set when the vendor speaks OpenAI's format and its bytes may be relayed.
    """

    def __init__(
        self,
        kind: Kind,
        message: str,
        *,
        status: int = 502,
        type: str = "server_error",
        code: str | None = None,
        param: str | None = None,
        retry_after: float | None = None,
        body: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.message = message
        self.status = status
        self.type = type
        self.code = code
        self.param = param
        self.retry_after = retry_after
        self.body = body

    def conceal(self, secret: str) -> None:
        """Take a secret out of everything that it says: some vendors repeat the key that they refuse."""
        for name in ("message", "type", "code", "param"):
            if (said := getattr(self, name)) and secret in said:
                setattr(self, name, said.replace(secret, REMOVED))
        if self.body is not None and secret.encode() in self.body:
            self.body = self.body.replace(secret.encode(), REMOVED.encode())
        self.args = (self.message,)

    def __repr__(self) -> str:
        return f"<Failure {self.kind.value} {self.status} {self.code}: {self.message}>"


def invalid(message: str, param: str | None, code: str | None = None) -> Failure:
    """The client's request is malformed: 400 `invalid_request_error`."""
    return Failure(Kind.CALLER, message, status=400, type="invalid_request_error", code=code, param=param)


def unsupported(param: str, why: str) -> Failure:
    """The routed vendor cannot honour `param`: 400 `unsupported_parameter`, said before anything is sent."""
    return Failure(
        Kind.UNSUPPORTED,
        f"{param}: {why}",
        status=400,
        type="invalid_request_error",
        code="unsupported_parameter",
        param=param,
    )
