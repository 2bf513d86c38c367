// Draws the report's charts from the specifications and the data in the page. Names come from data and are only ever
// set as text. It runs before the tables are parsed, and draws the first chart at once.
"use strict";
(() => {
  const byId = (id) => document.getElementById(id);
  const json = (id) => JSON.parse(byId(id).textContent);
  const specs = json("specs");
  const COLOURS = 7;
  const DASHES = [[1, 0], [7, 3], [2, 2]];
  const SHAPES = ["circle", "square", "triangle-up", "diamond", "triangle-down", "cross", "triangle-right"];
  const shapeOf = (i) => SHAPES[(i + Math.floor(i / COLOURS)) % SHAPES.length];  // another where the colour comes again
  const PUBLISHED_DASHES = [[2, 3], [8, 3, 2, 3]];
  const TALL = window.matchMedia("(max-width: 40rem)").matches ? 230 : 300;
  const percent = (x) => `${(100 * x).toFixed(1)}%`;
  const four = (x) => x.toFixed(4);
  const signed = (x) => (x > 0 ? "+" : "") + x.toFixed(4);
  const MEASURES = {
    share: { title: "share of full width", format: ".1%", axis: ".0%", words: percent },
    score: { title: "score", format: ".4f", axis: "~g", words: four },
    share_above_chance: { title: "share of full width, above chance", format: ".1%", axis: ".0%", words: percent },
  };
  const interval = (low, high, words) => (low === null || high === null ? "not known" : `${words(low)} to ${words(high)}`);
  const distinct = (values) => [...new Set(values)].sort((a, b) => a - b);

  // ---- drawing

  // A specification with its "$name" strings replaced by these values.
  function fill(part, values) {
    if (typeof part === "string" && part.startsWith("$")) { return values[part.slice(1)]; }
    if (Array.isArray(part)) { return part.map((inner) => fill(inner, values)); }
    if (part && typeof part === "object") { return Object.fromEntries(Object.entries(part).map(([k, v]) => [k, fill(v, values)])); }
    return part;
  }

  async function draw(holder, name, description, values, datasets) {
    if (holder.view) { holder.view.finalize(); }
    const spec = { $schema: "https://vega.github.io/schema/vega-lite/v6.json", width: "container", height: TALL, datasets,
      autosize: { type: "fit-x", contains: "padding" }, description, config: specs.config, ...fill(specs[name], values) };
    if (spec.layer) { spec.layer = spec.layer.filter((l) => !l.data || datasets[l.data.name].length); }  // Vega warns of no data
    holder.view = await vegaEmbed(holder, spec, { renderer: "svg", actions: false, ast: false });
  }

  function clear(id) {
    const box = byId(id);
    for (const chart of box.querySelectorAll(".chart")) { if (chart.view) { chart.view.finalize(); } }
    box.replaceChildren();
    return box;
  }

  function panel(box, title) {
    const holder = document.createElement("div"), head = document.createElement("h3"), chart = document.createElement("div");
    holder.className = "panel";
    head.textContent = title;
    chart.className = "chart";
    holder.append(head, chart);
    box.append(holder);
    return chart;
  }

  function say(box, words) {
    const line = document.createElement("p");
    line.className = "soft";
    line.textContent = words;
    box.append(line);
  }

  // A line with its mark, as a legend shows it.
  function mark(paint, dashes, form) {
    const make = (name, values) => {
      const element = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [k, v] of Object.entries(values)) { element.setAttribute(k, v); }
      return element;
    };
    const svg = make("svg", { width: 30, height: 14, "aria-hidden": "true" });
    if (dashes) {
      svg.append(make("line", { x1: 1, x2: 29, y1: 7, y2: 7, stroke: paint, "stroke-width": 2.5, "stroke-dasharray": dashes[1] ? dashes.join(" ") : "none" }));
    }
    const outline = { circle: "M11,7a4,4 0 1,0 8,0a4,4 0 1,0 -8,0", square: "M11,3h8v8h-8z", "triangle-up": "M15,2l5,9h-10z", diamond: "M15,1l5,6l-5,6l-5,-6z",
      "triangle-down": "M15,12l5,-9h-10z", cross: "M13,2h4v3h3v4h-3v3h-4v-3h-3v-4h3z", "triangle-right": "M11,2l9,5l-9,5z" };
    svg.append(make("path", { d: outline[form], fill: paint }));
    return svg;
  }

  function entry(list, swatch, words) {
    const item = document.createElement("span"), text = document.createElement("span");
    text.textContent = words;
    item.append(swatch, text);
    list.append(item);
  }

  // Powers of two within the values, or of four where they are many: the places of an axis of bytes.
  function ticks(values) {
    const low = Math.floor(Math.log2(Math.min(...values))), high = Math.ceil(Math.log2(Math.max(...values)));
    const step = high - low > 7 ? 2 : 1;
    return Array.from({ length: Math.floor((high - low) / step) + 1 }, (_, i) => 2 ** (low + step * i));
  }

  // The points that a chart of shares is made for: those that keep half of the full width, where there are such. What lies
  // far below would press everything of interest to the top; the tables have it.
  const LEAST_SHARE = 0.5;
  const worth = (points) => (points.some((p) => p.share >= LEAST_SHARE) ? points.filter((p) => p.share >= LEAST_SHARE) : points);

  function shares(points) {
    const low = Math.min(...points.map((p) => p.low ?? p.share)), high = Math.max(1, ...points.map((p) => p.high ?? p.share));
    const pad = 0.04 * (high - low) + 0.002;
    return [Math.max(0, low - pad), high + pad];
  }

  // ---- the first chart

  async function drawFirst() {
    const panels = json("first"), box = byId("frontier-panels");
    const charts = panels.map((p) => panel(box, `${p.task_type}: ${p.metric} kept by ${p.model}`));
    for (const [i, p] of panels.entries()) {
      const chart = charts[i];
      if (!p.frontier.length) { say(chart, "No share of a full width is known here."); continue; }
      const told = (points) => points.map((q) => ({ ...q, interval: interval(q.low, q.high, percent) }));
      const staged = p.rescoring.some((q) => !p.frontier.some((o) => o.what === q.what)) ? p.rescoring : [];
      const known = new Set([...p.frontier, ...staged].map((q) => q.what));
      const others = p.codecs.filter((q) => !known.has(q.what) && q.share >= LEAST_SHARE).map((q) => ({ ...q, interval: "in the table below" }));
      const shown = worth([...p.frontier, ...staged]), least = Math.min(...shown.map((q) => q.bytes));
      await draw(chart, "frontier", `share of the full width's ${p.metric} kept by ${p.model} against bytes a vector, ${p.task_type}`,
        { title: "share of full width kept", axis: ".0%", xtitle: "bytes a vector in memory", ticks: ticks(shown.map((q) => q.bytes)), domain: shares(shown), interval: "interval" },
        { codecs: p.codecs.filter((q) => q.bytes >= least), frontier: p.frontier.filter((q) => q.bytes >= least), rescoring: staged.filter((q) => q.bytes >= least), everything: [...others, ...told(shown)],
          chosen: p.chosen.map((q) => ({ ...q, label: `${q.bytes.toLocaleString("en")} bytes` })) });
    }
    const list = byId("frontier-legend");
    if (panels.length) {
      entry(list, mark("var(--c0)", DASHES[0], "circle"), "frontier: the best codec within these bytes, with its interval");
      entry(list, mark("var(--soft)", null, "circle"), "every other codec");
      if (panels.some((p) => p.rescoring.some((q) => !p.frontier.some((o) => o.what === q.what)))) {
        entry(list, mark("var(--c1)", [6, 3], "diamond"), "with re-scoring of a short list");
      }
    }
    document.documentElement.dataset.first = "yes";
  }

  // ---- the charts below it

  function rest() {
    const data = json("data"), curves = data.curves;
    const shown = new Set(data.models.map((_, i) => i));
    const colour = data.models.map((_, i) => `var(--c${i % COLOURS})`);
    const dash = data.models.map((_, i) => DASHES[Math.floor(i / COLOURS) % DASHES.length]);
    const shape = data.models.map((_, i) => shapeOf(i));
    const looks = { models: data.models.map((_, i) => i), colours: colour, dashes: dash, shapes: shape, interval: `${data.confidence} interval` };
    const publishedNames = distinct(data.published.map((p) => p.model));
    const swatch = (i) => mark(colour[i], dash[i], shape[i]);
    const SIDES = ["mean in domain", "mean out of domain"];
    const groupsOf = (names) => data.groups.map((_, g) => g).filter((g) => names.includes(data.groups[g].task));
    const means = groupsOf(["mean"]), sides = groupsOf(SIDES);
    const chosenGroups = (value) => (value === "all" ? means : value === "sides" ? sides : [Number(value)]);
    const counted = (n) => n + (n === 1 ? " task" : " tasks");
    function groupTitle(g) {
      const { task_type: kind, task, metric, tasks } = data.groups[g];
      const what = task === "mean" ? `mean of ${counted(tasks)}` : SIDES.includes(task) ? `${task}, ${counted(tasks)}` : task;
      return `${kind} · ${what} (${metric})`;
    }

    // A legend under the charts of a section, in the place of the one before.
    function emptyLegend(box) {
      if (box.nextElementSibling && box.nextElementSibling.className === "legend") { box.nextElementSibling.remove(); }
      const list = document.createElement("p");
      list.className = "legend";
      box.after(list);
      return list;
    }

    // The shown models' marks and names, under the charts of a section: on paper and on a phone the switches are far away.
    function legend(box, published = false) {
      const list = emptyLegend(box);
      data.models.forEach((name, i) => { if (shown.has(i)) { entry(list, swatch(i), name); } });
      if (published) { publishedNames.forEach((name, i) => entry(list, mark("var(--soft)", PUBLISHED_DASHES[i % 2], SHAPES[i % 2]), `${name}, published`)); }
    }

    // Rows of a table of columns that pass a test, each as an object.
    function rows(columns, test, make) {
      const found = [];
      for (let i = 0; i < columns[Object.keys(columns)[0]].length; i += 1) { if (test(i)) { found.push(make(i)); } }
      return found;
    }

    function curvePoints(group, name, test) {
      const { words } = MEASURES[name], [value, low, high] = [curves[name], curves[`${name}_low`], curves[`${name}_high`]];
      return rows(curves, (i) => curves.group[i] === group && shown.has(curves.model[i]) && value[i] !== null && test(i),
        (i) => ({ model: curves.model[i], name: data.models[curves.model[i]], dim: curves.dim[i], value: value[i], low: low[i], high: high[i],
          interval: interval(low[i], high[i], words) }));
    }

    function drawTrainings() {
      if (!byId("trainings-panels")) { return []; }
      const box = clear("trainings-panels"), jobs = [];
      for (const p of data.trainings) {
        const points = worth(p.points.filter((q) => !q.best && shown.has(q.model)))
          .map((q) => ({ ...q, name: data.models[q.model], interval: interval(q.low, q.high, percent) }));
        const chart = panel(box, `${p.task_type}: share of the full width of ${p.reference}`);
        if (!points.length) { say(chart, "Nothing to show."); continue; }
        jobs.push(() => draw(chart, "trainings", `frontiers by model, ${p.task_type}`,
          { ...looks, title: `share of ${p.reference.slice(0, 24)}'s full width`, axis: ".0%", xtitle: "bytes a vector in memory",
            ticks: ticks(points.map((q) => q.bytes)), domain: shares(points) }, { points, whole: [{ one: 1 }] }));
      }
      legend(box);
      return jobs;
    }

    // The kinds of models that a chart has lines for, as others have models.
    const looksOfKinds = (kinds) => ({ kinds: kinds.map((_, i) => i), colours: kinds.map((_, i) => `var(--c${i % COLOURS})`),
      dashes: kinds.map((_, i) => DASHES[Math.floor(i / COLOURS) % DASHES.length]), shapes: kinds.map((_, i) => shapeOf(i)) });
    const decided = (p) => p.verdict === "better" || p.verdict === "worse";

    function legendOfKinds(box, kinds, own, points) {
      const list = emptyLegend(box);
      kinds.forEach((name, i) => { if (points.some((p) => p.kind === i)) { entry(list, mark(own.colours[i], own.dashes[i], own.shapes[i]), name); } });
    }

    function drawBudget() {
      if (!byId("budget-panels")) { return []; }
      const box = clear("budget-panels"), jobs = [], size = Number(byId("budget-bytes").value), { kinds } = data, own = looksOfKinds(kinds);
      const all = data.budget.filter((p) => p.bytes === size && shown.has(p.model))
        .map((p) => ({ ...p, name: data.models[p.model], interval: interval(p.low, p.high, percent), decided: decided(p) }));
      for (const { task_type: kind, reference } of data.trainings) {
        const here = all.filter((p) => p.task_type === kind), points = here.filter((p) => p.steps > 0);
        const chart = panel(box, `${kind}: share of the full width of ${reference}`);
        if (!points.length) { say(chart, "No trained model is switched on, or none has such few bytes."); continue; }
        jobs.push(() => draw(chart, "budget", `share kept within ${size} bytes against training steps, ${kind}`,
          { ...looks, ...own, title: `share of ${reference.slice(0, 24)}'s full width`, axis: ".0%", xtitle: "training steps",
            ticks: distinct(points.map((p) => p.steps)), domain: shares(here) }, { points, free: here.filter((p) => p.steps === 0) }));
      }
      legendOfKinds(box, kinds, own, all);
      return jobs;
    }

    function drawFloats() {
      if (!byId("floats-panels")) { return []; }
      const box = clear("floats-panels"), jobs = [], { kinds } = data, own = looksOfKinds(kinds);
      const all = data.floats.filter((p) => shown.has(p.model)).map((p) => ({ ...p, name: data.models[p.model], decided: decided(p) }));
      for (const [g, { task_type: kind, task }] of data.groups.entries()) {
        if (!data.floats.some((p) => p.task_type === kind && p.task === task)) { continue; }
        const points = all.filter((p) => p.task_type === kind && p.task === task), chart = panel(box, groupTitle(g));
        if (!points.length) { say(chart, "No trained model is switched on."); continue; }
        jobs.push(() => draw(chart, "floats", `what training adds at each dimension in float32, ${groupTitle(g)}`,
          { ...own, title: "difference in score", ticks: distinct(points.map((p) => p.dim)) }, { points, zero: [{ zero: 0 }] }));
      }
      legendOfKinds(box, kinds, own, all);
      return jobs;
    }

    function drawCurves() {
      const box = clear("curves-panels"), jobs = [];
      const name = byId("measure").value, measure = MEASURES[name], family = Number(byId("family").value);
      let reference = false;
      for (const g of chosenGroups(byId("group").value)) {
        const points = curvePoints(g, name, (i) => curves.family[i] === family);
        const chart = panel(box, groupTitle(g));
        if (!points.length) { say(chart, shown.size ? "Nothing was measured here." : "No model is switched on."); continue; }
        const dims = points.map((p) => p.dim), widest = Math.max(...dims), least = Math.min(...dims);
        const published = name !== "share" || !byId("published").checked ? [] : data.published
          .filter((p) => (p.task_type === null || p.task_type === data.groups[g].task_type) && p.dim >= least && p.dim <= Math.max(widest, 768))
          .map((p) => ({ dim: p.dim, value: p.share, name: p.model, source: p.source }));
        reference = reference || published.length > 0;
        jobs.push(() => draw(chart, "curves", `${measure.title} against dimension, ${groupTitle(g)}`,
          { ...looks, title: measure.title, format: measure.format, axis: measure.axis, publishedNames, publishedDashes: PUBLISHED_DASHES,
            ticks: distinct([...dims, ...published.map((p) => p.dim)]) }, { points, published }));
      }
      legend(box, reference);
      return jobs;
    }

    // 1 and 3 times the powers of ten among these numbers.
    function thirdsOfDecades(numbers) {
      if (!numbers.length) { return []; }
      const low = Math.min(...numbers), high = Math.max(...numbers), found = [];
      for (let k = Math.floor(Math.log10(low)); k <= Math.log10(high); k += 1) { found.push(10 ** k, 3 * 10 ** k); }
      return found.filter((x) => x >= 0.9 * low && x <= 1.1 * high);
    }

    function drawCost() {
      if (!byId("cost-panels")) { return []; }
      const box = clear("cost-panels"), jobs = [];
      const unit = byId("cost-unit").value, dim = Number(byId("cost-dim").value), name = byId("cost-measure").value, measure = MEASURES[name];
      const prefix = 0;  // the first family is the float32 prefixes'
      for (const g of means) {
        const points = curvePoints(g, name, (i) => curves.dim[i] === dim && curves.family[i] === prefix && data.cost[unit][curves.model[i]] !== null)
          .map((p) => ({ ...p, cost: data.cost[unit][p.model] }));
        const chart = panel(box, `${groupTitle(g)}, at dimension ${dim}`);
        if (!points.length) { say(chart, "No cost, or no score at this dimension."); continue; }
        const positive = points.map((p) => p.cost).filter((x) => x > 0);
        jobs.push(() => draw(chart, "cost", `training cost against ${measure.title} at dimension ${dim}, ${groupTitle(g)}`,
          { ...looks, unit, title: measure.title, format: measure.format, axis: measure.axis, xtitle: `training cost with all parents: ${unit}`,
            constant: positive.length ? Math.min(...positive) : 1, ticks: [0, ...thirdsOfDecades(positive)] }, { points }));
      }
      legend(box);
      return jobs;
    }

    function drawSearches() {
      if (!byId("search-panels")) { return []; }
      const box = clear("search-panels"), s = data.searches, unit = byId("search-unit"), task = Number(byId("search-task").value);
      const points = rows(s, (i) => s.task[i] === task && shown.has(s.model[i]) && s[unit.value][i] !== null && s.score[i] !== null,
        (i) => ({ model: s.model[i], name: data.models[s.model[i]], cost: s[unit.value][i], score: s.score[i], search: s.search[i], staged: s.staged[i] }));
      const chart = panel(box, s.tasks[task]);
      if (!points.length) { say(chart, "Nothing was measured here."); return []; }
      legend(box);
      return [() => draw(chart, "searches", "searches in stages against one search over every vector",
        { ...looks, title: s.metrics[task], axis: "~g", xtitle: unit.selectedOptions[0].textContent }, { points })];
    }

    function drawDifferences() {
      if (!byId("difference-panels")) { return []; }
      const box = clear("difference-panels"), d = data.differences, p = Number(byId("pair").value), pair = data.pairs[p], jobs = [];
      for (const g of chosenGroups(byId("difference-group").value)) {
        const points = rows(d, (i) => d.pair[i] === p && d.group[i] === g, (i) => ({ dim: d.dim[i], value: d.value[i], low: d.low[i], high: d.high[i],
          p_corrected: d.p_corrected[i], verdict: data.verdicts[d.verdict[i]], interval: interval(d.low[i], d.high[i], signed) }));
        const chart = panel(box, `${pair.first} − ${pair.second}: ${groupTitle(g)}`);
        if (!points.length) { say(chart, "These two have no dimension in common here."); continue; }
        jobs.push(() => draw(chart, "differences", `paired differences, ${groupTitle(g)}`,
          { interval: looks.interval, ticks: distinct(points.map((q) => q.dim)), verdicts: [...new Set(points.map((q) => q.verdict))] }, { points, zero: [{ zero: 0 }] }));
      }
      return jobs;
    }

    function drawTraining() {
      if (!byId("training-panels")) { return []; }
      const box = clear("training-panels"), run = data.training[Number(byId("training-run").value)];
      const chart = panel(box, `${data.models[run.model]}, seed ${run.seed}: loss by dimension`);
      const series = Object.keys(run.losses).map((s) => Number(s) || s);
      const points = series.flatMap((s) => run.step.map((step, i) => ({ step, loss: run.losses[s][i], dim: s })));
      return [() => draw(chart, "training", "training loss by step and dimension",
        { dims: series, colours: series.map((_, i) => `var(--c${i % COLOURS})`), dashes: series.map((_, i) => DASHES[Math.floor(i / COLOURS) % 3]) }, { points })];
    }

    const CHARTS = [drawTrainings, drawBudget, drawFloats, drawCost, drawCurves, drawSearches, drawDifferences, drawTraining];
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

    function toggles() {
      const box = byId("toggles");
      data.models.forEach((name, i) => {
        const label = document.createElement("label"), input = document.createElement("input"), words = document.createElement("span");
        input.type = "checkbox"; input.checked = true; input.dataset.model = String(i);
        input.addEventListener("change", () => { if (input.checked) { shown.add(i); } else { shown.delete(i); } redraw(CHARTS); });
        words.textContent = name;
        label.append(input, swatch(i), words);
        box.insertBefore(label, byId("all-on"));
      });
      const every = (on) => () => {
        for (const input of box.querySelectorAll("input")) { input.checked = on; }
        data.models.forEach((_, i) => { if (on) { shown.add(i); } else { shown.delete(i); } });
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

    for (const id of ["group", "difference-group"]) {
      if (!byId(id)) { continue; }
      if (means.length) { option(byId(id), "all", "every task type (means)"); }
      if (sides.length) { option(byId(id), "sides", "in domain and out of domain (means)"); }
      data.groups.forEach((_, g) => { if (!means.includes(g) && !sides.includes(g)) { option(byId(id), g, groupTitle(g)); } });
    }
    data.families.forEach((name, f) => option(byId("family"), f, name));
    if (byId("budget-bytes")) { distinct(data.budget.map((p) => p.bytes)).forEach((b) => option(byId("budget-bytes"), b, b)); }
    if (byId("cost-dim")) {
      const dims = distinct(curves.dim);
      dims.forEach((d) => option(byId("cost-dim"), d, d));
      byId("cost-dim").value = String(dims[Math.floor((dims.length - 1) / 3)]);
      byId("cost-measure").value = "score";
    }
    if (byId("pair")) {
      let block = null;
      data.pairs.forEach((pair, i) => {
        if (!block || block.label !== pair.question) { block = document.createElement("optgroup"); block.label = pair.question; byId("pair").append(block); }
        option(block, i, `${pair.first} − ${pair.second}`);
      });
    }
    if (byId("training-run")) {
      data.training.forEach((run, i) => option(byId("training-run"), i, `${data.models[run.model]}, seed ${run.seed}`));
      const most = Math.max(...data.training.map((run) => Object.keys(run.losses).length));
      byId("training-run").value = String(data.training.findIndex((run) => Object.keys(run.losses).length === most));
    }
    if (byId("search-task")) { data.searches.tasks.forEach((name, i) => option(byId("search-task"), i, name)); }
    for (const [chart, controls] of [[drawCurves, ["measure", "group", "family", "published"]], [drawCost, ["cost-unit", "cost-dim", "cost-measure"]], [drawBudget, ["budget-bytes"]],
      [drawSearches, ["search-unit", "search-task"]], [drawDifferences, ["pair", "difference-group"]], [drawTraining, ["training-run"]]]) {
      for (const id of controls) { if (byId(id)) { byId(id).addEventListener("change", () => redraw([chart])); } }
    }
    toggles();
    redraw(CHARTS);
  }

  // ---- the page

  function themes() {
    const root = document.documentElement, dark = window.matchMedia("(prefers-color-scheme: dark)");
    const set = (name) => { root.dataset.theme = name; };
    set(dark.matches ? "dark" : "light");
    dark.addEventListener("change", () => set(dark.matches ? "dark" : "light"));
    byId("theme").addEventListener("click", () => set(root.dataset.theme === "dark" ? "light" : "dark"));
    window.addEventListener("beforeprint", () => {
      root.dataset.before = root.dataset.theme;
      set("light");
      for (const part of document.querySelectorAll("details.print")) { part.open = true; }  // the long ones print if the reader opened them
    });
    window.addEventListener("afterprint", () => set(root.dataset.before));
  }

  themes();
  const parsed = new Promise((done) => document.addEventListener("DOMContentLoaded", done));
  Promise.all([drawFirst(), parsed]).then(rest);
})();
