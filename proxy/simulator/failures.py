"""Every way in which a vendor is known to say no: what the `status` fault can send."""

# ruff: noqa: E501  (a table reads best with one row a line, however long the vendor's words are)

from typing import Any

from proxy.simulator.vocabulary import Refusal, VendorName

GOOGLE = "type.googleapis.com/google.rpc."


def _info(reason: str) -> dict[str, Any]:
    domain = "googleapis.com"
    return {
        "@type": f"{GOOGLE}ErrorInfo",
        "reason": reason,
        "domain": domain,
        "metadata": {"service": f"generativelanguage.{domain}"},
    }


def _quota(quota_id: str, value: str) -> dict[str, Any]:
    metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
    violation = {"quotaMetric": metric, "quotaId": quota_id, "quotaValue": value}
    return {"@type": f"{GOOGLE}QuotaFailure", "violations": [violation]}


HELP = {
    "@type": f"{GOOGLE}Help",
    "links": [
        {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
    ],
}
RETRY = {"@type": f"{GOOGLE}RetryInfo", "retryDelay": "17s"}
_EXCEEDED = "You exceeded your current quota, please check your plan and billing details."

FAILURES: dict[VendorName, dict[str, Refusal]] = {
    "openai": {
        "bad_request": Refusal("Invalid request."),
        "context_length": Refusal("This model's maximum context length is 128000 tokens. However, your messages resulted in 150000 tokens. Please reduce the length of the messages.", "messages", "context_length_exceeded"),
        "context_window": Refusal("Your input exceeds the context window of this model. Please adjust your input and try again.", "input", "context_length_exceeded"),
        "content_policy": Refusal("Your request was rejected as a result of our safety system.", None, "content_policy_violation"),
        "content_filter": Refusal("The response was filtered.", None, "content_filter"),
        "invalid_prompt": Refusal("Invalid prompt: your prompt was flagged as potentially violating our usage policy.", None, "invalid_prompt"),
        "billing_hard_limit": Refusal("Billing hard limit has been reached.", None, "billing_hard_limit_reached"),
        "billing_not_active": Refusal("Your account is not active, please check your billing details on our website.", None, "billing_not_active", 429, "billing_not_active"),
        "api_key_invalid": Refusal("Incorrect API key provided: sk-bad***. You can find your API key at https://platform.openai.com/account/api-keys.", None, "invalid_api_key", 401, "invalid_request_error"),
        "country": Refusal("Country, region, or territory not supported", None, "unsupported_country_region_territory", 403, "request_forbidden"),
        "project_access": Refusal("Project `proj_x` does not have access to model `m`", None, "model_not_found", 403, "invalid_request_error"),
        "model_not_found": Refusal("The model `m` does not exist or you do not have access to it.", None, "model_not_found", 404, "invalid_request_error"),
        "timeout": Refusal("Request timed out.", status=408, kind="timeout_error"),
        "conflict": Refusal("Conflict.", status=409, kind="conflict_error"),
        "too_large": Refusal("Request too large.", None, "request_too_large", 413),
        "rate_limit": Refusal("Rate limit reached for m in organization org-x on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s.", None, "rate_limit_exceeded", 429, "requests"),
        "token_rate_limit": Refusal("Rate limit reached for m in organization org-x on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s.", None, "rate_limit_exceeded", 429, "tokens"),
        "request_too_large_tpm": Refusal("Request too large for m in organization org-x on tokens per min (TPM): Limit 30000, Requested 40000.", None, "rate_limit_exceeded", 429, "tokens"),
        "insufficient_quota": Refusal(_EXCEEDED + " For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors.", None, "insufficient_quota", 429, "insufficient_quota"),
        "server_error": Refusal("The server had an error while processing your request. Sorry about that!", status=500),
        "bad_gateway": Refusal("Bad gateway.", status=502),
        "overloaded": Refusal("The server is currently overloaded. Please try again later.", None, "server_is_overloaded", 503),
        "slow_down": Refusal("Slow down. Please reduce your request rate.", None, "slow_down", 503),
        "gateway_timeout": Refusal("Gateway timeout.", status=504),
        "can_only_afford": Refusal("This request requires more credits, or fewer max_tokens. You requested up to 4096 tokens, but can only afford 100.", None, None, 402, "insufficient_quota"),
    },
    "anthropic": {
        "bad_request": Refusal("messages: Field required"),
        "context_length": Refusal("prompt is too long: 250000 tokens > 200000 maximum"),
        "context_limit": Refusal("input length and `max_tokens` exceed context limit: 190000 + 64000 > 200000, decrease input length or `max_tokens` and try again"),
        "credit_balance": Refusal("Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."),
        "insufficient_quota": Refusal("You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."),
        "content_policy": Refusal("Output blocked by content filtering policy"),
        "organization_on_hold": Refusal("This organization is on hold.", details={"error_code": "organization_on_hold"}),
        "cmek_key_disabled": Refusal("The encryption key is disabled.", details={"error_code": "cmek_key_disabled"}),
        "api_key_invalid": Refusal("invalid x-api-key", status=401),
        "billing": Refusal("Billing is unavailable for this organization.", status=402, details={"error_code": "linked_organization_billing_unavailable"}),
        "permission": Refusal("Your API key does not have permission to use the specified resource.", status=403),
        "model_not_found": Refusal("model: m", status=404),
        "file_expired": Refusal("File has expired.", status=404, details={"error_code": "file_expired"}),
        "conflict": Refusal("Conflict.", status=409),
        "too_large": Refusal("Request exceeds the maximum size", status=413),
        "unprocessable": Refusal("Unprocessable entity.", status=422),
        "rate_limit": Refusal("This request would exceed the rate limit for your organization of 50 requests per minute.", status=429),
        "ramp_limit": Refusal("Usage is rising too fast.", status=429, details={"error_code": "ramp_limit_exceeded"}),
        "spend_limit": Refusal("This request would exceed your organization's spend limit.", status=429, details={"error_code": "enforced_spend_limit_reached"}),
        "contract_spend_limit": Refusal("The contract's spend limit is reached.", status=429, details={"error_code": "contract_spend_limit_reached"}),
        "server_error": Refusal("Internal server error", status=500),
        "cmek_context_unavailable": Refusal("The encryption context is unavailable.", status=503, details={"error_code": "cmek_context_unavailable"}),
        "gateway_timeout": Refusal("Request timed out.", status=504),
        "overloaded": Refusal("Overloaded", status=529),
    },
    "gemini": {
        "bad_request": Refusal("Request contains an invalid argument."),
        "context_length": Refusal("The input token count (1200000) exceeds the maximum number of tokens allowed (1048576)."),
        "api_key_invalid": Refusal("API key not valid. Please pass a valid API key.", details=[_info("API_KEY_INVALID"), {"@type": f"{GOOGLE}LocalizedMessage", "locale": "en-US", "message": "API key not valid. Please pass a valid API key."}]),
        "api_key_expired": Refusal("API key expired. Please renew the API key.", details=[_info("API_KEY_INVALID")]),
        "thought_signature": Refusal("Function call is missing a thought_signature in functionCall parts."),
        "location": Refusal("User location is not supported for the API use.", kind="FAILED_PRECONDITION"),
        "billing": Refusal("Please enable billing on your project.", kind="FAILED_PRECONDITION"),
        "too_large": Refusal("Request payload size exceeds the limit: 20971520 bytes."),
        "unauthenticated": Refusal("Request had invalid authentication credentials.", status=401),
        "permission": Refusal("Generative Language API has not been used in project 1 before or it is disabled.", status=403, details=[_info("SERVICE_DISABLED")]),
        "suspended": Refusal("Permission denied: Consumer 'api_key:x' has been suspended.", status=403, details=[_info("CONSUMER_SUSPENDED")]),
        "leaked_key": Refusal("Your API key was reported as leaked. Please use another API key.", status=403),
        "model_not_found": Refusal("models/m is not found for API version v1beta, or is not supported for generateContent. Call ListModels to see the list of available models and their supported methods.", status=404),
        "cached_content": Refusal("Cached content not found (or permission denied)", status=404),
        "conflict": Refusal("The operation was aborted.", status=409),
        "rate_limit": Refusal(_EXCEEDED, status=429, details=[_quota("GenerateRequestsPerMinutePerProjectPerModel-FreeTier", "10"), HELP, RETRY]),
        "per_day_quota": Refusal(_EXCEEDED, status=429, details=[_quota("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "250"), HELP, RETRY]),
        "insufficient_quota": Refusal(_EXCEEDED, status=429, details=[HELP]),
        "prepayment": Refusal("Your prepayment credits are depleted. Please go to AI Studio to manage your project and billing.", status=429),
        "spending_cap": Refusal("Your project has exceeded its spending cap.", status=429),
        "exhausted": Refusal("Resource has been exhausted (e.g. check quota).", status=429),
        "server_error": Refusal("An internal error has occurred. Please retry or report in https://developers.generativeai.google/guide/troubleshooting", status=500),
        "unknown": Refusal("An unknown error has occurred.", status=500, kind="UNKNOWN"),
        "unimplemented": Refusal("Operation is not implemented, or supported, or enabled.", status=501),
        "overloaded": Refusal("The model is overloaded. Please try again later.", status=503),
        "gateway_timeout": Refusal("Deadline expired before operation could complete.", status=504),
    },
}  # fmt: skip

ALIASES = {"credit_balance": "insufficient_quota", "per_day_quota": "rate_limit", "content_policy": "bad_request"}


def failure(vendor: VendorName, error: str | None, status: int | None) -> Refusal:
    """The row called `error`, else the first row with `status`, else a plain error of that status."""
    table = FAILURES[vendor]
    if error is not None:
        row = table.get(error) or table[ALIASES[error]]
        return row if status is None or status == row.status else _with_status(row, status)
    wanted = 500 if status is None else status
    usual = "rate_limit" if wanted == 429 else "bad_request" if wanted == 400 else ""
    if usual:
        return table[usual]
    return next((r for r in table.values() if r.status == wanted), Refusal(f"Error {wanted}.", status=wanted))


def _with_status(row: Refusal, status: int) -> Refusal:
    return Refusal(row.message, row.param, row.code, status, row.kind, row.details)


def retry_headers(vendor: VendorName, refusal: Refusal, retry_after: float | None) -> list[tuple[str, str]]:
    """When to come back. Google says it only in the body."""
    extra: list[tuple[str, str]] = []
    if retry_after is not None:
        extra.append(("retry-after", f"{retry_after:g}"))
        if vendor == "openai":
            extra.append(("retry-after-ms", f"{retry_after * 1000:g}"))
    if (refusal.details or {} if vendor == "anthropic" else {}).get("error_code", "").endswith("spend_limit_reached"):
        extra.append(("anthropic-ratelimit-unified-overage-disabled-reason", "out_of_credits"))
    return extra


def with_delay(vendor: VendorName, refusal: Refusal, retry_after: float | None) -> Refusal:
    """Google's RetryInfo, set to the wanted delay."""
    if vendor != "gemini" or retry_after is None or refusal.status != 429:
        return refusal
    kept = [d for d in refusal.details or [] if d["@type"] != RETRY["@type"]]
    delay = {"@type": RETRY["@type"], "retryDelay": f"{retry_after:g}s"}
    return Refusal(refusal.message, refusal.param, refusal.code, refusal.status, refusal.kind, [*kept, delay])
