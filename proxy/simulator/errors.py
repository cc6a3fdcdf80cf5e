"""The vendors' error bodies and the headers that come with every answer."""

from typing import Any

import msgspec

from proxy.simulator.serials import serial
from proxy.simulator.vocabulary import Json, Refusal, VendorName

JSON_TYPES: dict[VendorName, str] = {
    "openai": "application/json",
    "anthropic": "application/json",
    "gemini": "application/json; charset=UTF-8",
}
STREAM_TYPES: dict[VendorName, str] = {
    "openai": "text/event-stream; charset=utf-8",
    "anthropic": "text/event-stream; charset=utf-8",
    "gemini": "text/event-stream",
}
_OPENAI_KINDS = {429: "requests", 500: "server_error", 502: "server_error", 503: "server_error", 504: "server_error"}
_ANTHROPIC_KINDS = {
    401: "authentication_error", 402: "billing_error", 403: "permission_error", 404: "not_found_error",
    409: "conflict_error", 413: "request_too_large", 429: "rate_limit_error", 500: "api_error", 502: "api_error",
    503: "api_error", 504: "timeout_error", 529: "overloaded_error",
}  # fmt: skip
_GEMINI_KINDS = {
    400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
    429: "RESOURCE_EXHAUSTED", 499: "CANCELLED", 500: "INTERNAL", 501: "UNIMPLEMENTED", 503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}  # fmt: skip


def request_id(vendor: VendorName) -> str:
    """An id for the answer's headers."""
    return serial("req_011" if vendor == "anthropic" else "req_", 21 if vendor == "anthropic" else 32)


def error_object(vendor: VendorName, refusal: Refusal, ident: str) -> Json:
    """The vendor's error as a JSON object."""
    match vendor:
        case "openai":
            kind = refusal.kind or _OPENAI_KINDS.get(refusal.status, "invalid_request_error")
            error: Any = {"message": refusal.message, "type": kind, "param": refusal.param, "code": refusal.code}
            return {"error": error}
        case "anthropic":
            kind = refusal.kind or _ANTHROPIC_KINDS.get(refusal.status, "invalid_request_error")
            error = {"type": kind, "message": refusal.message, "details": refusal.details}
            return {"type": "error", "error": error, "request_id": ident}
        case "gemini":
            kind = refusal.kind or _GEMINI_KINDS.get(refusal.status, "UNKNOWN")
            error = {"code": refusal.status, "message": refusal.message, "status": kind}
            if refusal.details:
                error["details"] = refusal.details
            return {"error": error}


def error_body(vendor: VendorName, refusal: Refusal, ident: str) -> bytes:
    """The error as bytes, laid out as the vendor does."""
    body = msgspec.json.encode(error_object(vendor, refusal, ident))
    return body if vendor == "anthropic" else msgspec.json.format(body, indent=2) + b"\n"


def error_event(vendor: VendorName, refusal: Refusal, ident: str) -> bytes:
    """The error in the middle of a stream. Gemini drops out of the SSE framing and sends bare lines of JSON."""
    body = msgspec.json.encode(error_object(vendor, refusal, ident))
    match vendor:
        case "openai":
            return b"data: " + body + b"\n\n"
        case "anthropic":
            return b"event: error\ndata: " + body + b"\n\n"
        case "gemini":
            return msgspec.json.format(body, indent=2) + b"\n"


def headers(vendor: VendorName, ident: str, content_type: str) -> list[tuple[str, str]]:
    """What the vendor sends with every answer. Rate limits are roomy and never used up."""
    match vendor:
        case "openai":
            return [("content-type", content_type), ("x-request-id", ident), *_OPENAI_HEADERS]
        case "anthropic":
            return [("content-type", content_type), ("request-id", ident), *_ANTHROPIC_HEADERS]
        case "gemini":
            return [("content-type", content_type), *_GEMINI_HEADERS]


_OPENAI_HEADERS = (
    ("openai-processing-ms", "12"),
    ("openai-version", "2020-10-01"),
    ("openai-organization", "simulated"),
    ("x-ratelimit-limit-requests", "10000"),
    ("x-ratelimit-limit-tokens", "30000000"),
    ("x-ratelimit-remaining-requests", "9999"),
    ("x-ratelimit-remaining-tokens", "29999000"),
    ("x-ratelimit-reset-requests", "6ms"),
    ("x-ratelimit-reset-tokens", "0s"),
)
_LIMITS = (("requests", 4000), ("tokens", 480_000), ("input-tokens", 400_000), ("output-tokens", 80_000))
_ANTHROPIC_HEADERS = (
    ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
    *((f"anthropic-ratelimit-{name}-limit", str(limit)) for name, limit in _LIMITS),
    *((f"anthropic-ratelimit-{name}-remaining", str(limit - 1)) for name, limit in _LIMITS),
    *((f"anthropic-ratelimit-{name}-reset", "2026-01-01T00:00:00Z") for name, _ in _LIMITS),
)
_GEMINI_HEADERS = (
    ("vary", "Origin"),
    ("server", "scaffolding on HTTPServer2"),
    ("x-content-type-options", "nosniff"),
    ("server-timing", "gfet4t7; dur=12"),
)
