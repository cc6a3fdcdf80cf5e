"""What bytes are, whatever they are declared to be: vendors refuse an image whose type is told wrongly."""

import base64
import binascii
import re

_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
    (b"%PDF-", "application/pdf"),
)
_BY_ENDING = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "gif": "image/gif",
    "webp": "image/webp",
}
_SAME = {"image/jpg": "image/jpeg", "image/pjpeg": "image/jpeg", "audio/mpeg": "audio/mp3", "audio/x-wav": "audio/wav"}
_DATA_URL = re.compile(
    r"data:(?P<type>[^;,]*)(?:;[^;,]*)*?(?P<base64>;base64)?,(?P<data>.*)", re.DOTALL | re.IGNORECASE
)


def data_url(url: str) -> tuple[str, str] | None:
    """`(media type, base64)` of a data URL (RFC 2397), or None if it is another kind of URL or not base64."""
    found = _DATA_URL.fullmatch(url)
    if found is None or not found["base64"]:
        return None
    return found["type"].lower(), found["data"]


def sniff(head: bytes) -> str | None:
    """The media type that the first bytes give away, or None."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    return None


def kind(declared: str, data: str, filename: str | None = None) -> str:
    """The media type of base64 `data`: what its bytes say, else what was declared, else what its name ends with."""
    try:
        head = base64.b64decode(data[:64])
    except (binascii.Error, ValueError):
        head = b""
    found = sniff(head) or _SAME.get(declared, declared)
    if found and found != "application/octet-stream":
        return found
    ending = (filename or "").rpartition(".")[2].lower()
    return _BY_ENDING.get(ending, found or "application/octet-stream")
