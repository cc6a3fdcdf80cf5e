"""One address, a socket for each worker."""

import errno
import socket

import pytest

from proxy.desk.trouble import BAD_NEWS, Trouble
from proxy.workers.port import Port, why


@pytest.fixture
def port():
    made = Port.bind("127.0.0.1", 0)
    yield made
    made.close()


def test_each_worker_has_a_socket_of_its_own_at_the_same_address(port):
    sockets = [one for _ in range(3) for one in port.sockets()]
    assert {one.getsockname() for one in sockets} == {("127.0.0.1", port.number)}
    for one in sockets:
        one.listen()
        one.close()


def test_nobody_is_heard_before_somebody_listens(port):
    for one in port.sockets():
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port.number))
        one.listen()
        socket.create_connection(("127.0.0.1", port.number)).close()
        one.close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port.number))


def test_the_address_can_be_had_again_and_again_and_by_others_once_it_is_closed():
    port = Port.bind("127.0.0.1", 0)
    for _ in range(3):
        for one in port.sockets():
            one.listen()
            one.close()
    port.close()
    with socket.socket() as stranger:  # who does not share
        stranger.bind(("127.0.0.1", port.number))


@pytest.mark.parametrize("shared", [False, True], ids=["by a stranger", "by another with workers"])
def test_a_port_that_is_in_use_is_told(port, shared):
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        (own,) = port.sockets()
        own.listen()
        number = port.number if shared else stranger.getsockname()[1]
        with pytest.raises(
            Trouble, match=rf"^cannot listen on 127\.0\.0\.1 port {number}: Address already in use$"
        ) as told:
            Port.bind("127.0.0.1", number)
        own.close()
    assert told.value.code == BAD_NEWS


def test_a_host_that_is_none_is_told():
    with pytest.raises(Trouble, match=r"^cannot listen on ::1%none port 0: "):
        Port.bind("::1%none", 0)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EADDRINUSE, "a long story"), "Address already in use"),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (ValueError("?"), "the log says why"),
        (None, "the log says why"),
    ],
)
def test_why(error, said):
    assert why(error) == said
