// The page: signed in or not, connected or not, and what is shown. Everything else is a room of its own.

import { Budgets } from "./budgets.js";
import { signOut, watch } from "./connection.js";
import { Costs } from "./costs.js";
import { Decisions } from "./decisions.js";
import { Connection, Headline, Masthead } from "./headline.js";
import { html, render, useCallback, useEffect, useState } from "./lib.js";
import { Providers } from "./providers.js";
import { SignIn } from "./signin.js";
import { useTheme } from "./themes.js";
import { Traffic } from "./traffic.js";

function App() {
  const [data, setData] = useState(null);
  const [lost, setLost] = useState(null);
  const [locked, setLocked] = useState(false);
  const [theme, setTheme, scheme] = useTheme();

  useEffect(() => {
    if (locked) return undefined;
    return watch({
      told: (parts) => setData((before) => ({ ...before, ...parts })),
      lost: setLost,
      locked: () => {
        setData(null);
        setLost(null);
        setLocked(true);
      },
    });
  }, [locked]);

  const leave = useCallback(async () => {
    try {
      await signOut();
    } finally {
      setData(null);
      setLocked(true);
    }
  }, []);

  const top = html`<${Masthead} about=${data?.about} theme=${theme} setTheme=${setTheme} leave=${leave} />`;
  if (locked) return html`${top}<main class="container"><${SignIn} signedIn=${() => setLocked(false)} /></main>`;
  if (data === null)
    return html`${top}<main class="container"><${Connection} lost=${lost} /><p aria-busy=${lost === null}>Asking how all is…</p></main>`;
  return html`${top}
    <main class="container">
      <${Connection} lost=${lost} />
      <${Headline} headline=${data.headline} series=${data.series} at=${data.at} />
      <${Providers} providers=${data.providers} turns=${data.turns} series=${data.series} scheme=${scheme} />
      <${Budgets} budgets=${data.budgets} costs=${data.costs} scheme=${scheme} />
      <${Traffic} series=${data.series} scheme=${scheme} />
      <${Costs} costs=${data.costs} />
      <${Decisions} decisions=${data.decisions} replica=${data.about.replica} />
    </main>`;
}

render(html`<${App} />`, document.getElementById("app"));
