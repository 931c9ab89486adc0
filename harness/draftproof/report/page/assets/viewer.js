"use strict";
// Shows one step of one case: the text so far, and the tree that was drafted after it.
(() => {
  const UNKNOWN = 65535, ROOT = -1;
  const TYPES = { u1: Uint8Array, u2: Uint16Array, i2: Int16Array, i4: Int32Array };
  const WIDE = { indent: 158, row: 63, width: 122, height: 46 };
  const NARROW = { indent: 16, row: 58, width: 0, height: 48 };
  const byId = (id) => document.getElementById(id);
  const [stage, choice, slider, tree] = ["stage", "case", "step", "tree"].map(byId);

  let header, columns, cases;
  let current = { case: 0, step: 0, node: 0 };

  function read(buffer) {
    const view = new DataView(buffer);
    const length = view.getUint32(0, true);
    header = JSON.parse(new TextDecoder().decode(new Uint8Array(buffer, 4, length)));
    columns = {};
    let offset = 4 + length;
    for (const { name, type, rows } of header.columns) {
      const Type = TYPES[type];
      const bytes = rows * Type.BYTES_PER_ELEMENT;
      columns[name] = new Type(buffer.slice(offset, offset + bytes));
      offset += bytes;
    }
    let step = 0, node = 0, token = 0;
    cases = header.cases.map((facts) => {
      const found = { ...facts, firstStep: step, firstNode: node, firstToken: token };
      step += facts.steps;
      node += facts.nodes;
      token += facts.tokens;
      found.starts = starts(found);
      return found;
    });
  }

  // Where each step of a case begins: its first node, and its first token in the output.
  function starts(facts) {
    const places = [];
    let node = facts.firstNode, token = 1; // the token at 0 is prefill's
    for (let i = facts.firstStep; i < facts.firstStep + facts.steps; i++) {
      places.push({ node, token });
      node += columns["step.nodes"][i];
      token += columns["step.committed_tokens"][i];
    }
    return places;
  }

  const known = (value, unit) => (value === UNKNOWN ? null : value / unit);

  function tokenText(index) {
    return header.tokens[index] ?? `⟨${header.ids[index]}⟩`;
  }

  // Everything that is shown of the chosen step.
  function stepFacts() {
    const facts = cases[current.case];
    const row = facts.firstStep + current.step;
    const { node, token } = facts.starts[current.step];
    const count = columns["step.nodes"][row];
    const accepted = columns["step.accepted_length"][row];
    const committed = columns["step.committed_tokens"][row];
    const nodes = [];
    for (let i = node; i < node + count; i++) {
      const flags = columns["node.flags"][i];
      nodes.push({
        index: i - node,
        parent: columns["node.parent"][i],
        token: columns["node.token"][i],
        p: known(columns["node.target_probability"][i], 10000),
        q: known(columns["node.draft_probability"][i], 10000),
        acceptance: known(columns["node.acceptance_probability"][i], 10000),
        targetEntropy: known(columns["node.target_entropy"][i], 1000),
        draftEntropy: known(columns["node.draft_entropy"][i], 1000),
        rank: known(columns["node.target_rank"][i], 1),
        state: flags & 2 ? "kept" : flags & 1 ? "reached" : "unreached",
      });
    }
    const output = columns.output.subarray(facts.firstToken, facts.firstToken + facts.tokens);
    const root = { index: ROOT, token: output[token - 1], state: "root" };
    const end = nodes.filter((item) => item.state === "kept").pop() ?? root;
    let extra = null;
    if (committed > accepted) {
      const isLeaf = !nodes.some((item) => item.parent === end.index);
      extra = { index: count, parent: end.index, token: output[token + accepted], state: "extra", name: isLeaf ? "bonus" : "correction" };
    }
    return { facts, token, accepted, committed, nodes, root, extra, output };
  }

  function show() {
    const step = stepFacts();
    const { facts } = step;
    choice.value = current.case;
    slider.max = facts.steps;
    slider.value = current.step + 1;
    byId("where").textContent = `step ${current.step + 1} of ${facts.steps}`;
    byId("previous").disabled = current.step === 0;
    byId("next").disabled = current.step === facts.steps - 1;
    const kinds = [`${step.nodes.length} drafted`, `${step.nodes.filter((n) => n.state !== "unreached").length} reached`, `${step.accepted} kept`];
    const last = step.extra ? ` + ${step.extra.name} token` : "";
    const cut = step.committed < step.accepted + 1 ? ", cut at the end of the output" : "";
    byId("facts").textContent = `${facts.domain} · output ${facts.verdict} · ${kinds.join(", ")}${last}: ${step.committed} ${step.committed === 1 ? "token" : "tokens"} committed${cut}`;
    showWhy(step);
    showText(step);
    showTree(step);
    showNode(step);
    stage.dataset.case = facts.id;
    stage.dataset.step = current.step + 1;
  }

  // Why the output is not the target's own: the message as it was printed, and a way to each fork.
  function showWhy({ facts }) {
    const place = byId("why");
    place.hidden = !facts.message;
    place.classList.toggle("numerical", facts.verdict === "numerical");
    if (place.hidden) return place.replaceChildren();
    const jumps = page.element("p", { class: "jumps" }, page.element("span", {}, "Parts from the target’s own choice at"));
    for (const [token, step] of facts.forks) {
      const target = Math.max(step, 1);
      const link = page.element("a", { href: address(facts.id, target) }, `token ${token}: ${step ? `step ${step}` : "step 1, after prefill"}`);
      if (target === current.step + 1) link.setAttribute("aria-current", "step");
      jumps.append(link);
    }
    const folded = page.element("details", {}, page.element("summary", {}, "Why"), page.element("pre", { class: "message", tabindex: 0 }, facts.message));
    folded.open = place.querySelector("details")?.open ?? false;
    place.replaceChildren(...(facts.forks.length ? [jumps] : []), folded);
  }

  const address = (id, step) => `#tree=${encodeURIComponent(id)}&step=${step}`;

  // Opens the case and step that the page's address names.
  function follow() {
    const named = new URLSearchParams(location.hash.slice(1));
    const found = cases.findIndex((facts) => facts.id === named.get("tree"));
    if (found < 0) return false;
    go({ case: found, step: (Number(named.get("step")) || 1) - 1 });
    byId("viewer").scrollIntoView();
    stage.focus({ preventScroll: true });
    return true;
  }

  function showText({ facts, token, accepted, committed, output }) {
    const place = byId("text");
    const parts = [];
    const prompt = facts.prompt
      ? `${facts.cut ? "…" : ""}${facts.prompt}\n`
      : `[prompt of ${facts.promptTokens ?? "unknown"} tokens; its text was not kept]\n`;
    parts.push(page.element("span", { class: "prompt" }, prompt));
    const forks = new Set(facts.forks.map(([index]) => index));
    let step = 0;
    for (let i = 0; i < token + committed; i++) {
      while (step + 1 < facts.starts.length && facts.starts[step + 1].token <= i) step++;
      const kind = i === token - 1 ? " root" : i < token ? "" : i < token + accepted ? " kept" : " extra";
      const span = page.element("span", { class: `of${kind}${forks.has(i) ? " fork" : ""}` }, tokenText(output[i]));
      const target = step;
      span.addEventListener("click", () => go({ step: target, node: 0 }));
      parts.push(span);
    }
    place.replaceChildren(...parts);
    place.scrollTop = place.scrollHeight;
  }

  function children(step) {
    const below = new Map([[ROOT, []]]);
    // The extra token comes first, beside the kept path.
    const all = step.extra ? [step.extra, ...step.nodes] : step.nodes;
    for (const item of all) below.set(item.index, []);
    for (const item of all) below.get(item.parent).push(item);
    return below;
  }

  // A layered tree where there is room: depth to the right, one row a leaf. Else an indented list.
  function layout(step, shape, available) {
    const below = children(step);
    const places = new Map();
    let row = 0, deepest = 0;
    const indented = shape === NARROW;
    (function put(item, depth) {
      deepest = Math.max(deepest, depth);
      const place = { x: depth * shape.indent, y: row * shape.row };
      if (indented) row++;
      const rows = below.get(item.index).map((child) => put(child, depth + 1));
      if (!indented) {
        if (rows.length) place.y = (rows[0] + rows[rows.length - 1]) / 2;
        else row++;
      }
      places.set(item.index, place);
      return place.y;
    })(step.root, 0);
    const width = indented ? available - 8 : deepest * shape.indent + shape.width;
    return { below, places, width, height: row * shape.row, indented };
  }

  // The layered tree uses the room there is, up to a point.
  function widened(step, available) {
    const depths = new Map([[ROOT, 0]]);
    for (const item of step.extra ? [...step.nodes, step.extra] : step.nodes) {
      depths.set(item.index, depths.get(item.parent) + 1);
    }
    const deepest = Math.max(1, ...depths.values());
    const indent = Math.min(212, Math.max(WIDE.indent, (available - 8 + 36) / (deepest + 1)));
    return { ...WIDE, indent, width: indent - 36 };
  }

  function svg(tag, attributes, ...children_) {
    const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...children_);
    return made;
  }

  const visible = (text) => text.replaceAll(" ", "·").replaceAll("\n", "↵").replaceAll("\t", "⇥").replaceAll("\r", "␍");
  const short = (text, length) => ([...text].length > length ? [...text].slice(0, length - 1).join("") + "…" : text);

  function fraction(value) {
    if (value === null) return "–";
    if (value === 1 || value === 0) return value ? "1" : "<.0001";
    if (value >= 0.9995) return ">.999";
    return value.toFixed(value < 0.001 ? 4 : 3).replace(/^0/, "");
  }
  const nats = (value) => (value === null ? "–" : value.toFixed(2));

  function showTree(step) {
    const available = Math.max(tree.clientWidth, 240);
    const shape = available < 560 ? NARROW : widened(step, available);
    const drawn = layout(step, shape, available);
    const pad = 3;
    const picture = svg("svg", {
      width: drawn.width + 2 * pad, height: drawn.height + 2 * pad,
      viewBox: `${-pad} ${-pad} ${drawn.width + 2 * pad} ${drawn.height + 2 * pad}`,
      role: "group", "aria-label": "Drafted tree",
    });
    const all = [step.root, ...step.nodes, ...(step.extra ? [step.extra] : [])];
    const boxWidth = (item) => (drawn.indented ? drawn.width - drawn.places.get(item.index).x : shape.width);
    const order = { unreached: 0, reached: 1, extra: 2, kept: 3 };
    const edges = all.filter((item) => item !== step.root).sort((a, b) => order[a.state] - order[b.state]);
    for (const item of edges) picture.append(edge(item, drawn, shape));
    for (const item of all) picture.append(box(item, step, drawn, shape, boxWidth(item)));
    tree.replaceChildren(picture);
    // A draft that is deeper than the screen is wide: the chosen node stays in view.
    const end = (drawn.places.get(current.node)?.x ?? 0) + shape.width + 2 * shape.indent;
    tree.scrollLeft = drawn.width > available ? Math.max(0, end - available) : 0;
  }

  function edge(item, drawn, shape) {
    const from = drawn.places.get(item.parent), to = drawn.places.get(item.index);
    const middle = shape.height / 2;
    const path = drawn.indented
      ? `M${from.x + 7},${from.y + shape.height} V${to.y + middle} H${to.x}`
      : `M${from.x + shape.width},${from.y + middle} C${from.x + shape.width + 20},${from.y + middle} ${to.x - 20},${to.y + middle} ${to.x},${to.y + middle}`;
    return svg("path", { class: `edge ${item.state}`, d: path });
  }

  function box(item, step, drawn, shape, width) {
    const { x, y } = drawn.places.get(item.index);
    const chosen = item.index === current.node && item.p !== undefined;
    const group = svg("g", { class: `node ${item.state}${chosen ? " chosen" : ""}`, transform: `translate(${x},${y})`, "data-node": item.index });
    const text = visible(tokenText(item.token));
    group.append(svg("rect", { class: "box", width, height: shape.height, rx: 7 }));
    group.append(svg("text", { class: "token", x: 9, y: 17 }, short(text, Math.floor((width - 16) / 7.6))));
    if (item.p !== undefined) {
      group.append(svg("text", { class: "figure", x: 9, y: 31 }, `p ${fraction(item.p)}`));
      group.append(svg("text", { class: "figure", x: 9 + (width - 18) / 2, y: 31 }, `q ${fraction(item.q)}`));
      for (const [i, [name, value]] of [["target", item.p], ["draft", item.q]].entries()) {
        const full = width - 18;
        group.append(svg("rect", { class: "track", x: 9, y: 35.5 + 4 * i, width: full, height: 2.5, rx: 1.25 }));
        group.append(svg("rect", { class: name, x: 9, y: 35.5 + 4 * i, width: full * (value ?? 0), height: 2.5, rx: 1.25 }));
      }
      group.setAttribute("role", "button");
      group.setAttribute("tabindex", chosen ? 0 : -1);
      group.setAttribute("aria-label", `${text}, ${item.state}, p ${fraction(item.p)}, q ${fraction(item.q)}`);
      group.addEventListener("click", () => go({ node: item.index }));
    } else {
      const label = item.state === "root" ? "root" : item.name;
      const note = svg("text", { class: "figure", x: 9, y: 33 }, label);
      if (item.state === "root") note.style.fill = "var(--paper)";
      group.append(note);
    }
    const child = drawn.below.get(item.index).find((other) => other.p !== undefined);
    if (child) {
      const place = drawn.indented ? { x: width - 9, y: 17, "text-anchor": "end" } : { x: 2, y: shape.height + 12 };
      const note = svg("text", { class: "figure", ...place }, `H ${nats(child.targetEntropy)} · ${nats(child.draftEntropy)}`);
      if (drawn.indented && item.state === "root") note.style.fill = "var(--paper)";
      group.append(note);
    }
    return group;
  }

  function showNode(step) {
    const item = step.nodes[current.node];
    const place = byId("node");
    if (!item) return place.replaceChildren();
    const states = { kept: "kept", reached: "reached, rejected", unreached: "not reached" };
    const rows = [
      ["token", `“${visible(tokenText(item.token))}” (${header.ids[item.token]})`],
      ["p, target", fraction(item.p)],
      ["q, draft model", fraction(item.q)],
      ["acceptance probability", fraction(item.acceptance)],
      ["target rank", item.rank === null ? "–" : item.rank],
      ["target entropy, nats", nats(item.targetEntropy)],
      ["draft entropy, nats", nats(item.draftEntropy)],
      ["node", states[item.state]],
    ];
    place.replaceChildren(...rows.map(([name, value]) =>
      page.element("div", {}, page.element("dt", {}, name), page.element("dd", {}, String(value)))));
  }

  function go(change) {
    const before = current;
    current = { ...current, ...change };
    current.case = Math.min(Math.max(current.case, 0), cases.length - 1);
    if (current.case !== before.case && change.step === undefined) current.step = 0;
    const facts = cases[current.case];
    current.step = Math.min(Math.max(current.step, 0), facts.steps - 1);
    const nodes = columns["step.nodes"][facts.firstStep + current.step];
    if (change.node === undefined) current.node = 0;
    current.node = Math.min(Math.max(current.node, 0), Math.max(nodes - 1, 0));
    show();
  }

  const KEYS = {
    ArrowLeft: () => ({ step: current.step - 1 }),
    ArrowRight: () => ({ step: current.step + 1 }),
    ArrowUp: () => ({ node: current.node - 1 }),
    ArrowDown: () => ({ node: current.node + 1 }),
    Home: () => ({ step: 0 }),
    End: () => ({ step: cases[current.case].steps - 1 }),
    n: () => ({ case: current.case + 1 }),
    p: () => ({ case: current.case - 1 }),
  };

  function listen() {
    byId("previous").addEventListener("click", () => go({ step: current.step - 1 }));
    byId("next").addEventListener("click", () => go({ step: current.step + 1 }));
    slider.addEventListener("input", () => go({ step: slider.value - 1 }));
    choice.addEventListener("change", () => go({ case: Number(choice.value), step: 0 }));
    stage.addEventListener("keydown", (event) => {
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const taken = event.target === choice || event.target === slider || event.ctrlKey || event.metaKey || event.altKey;
      if (!KEYS[key] || taken) return;
      event.preventDefault();
      const inTree = tree.contains(document.activeElement);
      go(KEYS[key]());
      if (inTree) (tree.querySelector(".chosen") ?? stage).focus();
    });
    new ResizeObserver(() => {
      if (tree.clientWidth !== tree.drawnWidth) {
        tree.drawnWidth = tree.clientWidth;
        show();
      }
    }).observe(tree);
  }

  function fillChoice() {
    const groups = new Map();
    cases.forEach((facts, i) => {
      if (!groups.has(facts.domain)) groups.set(facts.domain, page.element("optgroup", { label: facts.domain }));
      const mark = { numerical: " ≈", algorithmic: " ≠" }[facts.verdict] ?? "";
      groups.get(facts.domain).append(page.element("option", { value: i }, `${facts.id}${mark}`));
    });
    choice.append(...groups.values());
    const hidden = header.total - cases.length;
    const notes = [];
    if (hidden) notes.push(`The viewer holds ${cases.length} of ${header.total} cases, so that the page stays small.`);
    if (!header.tokens.some((text) => text !== null)) notes.push("This run kept no text: token ids stand in its place.");
    byId("shown").textContent = notes.join(" ");
  }

  (async () => {
    read(await page.inflate("trees"));
    if (!cases.length) {
      stage.replaceChildren(page.element("p", { class: "absent" }, "No case has a drafted tree."));
      return;
    }
    fillChoice();
    listen();
    if (!follow()) go({ case: 0, step: 0 });
    addEventListener("hashchange", follow);
    stage.dataset.ready = "yes";
  })();
})();
