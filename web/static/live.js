// Keeps a page up to date without moving what somebody looks at. Without this script a page is as
// old as its last load, and all of it works.
//
// The server says which kinds of things changed. A page that shows one of them is fetched again:
// - what has data-live is put in place, but not where the focus is;
// - in a table the rows that are there get their new cells; new rows wait behind a button, and rows
//   that are no longer there stay, with a note, until somebody asks.
"use strict";

(() => {
  const kinds = new Set((document.body.dataset.kinds || "").split(" ").filter(Boolean));
  const status = document.getElementById("live");
  if (!status || kinds.size === 0 || !window.EventSource) return;

  // Milliseconds after a change before the page is fetched, as the server says: it may give the
  // answer from before for two seconds, and the more watch, the later each asks. Up to half of it is
  // added, so that not all ask at once. What changes in between is fetched with it.
  let gap = 2100;
  let timer = null;
  let wanted = false;

  const say = (words) => {
    if (status.textContent !== words) status.textContent = words;
  };

  const source = new EventSource(`/live?since=${encodeURIComponent(document.body.dataset.since)}`);
  source.addEventListener("open", () => say("Live."));
  source.addEventListener("error", () => say("Not live: the connection is being made again."));
  source.addEventListener("changed", (event) => {
    const told = JSON.parse(event.data);
    gap = told.gap;
    if (told.kinds.some((kind) => kinds.has(kind) || kind === "fresh")) soon();
  });
  window.addEventListener("pagehide", () => source.close());
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden && wanted) soon();
  });

  // How long ago something was, as the server writes it: for what one waits for.
  setInterval(() => {
    for (const each of document.querySelectorAll("time[data-ago]")) {
      const seconds = Math.max(0, (Date.now() - Date.parse(each.dateTime)) / 1000);
      const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(
        ([size]) => seconds >= size || size === 1);
      const words = `${Math.floor(seconds / size)} ${unit}`;
      if (each.textContent !== words) each.textContent = words;
    }
  }, 1000);

  function soon() {
    wanted = true;
    if (timer !== null || document.hidden) return;
    timer = setTimeout(fetchAgain, gap * (1 + Math.random() / 2));
  }

  async function fetchAgain() {
    timer = null;
    wanted = false;
    try {
      const answer = await fetch(location.href, { credentials: "same-origin", redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.status === 401) {
        say("Your sign-in has ended: load the page again to sign in.");
        source.close();
        return;
      }
      if (!answer.ok) {
        say("Not up to date: the page could not be made again.");
        return;
      }
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      let fresh = 0;
      keepingPlace(() => {
        parts(page);
        fresh = tables(page);
      });
      say(fresh ? `Live. ${fresh} new.` : "Live.");
    } catch (error) {
      say("Not live: the console does not answer.");
    }
  }

  // What has the focus, or else is in the middle of the window, stays where it is seen.
  function keepingPlace(change) {
    const seen = (each) => {
      const box = each.getBoundingClientRect();
      return box.bottom > 0 && box.top < window.innerHeight;
    };
    const middle = document.elementFromPoint(window.innerWidth / 2, window.innerHeight / 2);
    const focus = document.activeElement;
    const place = focus && focus.closest("section, header") && seen(focus)
      ? focus
      : middle && middle.closest("tr, section");
    const before = place ? place.getBoundingClientRect().top : 0;
    change();
    if (place && place.isConnected) window.scrollBy(0, place.getBoundingClientRect().top - before);
  }

  function parts(page) {
    for (const now of document.querySelectorAll("[data-live][id]")) {
      const then = page.getElementById(now.id);
      if (!then || now.contains(document.activeElement) || now.innerHTML === then.innerHTML) continue;
      now.replaceChildren(...then.childNodes);
    }
  }

  function tables(page) {
    let fresh = 0;
    for (const now of document.querySelectorAll("[data-rows]")) {
      const then = page.querySelector(`[data-rows="${CSS.escape(now.dataset.rows)}"]`);
      if (then) fresh += rows(now, then);
    }
    return fresh;
  }

  const byKey = (table) =>
    new Map([...table.querySelectorAll("tbody > tr[data-key]")].map((row) => [row.dataset.key, row]));

  function rows(now, then) {
    const here = byKey(now);
    const there = byKey(then);
    for (const [key, row] of here) {
      const next = there.get(key);
      row.classList.toggle("gone", !next);
      if (!next || row.contains(document.activeElement)) continue;
      for (let at = 0; at < row.cells.length && at < next.cells.length; at++) {
        if (row.cells[at].innerHTML !== next.cells[at].innerHTML) {
          row.cells[at].replaceChildren(...[...next.cells[at].childNodes].map((n) => n.cloneNode(true)));
        }
      }
    }
    const fresh = [...there.keys()].filter((key) => !here.has(key));
    const gone = [...here.keys()].filter((key) => !there.has(key));
    offer(now, then, fresh, gone);
    return fresh.length;
  }

  function offer(now, then, fresh, gone) {
    const section = now.closest("section") || now.parentElement;
    let button = section.querySelector(".bar > .fresh-rows");
    if (fresh.length === 0 && gone.length === 0) {
      if (button && button !== document.activeElement) button.remove();
      return;
    }
    if (!button) {
      button = document.createElement("button");
      button.type = "button";
      button.className = "fresh-rows quiet";
      section.querySelector(".bar > h2").after(button); // in its line: no row is moved
    }
    const words = [];
    if (fresh.length) words.push(`${fresh.length} new`);
    if (gone.length) words.push(`${gone.length} gone`);
    button.textContent = `${words.join(", ")}: show`;
    button.onclick = () => {
      const place = section.querySelector("[data-rows]");
      const outer = place.closest(".scroll") || place;
      const next = then.closest(".scroll") || then;
      const copy = document.importNode(next, true);
      outer.replaceWith(copy);
      for (const key of fresh) {
        const row = copy.querySelector(`tr[data-key="${CSS.escape(key)}"]`);
        if (row) row.classList.add("new");
      }
      button.remove();
      if (copy.tabIndex < 0) copy.tabIndex = -1;
      copy.focus({ preventScroll: true });
    };
  }
})();
