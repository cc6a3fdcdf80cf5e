"""The vendors that speak OpenAI's format: their rows, and that docs/providers.md says what the rows say."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from proxy.environment import wrong_with
from proxy.presets import OTHER, PLAIN, PRESETS, Preset
from proxy.settings import load

DOC = Path(__file__).resolve().parents[2] / "docs" / "providers.md"
SMALL = str(Path(__file__).with_name("one_model.yaml"))
BLESS = os.environ.get("TOLLHOUSE_BLESS") == "1"
SNIPPETS = re.findall(r"^```yaml\n(.*?)^```$", DOC.read_text(), re.MULTILINE | re.DOTALL)
NAMES = ["azure", "deepseek", "fireworks", "groq", "mistral", "ollama", "openrouter", "together", "vllm", "xai"]


def test_these_vendors_are_known():
    assert sorted(PRESETS) == NAMES


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_can_be_used_as_it_stands(name):
    preset = PRESETS[name]
    url = preset.base_url or preset.example.replace("RESOURCE", "my-resource")
    assert wrong_with(url) is None
    assert not url.endswith("/")
    assert preset.key is None or re.fullmatch(r"[A-Z][A-Z_]*_API_KEY", preset.key)


def test_who_is_not_known_gets_nothing_that_is_known_to_be_refused():
    assert msgspec.structs.asdict(OTHER) == msgspec.structs.asdict(Preset(capabilities=PLAIN))
    assert (PLAIN.max_tokens_field, PLAIN.developer, PLAIN.refused) == ("max_tokens", False, ())


@pytest.mark.parametrize(
    ("name", "capabilities"),
    [
        ("mistral", {"stream_options": False, "max_tokens_field": "max_tokens", "developer": False}),
        ("groq", {"stream_options": True, "max_tokens_field": "max_completion_tokens", "developer": False}),
        ("deepseek", {"reasoning_content": True, "max_tokens_field": "max_tokens", "developer": False}),
        ("openrouter", {"reasoning_details": True, "reasoning_content": False}),
        ("xai", {"refused": ("frequency_penalty", "presence_penalty")}),
        ("azure", {"developer": True, "max_tokens_field": "max_completion_tokens", "refused": ()}),
    ],
)
def test_how_they_differ(name, capabilities):
    assert {key: getattr(PRESETS[name].capabilities, key) for key in capabilities} == capabilities


# --- the document


def rows() -> Iterator[str]:
    yield "| preset | base URL | key | output cap | usage asked for in streams | left out | comes back |"
    yield "|---|---|---|---|---|---|---|"
    for name, preset in sorted(PRESETS.items()):
        able = preset.capabilities
        key = f"`{preset.key}`" if preset.key else "none"
        cells = [
            f"`{name}`",
            f"`{preset.base_url}`" if preset.base_url else f"yours, such as `{preset.example}`",
            f"{key} (header `{preset.key_header}`)" if preset.key_header else key,
            f"`{able.max_tokens_field}`",
            "yes" if able.stream_options else "no, it comes unasked",
            ", ".join(f"`{word}`" for word in able.refused) or "nothing",
            ", ".join(f"`{word}`" for word in ("reasoning_content", "reasoning_details") if getattr(able, word))
            or "nothing",
        ]
        yield f"| {' | '.join(cells)} |"


def test_the_document_says_what_the_rows_say():
    text = DOC.read_text()
    between = re.compile(r"(<!-- presets: generated -->\n).*?(<!-- end -->)", re.DOTALL)
    fresh = between.sub(lambda found: found[1] + "\n".join(rows()) + "\n" + found[2], text)
    if BLESS:
        DOC.write_text(fresh)
    assert fresh == (fresh if BLESS else text), "run the tests with TOLLHOUSE_BLESS=1, then read the change"


@pytest.mark.parametrize("snippet", SNIPPETS, ids=lambda text: "+".join(re.findall(r"name: ([a-z-]+)", text)))
def test_each_snippet_of_the_document_is_a_valid_configuration(snippet, tmp_path):
    (tmp_path / "config.yaml").write_text(snippet)
    keys = {name: "sk-canary" for name in re.findall(r"[A-Z_]+_API_KEY", snippet + DOC.read_text())}
    settings = load({"TOLLHOUSE_PRICING": SMALL, **keys}, config=str(tmp_path / "config.yaml"))
    wanted = [row["name"] for row in msgspec.yaml.decode(snippet)["providers"]]
    assert [provider.name for provider in settings.providers] == wanted
    assert not settings.off.keys() & set(wanted)


def test_each_preset_has_a_snippet():
    said = "\n".join(SNIPPETS)
    assert [name for name in PRESETS if not re.search(rf"(name|preset): {name}$", said, re.MULTILINE)] == []
