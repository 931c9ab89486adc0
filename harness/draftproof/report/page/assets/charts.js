"use strict";
// Draws every figure with Vega-Lite in the colours of the page, and offers its data.
(() => {
  const figures = new Map(page.data.figures.map((figure) => [figure.key, figure]));

  function config() {
    const [ink, soft, line, accent] = ["ink", "soft", "line", "accent"].map(page.colour);
    const font = getComputedStyle(document.body).fontFamily;
    return {
      font,
      background: "transparent",
      view: { stroke: null },
      axis: {
        labelColor: soft, titleColor: soft, labelFontSize: 12, titleFontSize: 12, titleFontWeight: 400,
        titlePadding: 8, gridColor: line, domainColor: line, tickColor: line, domain: false, tickSize: 4,
      },
      axisX: { domain: true },
      rule: { color: accent }, line: { color: accent }, point: { color: accent }, bar: { color: accent }, rect: { color: accent },
      text: { color: ink, fontSize: 12 },
    };
  }

  // The specifications name colours as "theme:NAME".
  function themed(value) {
    if (Array.isArray(value)) return value.map(themed);
    if (typeof value === "string" && value.startsWith("theme:")) return page.colour(value.slice(6));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, themed(item)]));
    }
    return value;
  }

  async function drawAll() {
    for (const place of document.querySelectorAll("[data-figure]")) {
      const figure = figures.get(place.dataset.figure);
      const spec = {
        data: { values: figure.rows },
        ...themed(figure.spec),
        config: config(),
      };
      const drawn = await vegaEmbed(place, spec, { mode: "vega-lite", renderer: "svg", actions: false, tooltip: { theme: "custom" } });
      place.dataset.drawn = page.isDark() ? "dark" : "light";
      drawn.view.resize();
    }
  }

  function shown(value) {
    // Without the space of no width that keeps a name apart from those of every object.
    return value === null || value === undefined ? "" : String(value).replace(/\u200b$/, "");
  }

  function csv(figure) {
    const quoted = (value) => (/[",\n]/.test(shown(value)) ? `"${shown(value).replaceAll('"', '""')}"` : shown(value));
    const rows = [figure.columns, ...figure.rows.map((row) => figure.columns.map((name) => row[name]))];
    return rows.map((row) => row.map(quoted).join(",")).join("\r\n") + "\r\n";
  }

  document.querySelectorAll("[data-csv]").forEach((button) => {
    button.addEventListener("click", () => {
      const figure = figures.get(button.dataset.csv);
      const url = URL.createObjectURL(new Blob([csv(figure)], { type: "text/csv" }));
      const name = `${page.data.name}-${figure.key}.csv`.replace(/[^\w.-]+/g, "-");
      page.element("a", { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 1000);
    });
  });

  document.querySelectorAll("[data-rows]").forEach((place) => {
    place.parentElement.addEventListener("toggle", () => {
      if (place.hasChildNodes()) return;
      const figure = figures.get(place.dataset.rows);
      const head = page.element("tr", {}, ...figure.columns.map((name) => page.element("th", { scope: "col" }, name)));
      const rows = figure.rows.map((row) =>
        page.element("tr", {}, ...figure.columns.map((name, i) => page.element(i ? "td" : "th", {}, shown(row[name])))));
      place.append(page.element("table", {}, page.element("thead", {}, head), page.element("tbody", {}, ...rows)));
    });
  });

  (async () => {
    const script = page.element("script", {}, new TextDecoder().decode(await page.inflate("library")));
    document.head.append(script);
    await drawAll();
    page.themeChanged.push(drawAll);
    document.documentElement.dataset.charts = "drawn";
  })();
})();
