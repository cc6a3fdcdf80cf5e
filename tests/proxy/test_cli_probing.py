"""`tollhouse healthcheck`: what a container asks for ever, told by the exit code."""

import signal
import socket
import subprocess
import sys
import threading

import pytest

from tests.tollhouse import PATIENCE, ROOT, Tollhouse, run, surroundings

KEY = "sk-canary"


@pytest.fixture(scope="module")
def draining():
    """One that drains until it is killed, and what was said of it before."""
    environ = {"OPENAI_API_KEY": KEY, "TOLLHOUSE_DRAIN_SECONDS": "600", "TOLLHOUSE_DRAIN_NOTICE_SECONDS": "600"}
    with Tollhouse.start(environ) as house:
        before = run("healthcheck", "--url", house.url)
        house.signal(signal.SIGTERM)
        house.wait_log("draining", timeout=PATIENCE)
        yield house, before
        house.kill()


def test_it_is_well_while_it_is_ready_and_not_while_it_drains(draining):
    house, before = draining
    assert (before.returncode, before.stdout, before.stderr) == (0, "ready\n", "")
    done = run("healthcheck", environ={"TOLLHOUSE_URL": f"{house.url}/v1"})
    assert (done.returncode, done.stdout, done.stderr) == (1, "draining\n", "")
    alive = run("healthcheck", "--alive", "--url", house.url)
    assert (alive.returncode, alive.stdout) == (0, "ok\n")


def test_where_nobody_listens_it_is_not_well():
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        done = run("healthcheck", "--url", url)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"tollhouse: no answer from {url}: [Errno 111] Connection refused\n"


@pytest.mark.parametrize(
    "answer", [b"", b"SSH-2.0\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n\x1b[2"], ids=len
)
def test_what_is_no_tollhouse_does_not_write_on_the_terminal(answer):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def once() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(4096)
                connection.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        done = run("healthcheck", "--url", f"http://127.0.0.1:{server.getsockname()[1]}")
        thread.join(PATIENCE)
    assert "\x1b" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert done.returncode == (0 if b"200" in answer else 1)


def test_it_loads_next_to_nothing():
    heavy = {"asyncio", "httpx", "litestar", "rich", "structlog", "subprocess", "yaml", "proxy.settings"}
    code = f"import sys, proxy.cli.probing; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=surroundings({}), capture_output=True, text=True)
    assert done.stdout == "\n", done.stderr
