"""`tollhouse demo`: the proxy against simulated vendors, to see it work without a key."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from proxy.simulator.client import Simulator

_KEY = "demo-key"
CONTROL = "TOLLHOUSE_DEMO_CONTROL"  # of the environment that is handed on: where vendors are told to fail


@contextmanager
def vendors(environ: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Three simulated vendors, and the environment that points at them."""
    with Simulator.start() as simulator:
        yield {
            **{name: value for name, value in environ.items() if not name.startswith("TOLLHOUSE_CLIENT_KEYS")},
            "OPENAI_API_KEY": _KEY,
            "OPENAI_BASE_URL": simulator.openai,
            "ANTHROPIC_API_KEY": _KEY,
            "ANTHROPIC_BASE_URL": simulator.anthropic,
            "GEMINI_API_KEY": _KEY,
            "GEMINI_BASE_URL": simulator.gemini,
            CONTROL: simulator.control,
        }


def snippets(url: str, control: str) -> str:
    """What to paste into a shell to see it work, and to see it fail well."""
    return f"""
tollhouse demo: three simulated vendors behind {url}/v1 (no keys, no cost; answers are echoes)
Look at it:      {url}/dashboard
Break a vendor:  curl -d '{{"vendor": "openai", "fault": "status", "status": 500}}' {control}/faults
Mend it:         curl -X DELETE {control}/faults

curl -s {url}/v1/chat/completions -H 'content-type: application/json' \\
  -d '{{"model": "claude-sonnet-5-5", "messages": [{{"role": "user", "content": "Hello"}}]}}'

python3 - <<'PY'   # needs: pip install openai
from openai import OpenAI
client = OpenAI(base_url="{url}/v1", api_key="anything")
for model in ("gpt-4o", "claude-sonnet-5-5", "gemini-3.8-flash"):
    stream = client.chat.completions.create(
        model=model, stream=True, messages=[{{"role": "user", "content": "Hello"}}]
    )
    print(model, "->", "".join(chunk.choices[0].delta.content or "" for chunk in stream))
PY

Stop with Ctrl-C.
"""
