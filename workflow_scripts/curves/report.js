// Draws the report's charts from the data in the page. Names come from data and are only ever set as text.
"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const shown = new Set(data.variants.map((_, i) => i));
  const byId = (id) => document.getElementById(id);
  const COLOURS = 7;
  const DASHES = [[1, 0], [7, 3], [2, 2]];
  const SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right"];
  const colour = data.variants.map((_, i) => `var(--c${i % COLOURS})`);
  const dash = data.variants.map((_, i) => DASHES[Math.floor(i / COLOURS) % DASHES.length]);
  const shape = data.variants.map((_, i) => SHAPES[i % SHAPES.length]);
  const PUBLISHED = [...new Set(data.published.map((p) => p.model))];
  const FAINT = [{ dash: [2, 3], shape: "circle" }, { dash: [8, 3, 2, 3], shape: "square" }];
  const MEASURES = {
    share: { title: "share of full width", format: ".1%", axis: ".0%" },
    score: { title: "score", format: ".4f", axis: "~g" },
    above: { title: "share of full width, above chance", format: ".1%", axis: ".0%" },
  };
  const ids = data.variants.map((_, i) => i);
  const nominal = (range) => ({ field: "v", type: "nominal", scale: { domain: ids, range }, legend: null });
  const colours = nominal(colour), dashes = nominal(dash), shapes = nominal(shape);

  function config() {
    const ink = "currentColor";
    return {
      background: "transparent", font: "system-ui, sans-serif", view: { stroke: null },
      axis: { labelColor: ink, titleColor: ink, domainColor: ink, tickColor: ink, gridColor: ink, gridOpacity: 0.13,
              labelFontSize: 13, titleFontSize: 13, titleFontWeight: "normal", labelOverlap: "greedy", labelSeparation: 5 },
      legend: { labelColor: ink, titleColor: ink, labelFontSize: 13, titleFontSize: 13, symbolStrokeColor: ink, orient: "bottom", columns: 3 },
      text: { color: ink },
    };
  }

  async function draw(holder, description, spec) {
    const full = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", height: 280,
      autosize: { type: "fit-x", contains: "padding" }, description, config: config(), ...spec };
    if (holder.view) { holder.view.finalize(); }
    const result = await vegaEmbed(holder, full, { renderer: "svg", actions: false, ast: false });
    holder.view = result;
  }

  function clear(id) {
    const box = byId(id);
    for (const chart of box.querySelectorAll(".chart")) { if (chart.view) { chart.view.finalize(); } }
    box.replaceChildren();
    return box;
  }

  function panel(box, title) {
    const holder = document.createElement("div");
    holder.className = "panel";
    if (title) {
      const head = document.createElement("h3");
      head.textContent = title;
      holder.append(head);
    }
    const chart = document.createElement("div");
    chart.className = "chart";
    holder.append(chart);
    box.append(holder);
    return chart;
  }

  // The shown models' marks and names, under the charts of a section: on paper and on a phone the switches are far away.
  function legend(box, reference = false) {
    const list = document.createElement("p");
    list.className = "legend";
    data.variants.forEach((name, i) => {
      if (!shown.has(i)) { return; }
      const item = document.createElement("span"), words = document.createElement("span");
      words.textContent = name;
      item.append(swatch(i), words);
      list.append(item);
    });
    (reference ? PUBLISHED : []).forEach((name, i) => {
      const item = document.createElement("span"), words = document.createElement("span");
      words.textContent = `${name}, published`;
      item.append(mark("var(--soft)", FAINT[i % 2].dash, FAINT[i % 2].shape), words);
      list.append(item);
    });
    if (box.nextElementSibling.className === "legend") { box.nextElementSibling.remove(); }
    box.after(list);
  }

  function say(box, words) {
    const line = document.createElement("p");
    line.className = "soft";
    line.textContent = words;
    box.append(line);
  }

  // Rows of a table of columns that pass a test, each as an object with these fields.
  function rows(columns, test, make) {
    const found = [];
    const first = columns[Object.keys(columns)[0]];
    for (let i = 0; i < first.length; i += 1) { if (test(i)) { found.push(make(i)); } }
    return found;
  }

  const curves = data.curves;
  const counted = (n) => n + (n === 1 ? " task" : " tasks");
  const SIDES = ["mean in domain", "mean out of domain"];
  function groupTitle(g) {
    const { type, task, metric, tasks } = data.groups[g];
    const what = task === "mean" ? `mean of ${counted(tasks)}` : SIDES.includes(task) ? `${task}, ${counted(tasks)}` : task;
    return `${type} · ${what} (${metric})`;
  }
  const groupsOf = (names) => data.groups.map((_, g) => g).filter((g) => names.includes(data.groups[g].task));
  const means = groupsOf(["mean"]), sides = groupsOf(SIDES);
  const chosenGroups = (value) => (value === "all" ? means : value === "sides" ? sides : [Number(value)]);
  const round = (dims) => [...new Set(dims)].sort((a, b) => a - b);
  const dimAxis = (values) => ({ field: "d", type: "quantitative", scale: { type: "log", base: 2, nice: false, padding: 10 },
    axis: { values: round(values), format: "d", title: "dimension" } });
  const POINT = { tooltip: true };

  function lineLayers(y, measure, extra) {
    const tips = [{ field: "name", title: "model" }, ...extra,
      { field: "y", title: measure.title, format: measure.format }, { field: "interval", title: data.confidence + " interval" }];
    return [
      { mark: { type: "area", opacity: 0.13 }, transform: [{ filter: "isValid(datum.lo) && isValid(datum.hi)" }],
        encoding: { y: { ...y, field: "lo" }, y2: { field: "hi" }, color: colours } },
      { mark: { type: "line", strokeWidth: 2 }, encoding: { y, color: colours, strokeDash: dashes } },
      { mark: { type: "point", filled: true, size: 45, opacity: 1 }, encoding: { y, color: colours, shape: shapes } },
      { mark: { type: "point", size: 350, opacity: 0, fill: "transparent" }, encoding: { y, tooltip: tips } },
    ];
  }

  const FORMATS = { ".1%": (x) => `${(100 * x).toFixed(1)}%`, ".4f": (x) => x.toFixed(4), "+.4f": (x) => (x > 0 ? "+" : "") + x.toFixed(4) };
  const interval = (lo, hi, format) => (lo === null || hi === null ? "not known" : `${FORMATS[format](lo)} to ${FORMATS[format](hi)}`);

  function curveRows(g, measureName, reduction) {
    const measure = MEASURES[measureName];
    const [value, low, high] = [curves[measureName], curves[measureName + "_low"], curves[measureName + "_high"]];
    return rows(curves, (i) => curves.g[i] === g && curves.r[i] === reduction && shown.has(curves.v[i]) && value[i] !== null,
      (i) => ({ v: curves.v[i], name: data.variants[curves.v[i]], d: curves.d[i], y: value[i], lo: low[i], hi: high[i],
        interval: interval(low[i], high[i], measure.format), bytes: curves.bytes[i] }));
  }

  function drawCurves() {
    const box = clear("curves-panels");
    const measureName = byId("measure").value, measure = MEASURES[measureName];
    const chosen = byId("group").value;
    const reduction = Number(byId("reduction").value);
    const wanted = chosenGroups(chosen);
    const jobs = [];
    let reference = false;
    for (const g of wanted) {
      const points = curveRows(g, measureName, reduction);
      const chart = panel(box, groupTitle(g));
      if (!points.length) { say(chart, shown.size ? "Nothing was measured here." : "No model is switched on."); continue; }
      const y = { field: "y", type: "quantitative", scale: { zero: false }, axis: { title: measure.title, format: measure.axis } };
      const layers = lineLayers(y, measure, [{ field: "d", title: "dimension" }]);
      let dims = points.map((p) => p.d);
      if (measureName === "share" && byId("published").checked) {
        const widest = Math.max(...dims), least = Math.min(...dims);
        const known = data.published.filter((p) => (p.type === null || p.type === data.groups[g].type) && p.dim >= least && p.dim <= Math.max(widest, 768));
        if (known.length) {
          dims = dims.concat(known.map((p) => p.dim));
          PUBLISHED.forEach((name, i) => known.some((p) => p.model === name) && layers.unshift({
            data: { values: known.filter((p) => p.model === name).map((p) => ({ d: p.dim, y: p.share, name, source: p.source })) },
            mark: { type: "line", strokeDash: FAINT[i % 2].dash, opacity: 0.6, color: "var(--soft)", tooltip: true,
                    point: { color: "var(--soft)", shape: FAINT[i % 2].shape, size: 30, filled: true } },
            encoding: { y, tooltip: [{ field: "name", title: "published" }, { field: "d", title: "dimension" }, { field: "y", title: "share", format: ".1%" }, { field: "source", title: "source" }] },
          }));
          reference = true;
        }
      }
      jobs.push(() => draw(chart, `${measure.title} against dimension, ${groupTitle(g)}`,
        { data: { values: points }, encoding: { x: dimAxis(dims) }, layer: layers }));
    }
    legend(box, reference);
    return jobs;
  }

  function drawCost() {
    const box = clear("cost-panels");
    const unit = byId("cost-unit").value, dim = Number(byId("cost-dim").value);
    const measureName = byId("cost-measure").value, measure = MEASURES[measureName];
    const jobs = [];
    for (const g of means) {
      const points = rows(curves, (i) => curves.g[i] === g && data.reductions[curves.r[i]] === "prefix" && curves.d[i] === dim
        && shown.has(curves.v[i]) && curves[measureName][i] !== null && data.cost[unit][curves.v[i]] !== null,
        (i) => ({ v: curves.v[i], name: data.variants[curves.v[i]], x: data.cost[unit][curves.v[i]], y: curves[measureName][i],
          lo: curves[measureName + "_low"][i], hi: curves[measureName + "_high"][i],
          interval: interval(curves[measureName + "_low"][i], curves[measureName + "_high"][i], measure.format) }));
      const chart = panel(box, `${groupTitle(g)}, at dimension ${dim}`);
      if (!points.length) { say(chart, "No cost, or no score at this dimension."); continue; }
      const positive = points.map((p) => p.x).filter((x) => x > 0);
      const constant = positive.length ? Math.min(...positive) : 1;
      const y = { field: "y", type: "quantitative", scale: { zero: false, padding: 18 }, axis: { title: measure.title, format: measure.axis } };
      const x = { field: "x", type: "quantitative", scale: { type: "symlog", constant, padding: 24 },
        axis: { title: `training cost with all parents: ${unit}`, format: "~s", tickCount: 5 } };
      jobs.push(() => draw(chart, `training cost against ${measure.title} at dimension ${dim}, ${groupTitle(g)}`, { data: { values: points }, encoding: { x },
        layer: [
          { mark: { type: "rule", opacity: 0.6 }, transform: [{ filter: "isValid(datum.lo)" }], encoding: { y: { ...y, field: "lo" }, y2: { field: "hi" }, color: colours } },
          { mark: { type: "point", filled: true, size: 90, opacity: 1 }, encoding: { y, color: colours, shape: shapes } },
          { mark: { type: "point", size: 400, opacity: 0, fill: "transparent" }, encoding: { y, tooltip: [{ field: "name", title: "model" }, { field: "x", title: unit, format: ",.3~s" },
            { field: "y", title: measure.title, format: measure.format }, { field: "interval", title: data.confidence + " interval" }] } },
        ] }));
    }
    legend(box);
    return jobs;
  }

  function drawBytes() {
    const box = clear("bytes-panels");
    const jobs = [];
    const kept = data.reductions.map((_, r) => r).filter((r) => byId("bytes-cuts").value === "all" || data.reductions[r].split(":")[0] === "prefix");
    for (const g of means) {
      const points = kept.flatMap((r) => curveRows(g, "score", r).map((p) => ({ ...p, r: data.reductions[r], line: `${p.v}/${r}` })));
      const chart = panel(box, groupTitle(g));
      if (!points.length) { say(chart, "Nothing was measured here."); continue; }
      const y = { field: "y", type: "quantitative", scale: { zero: false }, axis: { title: "score", format: "~g" } };
      const x = { field: "bytes", type: "quantitative", scale: { type: "log", base: 2, nice: false, padding: 10 },
        axis: { title: "bytes per vector", format: ",d", values: Array.from({ length: 20 }, (_, i) => 2 ** i) } };
      const reductionDash = { field: "r", type: "nominal", title: "reduction", scale: { domain: kept.map((r) => data.reductions[r]), range: [[1, 0], [6, 3], [2, 2], [9, 2, 2, 2], [1, 4]] }, legend: kept.length > 1 ? {} : null };
      jobs.push(() => draw(chart, `score against bytes per vector, ${groupTitle(g)}`, { data: { values: points }, encoding: { x },
        layer: [
          { mark: { type: "line", strokeWidth: 1.8 }, encoding: { y, color: colours, strokeDash: reductionDash, detail: { field: "line" } } },
          { mark: { type: "point", filled: true, size: 40, opacity: 1 }, encoding: { y, color: colours, shape: shapes } },
          { mark: { type: "point", size: 300, opacity: 0, fill: "transparent" }, encoding: { y, tooltip: [{ field: "name", title: "model" }, { field: "r", title: "reduction" },
            { field: "d", title: "dimension" }, { field: "bytes", title: "bytes" }, { field: "y", title: "score", format: ".4f" }, { field: "interval", title: data.confidence + " interval" }] } },
        ] }));
    }
    legend(box);
    return jobs;
  }

  function drawAdaptive() {
    if (!byId("adaptive-panels")) { return []; }
    const box = clear("adaptive-panels");
    const a = data.adaptive, unit = byId("adaptive-unit").value;
    const task = Number(byId("adaptive-task").value);
    const points = rows(a, (i) => a.task[i] === task && shown.has(a.v[i]) && a[unit][i] !== null,
      (i) => ({ v: a.v[i], name: data.variants[a.v[i]], x: a[unit][i], y: a.score[i], how: a.how[i], single: a.single[i] }));
    const chart = panel(box, data.adaptive.tasks[task]);
    if (!points.length) { say(chart, "Nothing was measured here."); return []; }
    legend(box);
    const y = { field: "y", type: "quantitative", scale: { zero: false }, axis: { title: a.metrics[task], format: "~g" } };
    const x = { field: "x", type: "quantitative", scale: { type: "log", nice: false, padding: 10 }, axis: { title: byId("adaptive-unit").selectedOptions[0].textContent, format: "~s", tickCount: 6 } };
    const tips = [{ field: "name", title: "model" }, { field: "how", title: "search" }, { field: "x", title: "per query", format: ".3~s" }, { field: "y", title: a.metrics[task], format: ".4f" }];
    return [() => draw(chart, "adaptive retrieval against single dimensions", { data: { values: points }, encoding: { x },
      layer: [
        { transform: [{ filter: "datum.single" }], mark: { type: "line", strokeWidth: 1.5, point: false }, encoding: { y, color: colours } },
        { transform: [{ filter: "datum.single" }], mark: { type: "point", filled: true, size: 40, opacity: 1 }, encoding: { y, color: colours } },
        { transform: [{ filter: "!datum.single" }], mark: { type: "point", shape: "diamond", filled: false, size: 60, opacity: 0.9 }, encoding: { y, color: colours } },
        { mark: { type: "point", size: 250, opacity: 0, fill: "transparent" }, encoding: { y, tooltip: tips } },
      ] })];
  }

  function drawDifferences() {
    if (!byId("difference-panels")) { return []; }
    const box = clear("difference-panels");
    const d = data.differences, p = Number(byId("pair").value);
    const chosen = byId("difference-group").value;
    const jobs = [];
    for (const g of chosenGroups(chosen)) {
      const points = rows(d, (i) => d.p[i] === p && d.g[i] === g, (i) => ({ d: d.d[i], y: d.value[i], lo: d.low[i], hi: d.high[i], pc: d.pc[i],
        verdict: data.verdicts[d.verdict[i]], interval: interval(d.low[i], d.high[i], "+.4f") }));
      const pair = data.pairs[p];
      const chart = panel(box, `${pair.first} − ${pair.second}: ${groupTitle(g)}`);
      if (!points.length) { say(chart, "These two have no dimension in common here."); continue; }
      const y = { field: "y", type: "quantitative", axis: { title: "difference in score", format: "+~g" } };
      const verdict = { field: "verdict", type: "nominal", title: null, scale: { domain: ["better", "same", "unclear", "worse"], range: ["var(--c0)", "var(--c2)", "var(--soft)", "var(--c1)"] }, legend: { values: [...new Set(points.map((q) => q.verdict))] } };
      const tips = [{ field: "d", title: "dimension" }, { field: "y", title: "difference", format: "+.4f" }, { field: "interval", title: data.confidence + " interval" },
        { field: "pc", title: "p, corrected", format: ".2~g" }, { field: "verdict", title: "verdict" }];
      jobs.push(() => draw(chart, `paired differences, ${groupTitle(g)}`, { data: { values: points }, encoding: { x: dimAxis(points.map((q) => q.d)) },
        layer: [
          { data: { values: [{ zero: 0 }] }, mark: { type: "rule", color: "currentColor" }, encoding: { y: { field: "zero", type: "quantitative" }, x: null } },
          { mark: { type: "rule", strokeWidth: 2 }, transform: [{ filter: "isValid(datum.lo)" }], encoding: { y: { ...y, field: "lo" }, y2: { field: "hi" }, color: verdict } },
          { mark: { type: "point", filled: true, size: 80, opacity: 1 }, encoding: { y, color: verdict, shape: { ...verdict, scale: { domain: verdict.scale.domain, range: ["triangle-up", "circle", "square", "triangle-down"] } }, tooltip: tips } },
        ] }));
    }
    return jobs;
  }

  function drawTraining() {
    if (!byId("training-panels")) { return []; }
    const box = clear("training-panels");
    const t = data.training[Number(byId("training-model").value)];
    const chart = panel(box, `${data.variants[t.v]}, seed ${t.seed}: loss by dimension`);
    const series = Object.keys(t.losses);
    const points = series.flatMap((s) => t.step.map((step, i) => ({ step, y: t.losses[s][i], s: Number(s) || s })));
    const range = series.map((_, i) => `var(--c${i % COLOURS})`);
    return [() => draw(chart, "training loss by step and dimension", { data: { values: points },
      mark: { type: "line", strokeWidth: 1.8, tooltip: true },
      encoding: { x: { field: "step", type: "quantitative", axis: { title: "step" } }, y: { field: "y", type: "quantitative", scale: { zero: false }, axis: { title: "loss" } },
        color: { field: "s", type: "ordinal", title: "dimension", scale: { domain: series.map((s) => Number(s) || s), range } },
        strokeDash: { field: "s", type: "ordinal", title: "dimension", scale: { domain: series.map((s) => Number(s) || s), range: series.map((_, i) => DASHES[Math.floor(i / COLOURS) % 3]) } } } })];
  }

  const CHARTS = [drawCurves, drawCost, drawBytes, drawAdaptive, drawDifferences, drawTraining];
  const turns = new Map();
  let working = 0;

  // One chart after another, so that the page answers meanwhile; a newer call for a chart ends the older one's.
  async function redraw(charts) {
    const mine = new Map(charts.map((chart) => [chart, (turns.get(chart) || 0) + 1]));
    mine.forEach((turn, chart) => turns.set(chart, turn));
    working += 1;
    document.documentElement.dataset.ready = "no";
    for (const chart of charts) {
      const current = () => turns.get(chart) === mine.get(chart);
      for (const job of current() ? chart() : []) {
        if (!current()) { break; }
        await job();
        await new Promise((done) => setTimeout(done, 0));
      }
    }
    working -= 1;
    if (working === 0) { document.documentElement.dataset.ready = "yes"; }
  }

  const swatch = (i) => mark(colour[i], dash[i], shape[i]);

  function mark(paint, dashes, form) {
    const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    svg.setAttribute("width", "30"); svg.setAttribute("height", "14"); svg.setAttribute("aria-hidden", "true");
    const line = document.createElementNS("http://www.w3.org/2000/svg", "line");
    for (const [k, v] of [["x1", 1], ["x2", 29], ["y1", 7], ["y2", 7], ["stroke", paint], ["stroke-width", 2.5],
      ["stroke-dasharray", dashes[1] ? dashes.join(" ") : "none"]]) { line.setAttribute(k, v); }
    const point = document.createElementNS("http://www.w3.org/2000/svg", "path");
    const size = { circle: "M11,7a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", square: "M11,3h8v8h-8z", "triangle-up": "M15,2l5,9h-10z", diamond: "M15,1l5,6l-5,6l-5,-6z",
      "triangle-down": "M15,12l5,-9h-10z", cross: "M13,2h4v3h3v4h-3v3h-4v-3h-3v-4h3z", "triangle-right": "M11,2l9,5l-9,5z" };
    point.setAttribute("d", size[form]); point.setAttribute("fill", paint);
    svg.append(line, point);
    return svg;
  }

  function toggles() {
    const box = byId("toggles");
    data.variants.forEach((name, i) => {
      const label = document.createElement("label"), input = document.createElement("input"), words = document.createElement("span");
      input.type = "checkbox"; input.checked = true; input.dataset.variant = String(i);
      input.addEventListener("change", () => { if (input.checked) { shown.add(i); } else { shown.delete(i); } redraw(CHARTS); });
      words.textContent = name;
      label.append(input, swatch(i), words);
      box.insertBefore(label, byId("all-on"));
    });
    const every = (on) => () => {
      for (const input of box.querySelectorAll("input")) { input.checked = on; }
      data.variants.forEach((_, i) => { if (on) { shown.add(i); } else { shown.delete(i); } });
      redraw(CHARTS);
    };
    byId("all-on").addEventListener("click", every(true));
    byId("all-off").addEventListener("click", every(false));
  }

  function option(select, value, words) {
    const choice = document.createElement("option");
    choice.value = value; choice.textContent = words;
    select.append(choice);
  }

  function theme(name) { document.documentElement.dataset.theme = name; }

  function start() {
    const dark = window.matchMedia("(prefers-color-scheme: dark)");
    theme(dark.matches ? "dark" : "light");
    dark.addEventListener("change", () => theme(dark.matches ? "dark" : "light"));
    byId("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
    window.addEventListener("beforeprint", () => {
      byId("theme").dataset.before = document.documentElement.dataset.theme;
      theme("light");
      for (const part of document.querySelectorAll("details.print")) { part.open = true; }  // the long ones print if the reader opened them
    });
    window.addEventListener("afterprint", () => theme(byId("theme").dataset.before));
    for (const id of ["group", "difference-group"]) {
      if (!byId(id)) { continue; }
      if (means.length) { option(byId(id), "all", "every task type (means)"); }
      if (sides.length) { option(byId(id), "sides", "in domain and out of domain (means)"); }
      data.groups.forEach((_, g) => { if (!means.includes(g) && !sides.includes(g)) { option(byId(id), g, groupTitle(g)); } });
    }
    data.reductions.forEach((name, r) => option(byId("reduction"), r, name));
    const dims = round(curves.d);
    dims.forEach((d) => option(byId("cost-dim"), d, d));
    byId("cost-dim").value = String(dims[Math.floor((dims.length - 1) / 3)]);
    if (byId("pair")) {
      let block = null;
      data.pairs.forEach((pair, i) => {
        if (!block || block.label !== pair.text) { block = document.createElement("optgroup"); block.label = pair.text; byId("pair").append(block); }
        option(block, i, `${pair.first} − ${pair.second}`);
      });
    }
    if (byId("training-model")) {
      data.training.forEach((t, i) => option(byId("training-model"), i, data.variants[t.v] + ", seed " + t.seed));
      const most = Math.max(...data.training.map((t) => Object.keys(t.losses).length));
      byId("training-model").value = String(data.training.findIndex((t) => Object.keys(t.losses).length === most));
    }
    if (byId("adaptive-task")) { data.adaptive.tasks.forEach((name, i) => option(byId("adaptive-task"), i, name)); }
    for (const [chart, controls] of [[drawCurves, ["measure", "group", "reduction", "published"]], [drawCost, ["cost-unit", "cost-dim", "cost-measure"]],
      [drawBytes, ["bytes-cuts"]], [drawAdaptive, ["adaptive-unit", "adaptive-task"]], [drawDifferences, ["pair", "difference-group"]], [drawTraining, ["training-model"]]]) {
      for (const id of controls) { if (byId(id)) { byId(id).addEventListener("change", () => redraw([chart])); } }
    }
    toggles();
    redraw(CHARTS);
  }
  start();
})();
