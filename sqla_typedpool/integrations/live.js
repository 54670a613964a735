"use strict";

// The page shows the states that the server sends once a second. All text is set as text, never as
// HTML: names and messages come from the application.

const HISTORY = 120; // states that the chart shows
const SVG = "http://www.w3.org/2000/svg";
const sections = new Map(); // by the name of the pool
let isPaused = false;

function element(name, text, parent) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.append(made);
  return made;
}

function seconds(value) {
  if (value === null) return "–";
  if (value >= 1) return `≤ ${value} s`;
  return `≤ ${Number((value * 1000).toPrecision(3))} ms`;
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

// ------------------------------------------------------------------------- the chart

function area(history, bottom, top, scale) {
  const x = (index) => 600 - (history.length - 1 - index) * (600 / (HISTORY - 1));
  const upper = history.map((each, index) => `${x(index)},${120 - top(each) * scale}`);
  const lower = history.map((each, index) => `${x(index)},${120 - bottom(each) * scale}`);
  return `M${upper.join("L")}L${lower.reverse().join("L")}Z`;
}

function line(history, height, scale) {
  const x = (index) => 600 - (history.length - 1 - index) * (600 / (HISTORY - 1));
  return `M${history.map((each, index) => `${x(index)},${120 - height(each) * scale}`).join("L")}`;
}

function path(svg, name, shape) {
  const drawn = document.createElementNS(SVG, "path");
  drawn.setAttribute("class", name);
  drawn.setAttribute("d", shape);
  svg.append(drawn);
}

function draw(svg, history, limit) {
  const open = (each) => each.in_use + each.idle + each.connecting;
  const most = Math.max(1, limit || 0, ...history.map((each) => Math.max(open(each), each.waiting)));
  const scale = 112 / most;
  svg.replaceChildren();
  path(svg, "used", area(history, () => 0, (each) => each.in_use, scale));
  path(svg, "idle", area(history, (each) => each.in_use, (each) => each.in_use + each.idle, scale));
  path(svg, "connecting", area(history, (each) => each.in_use + each.idle, open, scale));
  path(svg, "waiting", line(history, (each) => each.waiting, scale));
  if (limit) path(svg, "limit", `M0,${120 - limit * scale}L600,${120 - limit * scale}`);
  const now = history[history.length - 1];
  svg.setAttribute(
    "aria-label",
    `${now.in_use} in use, ${now.idle} idle, ${now.connecting} connecting, ${now.waiting} waiting`,
  );
}

// -------------------------------------------------------------------------- one pool

function section(name) {
  if (!sections.has(name)) {
    const made = document.getElementById("pool").content.firstElementChild.cloneNode(true);
    const id = `pool-${sections.size + 1}`;
    made.querySelector("h2").id = id;
    made.querySelector("h2").textContent = name;
    made.setAttribute("aria-labelledby", id);
    made.querySelector(".holders-heading").id = `${id}-holders`;
    made.querySelector(".scroll").setAttribute("aria-labelledby", `${id}-holders`);
    document.getElementById("pools").append(made);
    sections.set(name, { made, history: [] });
  }
  return sections.get(name);
}

function condition(pool) {
  if (pool.is_closed) return ["The pool is closed.", false];
  if (pool.outage_seconds > 0) {
    const error = pool.last_connect_error ? `: ${pool.last_connect_error}` : "";
    return [`Outage: no connection could be opened for ${pool.outage_seconds.toFixed(0)} s${error}`, false];
  }
  if (pool.is_overloaded) {
    return ["Overloaded: callers give up before they are served.", false];
  }
  if (pool.size.max !== null && pool.now.in_use >= pool.size.max && pool.now.waiting) {
    return [`Every connection is in use, and ${pool.now.waiting} callers wait.`, false];
  }
  return ["Working.", true];
}

function numbers(list, pool) {
  const shown = {
    "in use": `${pool.now.in_use} of ${pool.size.max === null ? "∞" : pool.size.max}`,
    idle: pool.now.idle,
    connecting: pool.now.connecting,
    waiting: pool.now.waiting,
    "checkouts / s": pool.checkouts_per_second.toFixed(1),
    "longest use": `${pool.now.longest_use.toFixed(1)} s`,
    timeouts: pool.totals.timeouts,
    cancelled: pool.totals.cancelled,
    refused: pool.totals.saturated + pool.totals.shed,
    "failed connects": pool.totals.connect_failures,
    leaks: pool.totals.leaks,
  };
  list.replaceChildren();
  for (const [name, value] of Object.entries(shown)) {
    const pair = element("div", undefined, list);
    element("dt", name, pair);
    element("dd", value, pair);
  }
}

function show(pool) {
  const { made, history } = section(pool.name);
  history.push(pool.now);
  if (history.length > HISTORY) history.shift();
  if (isPaused) return;
  const [text, isGood] = condition(pool);
  const state = made.querySelector(".state");
  if (state.textContent !== text) state.textContent = text;
  state.className = `state ${isGood ? "good" : "bad"}`;
  numbers(made.querySelector(".numbers"), pool);
  draw(made.querySelector(".chart"), history, pool.size.max);
  const quantiles = ["wait", "use"].map((name) => [
    name === "wait" ? "wait for a connection" : "use of a connection",
    ...["p50", "p95", "p99"].map((each) => seconds(pool[name][each])),
  ]);
  fill(made.querySelector(".quantiles tbody"), quantiles, 4, "");
  fill(made.querySelector(".closed tbody"), Object.entries(pool.closed), 2, "None so far.");
  const holders = pool.holders.map((each) => [
    each.seconds.toFixed(1), each.label || "", each.task, each.query || "", each.where || "",
  ]);
  fill(made.querySelector(".holders tbody"), holders, 5, "Nobody.");
}

// ------------------------------------------------------------------------- the stream

function receive(event) {
  const state = JSON.parse(event.data);
  state.pools.forEach(show);
  if (isPaused) return;
  announce(`Live, ${new Date(state.time * 1000).toLocaleTimeString()}`);
  const events = state.events.map((each) => [
    new Date(each.time * 1000).toLocaleTimeString(), each.pool, each.event, each.message,
  ]);
  fill(document.getElementById("events"), events, 4, "No events since the application started.");
}

// Screen readers read a status when its words change, so the time is not part of it.
function announce(text) {
  const status = document.getElementById("status");
  const words = text.split(",")[0];
  if (status.dataset.words !== words) {
    status.dataset.words = words;
    status.textContent = words;
  }
  document.title = words === "Live" ? "Connection pools" : `${words} – Connection pools`;
}

document.getElementById("pause").addEventListener("click", (event) => {
  isPaused = !isPaused;
  event.target.setAttribute("aria-pressed", String(isPaused));
  event.target.textContent = isPaused ? "Continue" : "Pause";
  if (isPaused) announce("Paused");
});

const source = new EventSource("events");
let isLost = 0;
source.addEventListener("message", (event) => { clearTimeout(isLost); receive(event); });
// The server ends the stream every few seconds, and the browser opens the next one.
source.addEventListener("error", () => {
  clearTimeout(isLost);
  isLost = setTimeout(() => announce("The application does not answer. Trying again …"), 3000);
});
