// Charts of a page about one search: each function draws into the element that it receives.

const SEARCH = DATA.searches[0];
const keyOf = (config) => `0:${config}`;
const ROWS = new Map(SEARCH.configurations.config.map((config, row) => [config, row]));
const BEST = SEARCH.best ? SEARCH.best.config_id : null;
const isNarrow = (node) => node.clientWidth < 640;

/** Return pairs for the tooltip of an evaluation's or an epoch's value. */
const at = (name, value) => [[name, format(value)]];

const CHARTS = {
  async curves(node) {
    const colours = theme();
    const picker = element("select", { "aria-label": "Metric of the learning curves" });
    for (const metric of Object.keys(SEARCH.curves)) picker.append(element("option", { value: metric }, metric));
    const place = element("div");
    node.replaceChildren(element("label", { class: "picker" }, "metric ", picker), place);
    const draw = () => drawCurves(place, picker.value, colours);
    picker.addEventListener("change", draw);
    await draw();
  },

  async front(node) {
    node.replaceChildren();
    for (const objective of SEARCH.criteria.objectives.slice(1)) {
      const cell = element("div", { class: "cell" });
      node.append(cell);
      await drawFront(cell, objective.metric);
    }
  },

  async incumbentEpochs(node) {
    await drawIncumbent(node, SEARCH.incumbents.trained, "epochs trained, all configurations together", true);
  },

  async incumbentTime(node) {
    const [unit, factor] = SEARCH.last - SEARCH.begun > 7200 ? ["hours", 3600] : ["minutes", 60];
    await drawIncumbent(node, SEARCH.incumbents.seconds.map((seconds) => seconds / factor), `${unit} since the start`, false);
  },

  async parallel(node) {
    await drawParallel(node);
  },

  async settings(node) {
    node.replaceChildren();
    for (const number of SEARCH.settings.keys()) {
      const cell = element("div", { class: "cell" });
      node.append(cell);
      await drawSetting(cell, number);
    }
  },

  async importance(node) {
    const rungs = SEARCH.importance.filter((rung) => rung.settings.length);
    const totals = new Map();
    for (const rung of rungs) {
      for (const item of rung.settings) totals.set(item.name, (totals.get(item.name) ?? 0) + item.importance);
    }
    const names = [...totals].sort((a, b) => a[1] - b[1]).map(([name]) => name);
    node.replaceChildren();
    for (const rung of rungs) {
      const cell = element("div", { class: "cell" });
      node.append(cell);
      await drawImportance(cell, rung, names);
    }
  },

  async rungs(node) {
    node.replaceChildren();
    for (const pair of SEARCH.agreement.filter((item) => item.configurations >= 3).slice(0, 6)) {
      const cell = element("div", { class: "cell" });
      node.append(cell);
      await drawRungs(cell, pair);
    }
  },

  async timeline(node) {
    const colours = theme(), bars = SEARCH.timeline.bars;
    const [unit, factor] = SEARCH.last - SEARCH.begun > 7200 ? ["hours", 3600] : ["minutes", 60];
    const colour = { done: colours.accent, failed: colours.failed, running: colours.good };
    const data = source(bars.map((bar) => keyOf(bar.config_id)), {
      left: bars.map((bar) => bar.begin / factor), right: bars.map((bar) => bar.end / factor),
      bottom: bars.map((bar) => -bar.lane - 0.4), top: bars.map((bar) => -bar.lane + 0.4),
      colour: bars.map((bar) => colour[bar.status]),
    });
    const plot = figure({ height: 90 + 26 * SEARCH.timeline.lanes, x: `${unit} since the start`, zoom: true, grid: false });
    const lanes = [...Array(SEARCH.timeline.lanes).keys()].map((lane) => ({ position: -lane, label: `worker ${lane}` }));
    putTicks(plot.yaxes[0], lanes.length > 40 ? lanes.filter((_, lane) => lane % 10 === 0) : lanes);
    const quads = plot.quad({
      left: { field: "left" }, right: { field: "right" }, bottom: { field: "bottom" }, top: { field: "top" },
      source: data, fill_color: { field: "colour" }, line_color: colours.paper, line_width: 0.5, fill_alpha: 0.75,
      ...selectable(colours), nonselection_line_color: colours.paper,
    });
    interactive(plot, data, {
      renderers: [quads],
      extra: (index) => [["evaluation", format(bars[index].evaluation_id)], ["duration", duration(bars[index].end - bars[index].begin)]],
    });
    await show(plot, node, [[colours.accent, "done"], [colours.failed, "failed"], [colours.good, "running, or cut by an end of the driver"]]);
  },

  async masked(node) {
    const colours = theme();
    node.replaceChildren();
    for (const segment of SEARCH.predictions.masked) {
      const cell = element("div", { class: "cell" });
      node.append(cell);
      await drawMasked(cell, segment, colours);
    }
  },

  async people(node) {
    const colours = theme(), result = SEARCH.predictions.classification, people = [...result.people].reverse();
    const data = new Bokeh.ColumnDataSource({ data: {
      x: people.map((person) => person.accuracy), y: people.map((_, row) => row),
      size: people.map((person) => 6 + 6 * Math.sqrt(person.segments / Math.max(...people.map((other) => other.segments)))),
    } });
    const plot = figure({ height: 90 + Math.max(2, people.length) * (people.length > 40 ? 8 : 20), x: "accuracy", xRange: new Bokeh.Range1d({ start: -0.02, end: 1.02 }), yRange: new Bokeh.Range1d({ start: -0.7, end: people.length - 0.3 }) });
    const step = people.length > 40 ? Math.ceil(people.length / 30) : 1;
    putTicks(plot.yaxes[0], people.map((person, row) => ({ position: row, label: person.person })).filter((_, row) => row % step === 0));
    if (result.accuracy.half_width !== null) {
      const { mean, half_width: half } = result.accuracy;
      plot.add_layout(new Bokeh.BoxAnnotation({ left: Math.max(0, mean - half), right: Math.min(1, mean + half), fill_color: colours.accent, fill_alpha: 0.12, line_color: null }));
    }
    plot.add_layout(new Bokeh.Span({ location: result.accuracy.mean, dimension: "height", line_color: colours.accent }));
    plot.add_layout(new Bokeh.Span({ location: result.majority.accuracy, dimension: "height", line_color: colours.dim, line_dash: [4, 4] }));
    const dots = plot.scatter({ field: "x" }, { field: "y" }, { source: data, size: { field: "size" }, fill_color: colours.ink, line_color: null, fill_alpha: 0.7 });
    plot.add_tools(new Bokeh.HoverTool({ renderers: [dots], tooltips: (_, vars) => {
      const person = people[vars.index];
      return tooltipStyle(pairs([["person", person.person], ["accuracy", format(person.accuracy)], ["segments", format(person.segments)], ...(person.high_share === null ? [] : [["share high", format(person.high_share)]])]));
    } }));
    await show(plot, node, [[colours.ink, "a person; larger dots have more segments"], [colours.accent, "mean and 95 % interval over people"], [colours.dim, "the more frequent label"]]);
  },

  async calibration(node) {
    const colours = theme(), { bins, names } = SEARCH.predictions.classification;
    const [probability, share] = names.length > 2 ? ["predicted probability of the likeliest class", "share of right predictions"] : ["predicted probability of the high class", "share of high labels"];
    const most = Math.max(...bins.map((bin) => bin.segments));
    const data = new Bokeh.ColumnDataSource({ data: {
      x: bins.map((bin) => bin.probability), y: bins.map((bin) => bin.high_share),
      size: bins.map((bin) => 6 + 14 * Math.sqrt(bin.segments / most)),
    } });
    const range = () => new Bokeh.Range1d({ start: -0.03, end: 1.03 });
    const plot = figure({ height: 320, x: probability, y: share, xRange: range(), yRange: range() });
    plot.line([0, 1], [0, 1], { line_color: colours.dim, line_dash: [4, 4] });
    plot.line({ field: "x" }, { field: "y" }, { source: data, line_color: colours.accent, line_alpha: 0.5 });
    const dots = plot.scatter({ field: "x" }, { field: "y" }, { source: data, size: { field: "size" }, fill_color: colours.accent, line_color: colours.paper });
    plot.add_tools(new Bokeh.HoverTool({ renderers: [dots], tooltips: (_, vars) => {
      const bin = bins[vars.index];
      return tooltipStyle(pairs([["segments", format(bin.segments)], ["mean probability", format(bin.probability)], [share, format(bin.high_share)]]));
    } }));
    await show(plot, node);
  },

  async folds(node) {
    await drawFolds(node);
  },
};

async function drawCurves(node, metric, colours) {
  const curves = SEARCH.curves[metric].curves;
  const configs = Object.keys(curves).map(Number).sort((a, b) => ROWS.get(b) - ROWS.get(a));
  const isObjective = metric === SEARCH.objective.metric;
  const values = configs.flatMap((config) => curves[config].values);
  const yType = scaleOf(values);
  const plot = figure({
    height: isNarrow(node) ? 320 : 420, x: "epoch", y: metric, yType, zoom: true,
    yRange: robustRange(values, SEARCH.objective.mode, yType) ?? undefined,
  });
  integers(plot.xaxes[0]);
  const count = configs.length;
  const data = source(configs.map(keyOf), {
    xs: configs.map((config) => curves[config].epochs), ys: configs.map((config) => curves[config].values),
    colour: configs.map((config) => (config === BEST ? colours.accent : colours.dim)),
    width: configs.map((config) => (config === BEST ? 2.5 : 1)),
    alpha: configs.map((config) => (config === BEST ? 1 : count > 200 ? 0.3 : 0.55)),
  });
  const lines = plot.multi_line({ field: "xs" }, { field: "ys" }, {
    source: data, line_color: { field: "colour" }, line_width: { field: "width" }, line_alpha: { field: "alpha" },
    ...selectableLine(colours, 1.5),
  });
  const points = source(configs.map(keyOf), {
    x: configs.map((config) => curves[config].epochs.at(-1)), y: configs.map((config) => curves[config].values.at(-1)),
    colour: configs.map((config) => (config === BEST ? colours.accent : colours.dim)),
  });
  const ends = plot.scatter({ field: "x" }, { field: "y" }, {
    source: points, size: 6, fill_color: { field: "colour" }, line_color: null, fill_alpha: count > 200 ? 0.4 : 0.8, ...selectable(colours),
  });
  interactive(plot, data, {
    renderers: [lines], lines: true,
    extra: (_, vars) => {
      const curve = curves[configs[vars.index]], step = vars.segment_index ?? 0;
      return [["epoch", format(curve.epochs[step])], [`${metric} there`, format(curve.values[step])]];
    },
  });
  interactive(plot, points, { renderers: [ends] });
  const legend = BEST === null ? [] : [[colours.accent, `best: configuration ${BEST}`], [colours.dim, "other configurations"]];
  if (isObjective) legend.push(...addBaselines(plot, colours));
  await show(plot, node, legend);
}

/** Draw the objective of predictions that need no learning as lines, and return their legend. */
function addBaselines(plot, colours) {
  return Object.entries(SEARCH.baselines).map(([name, value], number) => {
    const colour = colours.series[2 + number];
    plot.add_layout(new Bokeh.Span({ location: value, dimension: "width", line_color: colour, line_dash: [6, 4], line_width: 1.5 }));
    return [colour, `${name}: ${format(value)}`];
  });
}

async function drawIncumbent(node, x, label, overEpochs) {
  const colours = theme(), table = SEARCH.incumbents, random = SEARCH.random_search;
  const reference = [...table.objective, ...Object.values(SEARCH.baselines), ...(overEpochs ? random.objective : [])];
  const yType = scaleOf(reference);
  const plot = figure({ height: 300, x: label, y: `best ${SEARCH.objective.metric}`, yType, zoom: true });
  if (overEpochs) integers(plot.xaxes[0]);
  plot.y_range.range_padding = 0.12;
  const changes = [...x.keys()].filter((row) => row === 0 || row === x.length - 1
    || table.config[row] !== table.config[row - 1] || table.epochs[row] !== table.epochs[row - 1]);
  const data = source(changes.map((row) => keyOf(table.config[row])), {
    x: changes.map((row) => x[row]), y: changes.map((row) => table.objective[row]),
  });
  plot.step(x, table.objective, "after", { line_color: colours.accent, line_width: 2 });
  const dots = plot.scatter({ field: "x" }, { field: "y" }, {
    source: data, size: 7, fill_color: colours.accent, line_color: colours.paper, ...selectable(colours),
  });
  interactive(plot, data, {
    renderers: [dots], extra: (index) => [[label, format(x[changes[index]])], ["best so far, after epochs", format(table.epochs[changes[index]])]],
  });
  const legend = [[colours.accent, "this search"]];
  if (overEpochs && random.trained.length) {
    plot.line(random.trained, random.objective, { line_color: colours.series[1], line_dash: [2, 3], line_width: 2 });
    legend.push([colours.series[1], "random search, expected (optimistic)"]);
  }
  const levels = Object.values(SEARCH.baselines);
  plot.scatter(levels.map(() => x[0] ?? 0), levels, { size: 0 }); // so that the lines are inside the range
  legend.push(...addBaselines(plot, colours));
  await show(plot, node, legend);
}

/** Return a colour by place on the leaderboard: strong for the best, faint for the others. */
function colourOfRank(row, colours) {
  const share = row / Math.max(1, SEARCH.configurations.config.length - 1);
  return mix(colours.accent, colours.faint, Math.min(1, 1.2 * share ** 0.4));
}

async function drawParallel(node) {
  const colours = theme(), vertical = isNarrow(node);
  const axes = [...SEARCH.settings, SEARCH.objective_axis];
  const columns = SEARCH.configurations;
  const rows = [...columns.config.keys()].filter((row) => columns.objective_position[row] !== null).reverse();
  const positions = rows.map((row) => [...columns.positions[row], columns.objective_position[row]]);
  const across = axes.map((_, number) => (vertical ? -number : number));
  const data = source(rows.map((row) => keyOf(columns.config[row])), {
    xs: vertical ? positions : rows.map(() => across), ys: vertical ? rows.map(() => across) : positions,
    colour: rows.map((row) => colourOfRank(row, colours)),
    width: rows.map((row) => (row === 0 ? 3 : 1.2)), alpha: rows.map((row) => (row < rows.length / 8 ? 0.95 : rows.length > 200 ? 0.3 : 0.6)),
  });
  const along = new Bokeh.Range1d({ start: -0.2, end: vertical ? 1.08 : 1.2 });
  const cross = new Bokeh.Range1d(vertical ? { start: -axes.length + 0.6, end: 0.6 } : { start: -0.35, end: axes.length - 0.5 });
  const plot = figure({
    height: vertical ? 60 + 84 * axes.length : 460, xRange: vertical ? along : cross, yRange: vertical ? cross : along, grid: false,
  });
  for (const axis of plot.axes) axis.visible = false;
  const lines = plot.multi_line({ field: "xs" }, { field: "ys" }, {
    source: data, line_color: { field: "colour" }, line_width: { field: "width" }, line_alpha: { field: "alpha" },
    ...selectableLine(colours, 1.5),
  });
  axes.forEach((axis, number) => {
    const low = axis.conditional ? -0.12 : 0, place = across[number];
    const [x, y] = vertical ? [[low, 1], [place, place]] : [[place, place], [low, 1]];
    plot.line(x, y, { line_color: colours.dim, line_width: 1 });
    const ticks = axis.ticks, at = ticks.map((tick) => tick.position), fixed = ticks.map(() => place);
    const style = {
      text_color: colours.ink, text_font: FONT, text_font_size: "11px", background_fill_color: colours.paper,
      background_fill_alpha: 0.75, text_align: vertical ? "center" : "right", text_baseline: vertical ? "top" : "middle",
    };
    const texts = ticks.map((tick) => tick.label);
    plot.text(vertical ? at : fixed, vertical ? fixed : at, texts, { ...style, x_offset: vertical ? 0 : -5, y_offset: vertical ? 4 : 0 });
    const title = { text_color: colours.ink, text_font: FONT, text_font_size: "12px", text_font_style: "bold" };
    const stagger = !vertical && number % 2 && axes.length > 6 ? -18 : 0;
    if (vertical) plot.text([-0.19], [place], [axis.name], { ...title, y_offset: -8, text_baseline: "bottom", background_fill_color: colours.paper, background_fill_alpha: 0.75 });
    else plot.text([place], [1.0], [axis.name], { ...title, text_align: "center", text_baseline: "bottom", y_offset: -8 + stagger });
  });
  interactive(plot, data, { renderers: [lines], lines: true });
  await show(plot, node, [[colours.accent, "best of the leaderboard"], [colours.faint, "last of the leaderboard"]]);
}

async function drawSetting(node, number) {
  const colours = theme(), axis = SEARCH.settings[number], columns = SEARCH.configurations;
  const rows = [...columns.config.keys()].filter((row) => columns.objective[row] !== null && columns.positions[row][number] !== null).reverse();
  const most = Math.max(1, ...columns.epochs);
  const values = rows.map((row) => columns.objective[row]);
  const yType = scaleOf(values);
  const data = source(rows.map((row) => keyOf(columns.config[row])), {
    x: rows.map((row) => columns.positions[row][number] + spread(axis, row)), y: values,
    size: rows.map((row) => 4 + 8 * Math.sqrt(columns.epochs[row] / most)),
    colour: rows.map((row) => (columns.config[row] === BEST ? colours.accent : colours.dim)),
  });
  const plot = figure({
    height: 220, x: axis.name, yType, yRange: robustRange(values, SEARCH.objective.mode, yType) ?? undefined,
    xRange: new Bokeh.Range1d({ start: axis.conditional ? -0.2 : -0.07, end: 1.07 }),
  });
  putTicks(plot.xaxes[0], axis.ticks);
  if (axis.ticks.some((tick) => tick.label.length > 7) && axis.ticks.length > 3) plot.xaxes[0].major_label_orientation = Math.PI / 5;
  const dots = plot.scatter({ field: "x" }, { field: "y" }, {
    source: data, size: { field: "size" }, fill_color: { field: "colour" }, line_color: null, fill_alpha: 0.55, ...selectable(colours),
  });
  interactive(plot, data, { renderers: [dots] });
  await show(plot, node);
}

/** Return a small shift, so that dots of one category do not cover each other: the same for a configuration always. */
function spread(axis, row) {
  if (axis.scale !== "categories") return 0;
  return (((row * 0.618) % 1) - 0.5) * Math.min(0.08, 0.35 / Math.max(1, axis.levels.length - 1));
}

async function drawImportance(node, rung, names) {
  const colours = theme(), items = new Map(rung.settings.map((item) => [item.name, item]));
  const shown = names.filter((name) => items.has(name));
  const data = new Bokeh.ColumnDataSource({ data: {
    y: shown.map((_, row) => row), value: shown.map((name) => items.get(name).importance), noise: shown.map((name) => items.get(name).noise),
    alpha: shown.map((name) => (items.get(name).importance > items.get(name).noise ? 0.9 : 0.3)),
  } });
  const most = Math.max(...shown.map((name) => Math.max(items.get(name).importance, items.get(name).noise)), 0.1);
  const plot = figure({ height: 80 + 26 * shown.length, x: "importance", xRange: new Bokeh.Range1d({ start: 0, end: most * 1.08 }) });
  putTicks(plot.yaxes[0], shown.map((name, row) => ({ position: row, label: name })));
  const bars = plot.hbar({ y: { field: "y" }, height: 0.62, left: 0, right: { field: "value" }, source: data, fill_color: colours.accent, fill_alpha: { field: "alpha" }, line_color: null });
  plot.scatter({ field: "noise" }, { field: "y" }, { source: data, marker: "dash", angle: Math.PI / 2, size: 16, line_color: colours.failed, line_width: 2 });
  plot.add_tools(new Bokeh.HoverTool({ renderers: [bars], tooltips: (_, vars) => {
    const item = items.get(shown[vars.index]);
    return tooltipStyle(pairs([["setting", item.name], ["importance", format(item.importance)], ["noise level", format(item.noise)]]));
  } }));
  await show(plot, node, [[colours.accent, `after ${rung.epochs} epochs, ${rung.results} results`], [colours.failed, "noise level"]]);
}

/** Draw the last results by the first objective and another one, and a line through the front. */
async function drawFront(node, metric) {
  const colours = theme(), first = SEARCH.objective.metric, members = new Set(SEARCH.criteria.front.map((entry) => entry.config_id));
  const items = [...CONFIGURATIONS.values()].filter((item) => item.objective !== null);
  const x = items.map((item) => item.measured[metric]), y = items.map((item) => item.objective);
  const plot = figure({ height: 320, x: metric, y: first, xType: scaleOf(x), yType: scaleOf(y), zoom: true });
  const front = items.filter((item) => members.has(item.config)).sort((a, b) => a.measured[metric] - b.measured[metric]);
  plot.line(front.map((item) => item.measured[metric]), front.map((item) => item.objective), { line_color: colours.accent, line_width: 1.5 });
  const data = source(items.map((item) => item.key), {
    x, y, size: items.map((item) => (members.has(item.config) ? 10 : 6)),
    colour: items.map((item) => (members.has(item.config) ? colours.accent : colours.dim)),
  });
  const dots = plot.scatter({ field: "x" }, { field: "y" }, { source: data, size: { field: "size" }, fill_color: { field: "colour" }, line_color: null, fill_alpha: 0.7, ...selectable(colours) });
  interactive(plot, data, { renderers: [dots] });
  await show(plot, node, [[colours.accent, "Pareto front"], [colours.dim, "other configurations, by their last result"]]);
}

async function drawRungs(node, pair) {
  const colours = theme();
  const results = (epochs) => {
    const rung = SEARCH.rungs.find((item) => item.epochs === epochs);
    return new Map(rung.config.map((config, row) => [config, rung.objective[row]]));
  };
  const fewer = results(pair.fewer), more = results(pair.more);
  const configs = [...fewer.keys()].filter((config) => more.has(config));
  const x = configs.map((config) => fewer.get(config)), y = configs.map((config) => more.get(config));
  const plot = figure({ height: 260, x: `after ${pair.fewer} epochs`, y: `after ${pair.more} epochs`, xType: scaleOf(x), yType: scaleOf(y) });
  const data = source(configs.map(keyOf), { x, y, colour: configs.map((config) => (config === BEST ? colours.accent : colours.dim)) });
  const dots = plot.scatter({ field: "x" }, { field: "y" }, { source: data, size: 8, fill_color: { field: "colour" }, line_color: null, fill_alpha: 0.7, ...selectable(colours) });
  interactive(plot, data, { renderers: [dots], extra: (index) => [...at(`after ${pair.fewer} epochs`, x[index]), ...at(`after ${pair.more} epochs`, y[index])] });
  const correlation = pair.spearman === null ? "not defined" : pair.spearman.toFixed(2);
  await show(plot, node, [[colours.dim, `rank correlation ${correlation}, ${pair.configurations} configurations`]]);
}

async function drawMasked(node, segment, colours) {
  const rate = segment.signal.length / segment.seconds;
  const x = segment.signal.map((_, sample) => sample / rate);
  const plot = figure({ height: 190, x: "seconds", grid: false });
  let begin = null;
  segment.predicted.forEach((value, sample) => {
    if (value !== null && begin === null) begin = sample;
    const ends = value === null || sample === segment.predicted.length - 1;
    if (begin !== null && ends) {
      plot.add_layout(new Bokeh.BoxAnnotation({ left: begin / rate, right: sample / rate, fill_color: colours.dim, fill_alpha: 0.15, line_color: null }));
      begin = null;
    }
  });
  plot.line(x, segment.signal, { line_color: colours.dim, line_width: 1.2 });
  plot.line(x, segment.predicted.map((value) => value ?? NaN), { line_color: colours.accent, line_width: 1.8 });
  if (segment.peaks.length) {
    const top = Math.max(...segment.signal), margin = 0.12 * (top - Math.min(...segment.signal));
    plot.scatter(segment.peaks, segment.peaks.map(() => top + margin), { marker: "inverted_triangle", size: 7, fill_color: colours.mark, line_color: null });
  }
  await show(plot, node, [[colours.dim, `${segment.person}, ${segment.channel}`], [colours.accent, `prediction, loss ${format(segment.loss)}`]]);
}

async function drawFolds(node) {
  const colours = theme(), result = SEARCH.crossval;
  const metrics = Object.keys(result.summary.folds).filter((metric) => metric !== "ece");
  const series = [["folds", colours.accent, "true labels"], ["majority", colours.dim, "more frequent label"], ["shuffled", colours.series[1], "shuffled labels"]].filter(([name]) => result[name].length);
  const plot = figure({ height: 70 + 62 * metrics.length, x: "score of the test segments", xRange: new Bokeh.Range1d({ start: -0.02, end: 1.02 }) });
  putTicks(plot.yaxes[0], metrics.map((metric, row) => ({ position: -row, label: metric.replaceAll("_", " ") })));
  for (const [place, [name, colour, title]] of series.entries()) {
    const dots = metrics.flatMap((metric, row) => result[name].map((fold) => ({ x: fold.metrics[metric], y: -row + 0.24 - 0.24 * place, fold: fold.fold, metric })));
    const data = new Bokeh.ColumnDataSource({ data: { x: dots.map((dot) => dot.x), y: dots.map((dot) => dot.y) } });
    const marks = plot.scatter({ field: "x" }, { field: "y" }, { source: data, size: 7, fill_color: colour, fill_alpha: 0.35, line_color: null });
    plot.add_tools(new Bokeh.HoverTool({ renderers: [marks], tooltips: (_, vars) => {
      const dot = dots[vars.index];
      return tooltipStyle(pairs([["fold", format(dot.fold)], [dot.metric, format(dot.x)], ["trained on", title]]));
    } }));
    metrics.forEach((metric, row) => {
      const interval = result.summary[name]?.[metric];
      if (!interval) return;
      const y = -row + 0.24 - 0.24 * place, half = interval.half_width ?? 0;
      plot.line([interval.mean - half, interval.mean + half], [y, y], { line_color: colour, line_width: 3 });
      plot.scatter([interval.mean], [y], { size: 11, marker: "diamond", fill_color: colour, line_color: colours.paper });
    });
  }
  await show(plot, node, series.map(([, colour, title]) => [colour, title]));
}
