// Partial dependence: a line with its interval per setting, marks with intervals for categories.

CHARTS.dependence = async (node) => {
  const settings = SEARCH.dependence.settings, axes = new Map(SEARCH.settings.map((axis) => [axis.name, axis]));
  const range = dependenceRange(settings);
  node.replaceChildren();
  for (const item of settings) {
    const cell = element("div", { class: "cell" });
    node.append(cell);
    await drawDependence(cell, item, axes.get(item.name), range);
  }
};

/** Return the ends of the vertical axis of all settings: their lines and as much again, as far as the bands reach. */
function dependenceRange(settings) {
  const means = settings.flatMap((item) => item.mean);
  const low = Math.min(...means), high = Math.max(...means), margin = high - low || Math.abs(high) * 0.1 || 1;
  return {
    start: Math.max(low - margin, Math.min(...settings.flatMap((item) => item.low))) - 0.05 * margin,
    end: Math.min(high + margin, Math.max(...settings.flatMap((item) => item.high))) + 0.05 * margin,
  };
}

async function drawDependence(node, item, axis, range) {
  const colours = theme(), x = item.positions;
  const plot = figure({
    height: 220, x: item.name, yRange: new Bokeh.Range1d(range), xRange: new Bokeh.Range1d({ start: -0.07, end: 1.07 }),
  });
  const ticks = axis.ticks.filter((tick) => tick.position >= 0);
  putTicks(plot.xaxes[0], ticks);
  if (ticks.some((tick) => tick.label.length > 7) && ticks.length > 3) plot.xaxes[0].major_label_orientation = Math.PI / 5;
  if (axis.scale === "categories") plot.segment(x, item.low, x, item.high, { line_color: colours.accent, line_width: 2, line_alpha: 0.5 });
  else {
    plot.varea(x, item.low, item.high, { fill_color: colours.accent, fill_alpha: 0.18 });
    plot.line(x, item.mean, { line_color: colours.accent, line_width: 2 });
  }
  const dots = plot.scatter(x, item.mean, { size: axis.scale === "categories" ? 9 : 6, fill_color: colours.accent, line_color: null });
  plot.add_tools(new Bokeh.HoverTool({ renderers: [dots], tooltips: (_, vars) => {
    const row = vars.index, interval = `${format(item.low[row])} to ${format(item.high[row])}`;
    return tooltipStyle(pairs([[item.name, format(item.values[row])], ["expected", format(item.mean[row])], ["interval", interval]]));
  } }));
  await show(plot, node);
}
