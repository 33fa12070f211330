// Charts of a page about several searches.

const CHARTS = {
  async incumbentEpochs(node) {
    await drawIncumbents(node, (table) => table.trained, "epochs trained, all configurations together");
  },

  async incumbentTime(node) {
    const longest = Math.max(...DATA.searches.map((search) => search.last - search.begun));
    const [unit, factor] = longest > 7200 ? ["hours", 3600] : ["minutes", 60];
    await drawIncumbents(node, (table) => table.seconds.map((seconds) => seconds / factor), `${unit} since the start of each search`);
  },
};

async function drawIncumbents(node, along, label) {
  node.replaceChildren();
  const metrics = [...new Set(DATA.searches.map((search) => search.objective.metric))];
  for (const metric of metrics) {
    const place = element("div");
    node.append(place);
    await drawMetric(place, metric, along, label);
  }
}

async function drawMetric(node, metric, along, label) {
  const colours = theme();
  const searches = [...DATA.searches.entries()].filter(([, search]) => search.objective.metric === metric);
  const values = searches.flatMap(([, search]) => search.incumbents.objective);
  const plot = figure({ height: 320, x: label, y: `best ${metric}`, yType: scaleOf(values), zoom: true });
  plot.y_range.range_padding = 0.12;
  const legend = [];
  for (const [number, search] of searches) {
    const table = search.incumbents, x = along(table), colour = colours.series[number % colours.series.length];
    const changes = [...x.keys()].filter((row) => row === 0 || row === x.length - 1
      || table.config[row] !== table.config[row - 1] || table.epochs[row] !== table.epochs[row - 1]);
    const data = source(changes.map((row) => `${number}:${table.config[row]}`), {
      x: changes.map((row) => x[row]), y: changes.map((row) => table.objective[row]),
    });
    plot.step(x, table.objective, "after", { line_color: colour, line_width: 2 });
    const dots = plot.scatter({ field: "x" }, { field: "y" }, { source: data, size: 7, fill_color: colour, line_color: colours.paper, ...selectable(colours) });
    interactive(plot, data, { renderers: [dots], extra: (index) => [[label, format(x[changes[index]])]] });
    legend.push([colour, search.name]);
  }
  await show(plot, node, legend);
}
