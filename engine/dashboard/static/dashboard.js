/* What the dashboard does more with JavaScript: live parts, keys, dialogs, copying. Everything works without it. */
"use strict";
(() => {
  const QUIET_MILLISECONDS = 10_000;
  const tags = new Map(); // the entity tag of each live part, by its id
  let answered = Date.now();

  /* --- live parts: not fetched in hidden tabs; what has not changed is not sent again --- */

  document.addEventListener("htmx:config:request", (event) => {
    const { ctx } = event.detail;
    const id = ctx.sourceElement.id;
    if (document.hidden) {
      event.preventDefault();
      return;
    }
    ctx.request.headers["HX-Request"] = "true";
    if (tags.has(id)) ctx.request.headers["If-None-Match"] = tags.get(id);
  });

  document.addEventListener("htmx:after:request", (event) => {
    const { ctx } = event.detail;
    const { status, headers } = ctx.response;
    if (status === 401) {
      notLive("You were signed out.", "Sign in");
      return;
    }
    if (status >= 500) return;
    answered = Date.now();
    if (headers.get("etag")) tags.set(ctx.sourceElement.id, headers.get("etag"));
    live();
  });

  /* what a live part has waited for has a page: the link to it is followed */
  document.addEventListener("htmx:after:swap", () => {
    const link = document.querySelector("[data-live] a[data-follow]");
    if (link) location.replace(link.href);
  });

  const since = () => new Date(answered).toISOString().slice(11, 19);

  function notLive(text, action) {
    const dot = document.querySelector(".meta .live");
    if (dot) dot.dataset.stale = "";
    let notice = document.getElementById("not-live");
    if (!notice) {
      notice = document.createElement("p");
      notice.id = "not-live";
      notice.className = "notice";
      notice.dataset.state = "warn";
      notice.setAttribute("role", "status");
      document.getElementById("main").prepend(notice);
    }
    const link = document.createElement("a");
    link.href = location.href;
    link.textContent = action;
    notice.replaceChildren(`${text} `, link);
  }

  function live() {
    document.getElementById("not-live")?.remove();
    document.querySelector(".meta .live")?.removeAttribute("data-stale");
  }

  setInterval(() => {
    const isLive = document.querySelector("[data-live]");
    if (isLive && !document.hidden && Date.now() - answered > QUIET_MILLISECONDS) {
      notLive(`Not live since ${since()} UTC: the server does not answer.`, "Try again");
    }
  }, 1_000);
  document.addEventListener("visibilitychange", () => {
    answered = Date.now();
  });

  /* --- keys --- */

  const ROOT = document.querySelector("a.brand")?.getAttribute("href"); // where the dashboard is mounted
  const SCREENS = { o: "", d: "/dead-letters", r: "/runs", p: "/search", a: "/audit" };
  const LISTS = ".todo > li, .picks > a, tbody > tr, .line > li";
  let pressed = "";

  const isTyping = (element) => element.closest("input, select, textarea, [contenteditable]") !== null;

  function move(step) {
    const items = [...document.querySelectorAll(LISTS)].map((each) => (each.matches("a") ? each : each.querySelector("a[href]")));
    const links = items.filter(Boolean);
    const at = links.indexOf(document.activeElement);
    links[Math.min(Math.max(at + step, 0), links.length - 1)]?.focus();
  }

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target)) return;
    const { key } = event;
    const was = pressed;
    pressed = key === "g" ? "g" : "";
    if (key === "/") {
      event.preventDefault();
      document.getElementById("q")?.focus();
    } else if (was === "g" && ROOT && key in SCREENS) {
      location.assign(ROOT + SCREENS[key]);
    } else if (key === "j" || key === "k") {
      move(key === "j" ? 1 : -1);
    } else if (key === "?") {
      help();
    }
  });

  function help() {
    const dialog = document.createElement("dialog");
    dialog.className = "dialog";
    const title = document.createElement("h2");
    title.textContent = "Keys";
    const list = document.createElement("dl");
    list.className = "kv";
    const keys = { "/": "search", "g o": "overview", "g p": "products", "g d": "dead letters", "g r": "runs", "g a": "audit", "j k": "next and previous in a list", "?": "this help" };
    for (const [key, words] of Object.entries(keys)) {
      const name = document.createElement("dt");
      const text = document.createElement("dd");
      name.textContent = key;
      text.textContent = words;
      list.append(name, text);
    }
    dialog.append(title, list);
    dialog.addEventListener("close", () => dialog.remove());
    document.body.append(dialog);
    dialog.showModal();
  }

  /* --- a confirmation is a dialog; closing it goes back --- */

  for (const dialog of document.querySelectorAll("dialog[data-back]")) {
    dialog.removeAttribute("open"); // close() would tell the listener below of it, later
    dialog.showModal();
    dialog.addEventListener("close", () => location.assign(dialog.dataset.back));
  }

  /* --- the moment of the slider, in words --- */

  for (const range of document.querySelectorAll("input[type=range][name=moment]")) {
    const show = () => {
      const text = new Date(range.value * 1_000).toISOString().slice(0, 19).replace("T", " ");
      range.setAttribute("aria-valuetext", text);
      document.querySelector(`output[for="${range.id}"]`).textContent = text;
    };
    range.addEventListener("input", show);
  }

  /* --- commands are copied by a click --- */

  if (navigator.clipboard) {
    for (const command of document.querySelectorAll("code.cmd.box")) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "copy push";
      button.textContent = "copy";
      button.addEventListener("click", async () => {
        await navigator.clipboard.writeText(command.querySelector("span").textContent.trim());
        button.textContent = "copied";
      });
      command.append(button);
    }
  }
})();
