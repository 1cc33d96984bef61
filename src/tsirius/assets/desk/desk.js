// Sends the page's own forms without loading it anew, and presses its buttons by keys. Without it, all works but keys.
"use strict";

let busy = false;

function tell(message) {
  const alert = document.getElementById("alert");
  alert.textContent = message;
  alert.hidden = !message;
}

function show(text, address) {
  const fresh = new DOMParser().parseFromString(text, "text/html");
  const page = fresh.getElementById("page");
  const failed = fresh.querySelector("[data-failed] p");
  if (failed || !page) {
    tell(failed ? failed.textContent : text.slice(0, 200));
    return;
  }
  tell("");
  document.getElementById("page").replaceWith(page);
  if (address) history.replaceState(null, "", address);
  begin();
}

async function send(form, button) {
  if (busy) return;
  busy = true;
  document.body.classList.add("busy");
  const fields = new URLSearchParams(new FormData(form));
  if (button && button.name) fields.append(button.name, button.value);
  try {
    const answer = await fetch(form.getAttribute("action"), { method: "POST", body: fields });
    show(await answer.text(), answer.redirected ? answer.url : "");
  } catch (error) {
    tell(document.body.dataset.lost);
  } finally {
    busy = false;
    document.body.classList.remove("busy");
  }
}

function boxes() {
  return [...document.querySelectorAll("input[name=review][type=checkbox]")];
}

function count() {
  const out = document.querySelector("[data-count]");
  if (out) out.textContent = boxes().filter((box) => box.checked).length;
}

async function look() {
  if (!document.querySelector("[data-poll]")) return;
  try {
    const answer = await fetch(location.href);
    show(await answer.text(), "");
  } catch (error) {
    tell(document.body.dataset.lost);
    setTimeout(look, 5000);
  }
}

function begin() {
  if (document.querySelector("[data-poll]")) setTimeout(look, 1500);
  const first = boxes()[0];
  if (first) first.focus({ preventScroll: true });
  count();
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (!form.hasAttribute("data-live")) return;
  event.preventDefault();
  if (form.hasAttribute("data-answer") && boxes().length && !boxes().some((box) => box.checked)) {
    const focused = boxes().find((box) => box === document.activeElement);
    if (!focused) return;
    focused.checked = true;
  }
  send(form, event.submitter);
});

document.addEventListener("change", (event) => {
  if (event.target.hasAttribute("data-all")) for (const box of boxes()) box.checked = event.target.checked;
  count();
});

document.addEventListener("input", (event) => {
  if (!event.target.hasAttribute("data-find")) return;
  const wanted = event.target.value.toLowerCase();
  for (const button of document.querySelectorAll("button[name=category_is]"))
    button.hidden = !button.value.toLowerCase().includes(wanted);
});

function move(step) {
  const all = boxes();
  const at = all.indexOf(document.activeElement);
  const next = all[Math.min(all.length - 1, Math.max(0, at + step))];
  if (next) next.focus();
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  const target = event.target;
  const writes = target.matches("input:not([type=checkbox]), select, textarea");
  if (writes) {
    if (event.key === "Escape") target.blur();
    if (event.key === "Enter" && target.name === "note") {
      event.preventDefault();
      target.blur();
    }
    if (event.key === "Enter" && target.hasAttribute("data-find")) {
      event.preventDefault();
      const button = document.querySelector("button[name=category_is]:not([hidden])");
      if (button) button.click();
    }
    return;
  }
  if (event.code === "ArrowDown" || event.code === "ArrowUp") {
    if (boxes().length) {
      event.preventDefault();
      move(event.code === "ArrowDown" ? 1 : -1);
    }
    return;
  }
  const code = event.code.replace("Numpad", "Digit");
  const wanted = document.querySelector(`[data-code="${CSS.escape(code)}"]`);
  if (!wanted || event.repeat) return;
  event.preventDefault();
  if (wanted.matches("input")) wanted.focus();
  else wanted.click();
});

begin();
