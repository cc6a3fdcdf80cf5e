"""Bytes are what they are, not what they are called."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adapters import media

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 60
JPEG = b"\xff\xd8\xff\xe0" + b"\0" * 60
WEBP = b"RIFF\x10\0\0\0WEBPVP8 " + b"\0" * 60


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


@pytest.mark.parametrize(
    ("head", "kind"),
    [
        (PNG, "image/png"),
        (JPEG, "image/jpeg"),
        (b"GIF87a..", "image/gif"),
        (b"GIF89a..", "image/gif"),
        (b"%PDF-1.7", "application/pdf"),
        (WEBP, "image/webp"),
        (b"RIFF\x10\0\0\0WAVEfmt ", None),
        (b"FORM\x10\0\0\0WEBPVP8 ", None),
        (b"hello", None),
        (b"", None),
    ],
)
def test_the_first_bytes_give_it_away(head, kind):
    assert media.sniff(head) == kind


@pytest.mark.parametrize(
    ("declared", "data", "filename", "kind"),
    [
        pytest.param("image/png", b64(JPEG), None, "image/jpeg", id="trap 31: declared wrongly"),
        pytest.param("image/jpg", b64(b"?" * 60), None, "image/jpeg", id="trap 31: declared as jpg"),
        pytest.param("image/jpg", b64(JPEG), None, "image/jpeg", id="trap 31: a jpg that is one"),
        pytest.param("audio/mpeg", "", None, "audio/mp3", id="one of two names"),
        pytest.param("audio/x-wav", "", None, "audio/wav", id="another of two names"),
        pytest.param("image/pjpeg", b64(b"?" * 60), None, "image/jpeg", id="one of three names"),
        pytest.param("text/plain", b64(PNG)[:64] + "A", None, "image/png", id="its beginning is enough"),
        pytest.param("text/plain", b64(b"hello"), "a.pdf", "text/plain", id="declared, and not contradicted"),
        pytest.param("", b64(b"%PDF-1.7"), None, "application/pdf", id="not declared, but plain"),
        pytest.param("", b64(b"a,b"), "Table.CSV", "text/csv", id="known by its name"),
        pytest.param("application/octet-stream", b64(b"# a"), "a.md", "text/markdown", id="declared as anything"),
        pytest.param("application/octet-stream", b64(b"a"), "a.xyz", "application/octet-stream", id="unheard of"),
        pytest.param("", b64(b"a"), None, "application/octet-stream", id="nothing known"),
        pytest.param("image/png", "not base64!", None, "image/png", id="not base64"),
        pytest.param("image/png", "ä" * 64, None, "image/png", id="not even ASCII"),
    ],
)
def test_what_it_is(declared, data, filename, kind):
    assert media.kind(declared, data, filename) == kind


@pytest.mark.parametrize(
    ("ending", "kind"),
    [
        ("pdf", "application/pdf"),
        ("txt", "text/plain"),
        ("md", "text/markdown"),
        ("csv", "text/csv"),
        ("html", "text/html"),
        ("json", "application/json"),
        ("png", "image/png"),
        ("jpg", "image/jpeg"),
        ("jpeg", "image/jpeg"),
        ("gif", "image/gif"),
        ("webp", "image/webp"),
    ],
)
def test_where_nothing_else_tells_the_ending_does(ending, kind):
    assert media.kind("", b64(b"?"), f"some.file.{ending}") == kind


@given(st.text(), st.text() | st.binary().map(b64), st.none() | st.text())
def test_every_question_has_an_answer(declared, data, filename):
    assert media.kind(declared, data, filename)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("data:image/png;base64,AAAA", ("image/png", "AAAA")),
        ("DATA:IMAGE/PNG;charset=x;BASE64,AAAA", ("image/png", "AAAA")),
        ("data:;base64,AA", ("", "AA")),
        ("data:text/plain,hello", None),
        ("https://x/y", None),
        ("", None),
    ],
)
def test_data_urls(url, expected):
    assert media.data_url(url) == expected


@given(st.binary())
def test_a_data_url_gives_back_what_was_put_in(data):
    text = b64(data)
    assert media.data_url(f"data:image/png;base64,{text}") == ("image/png", text)
