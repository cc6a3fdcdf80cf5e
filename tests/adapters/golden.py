"""Golden files: where they lie, what is in them, how they are compared, and how they are blessed.

    requests/CASE.json                     {"about", "models": {vendor: model}, "request", "images"?, "signatures"?}
    requests/CASE.VENDOR.expected.json     {"path", "warnings", "body"} or {"refused": {...}}
    VENDOR/CASE.sse or CASE.json           what the vendor answers, as it stood on its wire
    VENDOR/CASE.call.json                  {"about", "reading": {fields of Reading}, "usage"?: {buckets}}; optional
    VENDOR/CASE.openai.sse or .openai.json what the client must hear
    VENDOR/CASE.failure.json               {"kind", "status", "type", "code", "message"}, where it ends badly

A stream and a whole answer of the same name are twins: they share the call, and must add up to the same message.
With TOLLHOUSE_BLESS=1 the expected files are written instead of compared. Read what was blessed: it is now the law.
"""

import base64
import os
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec

from adapters.base import Call, Failure, Fetched, Reading, Stamp, Supplies, Target, Vendor, Warnings
from proxy import catalog

GOLDEN = Path(__file__).parent / "golden"
VENDORS: tuple[Vendor, ...] = ("openai", "anthropic", "gemini")
STAMP = Stamp("chatcmpl-golden", 1_700_000_000)
PRICING = Path(__file__).parents[2] / "pricing.yaml"


class Image(msgspec.Struct, forbid_unknown_fields=True):
    media_type: str
    data: str


class RequestFile(msgspec.Struct, forbid_unknown_fields=True):
    about: str
    models: dict[Vendor, str]
    request: msgspec.Raw
    images: dict[str, Image] = {}
    signatures: dict[str, str] = {}

    def supplies(self) -> Supplies:
        images = {url: Fetched(image.media_type, base64.b64decode(image.data)) for url, image in self.images.items()}
        return Supplies(images=images, states=self.signatures)


class CallFile(msgspec.Struct, forbid_unknown_fields=True):
    about: str
    reading: dict[str, Any] = {}
    usage: dict[str, int] | None = None  # the buckets that are not 0


class RequestCase(NamedTuple):
    name: str
    vendor: Vendor

    def file(self) -> RequestFile:
        return msgspec.json.decode((GOLDEN / "requests" / f"{self.name}.json").read_bytes(), type=RequestFile)

    @property
    def expected(self) -> Path:
        return GOLDEN / "requests" / f"{self.name}.{self.vendor}.expected.json"


class AnswerCase(NamedTuple):
    vendor: Vendor
    name: str
    form: Literal["sse", "json"]

    def path(self, ending: str) -> Path:
        return GOLDEN / self.vendor / f"{self.name}.{ending}"

    @property
    def body(self) -> bytes:
        return self.path(self.form).read_bytes()

    @property
    def about(self) -> CallFile:
        """What was said of the call, or nothing."""
        path = self.path("call.json")
        if not path.exists():
            return CallFile(about="")
        said = msgspec.json.decode(path.read_bytes(), type=CallFile)
        unknown = said.reading.keys() - set(Reading.__struct_fields__)
        assert not unknown, f"{path.name}: a Reading has no {sorted(unknown)}"
        return said

    @property
    def call(self) -> Call:
        fields = {"model": "golden-model", **self.about.reading, "stream": self.form == "sse"}
        return Call(path="", body=b"", reading=msgspec.convert(fields, Reading), warnings=Warnings())


def stems(folder: str, *endings: str) -> Iterator[tuple[str, str]]:
    """Names of cases and their endings; what has a dot in its stem belongs to a case and is none itself."""
    for path in sorted((GOLDEN / folder).iterdir()):
        stem, _, ending = path.name.rpartition(".")
        if ending in endings and "." not in stem:
            yield stem, ending


def request_cases() -> list[RequestCase]:
    return [
        RequestCase(name, vendor)
        for name, _ in stems("requests", "json")
        for vendor in RequestCase(name, "openai").file().models
    ]


def answer_cases(form: Literal["sse", "json"]) -> list[AnswerCase]:
    return [AnswerCase(vendor, name, form) for vendor in VENDORS for name, _ in stems(vendor, form)]


def orphans() -> list[str]:
    """Files that belong to no case: what they expect is never compared."""
    known = {case.expected for case in request_cases()}
    known |= {GOLDEN / "requests" / f"{name}.json" for name, _ in stems("requests", "json")}
    for form in ("sse", "json"):
        for case in answer_cases(form):
            endings = (form, f"openai.{form}", "call.json", "failure.json")
            known |= {case.path(ending) for ending in endings}
    return sorted(str(path.relative_to(GOLDEN)) for path in GOLDEN.rglob("*") if path.is_file() and path not in known)


@cache
def shipped() -> catalog.Catalog:
    return catalog.load(PRICING.read_bytes())


def target(vendor: Vendor, name: str) -> Target:
    """The model as the shipped price table knows it."""
    model = shipped().find(vendor, name)
    assert model is not None, f"pricing.yaml does not know {vendor}/{name}"
    return Target(
        provider=vendor,
        vendor=vendor,
        model=name,
        capabilities=model.capabilities,
        context=model.limits.context,
        max_output=model.limits.max_output,
    )


def pretty(value: Any) -> bytes:
    """JSON for people: the order of members and the spelling of numbers stay as they are."""
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


def described(failure: Failure) -> dict[str, Any]:
    return {
        "kind": failure.kind.value,
        "status": failure.status,
        "type": failure.type,
        "code": failure.code,
        "message": failure.message,
    }


def compare(path: Path, found: bytes | None, environ: Mapping[str, str] = os.environ) -> None:
    """Compare what was found with the file, or write the file when blessing. None: the file must not be there."""
    if environ.get("TOLLHOUSE_BLESS") == "1":
        if found is None:
            path.unlink(missing_ok=True)
        else:
            path.write_bytes(found)
        return
    if found is None:
        assert not path.exists(), f"{path.name} expects what did not happen"
        return
    assert path.exists(), f"{path.name} is missing; bless it with TOLLHOUSE_BLESS=1, then read it"
    expected = path.read_bytes()
    if path.suffix == ".json" and not path.name.endswith(".openai.json"):
        expected = msgspec.json.format(expected, indent=2) + b"\n"
    assert found.decode() == expected.decode()
