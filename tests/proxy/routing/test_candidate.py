"""What a strategy is shown."""

from proxy.providers import VENDORS
from proxy.routing import DEFAULT_TASKS, TASKS
from tests.proxy.routing.candidates import candidate


def test_a_candidate_is_shown_as_provider_and_model():
    assert candidate("openai/gpt-6.1-sol").name == "openai/gpt-6.1-sol"


def test_each_task_has_a_vendor_by_default():
    assert set(DEFAULT_TASKS) == set(TASKS)
    assert set(DEFAULT_TASKS.values()) == set(VENDORS)
