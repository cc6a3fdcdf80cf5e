// The colours, before anything is drawn, so that a dark page does not begin with a white flash: those that somebody has
// chosen, else the system's. What has no scripts is light.
{
  let chosen = null;
  try {
    chosen = localStorage.getItem("tollhouse-theme");
  } catch {
    // a browser that keeps nothing: the system's colours will do
  }
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = chosen === "light" || chosen === "dark" ? chosen : dark ? "dark" : "light";
}
