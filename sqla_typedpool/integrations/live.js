"use strict";

// The page shows the states that the server sends once a second. All text is set as text, never as
// HTML: names and messages come from the application.

const SHOWN = 120; // seconds that the charts show
const GAP = 3.5; // seconds without a state after which a line ends
const PATIENCE = 5000; // milliseconds without a state after which the application is lost
const WIDTH = 600;
const HEIGHT = 100;
const SVG = "http://www.w3.org/2000/svg";
const sections = new Map(); // by the name of the pool
let lastId = 0;
let worker = "";
let isPaused = false;
let latest = null;
let heard = Date.now();

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function setText(shown, text) {
  if (shown.textContent !== text) shown.textContent = text;
}

function fill(body, rows, columns, nothing) {
  body.replaceChildren();
  if (!rows.length) {
    const cell = element("td", nothing, element("tr", undefined, body));
    cell.colSpan = columns;
  }
  for (const row of rows) {
    const line = element("tr", undefined, body);
    row.forEach((value) => element("td", value, line));
  }
}

function clock(seconds) {
  return new Date(seconds * 1000).toLocaleTimeString();
}

// ------------------------------------------------------------------------ the charts

function drawn(svg, name, shape) {
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("class", name);
  path.setAttribute("d", shape);
  svg.append(path);
}

// States without a gap between them.
function runs(history) {
  const found = [];
  for (const each of history) {
    const run = found[found.length - 1];
    if (run && each.time - run[run.length - 1].time <= GAP) run.push(each);
    else found.push([each]);
  }
  return found;
}

function areas(svg, name, history, bottom, top, most) {
  const end = history[history.length - 1].time;
  const y = (value) => HEIGHT - (HEIGHT - 6) * (value / most);
  for (const run of runs(history)) {
    // the first state is as wide as the others
    const points = [{ ...run[0], time: run[0].time - 1 }, ...run];
    const x = points.map((each) => WIDTH * (1 - (end - each.time) / SHOWN));
    const upper = points.map((each, index) => `${x[index].toFixed(1)},${y(top(each)).toFixed(1)}`);
    const lower = points.map((each, index) => `${x[index].toFixed(1)},${y(bottom(each)).toFixed(1)}`);
    drawn(svg, name, `M${upper.join("L")}L${lower.reverse().join("L")}Z`);
  }
}

function drawConnections(chart, history, limit) {
  const svg = chart.querySelector("svg");
  const used = (each) => each.in_use;
  const kept = (each) => each.in_use + each.idle;
  const open = (each) => kept(each) + each.connecting;
  const most = Math.max(1, limit || 0, ...history.map(open));
  svg.replaceChildren();
  areas(svg, "used", history, () => 0, used, most);
  areas(svg, "idle", history, used, kept, most);
  areas(svg, "connecting", history, kept, open, most);
  if (limit) {
    const y = HEIGHT - (HEIGHT - 6) * (limit / most);
    drawn(svg, "limit", `M0,${y}L${WIDTH},${y}`);
  }
  setText(chart.querySelector(".most"), limit === most ? `limit ${most}` : String(most));
  const now = history[history.length - 1];
  svg.setAttribute(
    "aria-label", `now ${now.in_use} in use, ${now.idle} idle, ${now.connecting} connecting`,
  );
}

function drawCallers(chart, history) {
  const svg = chart.querySelector("svg");
  const waiting = (each) => each.waiting;
  const most = Math.max(1, ...history.map(waiting));
  svg.replaceChildren();
  areas(svg, "waiting", history, () => 0, waiting, most);
  setText(chart.querySelector(".most"), String(most));
  svg.setAttribute("aria-label", `now ${waiting(history[history.length - 1])} waiting`);
}

// -------------------------------------------------------------------------- one pool

function sectionOf(name) {
  if (!sections.has(name)) {
    const section = document.getElementById("pool").content.firstElementChild.cloneNode(true);
    const id = `pool-${++lastId}`;
    section.querySelector("h2").id = id;
    section.querySelector("h2").textContent = name;
    section.setAttribute("aria-labelledby", id);
    section.querySelector(".holders-heading").id = `${id}-holders`;
    section.querySelector(".scroll").setAttribute("aria-labelledby", `${id}-holders`);
    document.getElementById("pools").append(section);
    sections.set(name, { section, history: [] });
  }
  return sections.get(name);
}

// A word for screen readers, the whole sentence, and whether all is well.
function condition(pool) {
  if (pool.is_closed) return ["closed", "The pool is closed.", false];
  if (pool.outage_seconds > 0) {
    const error = pool.last_connect_error ? `: ${pool.last_connect_error}` : "";
    const seconds = pool.outage_seconds.toFixed(0);
    return ["outage", `Outage: no connection could be opened for ${seconds} s${error}`, false];
  }
  if (pool.is_overloaded) {
    return ["overloaded", "Overloaded: callers give up before they are served.", false];
  }
  const { in_use: used, waiting } = pool.now;
  if (pool.max !== null && used >= pool.max && waiting) {
    const callers = waiting === 1 ? "1 caller waits" : `${waiting} callers wait`;
    return ["exhausted", `Every connection is in use, and ${callers}.`, false];
  }
  return ["", "Working.", true];
}

function numbers(list, pool) {
  const shown = {
    "in use": pool.max === null ? pool.now.in_use : `${pool.now.in_use} of ${pool.max}`,
    idle: pool.now.idle,
    connecting: pool.now.connecting,
    waiting: pool.now.waiting,
    "checkouts / s": pool.checkouts_per_second.toFixed(1),
    "longest use": `${pool.longest_use.toFixed(1)} s`,
  };
  list.replaceChildren();
  for (const [name, value] of Object.entries(shown)) {
    const pair = element("div", undefined, list);
    element("dt", name, pair);
    element("dd", value, pair);
  }
}

function totals({ totals: counted }) {
  return Object.entries({
    checkouts: counted.checkouts,
    timeouts: counted.timeouts,
    cancelled: counted.cancelled,
    refused: counted.saturated + counted.shed,
    "connections opened": counted.connects,
    "connects that failed": counted.connect_failures,
    leaks: counted.leaks,
  });
}

function duration(value, measured, lastBound) {
  if (!measured.count) return "–";
  if (value === null) return `> ${lastBound} s`;
  return value >= 1 ? `≤ ${value} s` : `≤ ${Number((value * 1000).toPrecision(3))} ms`;
}

function durations(pool, lastBound) {
  return ["wait", "use"].map((name) => [
    name, ...["p50", "p95", "p99"].map((each) => duration(pool[name][each], pool[name], lastBound)),
  ]);
}

function show(pool, lastBound) {
  const { section, history } = sectionOf(pool.name);
  const [, text, isGood] = condition(pool);
  setText(section.querySelector(".state"), text);
  section.querySelector(".state").className = `state ${isGood ? "good" : "bad"}`;
  numbers(section.querySelector(".numbers"), pool);
  drawConnections(section.querySelector(".connections"), history, pool.max);
  drawCallers(section.querySelector(".callers"), history);
  fill(section.querySelector(".quantiles tbody"), durations(pool, lastBound), 4, "");
  fill(section.querySelector(".totals tbody"), totals(pool), 2, "");
  fill(section.querySelector(".closed tbody"), Object.entries(pool.closed), 2, "None so far.");
  const holders = pool.holders.map((each) => [
    each.seconds.toFixed(1), each.label || "–", each.task, each.query || "–", each.where || "–",
  ]);
  fill(section.querySelector(".holders tbody"), holders, 5, "Nobody.");
  const more = pool.held - holders.length;
  setText(section.querySelector(".more"), more > 0 ? `and ${more} more` : "");
}

// ------------------------------------------------------------------------- the states

function keep(pool, time) {
  const { history } = sectionOf(pool.name);
  if (!history.length || history[history.length - 1].time < time) {
    history.push({ time, ...pool.now });
  }
  while (history[0].time < time - SHOWN) history.shift();
}

// What the server has kept: it replaces what is shown, which may be that of another process.
function receivePast(event) {
  const past = JSON.parse(event.data);
  for (const [name, { section }] of sections) {
    if (!(name in past.pools)) {
      section.remove();
      sections.delete(name);
    }
  }
  for (const [name, points] of Object.entries(past.pools)) sectionOf(name).history = points;
  worker = past.worker;
}

function receive(event) {
  heard = Date.now();
  latest = JSON.parse(event.data);
  latest.pools.forEach((pool) => keep(pool, latest.time));
  if (isPaused) announce("Paused", true);
  else showLatest();
}

function showLatest() {
  latest.pools.forEach((pool) => show(pool, latest.last_bound));
  const rows = latest.events.map((each) => [clock(each.time), each.pool, each.event, each.message]);
  fill(document.getElementById("events"), rows, 4, "None since the application started.");
  const bad = latest.pools.map((pool) => [pool.name, condition(pool)[0]]).filter(([, word]) => word);
  announce(["Live", ...bad.map((each) => each.join(": "))].join(", "), !bad.length);
  setText(document.getElementById("origin"), `${clock(latest.time)}, process ${worker}`);
}

// Screen readers read a status when its words change, so they change rarely.
function announce(words, isGood) {
  const status = document.getElementById("status");
  setText(status, words);
  status.className = isGood ? "good" : "bad";
  const title = words === "Live" ? "Connection pools" : `${words} – Connection pools`;
  if (document.title !== title) document.title = title;
}

document.getElementById("pause").addEventListener("click", (event) => {
  isPaused = !isPaused;
  event.target.setAttribute("aria-pressed", String(isPaused));
  if (isPaused) announce("Paused", true);
  else if (latest) showLatest();
});

// ------------------------------------------------------------------------- the stream

// The server ends the stream every few seconds, and the browser opens the next one. After an
// answer other than 200 it does not, as from a proxy while the application starts.
function open() {
  const source = new EventSource("events");
  source.addEventListener("past", receivePast);
  source.addEventListener("message", receive);
  source.addEventListener("error", () => {
    if (source.readyState !== EventSource.CLOSED) return;
    setTimeout(open, 2000);
    explain();
  });
}

async function explain() {
  try {
    const answer = await fetch("events", { method: "HEAD", cache: "no-store" });
    if (answer.status === 403 || answer.status === 401) {
      announce("Access is refused: log in again. Trying again …", false);
    }
  } catch {
    // the application does not answer, which the page says soon
  }
}

setInterval(() => {
  const words = document.getElementById("status").textContent;
  if (Date.now() - heard > PATIENCE && !words.startsWith("Access")) {
    announce("The application does not answer. Trying again …", false);
  }
}, 500);

open();
