"""The page for a browser: an image is dropped on it, and its answer is shown. Nothing on it comes from elsewhere."""

from __future__ import annotations

import base64
import hashlib

_STYLE = """
body { font: 16px/1.45 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; }
label { display: block; border: 2px dashed #888; border-radius: 8px; padding: 2rem; text-align: center; }
label.over { border-color: #06c; background: #06c1; }
.card { display: flex; gap: 1rem; margin: 1rem 0; padding: 1rem; border: 1px solid #8886; border-radius: 8px; }
.seen { position: relative; flex: none; width: 16rem; }
.seen img { width: 100%; display: block; }
.seen canvas { position: absolute; inset: 0; width: 100%; height: 100%; }
.told { flex: 1; min-width: 0; overflow-wrap: anywhere; }
.bar { background: #06c; height: 4px; }
.error { color: #b00; }
td { padding: 0 1rem 0 0; }
pre { white-space: pre-wrap; max-height: 16rem; overflow: auto; }
@media (prefers-color-scheme: dark) { body { background: #111; color: #eee; } .error { color: #f77; } }
"""
_SCRIPT = """
"use strict";
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) {
  sessionStorage.setItem("token", given);
  history.replaceState(null, "", location.pathname);
}
const zone = document.getElementById("zone");
const files = document.getElementById("files");
const answers = document.getElementById("answers");
function make(kind, text, className) {
  const found = document.createElement(kind);
  if (text !== undefined) found.textContent = text;
  if (className) found.className = className;
  return found;
}
function headers() {
  const token = sessionStorage.getItem("token");
  return token ? { Authorization: "Bearer " + token } : {};
}
function tell(where, found) {
  if (found.error) where.append(make("p", found.error, "error"));
  for (const one of found.classes || []) {
    where.append(make("div", one.class + "  " + (100 * one.probability).toFixed(1) + " %"));
    const bar = make("div", undefined, "bar");
    bar.style.width = 100 * one.probability + "%";
    where.append(bar);
  }
  if (found.labels) where.append(make("p", found.labels.join(", ") || "none of the classes"));
  const numbers = found.numbers || found.pixels;
  if (numbers) {
    const table = make("table");
    for (const [name, value] of Object.entries(numbers)) {
      const row = make("tr");
      row.append(make("td", name), make("td", String(value)));
      table.append(row);
    }
    where.append(table);
  }
  for (const one of found.boxes || []) where.append(make("div", one.class + "  " + one.score.toFixed(3)));
  if (found.boxes && !found.boxes.length) where.append(make("p", "nothing found"));
  if (found.output) where.append(make("pre", JSON.stringify(found.output).slice(0, 2000)));
  if (found.samples) where.append(make("pre", JSON.stringify(found.samples, null, 1).slice(0, 4000)));
}
function color(number) {
  return "hsl(" + ((number * 137.5) % 360) + " 90% 50%)";
}
function draw(canvas, seen, found) {
  canvas.width = seen.naturalWidth;
  canvas.height = seen.naturalHeight;
  const pen = canvas.getContext("2d");
  const names = [...new Set((found.boxes || []).map((one) => one.class))];
  pen.lineWidth = Math.max(2, canvas.width / 200);
  for (const one of found.boxes || []) {
    pen.strokeStyle = color(names.indexOf(one.class));
    const [left, top, right, bottom] = one.box;
    pen.strokeRect(left, top, right - left, bottom - top);
  }
  if (!found.mask && !found.image) return;
  const picture = new Image();
  picture.onload = () => {
    canvas.width = picture.naturalWidth;
    canvas.height = picture.naturalHeight;
    pen.globalAlpha = found.mask ? 0.55 : 1;
    pen.drawImage(picture, 0, 0);
  };
  picture.src = "data:image/png;base64," + (found.mask || found.image);
}
async function ask(file) {
  const card = make("div", undefined, "card");
  const left = make("div", undefined, "seen");
  const told = make("div", undefined, "told");
  told.append(make("strong", file.name));
  const wait = make("p", "predicting");
  told.append(wait);
  card.append(left, told);
  answers.prepend(card);
  const seen = new Image();
  const loaded = new Promise((done) => { seen.onload = () => done(true); seen.onerror = () => done(false); });
  seen.src = URL.createObjectURL(file);
  const form = new FormData();
  form.append("file", file, file.name);
  try {
    const response = await fetch("predict", { method: "POST", headers: headers(), body: form });
    const text = await response.text();
    let document = {};
    try { document = JSON.parse(text); } catch { document = { error: response.status + " " + text.slice(0, 300) }; }
    wait.remove();
    const found = document.predictions ? document.predictions[0] : { error: document.error };
    tell(told, found);
    if (await loaded) {
      const canvas = make("canvas");
      left.append(seen, canvas);
      draw(canvas, seen, found);
    }
  } catch (error) {
    wait.textContent = "the server does not answer: " + error.message;
    wait.className = "error";
  }
}
files.onchange = () => { [...files.files].forEach(ask); files.value = ""; };
zone.ondragover = (event) => { event.preventDefault(); zone.className = "over"; };
zone.ondragleave = () => { zone.className = ""; };
zone.ondrop = (event) => { event.preventDefault(); zone.className = ""; [...event.dataTransfer.files].forEach(ask); };
fetch("metadata", { headers: headers() }).then(async (response) => {
  const found = await response.json();
  const known = document.getElementById("known");
  if (!response.ok) { known.textContent = found.error; known.className = "error"; return; }
  const shape = found.input.shape ? found.input.shape.join(" x ") : "any size";
  const classes = found.classes.length ? ", classes: " + found.classes.join(", ") : "";
  known.textContent = "Input: " + found.input.type + " (" + shape + ")" + classes;
});
"""
PAGE = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>rayrml serve</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>{_STYLE}</style></head>
<body><h1>rayrml</h1><p id="known"></p>
<label id="zone">Drop images here, or choose them
<input id="files" type="file" multiple></label>
<div id="answers"></div>
<p><a href="docs">Requests for programs</a></p>
<script>{_SCRIPT}</script></body></html>
"""


def _hash(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


POLICY = (
    f"default-src 'none'; script-src {_hash(_SCRIPT)}; style-src {_hash(_STYLE)}; img-src blob: data:; "
    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
