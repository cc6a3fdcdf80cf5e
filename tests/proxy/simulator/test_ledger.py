"""The ledger bills what was sent; scripts and the control port do as they are told."""

import subprocess
import sys

import pytest

from proxy.simulator import Simulator
from proxy.simulator.counting import tokens


def ask(client, text="hello", **extra):
    return client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": text}], **extra)


def test_an_entry_says_who_asked_what_and_what_it_costs(vendors, oa, an, ge):
    usage = ask(oa, "hello tag=one").usage
    an.messages.create(model="claude-haiku-4-5", max_tokens=9, messages=[{"role": "user", "content": "x tag=two"}])
    ge.models.generate_content(model="gemini-3-flash-preview", contents="tag=three")
    assert vendors.wait(ledger=3)
    entries = vendors.ledger()
    assert [e["client_tag"] for e in entries] == ["one", "two", "three"]
    assert [e["vendor"] for e in entries] == ["openai", "anthropic", "gemini"]
    assert {e["outcome"] for e in entries} == {"complete"}
    assert entries[0]["usage"]["in_text"] == usage.prompt_tokens
    assert entries[0]["usage"]["out_text"] == usage.completion_tokens
    assert vendors.totals()["openai"]["gpt-4o"]["in_text"] == usage.prompt_tokens


def test_a_stream_that_the_client_leaves_is_billed_up_to_there(vendors, oa):
    vendors.fault("openai", "hang_midstream", after_events=5)
    stream = ask(oa, "words 50", stream=True)
    for _ in range(5):
        next(stream)
    stream.close()
    assert vendors.wait("openai", in_progress=0, ledger=1)
    entry = vendors.ledger("openai")[0]
    assert entry["outcome"] == "cancelled"
    assert entry["usage"]["out_text"] == tokens("alpha beta gamma delta ")  # the first event is only the role


def test_a_refused_request_costs_nothing(vendors, oa):
    with pytest.raises(Exception, match="does not exist"):
        oa.chat.completions.create(model="gpt-missing", messages=[{"role": "user", "content": "x"}])
    entry = vendors.ledger()[0]
    assert (entry["status"], sum(entry["usage"].values())) == (404, 0)


def test_lists_and_counts_are_not_in_the_ledger(vendors, oa):
    list(oa.models.list())
    assert vendors.ledger() == []


def test_a_script_is_played_in_order_and_then_forgotten(vendors, oa):
    call = {"name": "f", "arguments": '{"a": 1}'}
    vendors.script("openai", {"text": ["one ", "two"]}, {"tool_calls": [call]}, {"raw": "{}", "raw_status": 418})
    assert ask(oa).choices[0].message.content == "one two"
    assert ask(oa).choices[0].message.tool_calls[0].function.arguments == '{"a": 1}'
    with pytest.raises(Exception, match="418"):
        ask(oa)
    assert ask(oa).choices[0].message.content == "Echo: hello"


def test_a_repeating_script_says_the_same_for_ever(vendors, oa):
    vendors.script("openai", {"text": "again"}, repeat=True)
    assert {ask(oa).choices[0].message.content for _ in range(3)} == {"again"}
    vendors.clear_script()
    assert ask(oa).choices[0].message.content == "Echo: hello"


def test_raw_chunks_are_sent_as_they_are(vendors, oa):
    vendors.script("openai", {"raw_chunks": ['data: {"id":"x","cho', 'ices":[]}\n\ndata: [DONE]\n\n']})
    assert [c.id for c in ask(oa, stream=True)] == ["x"]


def test_what_arrived_can_be_read_back(vendors, oa):
    ask(oa, temperature=0.5)
    (request,) = vendors.requests("openai")
    assert request["path"] == "/v1/chat/completions"
    assert request["headers"]["authorization"] == "Bearer key"
    assert request["body"]["temperature"] == 0.5
    vendors.clear_requests()
    assert vendors.requests() == []


def test_waiting_in_vain_ends_with_no(vendors):
    assert vendors.wait(ledger=1, timeout=0.01) is False


def test_it_ends_with_its_parent_and_on_a_signal():
    command = [sys.executable, "-m", "proxy.simulator", "--die-with-parent"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as orphan:
        assert orphan.stdin is not None
        assert orphan.stdout is not None
        assert orphan.stdout.readline().startswith(b'{"openai":"http://127.0.0.1:')
        orphan.stdin.close()
        assert orphan.wait(10) == 0
    simulator = Simulator.start(pace=0)
    process = simulator.process
    assert process is not None
    simulator.stop()
    simulator.stop()
    assert process.returncode == 0
