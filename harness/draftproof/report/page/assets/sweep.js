"use strict";
// Draws the sweep of each domain, and prices it again where draft passes cost something else.
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const slider = document.getElementById("factor");
  const names = [...new Set(data.domains.flatMap((d) => d.sweep.points.map((p) => p.draft)))];
  const colour = (name) => `var(--c${names.indexOf(name) % 8})`;
  const width = 460, height = 300, left = 44, right = 12, top = 10, bottom = 36;
  const factor = () => 2 ** Number(slider.value);
  const speedup = (domain, point, times) =>
    domain.sweep.plain_seconds / (point.other + times * point.drafting);
  const nodes = Math.max(2, ...data.domains.flatMap((d) => d.sweep.points.map((p) => p.nodes)));
  const x = (count) => left + (width - left - right) * (Math.log2(count + 1) / Math.log2(nodes + 1));

  function element(name, attributes, text) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function described(point) {
    if (point.draft === "none") return "no speculation";
    const tree = point.shape.startsWith("static") ? `tree of ${point.nodes} nodes, depth ${point.depth}` : point.shape;
    return `${point.draft}, ${tree}`;
  }

  function draw(domain, times) {
    const place = document.querySelector(`[data-domain="${CSS.escape(domain.name)}"]`);
    const values = domain.sweep.points.map((point) => speedup(domain, point, times));
    const high = Math.max(1.2, ...values, domain.high ?? 0) * 1.05;
    const low = Math.min(0.8, ...values) * 0.95;
    const y = (value) => top + (height - top - bottom) * (1 - (value - low) / (high - low));
    const svg = element("svg", { viewBox: `0 0 ${width} ${height}` });
    const step = high - low > 2 ? 0.5 : 0.25;
    for (let tick = Math.ceil(low / step) * step; tick <= high; tick += step) {
      svg.append(element("line", { class: "grid", x1: left, x2: width - right, y1: y(tick), y2: y(tick) }));
      svg.append(element("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, tick.toFixed(2)));
    }
    for (const count of [0, 1, 2, 4, 8, 16, 32, 64].filter((each) => each <= nodes)) {
      svg.append(element("text", { x: x(count), y: height - bottom + 16, "text-anchor": "middle" }, count));
    }
    svg.append(element("text", { x: (left + width) / 2, y: height - 4, "text-anchor": "middle" }, "nodes of a draft (chains: tokens)"));
    svg.append(element("line", { class: "one", x1: left, x2: width - right, y1: y(1), y2: y(1) }));
    let best = 0;
    domain.sweep.points.forEach((point, index) => {
      if (values[index] > values[best]) best = index;
      const at = { cx: x(point.nodes), cy: y(values[index]) };
      const mark = point.chain
        ? element("circle", { class: "point", ...at, r: 4.5, fill: colour(point.draft) })
        : element("rect", { class: "point", x: at.cx - 4, y: at.cy - 4, width: 8, height: 8, fill: colour(point.draft) });
      mark.append(element("title", {}, `${described(point)}: speedup ${values[index].toFixed(2)}, block efficiency ${point.block_efficiency.toFixed(2)}`));
      svg.append(mark);
    });
    const chosen = domain.sweep.points.findIndex((p) => p.draft === domain.draft && p.shape === domain.tree);
    if (chosen >= 0) {
      const at = x(domain.sweep.points[chosen].nodes);
      if (times === 1 && domain.low !== null) {
        svg.append(element("line", { class: "interval-line", x1: at, x2: at, y1: y(domain.low), y2: y(domain.high) }));
      }
      svg.append(element("circle", { class: "chosen", cx: at, cy: y(values[chosen]), r: 8 }));
    }
    if (best !== chosen) {
      svg.append(element("circle", { class: "best", cx: x(domain.sweep.points[best].nodes), cy: y(values[best]), r: 11 }));
    }
    place.replaceChildren(svg);
    const fastest = values[best] > 1
      ? `Fastest at this cost, on these prompts: ${described(domain.sweep.points[best])}, speedup ${values[best].toFixed(2)}.`
      : "At this cost nothing is faster than plain decoding.";
    const advised = chosen < 0 || best === chosen ? "" : ` The advised setting: ${values[chosen].toFixed(2)}.`;
    document.querySelector(`[data-best="${CSS.escape(domain.name)}"]`).textContent = fastest + advised;
  }

  function drawAll() {
    const times = factor();
    document.getElementById("shown").textContent = times.toFixed(2);
    const ratios = data.domains[0].sweep.cost_ratios;
    document.getElementById("ratios").textContent = Object.entries(ratios)
      .map(([name, ratio]) => `${name}: cost ratio ${(ratio * times).toFixed(3)}`).join("; ");
    for (const domain of data.domains) draw(domain, times);
  }

  for (const name of names) {
    const item = document.createElement("li");
    item.textContent = name;
    item.style.color = colour(name);
    document.getElementById("legend").append(item);
  }
  slider.addEventListener("input", drawAll);
  document.getElementById("measured").addEventListener("click", () => { slider.value = 0; drawAll(); });
  drawAll();
})();
