// Line charts, small and without a library.

import {el} from "./graph.js";

const H = 128, LEFT = 38, TOP = 8, BOTTOM = 8;

export const short = v => {
  const a = Math.abs(v);
  return a >= 1e9 ? (v / 1e9).toFixed(1) + "G" : a >= 1e6 ? (v / 1e6).toFixed(1) + "M" : a >= 1e4 ? (v / 1e3).toFixed(0) + "k" : a >= 100 || Number.isInteger(v) ? v.toFixed(0) : v.toFixed(1);
};

export const bytes = v => v < 1e3 ? v.toFixed(0) + " B" : v < 1e6 ? (v / 1e3).toFixed(1) + " kB" : v < 1e9 ? (v / 1e6).toFixed(1) + " MB" : (v / 1e9).toFixed(2) + " GB";

// chart draws series over points, which have seconds. A series is {name, style, of(point)}.
export function chart(id, points, series) {
  const svg = document.getElementById("c-" + id), key = svg.parentElement.querySelector(".key");
  const W = Math.max(120, svg.clientWidth);
  svg.setAttribute("viewBox", `0 0 ${W} ${H}`); svg.setAttribute("role", "img");
  svg.replaceChildren(); key.replaceChildren();
  if (!points.length) { key.textContent = "nothing yet"; return; }
  let most = 0;
  for (const p of points) for (const s of series) most = Math.max(most, s.of(p));
  const step = 10 ** Math.floor(Math.log10(Math.max(most, 1e-9)));
  most = most === 0 ? 1 : Math.ceil(most / step * 2) / 2 * step;
  const first = points[0].seconds, span = Math.max(1, points[points.length - 1].seconds - first);
  const x = p => LEFT + (W - LEFT) * (p.seconds - first) / span, y = v => TOP + (H - TOP - BOTTOM) * (1 - v / most);
  for (const v of [0, most / 2, most]) {
    el(svg, "line", {class: "axis", x1: LEFT, x2: W, y1: y(v), y2: y(v)});
    el(svg, "text", {class: "scale", x: LEFT - 4, y: y(v) + 3, "text-anchor": "end"}, short(v));
  }
  const words = [];
  for (const s of series) {
    el(svg, "polyline", {class: s.style, points: points.map(p => `${x(p).toFixed(1)},${y(s.of(p)).toFixed(1)}`).join(" ")});
    const now = short(s.of(points[points.length - 1])), item = el(key, "span", {});
    el(item, "i", {class: s.style}); item.append(`${s.name} ${now}`); words.push(`${s.name} ${now}`);
  }
  el(key, "span", {}, `last ${span < 120 ? span.toFixed(0) + " s" : (span / 60).toFixed(0) + " min"}`);
  svg.setAttribute("aria-label", words.join(", "));
}
