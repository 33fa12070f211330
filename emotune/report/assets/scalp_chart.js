// The error at each electrode, on a head seen from above.

CHARTS.scalp = async (node) => {
  const colours = theme(), { electrodes } = SEARCH.predictions.scalp;
  const errors = electrodes.map((item) => item.error), low = Math.min(...errors), high = Math.max(...errors);
  const range = () => new Bokeh.Range1d({ start: -1.2, end: 1.2 });
  const plot = figure({ height: 380, xRange: range(), yRange: range(), grid: false });
  plot.match_aspect = true;
  for (const axis of plot.axes) axis.visible = false;
  const turn = [...Array(73).keys()].map((step) => (step * Math.PI) / 36);
  plot.line(turn.map(Math.sin), turn.map(Math.cos), { line_color: colours.dim, line_width: 2 });
  plot.line([-0.12, 0, 0.12], [0.99, 1.13, 0.99], { line_color: colours.dim, line_width: 2 });
  const data = new Bokeh.ColumnDataSource({ data: {
    x: electrodes.map((item) => item.x), y: electrodes.map((item) => item.y),
    colour: errors.map((error) => mix(colours.failed, colours.good, high > low ? (high - error) / (high - low) : 1)),
  } });
  const dots = plot.scatter({ field: "x" }, { field: "y" }, { source: data, size: 34, fill_color: { field: "colour" }, line_color: colours.paper });
  plot.text(electrodes.map((item) => item.x), electrodes.map((item) => item.y), electrodes.map((item) => item.name), {
    text_color: colours.paper, text_font: FONT, text_font_size: "11px", text_align: "center", text_baseline: "middle",
  });
  plot.add_tools(new Bokeh.HoverTool({ renderers: [dots], tooltips: (_, vars) => {
    const item = electrodes[vars.index];
    return tooltipStyle(pairs([["electrode", item.name], ["error", format(item.error)], ["predicting zero", format(item.zero)]]));
  } }));
  await show(plot, node, [[colours.good, `lowest error, ${format(low)}`], [colours.failed, `highest error, ${format(high)}`]]);
};
