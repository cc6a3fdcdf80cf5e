"""What the clients under test speak to: tollhouse before the simulated vendors, as a process of tollhouse's own.

`python -m tests.clients.stage` prints where everything is, and ends when its standard input does. It is run by the
interpreter of .venv; the clients live in .venv-clients, which cannot hold both (requirements/clients.in says why).
"""

import json
import sys

from proxy.simulator.client import Simulator
from tests.tollhouse import Tollhouse, environ_of

if __name__ == "__main__":
    with Simulator.start() as vendors, Tollhouse.start(environ_of(vendors)) as house:
        urls = {name: getattr(vendors, name) for name in ("openai", "anthropic", "gemini", "control")}
        print(json.dumps({"tollhouse": house.url, **urls}), flush=True)
        sys.stdin.read()
