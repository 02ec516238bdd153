// Passkey ceremonies. Every form with data-passkey does one thing; the words for what went wrong are here.
"use strict";

(() => {
  const toBytes = (text) => {
    const plain = atob(text.replace(/-/g, "+").replace(/_/g, "/"));
    return Uint8Array.from(plain, (c) => c.charCodeAt(0));
  };
  const toText = (buffer) =>
    btoa(String.fromCharCode(...new Uint8Array(buffer))).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");

  class Failure extends Error {
    constructor(status, error) {
      super(error.message);
      this.status = status;
      this.code = error.code;
    }
  }

  async function send(method, path, body) {
    const response = await fetch(`/api/${path}`, {
      method,
      credentials: "same-origin",
      headers: { "Content-Type": "application/json", "X-Raxx-CSRF": "1" },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const answer = await response.json();
    if (!response.ok) throw new Failure(response.status, answer.error);
    return answer.data;
  }

  // An access token lives ten minutes; the refresh cookie gives the next one.
  async function call(method, path, body) {
    try {
      return await send(method, path, body);
    } catch (failure) {
      if (!["SESSION_INVALID", "NOT_AUTHENTICATED"].includes(failure.code)) throw failure;
      await send("POST", "sessions/refresh", {});
      return send(method, path, body);
    }
  }

  const described = (list) => (list || []).map((each) => ({ ...each, id: toBytes(each.id) }));

  async function create(options) {
    const made = await navigator.credentials.create({
      publicKey: {
        ...options,
        challenge: toBytes(options.challenge),
        user: { ...options.user, id: toBytes(options.user.id) },
        excludeCredentials: described(options.excludeCredentials),
      },
    });
    return {
      id: made.id,
      rawId: toText(made.rawId),
      type: made.type,
      authenticatorAttachment: made.authenticatorAttachment,
      clientExtensionResults: made.getClientExtensionResults(),
      response: {
        clientDataJSON: toText(made.response.clientDataJSON),
        attestationObject: toText(made.response.attestationObject),
        transports: made.response.getTransports ? made.response.getTransports() : [],
      },
    };
  }

  async function get(options, more = {}) {
    const got = await navigator.credentials.get({
      publicKey: {
        ...options,
        challenge: toBytes(options.challenge),
        allowCredentials: described(options.allowCredentials),
      },
      ...more,
    });
    const response = {
      clientDataJSON: toText(got.response.clientDataJSON),
      authenticatorData: toText(got.response.authenticatorData),
      signature: toText(got.response.signature),
    };
    if (got.response.userHandle && got.response.userHandle.byteLength) {
      response.userHandle = toText(got.response.userHandle);
    }
    return {
      id: got.id,
      rawId: toText(got.rawId),
      type: got.type,
      authenticatorAttachment: got.authenticatorAttachment,
      clientExtensionResults: got.getClientExtensionResults(),
      response,
    };
  }

  async function confirm(action, parameters) {
    const { public_key } = await call("POST", "sessions/step-up/options", { action, parameters });
    await call("POST", "sessions/step-up", { action, parameters, credential: await get(public_key) });
  }

  function explain(problem) {
    if (problem instanceof Failure) return problem.message;
    switch (problem.name) {
      case "NotAllowedError":
        return "Canceled, or it took too long. Nothing was changed; try again when you are ready.";
      case "InvalidStateError":
        return "This device has a passkey for this account already. Use it, or choose another device.";
      case "SecurityError":
        return "Passkeys do not work under this address. Open the site under its own name.";
      case "NotSupportedError":
        return "This device cannot make the kind of passkey that is needed here. Try another one.";
      case "TypeError":
        return "The server cannot be reached. Check your connection and try again.";
      default:
        return "That did not work. Try again.";
    }
  }

  function show(part, fill) {
    for (const section of document.querySelectorAll("[data-part]")) section.hidden = section.dataset.part !== part;
    const section = document.querySelector(`[data-part="${part}"]`);
    fill(section);
    section.querySelector("[tabindex]").focus();
  }

  const showCodes = (codes) =>
    show("codes", (section) => {
      section.querySelector("ol").replaceChildren(
        ...codes.map((code) => Object.assign(document.createElement("li"), { textContent: code })),
      );
    });

  let autofill = null;

  async function signIn(more) {
    const { public_key } = await send("POST", "sessions/options", {});
    const credential = await get(public_key, more);
    await send("POST", "sessions", { credential });
    location.assign(document.querySelector('form[data-passkey="sign-in"]').dataset.then);
  }

  async function enrol(name) {
    const { public_key } = await call("POST", "passkeys/options", {});
    await call("POST", "passkeys", { credential: await create(public_key), name });
  }

  const doings = {
    async "sign-up"(form) {
      const { public_key } = await send("POST", "sessions/sign-up/options", { email: form.email.value.trim() });
      const made = await send("POST", "sessions/sign-up", { credential: await create(public_key) });
      showCodes(made.recovery_codes);
    },
    async "sign-in"() {
      if (autofill) autofill.abort();
      await signIn({});
    },
    async recover(form) {
      await send("POST", "sessions/recovery", { code: form.code.value.trim() });
      location.assign("/account/new-passkey");
    },
    async "recovery-passkey"(form) {
      await enrol(form.elements.name.value);
      location.assign(form.dataset.then);
    },
    async add(form) {
      await confirm("identity.passkey.add", {});
      await enrol(form.elements.name.value);
      location.assign("/account");
    },
    async remove(form) {
      await confirm("identity.passkey.remove", { passkey: form.dataset.id });
      await call("DELETE", `passkeys/${form.dataset.id}`);
      location.reload();
    },
    // A form that the server reads itself: it goes when what it says was confirmed.
    async confirmed(form) {
      await confirm(form.dataset.action, JSON.parse(form.dataset.parameters));
      form.submit();
    },
    async codes() {
      await confirm("identity.recovery_codes.renew", {});
      showCodes((await call("POST", "recovery-codes", {})).recovery_codes);
    },
    async key(form) {
      const wish = {
        name: form.elements.name.value.trim(),
        scopes: [...form.querySelectorAll("[name=scopes]:checked")].map((each) => each.value),
      };
      if (form.days.value) wish.expires_at = new Date(Date.now() + form.days.value * 86_400_000).toISOString();
      await confirm("identity.api_key.issue", wish);
      const made = await call("POST", "keys", wish);
      show("secret", (section) => {
        section.querySelector("[data-key-id]").textContent = made.key_id;
        section.querySelector("[data-secret]").textContent = made.secret;
      });
    },
  };

  function say(form, text, kind) {
    const status = form.querySelector(".status");
    status.textContent = text;
    status.className = `status ${kind}`;
  }

  async function submitted(event) {
    const form = event.target.closest("form[data-passkey]");
    if (!form) return;
    event.preventDefault();
    const button = form.querySelector("button, input[type=submit]");
    if (!window.PublicKeyCredential) {
      say(form, "This browser does not know passkeys. Use a current one.", "bad");
      return;
    }
    button.disabled = true;
    say(form, "Follow your device …", "");
    try {
      await doings[form.dataset.passkey](form);
      say(form, "Done.", "good");
    } catch (problem) {
      say(form, explain(problem), "bad");
      if (form.dataset.passkey === "sign-in") offer();
    } finally {
      button.disabled = false;
    }
  }

  // Passkeys offered where one would type a name. It stays silent until somebody picks one.
  async function offer() {
    const form = document.querySelector('form[data-passkey="sign-in"]');
    const known = window.PublicKeyCredential && PublicKeyCredential.isConditionalMediationAvailable;
    if (!form || !known || !(await PublicKeyCredential.isConditionalMediationAvailable())) return;
    autofill = new AbortController();
    try {
      await signIn({ mediation: "conditional", signal: autofill.signal });
    } catch (problem) {
      if (problem instanceof Failure) say(form, problem.message, "bad");
    }
  }

  async function pickUp() {
    if (!document.querySelector("[data-continue]")) return;
    try {
      await send("POST", "sessions/refresh", {});
      location.reload();
    } catch {
      location.replace("/sign-in");
    }
  }

  for (const note of document.querySelectorAll("[data-without-script]")) note.remove();
  document.addEventListener("submit", submitted);
  // They wait for this script: pressed before, they would send the form nowhere.
  const waiting = "form[data-passkey] button[disabled], form[data-passkey] input[type=submit][disabled]";
  for (const button of document.querySelectorAll(waiting)) button.disabled = false;
  document.addEventListener("click", async (event) => {
    if (!event.target.closest("[data-copy]")) return;
    const section = event.target.closest("[data-part]");
    const codes = [...section.querySelectorAll("li")].map((each) => each.textContent).join("\n");
    try {
      await navigator.clipboard.writeText(codes);
      say(section, "Copied.", "good");
    } catch {
      say(section, "Your browser does not allow it. Select the codes and copy them by hand.", "bad");
    }
  });
  offer();
  pickUp();
})();
