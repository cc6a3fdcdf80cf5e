"""What is told of client keys."""

from typing import Literal

from proxy.admin.answers.said import Count, Moment, Said, Usd


class KeyAnswer(Said):
    """A client key; null: no such limit, or never. `hint`: the last characters of its text."""

    name: str
    status: Literal["active", "expired", "revoked"]
    hint: str
    created: Moment
    user: str | None
    agent: str | None
    team: str | None
    expires: Moment | None
    models: list[str] | None
    daily: Usd | None
    monthly: Usd | None
    requests_per_minute: Count | None
    tokens_per_minute: Count | None
    concurrent: Count | None
    revoked: Moment | None
    previous_until: Moment | None


class NewKeyAnswer(KeyAnswer):
    """`key` is its text: in this answer, and never again."""

    key: str


class KeysAnswer(Said):
    keys: list[KeyAnswer]
