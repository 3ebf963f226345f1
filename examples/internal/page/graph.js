// The graph: the host's nodes on a ring, or the only one in the middle of its peers, and who uses which connection.

export const NS = "http://www.w3.org/2000/svg";

export function el(parent, name, attrs, text) {
  const e = document.createElementNS(parent.namespaceURI, name);
  for (const k in attrs) e.setAttribute(k, attrs[k]);
  if (text !== undefined) e.textContent = text;
  parent.append(e);
  return e;
}

const svg = document.querySelector("#graph svg");
const links = el(svg, "g", {"aria-hidden": "true"}), nodes = el(svg, "g", {});

// vertices are the nodes, each with a place.
function vertices(state) {
  const own = state.nodes.filter(v => !v.peer).length, far = state.nodes.length > own; // one node among its peers
  return state.nodes.map((v, i) => {
    if (far && i === 0) return {v, x: 0, y: 0, r: 26};
    const n = state.nodes.length - far, a = 2 * Math.PI * (i - far) / n - Math.PI / 2, radius = far ? 190 : 225;
    return {v, x: radius * Math.cos(a), y: radius * Math.sin(a), r: Math.max(4, Math.min(far ? 10 : 20, 520 / n))};
  });
}

// draw shows a snapshot. chosen is the id of a node or null; pick is called with the id of the one that is clicked.
export function draw(state, chosen, gossip, pick) {
  const all = vertices(state), focus = chosen !== null && !state.nodes[0].peer && !state.nodes.some(v => v.peer);
  links.replaceChildren();
  for (const l of state.links) {
    if (l.temperature === "cold" || l.temperature === "gossip" && !gossip) continue;
    const a = all[l.from], b = all[l.to], straight = l.temperature === "gossip";
    const mx = (a.x + b.x) / 2 - (straight ? 0 : (b.y - a.y) * .06), my = (a.y + b.y) / 2 + (straight ? 0 : (b.x - a.x) * .06);
    const mine = !focus ? "" : l.from === chosen || straight && l.to === chosen ? " of" : " faint";
    el(links, "path", {class: "link " + l.temperature + (l.duplex || straight ? "" : " uni") + mine, d: `M${a.x} ${a.y}Q${mx} ${my} ${b.x} ${b.y}`});
  }
  if (nodes.children.length !== all.length) nodes.replaceChildren();
  all.forEach(({v, x, y, r}, i) => {
    const g = nodes.children[i] || vertex(i, pick);
    const [circle, text, title] = g.children;
    g.setAttribute("transform", `translate(${x} ${y})`); circle.setAttribute("r", r);
    const is = v.peer ? "" : v.up ? `${v.hot} hot, ${v.warm} warm, ${v.cold} cold` : "down";
    g.setAttribute("class", "node" + (v.peer ? " far" : v.up ? "" : " down") + (v.apart ? " apart" : "") + (v.slow ? " slow" : "") + (chosen === i ? " chosen" : ""));
    g.setAttribute("aria-label", v.peer ? "peer " + v.addr : `node ${i}: ${is}${v.apart ? ", cut off" : ""}${v.slow ? ", slow" : ""}`);
    title.textContent = v.peer ? v.addr : `${v.addr}: ${is}`;
    text.textContent = v.peer ? (all.length <= 25 ? v.addr : "") : r > 7 ? i : "";
    text.setAttribute("y", v.peer ? (y > 0 ? 22 : -20) : 0);
  });
}

// vertex makes what stands for node i, which can be clicked, and reached and chosen with keys.
function vertex(i, pick) {
  const g = el(nodes, "g", {tabindex: 0, role: "button", "data-node": i});
  el(g, "circle", {}); el(g, "text", {}); el(g, "title", {});
  g.onclick = () => pick(i);
  g.onkeydown = e => {
    const turn = {ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1}[e.key], n = nodes.children.length;
    if (e.key === "Enter" || e.key === " ") { e.preventDefault(); pick(i); }
    if (turn) { e.preventDefault(); nodes.children[(i + turn + n) % n].focus(); }
  };
  return g;
}
