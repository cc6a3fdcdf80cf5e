"""The server of tollhouse as always, which counts what Python does in it from SIGUSR1 to SIGUSR2: instructions of
bytecode, calls of Python's and of C's functions, by file and function. Into the file that `STEPS` names, as JSON.

`python -m tests.bench.counting serve ...`; see `steps.py`. It runs some forty times as slowly meanwhile.
"""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from proxy.cli import main

_ops: Counter[CodeType] = Counter()
_calls: Counter[CodeType] = Counter()
_beyond: Counter[CodeType] = Counter()  # calls of what is not Python, by who called


def _traced(frame: FrameType, event: str, _: Any) -> Any:
    if event == "opcode":
        _ops[frame.f_code] += 1
    elif event == "call":
        _calls[frame.f_code] += 1
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
    return _traced


def _profiled(frame: FrameType, event: str, _: Any) -> None:
    if event == "c_call":
        _beyond[frame.f_code] += 1


def _begin(*_: object) -> None:
    for counts in (_ops, _calls, _beyond):
        counts.clear()
    sys.settrace(_traced)
    sys.setprofile(_profiled)


def _end(*_: object) -> None:
    sys.settrace(None)
    sys.setprofile(None)
    found: dict[str, list[int]] = {}
    for at, counts in enumerate((_ops, _calls, _beyond)):
        for code, number in counts.items():
            found.setdefault(f"{code.co_filename}|{code.co_qualname}", [0, 0, 0])[at] += number
    file = Path(os.environ["STEPS"])
    unfinished = file.with_suffix(".tmp")
    unfinished.write_text(json.dumps(found))
    unfinished.rename(file)


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, _begin)
    signal.signal(signal.SIGUSR2, _end)
    sys.argv[0] = "tollhouse"
    main()
