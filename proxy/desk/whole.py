"""A file that is there whole or not at all: written beside its place, and moved there when it is complete."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from proxy.desk.trouble import Trouble
from proxy.environment import reason


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Write to it; leave with an exception, and what stood there before is as it was. Raises `Trouble`.

    A link stays one, a file keeps its rights. What is no file (a pipe, /dev/null) is written to as it is.
    """
    try:
        place = path.resolve()
        if place.exists() and not place.is_file():
            with place.open("wb") as device:
                yield device
            return
        beside = place.with_name(f".{place.name[:50]}.{secrets.token_hex(6)}.part")
        try:
            with beside.open("xb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            if place.exists():
                beside.chmod(place.stat().st_mode & 0o7777)
            beside.replace(place)
        finally:
            beside.unlink(missing_ok=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise Trouble(f"{path}: cannot be written: {reason(error)}") from None
