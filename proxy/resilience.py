"""What is done about vendors that fail or are slow, as it is configured: circuit breakers, retries, hedging.

The circuit breaker's figures stand in the section `health` of the file; variables go before it, key by key.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from proxy.environment import Environment
from proxy.health import Policy
from proxy.timeouts import check_seconds

_MOST_ROUNDS = 10
_DAY = 86_400


class Retries(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How often all candidates are asked, and how long is paused between two rounds. Seconds.

    A pause is a random part of `base`, of twice that, of four times, up to `longest`; but what a vendor asks for is
    waited for, if it is at most `longest`.
    """

    rounds: int = 2  # 1: nobody is asked again
    base: float = 0.25
    longest: float = 4.0
    share: float = 0.2  # of retries, on top of live requests
    queue: float = 10.0  # that a request waits at most when all who could serve are rate limited; 0: not at all

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= _MOST_ROUNDS:
            raise ValueError(f"`rounds` is from 1 to {_MOST_ROUNDS}")
        check_seconds("base", self.base)
        check_seconds("longest", self.longest)
        if self.base > self.longest:
            raise ValueError("`base` is at most `longest`")
        if not 0 <= self.share <= 1:
            raise ValueError("`share` is from 0 to 1")
        if self.queue:
            check_seconds("queue", self.queue)


class Hedging(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Whether a second candidate is asked when the first is later than it is nineteen times in twenty."""

    enabled: bool = False
    spend: float = 0.05  # of what was spent lately: the most that second legs may cost on top
    least: float = 0.5  # seconds before which nobody is hedged, however fast it is as a rule

    def __post_init__(self) -> None:
        if not 0 < self.spend <= 1:
            raise ValueError("`spend` is more than 0 and at most 1")
        check_seconds("least", self.least)


def _count(text: str) -> int:
    if (count := int(text)) < 1:
        raise ValueError(text)
    return count


def _upto(most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        if not 0 < (number := float(text)) <= most:
            raise ValueError(text)
        return number

    return parse


_SECONDS = f"a number of seconds, more than 0 and at most {_DAY}"
# The variable, its key in the section, how it is read, and what is expected.
_HEALTH: Mapping[str, tuple[str, Callable[[str], float], str]] = {
    "LLM_HEALTH_CONSECUTIVE_FAILURES": ("consecutive", _count, "a whole number, 1 or more"),
    "LLM_HEALTH_FAILURE_RATE": ("rate", _upto(1), "a share, more than 0 and at most 1"),
    "LLM_HEALTH_WINDOW_SECONDS": ("window", _upto(_DAY), _SECONDS),
    "LLM_HEALTH_MIN_REQUESTS": ("least", _count, "a whole number, 1 or more"),
    "LLM_HEALTH_COOLDOWN_SECONDS": ("cooldown", _upto(_DAY), _SECONDS),
}


def health(env: Environment, section: Any, place: str) -> Policy:
    """The circuit breaker's figures. Faults go to `env`, one line each; `place` says where the section stands."""
    given: dict[Any, Any] = dict(section) if isinstance(section, dict) else {}
    policy = Policy()
    if section is not None:
        try:
            policy = msgspec.convert(_stretched(given, given) if isinstance(section, dict) else section, Policy)
        except msgspec.ValidationError as error:
            env.faults.append(f"{place}: {error}")
            given = {}
    for variable, (key, parse, expected) in _HEALTH.items():
        value = env.read(variable, parse, None, expected)
        if value is None:
            continue
        try:
            policy = Policy(**_stretched({**msgspec.structs.asdict(policy), key: value}, given))
        except ValueError as error:
            env.faults.append(f"{variable}: together with {place}: {error}")
    return policy


def _stretched(figures: dict[Any, Any], given: Mapping[Any, Any]) -> dict[Any, Any]:
    """A cooldown that is raised alone takes the longest one with it."""
    if "longest" in given:
        return figures
    cooldown, longest = figures.get("cooldown"), Policy().longest
    return {**figures, "longest": max(cooldown, longest) if isinstance(cooldown, int | float) else longest}
