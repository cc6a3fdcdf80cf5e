"""The words that all descriptions of answers are made of."""

from typing import Annotated

import msgspec

Usd = Annotated[str, msgspec.Meta(pattern=r"^-?[0-9]+(\.[0-9]{1,9})?$", description="US dollars, an exact decimal")]
Moment = Annotated[str, msgspec.Meta(description="UTC, ISO 8601", extra_json_schema={"format": "date-time"})]
Day = Annotated[str, msgspec.Meta(pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", description="a day, in UTC")]
Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
Milliseconds = Annotated[float, msgspec.Meta(ge=0, description="milliseconds")]


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """Nothing is told that is not described."""


class Error(Said):
    """What went wrong. `code` is for programs, `param` names the member or the parameter that is at fault."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorAnswer(Said):
    error: Error
