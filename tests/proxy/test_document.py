"""The file of configuration, read strictly: and what is said of it shows none of it."""

import msgspec
import pytest

from proxy.document import DocumentError, read

SECRET = "s3cr3t-canary"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"", None),
        (b"a: 1\nb: [x, 2.5, true, null]\n", {"a": 1, "b": ["x", 2.5, True, None]}),
        (b"a: 2026-11-23\n", {"a": "2026-11-23"}),
        (b"base: &b {x: 1}\nother: {<<: *b, y: 2}\n", {"base": {"x": 1}, "other": {"x": 1, "y": 2}}),
        (b"a: {x: 1}\nb: {x: 2}\n", {"a": {"x": 1}, "b": {"x": 2}}),
    ],
    ids=["nothing", "plain", "a date is text", "a merge", "the same name at two places"],
)
def test_what_stands_in_it_is_read(text, value):
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [", "in line"),
        (f"key: {SECRET}\n  x: {SECRET}\n".encode(), "in line 2"),
        (f"a: !!int {SECRET}\n".encode(), "no valid YAML"),
        (f"a: !{SECRET} 1\n".encode(), "no valid YAML"),
        (b"a: !!bool x\n", "no valid YAML"),
        (b"a: !!timestamp x\n", "no valid YAML"),
        (b"a: \xff\xfe\n", "no valid YAML"),
        (f"a: {SECRET}: b\n".encode(), "in line 1"),
        (f'a: "{SECRET}\n'.encode(), "no valid YAML"),
        (f"? [{SECRET}]\n: 1\n".encode(), "no valid YAML"),
        (b"a: *nobody\n", "no valid YAML"),
        (b"retries: {rounds: 1}\nx: 1\nretries: {rounds: 2}\n", "`retries` stands twice, again in line 3"),
        (b"budgets:\n- {daily: '1', daily: '2'}\n", "`daily` stands twice, again in line 2"),
    ],
)
def test_what_cannot_be_used_is_said_with_its_place_and_without_its_words(text, said):
    with pytest.raises(DocumentError) as caught:
        read(text)
    assert said in str(caught.value)
    assert SECRET not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_dump_of_anything_is_read_as_it_was():
    value = {"a": [1, {"b": None, "c": "2026-01-01", "d": "yes", "e": "1e3"}], "ü": "x: y"}
    assert read(msgspec.yaml.encode(value)) == value
