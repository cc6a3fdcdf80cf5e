"""What the log may show of a prompt: nothing that has the shape of a secret, and no more than was asked for."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters.envelope import Envelope, seal
from proxy.prompts import CUT, answered, luhn, mod97, redacted, shortened

PEM = "-----BEGIN {0}PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAo==\n-----END {0}PRIVATE KEY-----"
# What it is called in the log, and examples of it.
SECRETS = {
    "key": [
        "sk-abcdefghijklmnop1234",
        "sk-proj-Ab_cdEf-ghijkl0123456789",
        "sk-ant-api03-Zz9_yY8-xX7wW6vV5uU4",
        "sk-openai-canary",
        "sk-th-0123456789abcdef",
        "sk_live_0123456789abcdef",
        "AIzaSyA-0123456789_abcdefghijklmnopqrst",
        "AKIAIOSFODNN7EXAMPLE",
        "ASIAIOSFODNN7EXAMPLE",
        "ghp_0123456789abcdefghijABCDEFGHIJ012345",
        "github_pat_11ABCDEFG0123456789_abcdefghij",
        "xoxb-123456789012-abcdefghijkl",
        "hf_abcdefghijklmnopqrstuvwx",
        "gsk_abcdefghijklmnopqrstuvwx",
        "fw_abcdefghijklmnopqrstuvwx",
        "pplx-abcdefghijklmnopqrstuvwx",
    ],
    "token": [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.SflKxwRJSMeKKF2QT4fwpM",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0In0.",
    ],
    "private key": [PEM.format(""), PEM.format("RSA "), PEM.format("OPENSSH "), PEM.format("EC ")[:80]],
    "e-mail": ["jane.doe+work@mail.example.org", "o'neil@example.co.uk", "jürgen@müller.example"],
    "card": ["4111111111111111", "4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "3782 822463 10005"],
    "account": ["DE89370400440532013000", "GB29 NWBK 6016 1331 9268 19", "NO9386011117947"],
}
ALL = [pytest.param(secret, what, id=secret[:40]) for what, secrets in SECRETS.items() for secret in secrets]


@pytest.mark.parametrize(("secret", "what"), ALL)
@pytest.mark.parametrize(
    "around",
    ["{}", "it is {} here", "({})", '"{}"', "a:{},b", "<{}>", "\n{}\n", "= {};"],
    ids=["alone", "in a sentence", "in brackets", "in quotes", "in a list", "in angles", "on a line", "in code"],
)
def test_a_secret_is_named_and_not_shown(secret, what, around):
    if secret.startswith("-----") and not secret.endswith("-----"):
        assert redacted(around.format(secret)) == around.partition("{}")[0] + f"[{what}]", "all that may be of it"
    else:
        assert redacted(around.format(secret)) == around.format(f"[{what}]")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abcdefgh.12345", "Authorization: Bearer [token]"),
        ("curl -H 'authorization: bearer client-canary'", "curl -H 'authorization: bearer [token]'"),
        ("password: hunter2hunter2", "password: [secret]"),
        ('{"api_key": "0123456789abc"}', '{"api_key": "[secret]"}'),
        ("API-KEY=0123456789abc more", "API-KEY=[secret] more"),
        (r"{\"password\": \"hunter2hunter2\"}", r'{\"password\": \"[secret]"}'),
        ("AWS_SECRET_ACCESS_KEY=wJalrXUtnFEMI/K7MDENG", "AWS_SECRET_ACCESS_KEY=[secret]"),
        ("...&access_token=0123456789abc", "...&access_token=[secret]"),
        ('{"accessToken":"0123456789abc"}', '{"accessToken":"[secret]"}'),
        ("AccountKey=0123456789==;EndpointSuffix=x", "AccountKey=[secret];EndpointSuffix=x"),
        ("Authorization: Basic dXNlcjpodW50ZXIycHc=", "Authorization: Basic [token]"),
        ('"authorization": "dXNlcjpodW50ZXIycHc="', '"authorization": "[token]"'),
        ("postgres://user:hunter2@db:5432/x", "postgres://user:[secret]@db:5432/x"),
        ("https://:hunter2@host.example/x", "https://:[secret]@host.example/x"),
    ],
)
def test_what_is_said_to_be_secret_is_taken_for_it(text, shown):
    assert redacted(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "risk-management-systems and task-oriented-dialogue",
        "the bearer of news",
        "AKIA is a prefix, AIza is another, and so is sk-",
        "4111 1111 1111 1112 is no card: its check digit is wrong",
        "call 0800 123 456 789 now, room 12 34",
        "DE88370400440532013000 is no account",
        "1234567890123456789012345678901234567890",
        "someone@ and @someone and a@b",
        "eyJ is how they begin",
        "-----BEGIN PUBLIC KEY-----\nMIIB\n-----END PUBLIC KEY-----",
        "password: short",
        "tokens: unlimited, and a token is a word",
        "https://host.example:8080/@someone",
        "",
    ],
)
def test_what_only_looks_like_a_secret_from_afar_stays(text):
    assert redacted(text) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("4111 1111 1111 1111 12", "[card] 12"),
        ("12 4111 1111 1111 1111", "12 [card]"),
        ("4111111111111111 5500000000000004", "[card] [card]"),
        ("DE89 3704 0044 0532 0130 00 AND MORE", "[account] AND MORE"),
        ("jane@example.org, joe@example.org", "[e-mail], [e-mail]"),
    ],
    ids=["digits behind a card", "digits before a card", "two cards", "words behind an account", "two addresses"],
)
def test_what_stands_beside_a_secret_stays(text, shown):
    assert redacted(text) == shown


@pytest.mark.parametrize(
    ("digits", "shown"),
    [
        ("422222222222", "422222222222"),
        ("4222222222222", "[card]"),
        ("6304000000000000000", "[card]"),
        ("63040000000000000000", "63040000000000000000"),
    ],
    ids=["twelve", "thirteen", "nineteen", "twenty"],
)
def test_a_card_has_thirteen_to_nineteen_digits(digits, shown):
    assert luhn(digits)
    assert redacted(digits) == shown


@pytest.mark.parametrize(("digits", "good"), [("79927398713", True), ("79927398710", False), ("0", True), ("18", True)])
def test_the_check_digit_of_a_card(digits, good):
    assert luhn(digits) is good


@pytest.mark.parametrize(("account", "good"), [("GB82WEST12345698765432", True), ("GB83WEST12345698765432", False)])
def test_the_check_digits_of_an_account(account, good):
    assert mod97(account) is good


WORDS = st.text(st.characters(exclude_characters="-+=_.@/", exclude_categories=("L", "N", "Cs")), max_size=40)
SECRET = st.sampled_from([secret for secrets in SECRETS.values() for secret in secrets])


@given(before=WORDS, secret=SECRET, after=WORDS, limit=st.integers(0, 200))
def test_no_cut_brings_a_secret_to_light(before, secret, after, limit):
    shown = answered(f"{before} {secret} {after}", limit)
    assert len(shown) <= limit
    inner = "".join(secret.split())[4:]
    assert not any(inner[at : at + 6] in shown.replace(" ", "") for at in range(len(inner) - 5))


@given(secret=SECRET.filter(lambda secret: " " not in secret and "\n" not in secret), offset=st.integers(-60, 60))
def test_a_secret_at_the_end_of_what_is_looked_at_is_not_shown_either(secret, offset):
    """Of a long text only the beginning is looked at, and what stands in it may shrink."""
    limit = 40
    many = ("jane.doe.of.the.long.name@mail.example.org " * 400)[: limit + 8_192 - len(secret) + offset]
    shown = answered(f"{many} {secret} {'x' * 500}", limit)
    assert secret[:8] not in shown
    assert len(shown) == limit


def test_no_more_of_a_long_text_is_looked_at_than_is_said():
    """Or somebody's book would keep the process busy; where it shrinks, less than the limit is shown."""
    limit, mail = 4_000, "jane.doe.of.the.long.name@mail.example.org "
    shown = answered(mail * 1_000, limit)
    assert shown == "[e-mail] " * ((limit + 8_192) // len(mail)) + CUT


@given(st.text())
def test_what_is_redacted_is_not_redacted_again(text):
    assert redacted(redacted(text)) == redacted(text)


@pytest.mark.parametrize(
    ("text", "limit", "shown"),
    [
        ("hello", 5, "hello"),
        ("hello", 4, f"hel{CUT}"),
        ("hello", 1, CUT),
        ("hello", 0, ""),
        ("", 3, ""),
        ("x" * 100_000, 10, f" {CUT}"),
        ("word " * 100_000, 10, f"word word{CUT}"),
    ],
    ids=["it fits", "it is cut", "only the cut", "nothing", "empty", "one word without end", "words without end"],
)
def test_an_answer_is_cut(text, limit, shown):
    assert answered(text, limit) == shown


def letter(*messages, **more) -> Envelope:
    return seal(json.dumps({"model": "m", "messages": list(messages), **more}).encode())


SYSTEM, ASK = {"role": "system", "content": "be brief"}, {"role": "user", "content": "who are you?"}
PARTS = {
    "role": "user",
    "content": [
        {"type": "text", "text": "what is"},
        {"type": "image_url", "image_url": {"url": "data:x"}},
        {"text": "it"},
    ],
}


@pytest.mark.parametrize(
    ("messages", "limit", "shown"),
    [
        ([SYSTEM, ASK], 100, "system: be brief\nuser: who are you?"),
        ([SYSTEM, ASK], 35, "system: be brief\nuser: who are you?"),
        ([SYSTEM, ASK], 34, f"system: be bri{CUT}\nuser: who are you?"),
        ([SYSTEM, ASK], 20, f"{CUT}\nuser: who are you?"),
        ([SYSTEM, ASK], 19, "user: who are you?"),
        ([SYSTEM, ASK], 10, f"user: who{CUT}"),
        ([PARTS], 100, "user: what is [image_url] it"),
        ([{"role": "assistant", "tool_calls": []}, ASK], 100, "assistant: \nuser: who are you?"),
        ([{"role": "user", "content": "I am jane@example.org"}], 100, "user: I am [e-mail]"),
        (["no message", {"role": "user", "content": [1, {"text": 2}]}], 100, "\nuser: [None]"),
    ],
    ids=[
        "all of it",
        "just all of it",
        "the first one is cut",
        "of the first one hardly anything",
        "the last one alone",
        "the last one is cut",
        "what is no text is named",
        "a message without a text",
        "redacted",
        "what is no message",
    ],
)
def test_of_a_request_the_last_messages_are_shown(messages, limit, shown):
    assert shortened(letter(*messages), limit) == shown
    assert len(shown) <= limit


@pytest.mark.parametrize(
    "raw", [b'{"model": "m"}', b'{"model": "m", "messages": {}}', b'{"model": "m", "messages": "x"}']
)
def test_a_request_without_messages_shows_nothing(raw):
    assert shortened(seal(raw), 100) == ""


MEMBERS = st.sampled_from(["role", "content", "type", "text"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(MEMBERS, inner, max_size=4),
    max_leaves=12,
)


@given(messages=JSON, limit=st.integers(0, 60))
def test_whatever_stands_in_a_request_it_is_told_within_its_limit(messages, limit):
    shown = shortened(seal(json.dumps({"model": "m", "messages": messages}).encode()), limit)
    assert len(shown) <= limit


def test_a_body_that_cannot_be_read_shows_nothing():
    envelope = seal(b'{"model": "m"}')
    envelope.raw = b'{"model": "m", "messages": [{"content": "\xff"}]}'
    assert shortened(envelope, 100) == ""
    envelope.raw = b"[" * 100_000
    assert shortened(envelope, 100) == ""
