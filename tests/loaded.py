"""tollhouse that says at its end what it had loaded: `python -m tests.loaded FILE serve ...`.

The real command line; FILE gets the names of all modules, one a line.
"""

import sys
from pathlib import Path


def main() -> None:
    file, words = Path(sys.argv[1]), sys.argv[2:]
    before = set(sys.modules)  # what the interpreter of this machine starts with is no doing of ours
    from proxy.cli import main

    try:
        main(words)
    finally:
        file.write_text("\n".join(sorted(set(sys.modules) - before)), encoding="utf-8")


if __name__ == "__main__":
    main()
