"""The figures of all workers as one text for Prometheus. Pure.

Whoever scrapes reaches one worker, and the next time another: counters that jump back and forth would be taken for
restarts. So each line says whose it is, `worker="1"`, and each scrape has the lines of all.
"""

from collections.abc import Mapping


def merged(texts: Mapping[int, bytes]) -> bytes:
    """Texts in Prometheus' format, by worker. All lines of a metric stand together, its head once."""
    heads: dict[bytes, list[bytes]] = {}
    samples: dict[bytes, list[bytes]] = {}
    for number, text in sorted(texts.items()):
        label, name, known = b'worker="%d"' % number, b"", False
        for line in text.splitlines():
            if line.startswith(b"# HELP "):
                name = line.split(b" ", 3)[2]
                known = name in heads
                heads.setdefault(name, [])
                samples.setdefault(name, [])
            if not line.startswith(b"#"):
                samples[name].append(_labelled(line, label))
            elif not known:
                heads[name].append(line)
    return b"".join(b"%b\n" % line for name in heads for line in (*heads[name], *samples[name]))


def _labelled(line: bytes, label: bytes) -> bytes:
    """A name holds neither a brace nor a space, so that the first of these ends it."""
    name, brace, rest = line.partition(b"{")
    if brace and b" " not in name:
        return b"%b{%b,%b" % (name, label, rest)
    name, _, rest = line.partition(b" ")
    return b"%b{%b} %b" % (name, label, rest)
