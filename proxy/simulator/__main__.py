"""`python -m proxy.simulator`: OpenAI, Anthropic and Gemini in one process, each on a port of its own."""

import argparse
import asyncio
import contextlib
import os
import signal

import msgspec

from proxy.simulator import counting
from proxy.simulator.control import Control
from proxy.simulator.delivery import Delivery
from proxy.simulator.faults import Rack
from proxy.simulator.house import House
from proxy.simulator.ledger import Ledger
from proxy.simulator.limits import Limits
from proxy.simulator.listeners import Door, Listeners
from proxy.simulator.vocabulary import VENDORS


def arguments(words: list[str] | None = None) -> argparse.Namespace:
    """The command line. Port 0 takes any free port."""
    parser = argparse.ArgumentParser(prog="python -m proxy.simulator", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    for name in (*VENDORS, "control"):
        parser.add_argument(f"--{name}-port", type=int, default=0, metavar="PORT")
    parser.add_argument(
        "--pace", type=float, metavar="MS_PER_CHUNK",
        help="wait between two events of a stream; 0 sends each stream in one burst (default: a write per event)",
    )  # fmt: skip
    parser.add_argument(
        "--tokens", choices=counting.RULES, default="bytes",
        help="how texts are counted: UTF-8 bytes / 4, or OpenAI's o200k_base to the token (default: bytes)",
    )  # fmt: skip
    parser.add_argument("--die-with-parent", action="store_true", help="end when stdin does")
    return parser.parse_args(words)


async def serve(options: argparse.Namespace) -> None:
    """Open the doors, say where they are, and wait for the end."""
    counting.choose(options.tokens)
    rack, limits, ledger = Rack(), Limits(), Ledger()
    delivery = Delivery(ledger, options.pace)
    houses = {v: House(v, rack, limits, ledger, delivery) for v in VENDORS}
    doors = {v: Door(options.host, getattr(options, f"{v}_port"), houses[v].handle) for v in VENDORS}
    control = Control(houses, rack, limits, ledger, Listeners(doors))
    front = Door(options.host, options.control_port, control.handle)
    for door in (*doors.values(), front):
        await door.open()
    end = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end.set)
    if options.die_with_parent:
        loop.add_reader(0, lambda: None if os.read(0, 4096) else end.set())
    places = {
        "openai": doors["openai"].url + "/v1",
        "anthropic": doors["anthropic"].url,
        "gemini": doors["gemini"].url,
        "control": front.url,
    }
    print(msgspec.json.encode(places).decode(), flush=True)
    await end.wait()
    for door in (*doors.values(), front):
        door.shut()
        for peer in list(door.peers):
            peer.transport.abort()


def main() -> None:
    """Run until told to stop, on uvloop if it is there."""
    options = arguments()
    run = asyncio.run
    with contextlib.suppress(ImportError):
        import uvloop

        run = uvloop.run
    run(serve(options))


if __name__ == "__main__":
    main()
