// Draws the states that /events sends. What comes from requests and logs is only ever set as text, never as markup.
"use strict";

const byId = (id) => document.getElementById(id);
let chosen = null; // number of the request whose details are shown

function cell(text, kind) {
  const made = document.createElement("td");
  made.textContent = text;
  if (kind) made.className = kind;
  return made;
}

function fill(id, rows) {
  byId(id).tBodies[0].replaceChildren(...rows.map((cells) => {
    const row = document.createElement("tr");
    row.append(...cells);
    return row;
  }));
}

const clock = (seconds) => new Date(seconds * 1000).toTimeString().slice(0, 8);
const milliseconds = (value) => value === null ? "" : value < 10 ? value.toFixed(1) + " ms" : Math.round(value) + " ms";
const statusKind = (status) => status >= 500 || status === 0 ? "n bad" : status >= 400 ? "n mild" : "n good";

function health(endpoint) {
  if (endpoint.health === "Healthy") return cell("healthy" + (endpoint.check ? ", now: " + endpoint.check : ""), "good");
  return cell(endpoint.health.toLowerCase() + (endpoint.check ? ": " + endpoint.check : ""), "bad");
}

function draw(state) {
  const plugin = state.plugin;
  byId("plugin").textContent = plugin.name;
  const memory = plugin.memory_bytes === null ? "" : `, ${(plugin.memory_bytes / 1048576).toFixed(0)} MB`;
  const retiring = plugin.retiring ? `, ${plugin.retiring} older one(s) finishing` : "";
  byId("about").textContent =
    `${plugin.source.split("/").pop()} on ${state.listen}, VM ${plugin.vm}${memory}, configuration ${plugin.configuration}${retiring}`;
  byId("about").className = plugin.vm === "running" ? "" : "bad";
  fill("endpoints", state.endpoints.map((one) => [
    cell(one.address, "mono"), cell(one.cluster, "mono"), health(one), cell(one.requests, "n"), cell(one.in_flight, "n"),
    cell(one.in_flight_max, "n"), cell(one.errors, one.errors ? "n bad" : "n"),
  ]));
  drawRequests(state);
  byId("statuses").textContent = Object.entries(state.statuses).sort().map(([name, count]) => `${name} ${count}`).join("  ·  ");
  byId("no-logs").hidden = state.logs.length > 0;
  fill("logs", state.logs.map((one) => [
    cell(clock(one.time_s), "nowrap faint"),
    cell(one.level, "nowrap " + ({ WARN: "mild", ERROR: "bad", CRITICAL: "bad" }[one.level] || "faint")), cell(one.message, "mono"),
  ]));
  fill("host-calls", Object.entries(state.host_calls).map(([name, count]) =>
    [cell(name.replace("proxy_", ""), "mono"), cell(count, "n")]));
  fill("metrics", Object.entries(state.metrics).map(([name, value]) => [cell(name, "mono"), cell(value, "n")]));
  byId("root-calls").textContent = state.root_calls.join("\n");
  fill("notes", state.notes.map((one) => [cell(clock(one.time_s), "nowrap faint"), cell(one.text, one.ok ? "" : "bad")]));
}

function drawRequests(state) {
  byId("no-requests").hidden = state.requests.length > 0;
  fill("requests", state.requests.map((one) => [
    cell(one.number, "n faint"), cell(clock(one.started_s), "nowrap faint"), cell(`${one.method} ${one.path}`, "mono"),
    cell(one.route), cell(one.endpoint, "mono nowrap"), cell(one.reason, one.overridden ? "good" : ""),
    one.done ? cell(one.status || "none", statusKind(one.status)) : cell(one.status || "…", "n faint"),
    cell(milliseconds(one.first_byte_ms), "n"), cell(one.done ? milliseconds(one.duration_ms) : "in flight", "n"),
  ]));
  byId("hint").hidden = state.requests.length === 0;
  const rows = byId("requests").tBodies[0].rows;
  state.requests.forEach((one, at) => { rows[at].dataset.number = one.number; });
  markChosen();
}

function markChosen() {
  for (const row of byId("requests").tBodies[0].rows)
    row.classList.toggle("chosen", Number(row.dataset.number) === chosen);
}

async function showDetails(number) {
  chosen = number;
  markChosen();
  const answer = await fetch("/requests/" + number);
  const one = await answer.json();
  if (number !== chosen) return; // another one was clicked meanwhile
  byId("details").hidden = false;
  byId("details-title").textContent = `Request ${number}: ` + (answer.ok ? `${one.method} ${one.path}` : one.error);
  const about = answer.ok ? [["request", [`id ${one.request_id}`, `configuration ${one.generation}`,
    `${one.response_size} bytes of response`, one.done ? one.reason : "still in flight: more to see when it is done"]]] : [];
  const parts = [...about, ["callbacks", one.callbacks], ["host calls", one.host_calls], ["log", one.logs]]
    .filter(([, lines]) => lines && lines.length);
  byId("details-parts").replaceChildren(...parts.map(([name, lines]) => {
    const part = document.createElement("div");
    const title = document.createElement("h3");
    const text = document.createElement("pre");
    title.textContent = name;
    text.textContent = lines.join("\n");
    part.append(title, text);
    return part;
  }));
}

byId("requests").tBodies[0].addEventListener("click", (event) => {
  const row = event.target.closest("tr");
  if (row) showDetails(Number(row.dataset.number));
});

const events = new EventSource("/events");
events.onmessage = (event) => draw(JSON.parse(event.data));
events.onopen = () => { byId("connection").textContent = "live"; byId("connection").className = "live"; };
events.onerror = () => { byId("connection").textContent = "connection lost"; byId("connection").className = "lost"; };
