// Signing in: the admin key goes once over the wire and is not kept; what the browser keeps is a session that it cannot read.

import { signIn } from "./connection.js";
import { html, useEffect, useRef, useState } from "./lib.js";

export function SignIn({ signedIn }) {
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  const field = useRef(null);
  useEffect(() => field.current.focus(), []);

  async function submit(event) {
    event.preventDefault();
    setBusy(true);
    setWrong("");
    try {
      await signIn(field.current.value);
      signedIn();
    } catch (error) {
      setWrong(error.status === 401 ? "This is not the admin key. Nothing was changed; try again." : error.message);
      setBusy(false);
      field.current.select();
    }
  }

  return html`<article class="signin">
    <h2>Sign in</h2>
    <p>With the admin key of this installation: what <code>TOLLHOUSE_ADMIN_KEY</code> holds.</p>
    <form onSubmit=${submit}>
      <input type="text" name="username" autocomplete="username" value="tollhouse admin" hidden readonly />
      <label>
        Admin key
        <input ref=${field} type="password" name="key" required autocomplete="current-password" spellcheck=${false} aria-invalid=${wrong ? "true" : null} aria-describedby="wrong" />
      </label>
      <p id="wrong" class="wrong" role="alert">${wrong}</p>
      <button type="submit" aria-busy=${busy}>Sign in</button>
    </form>
  </article>`;
}
