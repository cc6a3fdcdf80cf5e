// What the server says, and what is asked of it. `watch` keeps looking: it comes back by itself, and says when it is lost.

const SOURCE = "/dashboard/events";
const SESSION = "/dashboard/session";
const LONGEST = 15_000;
const RENEW = 5 * 60_000;
const SILENT = 40_000; // the server says something every 15 s: a connection that says nothing for longer is dead

async function ask(method, path, body) {
  const init = { method, credentials: "same-origin", headers: { accept: "application/json" } };
  if (body !== undefined) {
    init.headers["content-type"] = "application/json";
    init.body = JSON.stringify(body);
  }
  const answer = await fetch(path, init);
  const text = await answer.text();
  let said = null;
  try {
    said = text ? JSON.parse(text) : null;
  } catch {
    said = null; // a proxy on the way has a page of its own
  }
  if (!answer.ok) {
    const error = new Error(said?.error?.message ?? `The server answers with status ${answer.status}.`);
    error.status = answer.status;
    throw error;
  }
  return said;
}

export const signIn = (key) => ask("POST", SESSION, { key });
export const signOut = () => ask("DELETE", SESSION);

export function reset(provider, model) {
  const query = model ? `?${new URLSearchParams({ model })}` : "";
  return ask("POST", `/providers/health/${encodeURIComponent(provider)}/reset${query}`);
}

// `told(parts)` with what is new, `lost({since, why} | null)`, `locked()` when the key is asked for. Returns how to stop.
export function watch({ told, lost, locked }) {
  let source = null;
  let timer = null;
  let deaf = null;
  let wait = 500;
  let since = null;
  let stopped = false;
  let asking = false;

  const renew = setInterval(() => ask("GET", SESSION).catch(() => {}), RENEW);

  function heard() {
    clearTimeout(deaf);
    deaf = setTimeout(() => failed(), SILENT);
  }

  function failed(why = "") {
    source?.close();
    source = null;
    clearTimeout(deaf);
    if (stopped) return;
    since ??= Date.now();
    lost({ since, why });
    clearTimeout(timer);
    timer = setTimeout(begin, wait);
    wait = Math.min(wait * 2, LONGEST);
  }

  async function begin() {
    if (asking || source !== null || stopped) return;
    asking = true;
    try {
      told(await ask("GET", "/dashboard/snapshot"));
    } catch (error) {
      if (error.status === 401) {
        stop();
        locked();
      } else {
        failed(error.status ? error.message : "");
      }
      return;
    } finally {
      asking = false;
    }
    if (stopped) return;
    source = new EventSource(SOURCE);
    source.onopen = () => {
      since = null;
      wait = 500;
      lost(null);
      heard();
    };
    source.addEventListener("snapshot", (event) => {
      heard();
      told(JSON.parse(event.data));
    });
    source.addEventListener("still", heard);
    source.onerror = () => failed(); // whatever it is, the snapshot is asked first: it tells why
  }

  function stop() {
    stopped = true;
    source?.close();
    clearTimeout(timer);
    clearTimeout(deaf);
    clearInterval(renew);
  }

  addEventListener("online", begin);
  addEventListener("offline", () => failed());
  begin();
  return stop;
}
