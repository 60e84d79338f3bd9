// A comparison: the verdict, the change of each metric with its interval, and the distributions of both sides.

const VERDICTS = {
  pass: ["✓ Pass", "nothing got worse by as much as matters."],
  improvement: ["✓ Improvement", "something got better, and nothing worse."],
  regression: ["⚠ Regression", "something got worse, and nothing better."],
  mixed: ["⚠ Mixed", "something got better, and something worse."],
  inconclusive: ["⚠ Inconclusive", "the runs decide nothing, or are no evidence."],
};

function showComparison(all) {
  const [word, meaning] = VERDICTS[all.verdict];
  const isGood = all.verdict === "pass" || all.verdict === "improvement";
  const list = lines => (lines.length ? element("ul", null, lines.map(text => element("li", null, text))) : null);
  const parts = [
    element("h1", null, "Comparison"),
    element("p", { class: "about" }, `${all.new} against ${all.base}`),
    element("section", { class: isGood ? "verdict" : "verdict bad", "aria-label": "Verdict" },
      element("strong", null, `${word}: `), meaning, list(all.failures),
      all.warnings.length ? ["Before the figures:", list(all.warnings)] : null),
  ];
  for (const load of all.loads) {
    parts.push(element("h2", null, load.name ?? "Metrics"), element("p", { class: "about small" }, `Base: ${load.base}. New: ${load.new}.`),
      element("div", { class: "card" }, table(["metric", "base", "new", "change", "95 % interval", "p", "verdict"],
        load.rows.map(row => [row.metric, row.base, row.new, row.change, row.interval, row.p,
          element("td", { class: `text ${row.class}` }, row.verdict)]), [6])));
    const changed = load.rows.filter(row => row.change_percent !== null);
    if (changed.length) parts.push(element("div", { class: "plots spaced" }, changes(changed)));
    if (load.latencies.length) parts.push(element("h2", null, "Distributions"));
    parts.push(element("div", { class: "plots" }, load.latencies.map(one => ecdf(
      { title: one.label, caption: `Share of samples of at most so many ms: ${plural(one.base.samples, "sample")} before, ${number(one.new.samples)} after.`,
        key: [["grey", "base (dashed)"], ["blue", "new"]] },
      "ms", [{ label: "base", name: "grey", dash: [6, 4], ...one.base }, { label: "new", name: "blue", ...one.new }], []))));
  }
  return parts;
}

/** The change of each metric as a point on its interval. */
function changes(rows) {
  const about = {
    title: "Changes",
    caption: "The change of each metric in percent (points for success) with its 95 % interval; an arrow is an end that the sample does not bound.",
    key: [["red", "regression"], ["green", "improvement"], ["grey", "no difference shown"]],
    height: 70 + 26 * rows.length,
    wide: true,
  };
  const ends = rows.flatMap(row => [row.change_percent, row.low_percent, row.high_percent]).filter(x => x !== null);
  const [least, most] = [Math.min(0, ...ends), Math.max(0, ...ends)];
  const rim = (most - least || 1) * 0.08;
  const range = [least - rim, most + rim];
  return figure(about, () => ({
    options: {
      padding: PADDING,
      legend: { show: false },
      scales: { x: { time: false, range: () => range }, y: { dir: -1, range: () => [-0.7, rows.length - 0.3] } },
      cursor: { show: false },
      axes: [xAxis("change in %"), axis("", { splits: () => rows.map((_, i) => i), values: () => rows.map(row => row.metric), labelSize: 0 })],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: { draw: [plot => drawChanges(plot, rows, range)] },
    },
    data: [range, [0, rows.length - 1]],
  }));
}

function drawChanges(plot, rows, [least, most]) {
  const { ctx, bbox } = plot;
  const [x, y] = [value => plot.valToPos(value, "x", true), i => plot.valToPos(i, "y", true)];
  const unit = devicePixelRatio;
  ctx.save();
  ctx.lineWidth = unit;
  ctx.strokeStyle = colour("soft");
  ctx.beginPath();
  ctx.moveTo(x(0), bbox.top);
  ctx.lineTo(x(0), bbox.top + bbox.height);
  ctx.stroke();
  ctx.lineWidth = 2 * unit;
  rows.forEach((row, i) => {
    ctx.strokeStyle = ctx.fillStyle = colour({ worse: "red", better: "green" }[row.class] ?? "grey");
    const [from, to] = [x(row.low_percent ?? least), x(row.high_percent ?? most)];
    ctx.beginPath();
    if (row.low_percent !== null || row.high_percent !== null) {
      ctx.moveTo(from, y(i));
      ctx.lineTo(to, y(i));
      for (const [end, isOpen, inwards] of [[from, row.low_percent === null, 1], [to, row.high_percent === null, -1]]) {
        const back = isOpen ? inwards * 6 * unit : 0;
        ctx.moveTo(end + back, y(i) - 5 * unit);
        ctx.lineTo(end, isOpen ? y(i) : y(i) + 5 * unit);
        if (isOpen) ctx.lineTo(end + back, y(i) + 5 * unit);
      }
    }
    ctx.stroke();
    ctx.beginPath();
    ctx.arc(x(row.change_percent), y(i), 4.5 * unit, 0, 2 * Math.PI);
    ctx.fill();
  });
  ctx.restore();
}
