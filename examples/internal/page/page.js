// The page: what the stream says, shown.

import {draw, el} from "./graph.js";
import {bytes, chart, short} from "./charts.js";

const $ = id => document.getElementById(id);
const MOST = 600, LOG = 1000; // points and events kept here
let points = [], events = [], state = null, before = null, chosen = null, peer = null, explained = [], series = [];
let token = new URLSearchParams(location.hash.slice(1)).get("token") || "";

const complain = text => $("error").textContent = text;
const get = async path => {
  const r = await fetch(path), j = await r.json();
  if (!r.ok) throw new Error(j.error);
  return j;
};

// ---- the chosen node

const own = s => s.nodes.filter(v => !v.peer);
const name = id => state.nodes[id]?.peer ? state.nodes[id].addr : "node " + id;

function choose(id) {
  chosen = id;
  peer = state.nodes[id].peer ? state.nodes[id].addr : null; // of a peer the only node says what it thinks
  show(); explain();
  if (matchMedia("(max-width: 50rem)").matches) $("panel").scrollIntoView({behavior: "smooth", block: "nearest"}); // it is below
}

async function explain() {
  if (chosen === null) return;
  const was = chosen, id = state.nodes[was].peer ? 0 : was;
  let list = [];
  try { if (state.nodes[id].up) list = await get("api/explain?node=" + id); } catch { /* the server has gone, which the stream will tell */ }
  if (chosen !== was) return;
  explained = list;
  showPeers();
}

function showPeers() {
  const table = $("peers"), body = table.tBodies[0], focused = document.activeElement?.dataset?.peer;
  table.hidden = !explained.length;
  body.replaceChildren();
  for (const e of explained) {
    const row = el(body, "tr", {tabindex: 0, "data-peer": e.addr, class: peer === e.addr ? "chosen" : ""});
    el(row, "td", {}, e.peer < 0 ? e.addr : name(e.peer)); el(row, "td", {class: "t-" + e.temperature}, e.state); el(row, "td", {}, e.decision);
    const pick = () => { peer = e.addr; if (state.nodes[e.peer]?.peer) chosen = e.peer; showPeers(); show(); };
    row.onclick = pick;
    row.onkeydown = k => {
      if (k.key === "Enter" || k.key === " ") { k.preventDefault(); pick(); }
      if (k.key === "ArrowDown") { k.preventDefault(); row.nextElementSibling?.focus(); }
      if (k.key === "ArrowUp") { k.preventDefault(); row.previousElementSibling?.focus(); }
    };
    if (focused === e.addr) row.focus();
  }
  const e = explained.find(e => e.addr === peer);
  $("explanation").hidden = !e;
  $("explanation").textContent = e ? e.text : "";
}

async function act(path) {
  try {
    const r = await fetch("api/" + path, {method: "POST", headers: {Authorization: "Bearer " + token}});
    complain(r.ok ? "" : (await r.json()).error);
    if (r.status === 401) { $("tokenrow").hidden = false; $("token").focus(); }
  } catch { complain("no answer"); }
}

$("kill").onclick = () => act("kill?node=" + chosen);
$("restart").onclick = () => act("restart?node=" + chosen);
$("partition").onclick = () => act("partition?nodes=" + [...new Set([...state.nodes.filter(v => v.apart).map(v => v.id), chosen])]);
$("heal").onclick = () => act("heal");
$("token").value = token;
$("token").oninput = () => token = $("token").value.trim();
$("gossip").onchange = () => show();

// ---- a snapshot

function facts(s) {
  const nodes = own(s), many = nodes.length > 1, list = [];
  if (many) list.push([`${nodes.filter(v => v.up).length} / ${nodes.length}`, "nodes up"]);
  list.push([s.blocks, "blocks"], [s.txs, "transactions"]);
  if (s.queues.length) list.push([s.artifacts, "artifacts"]);
  if (many) list.push([s.complete, "nodes have all"]);
  if (s.p50_ms) list.push([short(s.p50_ms), "ms p50"], [short(s.p95_ms), "ms p95"]);
  $("facts").replaceChildren();
  for (const [value, name] of list) { const d = el($("facts"), "div", {}); el(d, "dt", {}, name); el(d, "dd", {}, value); }
  if (s.title && document.title !== s.title) document.title = $("title").textContent = s.title;
}

function show() {
  if (!state) return;
  const s = state;
  if (chosen >= s.nodes.length) chosen = null;
  const v = chosen === null ? null : s.nodes[chosen];
  draw(s, chosen, $("gossip").checked, choose);
  $("gossipswitch").hidden = !s.queues.length; $("buttons").hidden = !s.faults; $("faultkey").hidden = !s.faults;
  if (s.faults && !token && $("tokenrow").hidden) $("tokenrow").hidden = false;
  $("who").textContent = !v ? "Choose a node" : v.peer ? "Peer " + v.addr : own(s).length > 1 ? "Node " + v.id : "This node";
  $("kill").disabled = !v || !v.up; $("restart").disabled = !v || v.up; $("partition").disabled = !v || v.apart;
  $("about").textContent = !v ? "Click a node, or reach it with Tab and the arrow keys and press Enter." : v.peer ? ""
    : !v.up ? `${v.addr} is down; its chain, mempool, artifacts and peers are on the disk.`
    : `${v.addr}: ${v.blocks} blocks, ${v.txs} transactions${s.queues.length ? `, ${v.artifacts} artifacts` : ""}; ${v.hot} hot, ${v.warm} warm, ${v.cold} cold peers`
      + (v.slow ? "; slow" : "") + (v.apart ? "; cut off" : "");
}

function traffic(s) {
  const body = $("traffic").querySelector("tbody"), dt = before ? s.seconds - before.seconds : 0;
  body.replaceChildren();
  for (const t of s.traffic) {
    const old = before?.traffic.find(o => o.protocol === t.protocol), row = el(body, "tr", {});
    const rate = k => old && dt > 0 ? bytes(Math.max(0, t[k] - old[k]) / dt) + "/s" : "–";
    el(row, "td", {}, t.protocol);
    for (const text of [rate("in"), rate("out"), bytes(t.in), bytes(t.out)]) el(row, "td", {class: "num"}, text);
  }
}

const places = ["pending", "shown", "held", "wanted", "requested", "unjudged", "parked", "serving"];
function queues(s) {
  $("queues").hidden = $("f-art").hidden = !s.queues.length;
  $("f-diff").hidden = own(s).length < 2; // one node sees blocks arrive, not travel
  $("traffic").classList.toggle("wide", !s.queues.length);
  const [head, body] = $("queues").querySelectorAll("thead, tbody");
  if (!head.firstChild) {
    const row = el(head, "tr", {});
    ["class", ...places, "p50, ms", "p95, ms"].forEach((name, i) => el(row, "th", {scope: "col", class: i ? "num" : ""}, name));
  }
  body.replaceChildren();
  for (const q of s.queues) {
    const row = el(body, "tr", {}), spread = s.spread.find(x => x.class === q.class);
    el(row, "td", {}, q.class);
    for (const p of places) el(row, "td", {class: "num"}, q[p]);
    for (const p of ["p50_ms", "p95_ms"]) el(row, "td", {class: "num"}, spread?.count ? short(spread[p]) : "–");
  }
}

const classes = ["urgent", "normal", "bulk", "idle"];
function charts() {
  chart("temp", points, [["hot", "s0"], ["warm", "s1"], ["cold", "s2"]].map(([name, style]) => ({name, style, of: p => p[name]})));
  chart("diff", points, [{name: "p50", style: "s4", of: p => p.p50_ms}, {name: "p95", style: "s5", of: p => p.p95_ms}]);
  if (state.queues.length) chart("art", points, classes.map((name, i) => ({name, style: "s" + i, of: p => p.waiting[i] || 0})));
}

// ---- one counter over time

async function counters() {
  const pick = $("counter");
  if (!pick.options.length) {
    const full = await get("api/state"), names = new Set();
    for (const v of full.nodes) for (const k in v.counters || {}) names.add(k);
    for (const k of [...names].sort()) pick.add(new Option(k.replace("cardano_node_metrics_", "").replace(/"/g, ""), k));
    pick.value = [...names].find(k => k.includes("block-fetch") && k.includes('"in"')) || pick.value;
  }
  if (!pick.value) return;
  const key = pick.value, where = own(state).length > 1 && chosen !== null ? "&node=" + chosen : "";
  try { series = await get(`api/series?counter=${encodeURIComponent(key)}${where}`); } catch { series = []; }
  let list = series;
  if ($("rate").checked) list = series.slice(1).map((p, i) => ({...p, value: Math.max(0, p.value - series[i].value) / Math.max(.001, p.seconds - series[i].seconds)}));
  chart("counter", list, [{name: where ? "node " + chosen : own(state).length > 1 ? "all nodes" : "now", style: "s0", of: p => p.value}]);
}
$("counter").onchange = $("rate").onchange = () => counters();

// ---- events

function showLog(list) {
  for (const e of list) {
    events.push(e);
    if (e.decision && ![...$("filter").options].some(o => o.value === e.decision)) {
      const o = new Option(e.decision, e.decision), next = [...$("filter").options].slice(1).find(x => x.value > e.decision);
      $("filter").add(o, next || null);
    }
  }
  events = events.slice(-LOG);
  if (list.length) drawLog();
}

function drawLog() {
  const d = $("filter").value, n = $("nodefilter").value, body = $("log").tBodies[0];
  body.replaceChildren();
  for (const e of events.filter(e => (!d || e.decision === d) && (n === "" || String(e.node) === n)).slice(-150).reverse()) {
    const row = el(body, "tr", {}), to = (e.peers || []).map(i => state?.nodes[i]?.peer ? state.nodes[i].addr : i);
    el(row, "td", {}, new Date(e.at).toLocaleTimeString());
    if (state && own(state).length > 1) el(row, "td", {}, e.node < 0 ? "all" : "node " + e.node);
    el(row, "td", {}, e.name); el(row, "td", {}, e.decision || "");
    el(row, "td", {}, (to.length ? "→ " + to.join(", ") + " " : "") + (e.detail || ""));
  }
}
$("filter").onchange = $("nodefilter").onchange = drawLog;

// ---- the stream

const source = new EventSource("api/stream");
source.addEventListener("history", e => { points = JSON.parse(e.data); events = []; });
source.addEventListener("state", e => {
  complain("");
  before = state; state = JSON.parse(e.data);
  const s = state, sum = k => s.nodes.reduce((a, v) => a + v[k], 0);
  if (!points.length || points[points.length - 1].snapshot < s.snapshot)
    points.push({snapshot: s.snapshot, seconds: s.seconds, hot: sum("hot"), warm: sum("warm"), cold: sum("cold"), p50_ms: s.p50_ms, p95_ms: s.p95_ms,
      waiting: s.queues.map(q => q.wanted + q.unjudged)});
  points = points.slice(-MOST);
  if (chosen === null && own(s).length === 1) chosen = 0;
  const nodes = $("nodefilter");
  $("nodefilterrow").hidden = own(s).length < 2;
  while (nodes.options.length <= own(s).length) nodes.add(new Option("node " + (nodes.options.length - 1), nodes.options.length - 1));
  facts(s); show(); explain(); traffic(s); queues(s); charts(); counters();
});
source.addEventListener("log", e => showLog(JSON.parse(e.data)));
source.onerror = () => complain("no connection; trying again");
