"""The replay and the curves, in small: what is asked and heard, and what is written of it."""

import asyncio
from urllib.parse import urlsplit

from tests.bench.growth import CURVES, drawn, section, told
from tests.bench.replay import SPEED, Found, Moment, quantile, trace
from tests.bench.replay import drawn as replay_drawn
from tests.bench.replay import section as replay_section
from tests.bench.street import Row, Street, Times
from tests.namesake import EACH_PART, Line


async def heard(rows: list[Row], street: Street) -> None:
    server, address = await street.vendor.listen()
    port = urlsplit(address).port
    assert port is not None
    await street.run(port, rows)
    street.close()
    server.close()


async def test_each_client_hears_its_own_stream_to_the_end():
    rows = [Row(0.0, 10, 1), Row(0.0, 2_000, EACH_PART + 1), Row(0.01, 1, 0)]
    street = Street()
    await heard(rows, street)
    assert street.wrong == []
    assert len(street.times) == len(rows)
    assert all(0 < times.added < times.first for times in street.times)
    assert (street.busy, street.vendor.heard["paced"]) == (0, len(rows))


async def test_a_stream_that_is_cut_is_wrong_and_ends_the_waiting():
    street = Street()
    lines: list[Line] = []

    def line() -> Line:
        lines.append(Line(street.vendor))
        return lines[-1]

    street.vendor.told = lambda what, _: lines[0].reset() if what == "said" else None
    server = await asyncio.get_running_loop().create_server(line, "127.0.0.1", 0)
    await street.run(server.sockets[0].getsockname()[1], [Row(0.0, 10, 20)])
    server.close()
    assert len(street.wrong) == 1
    assert street.times == []


def test_the_trace_is_an_hour_ten_times_as_fast():
    whole, part = trace(3_600 / SPEED), trace(10)
    assert len(whole) == 19_366
    assert part == whole[: len(part)]
    assert 0 < len(part) < len(whole)


def test_what_the_replay_found_is_told_and_drawn():
    times = [Times(0.41 + n / 1e5, 0.4) for n in range(100)]
    moments = [Moment(n, 0.1, 50.0 + n, 200 + n, 210) for n in range(20)]
    text = replay_section(Found(times, [], moments, 0.1), Found(times[:10], [], [], 0.0), trace(10))
    assert "| 0 | 100 | 1000 µs | 10 % / 10 % | 50 / 69 MB | 219 |" in text
    assert replay_drawn(moments).count("<polyline") == 4


def test_a_quantile_is_one_of_the_values():
    assert [quantile([3.0, 1.0, 2.0, 4.0], part) for part in (0.0, 0.5, 0.99, 1.0)] == [1.0, 3.0, 4.0, 4.0]
    assert quantile([], 0.5) == 0.0


def test_what_the_curves_found_is_told_and_drawn():
    points = {"sqlite": [(1, 200.0), (10, 210.0)], "redis": [(1, 220.0), (10, 220.0)]}
    assert list(told(CURVES["keys"], points)) == [
        "| Managed client keys | embedded store | 1: 200, 10: 210 | 1.05 |",
        "| Managed client keys | Redis | 1: 220, 10: 220 | 1.00 |",
    ]
    assert "performance/growth-keys.svg" in section({"keys": points}, 1.5)
    assert drawn(CURVES["keys"], points).count("<polyline") == 2


def test_every_curve_begins_small_and_grows_tenfold_at_least():
    for curve in CURVES.values():
        assert list(curve.values) == sorted(curve.values)
        assert curve.values[-1] >= 100 * max(1, curve.values[0])
