// All points of a sweep: what throughput costs in latency, and which points no other one beats.

/** A figure of a run by the name that objectives use, such as `p99_ttft_ms`. */
function measure(run, name) {
  if (name === "success") return run.ledger.scheduled ? run.ledger.completed / run.ledger.scheduled : null;
  const tile = run.tiles.find(tile => tile.key === name);
  if (tile) return tile.value;
  const found = /^(mean|median|p([\d.]+))_(\w+?)(_latency)?_ms$/.exec(name);
  const latency = found && run.latencies.find(one => one.key === found[3] || (one.key === "e2el" && found[3] === "e2e"));
  if (!latency) return null;
  if (found[1] === "mean") return latency.mean_ms;
  return at(latency, found[1] === "median" ? 50 : Number(found[2]));
}

/** The percentile `q` of a distribution, between the two that it has around it. */
function at({ x, q: all }, q) {
  const above = all.findIndex(known => known >= q - 1e-9);
  if (above <= 0) return above === 0 ? x[0] : null;
  const share = (q - all[above - 1]) / (all[above] - all[above - 1]);
  return x[above - 1] + share * (x[above] - x[above - 1]);
}

function showSweep(sweep) {
  const points = sweep.points
    .map(point => ({ ...point, of: DATA.runs.find(run => run.name === point.name) }))
    .filter(point => point.of);
  const gpus = sweep.gpus ?? 1;
  const meets = point => sweep.slos.every(slo => {
    const value = measure(point.of, slo.metric);
    return value !== null && (slo.at_most ? value <= slo.limit : value >= slo.limit);
  });
  for (const point of points) point.meets = meets(point);
  const perGpu = sweep.gpus ? " per GPU" : "";
  const throughput = point => {
    const value = measure(point.of, "output_throughput");
    return value === null ? null : value / gpus;
  };
  const tokens = { name: `output tokens/s${perGpu}`, of: throughput, better: 1, limits: [] };
  /** A latency by throughput: by the figure that there is an objective for, or else by `name`. */
  const byThroughput = (title, pattern, name) => {
    const slos = sweep.slos.filter(slo => slo.at_most && pattern.test(slo.metric));
    const metric = slos[0]?.metric ?? name;
    const y = { name: metric, of: point => measure(point.of, metric), better: -1, limits: slos.filter(slo => slo.metric === metric).map(slo => ({ at: slo.limit, label: slo.shown, name: "red" })) };
    return frontier({ title, caption: `${metric} against output throughput${perGpu}. The line joins the points that no other point beats in both.` }, tokens, y, points, sweep.flags);
  };
  const tpot = sweep.slos.filter(slo => slo.at_most && slo.metric === "median_tpot_ms");
  const interactivity = {
    name: "tokens/s per user",
    of: point => {
      const value = measure(point.of, "median_tpot_ms");
      return value ? 1000 / value : null;
    },
    better: 1,
    limits: tpot.map(slo => ({ at: 1000 / slo.limit, label: slo.shown, name: "red" })),
  };
  const parts = [
    element("h1", null, "Sweep"),
    element("p", { class: "about" }, `${plural(points.length, "run")} over ${sweep.flags.join(", ")}${sweep.gpus ? ` on ${plural(sweep.gpus, "GPU")}` : ""}.`,
      sweep.slos.length ? ` Filled points meet all objectives by their measured figures: ${sweep.slos.map(slo => slo.shown).join(", ")}.` : ""),
    element("h2", null, "Frontiers"),
    element("div", { class: "plots" }, [
      frontier({ title: "Throughput and interactivity", caption: `Output throughput${perGpu} against interactivity, which is 1000 / median TPOT in ms. The line joins the points that no other point beats in both.`, wide: true, height: 320 },
        interactivity, tokens, points, sweep.flags),
      byThroughput("Throughput and TTFT", /ttft/, "p99_ttft_ms"),
      byThroughput("Throughput and TPOT", /tpot/, "p99_tpot_ms"),
      byThroughput("Throughput and ITL", /itl/, "p99_itl_ms"),
      byThroughput("Throughput and end-to-end latency", /e2e/, "p99_e2e_latency_ms"),
    ]),
    element("h2", null, "Points"),
    element("div", { class: "card" }, table(
      [...sweep.flags, "run", "completed", "requests/s", `output tokens/s${perGpu}`, "p50 TTFT", "p99 TTFT", "p50 TPOT", "p99 TPOT", "p99 E2E", "client"],
      points.map(point => [...sweep.flags.map(flag => point.values[flag] ?? ""), point.repeat,
        `${number(point.of.ledger.completed)}/${number(point.of.ledger.scheduled)}`,
        number(measure(point.of, "request_throughput")), number(throughput(point)),
        ...["median_ttft_ms", "p99_ttft_ms", "median_tpot_ms", "p99_tpot_ms", "p99_e2e_latency_ms"].map(name => number(measure(point.of, name))),
        point.of.limits.length ? "was the limit" : "ok"]))),
  ];
  return parts;
}

/** A scatter of points by two figures, with those joined that are best. */
function frontier(about, x, y, points, flags) {
  const known = points
    .map(point => ({ point, x: x.of(point), y: y.of(point) }))
    .filter(one => one.x !== null && one.y !== null)
    .sort((a, b) => a.x - b.x);
  if (known.length === 0) return null;
  const beats = (a, b) => (a.x - b.x) * x.better >= 0 && (a.y - b.y) * y.better >= 0 && (a.x !== b.x || a.y !== b.y);
  const best = known.map(one => !known.some(other => beats(other, one)));
  const label = ({ point }) => flags.map(flag => point.values[flag]).join(", ");
  const range = (values, limits) => {
    const most = Math.max(...values, ...limits.map(limit => limit.at));
    return () => [0, most * 1.12 || 1];
  };
  const hover = element("p", { class: "hover" }, "Point at the plot for the nearest point.");
  return figure({ ...about, hover }, () => ({
    options: {
      padding: [16, 24, 0, 0],
      legend: { show: false },
      scales: { x: { time: false, range: range(known.map(one => one.x), x.limits) }, y: { range: range(known.map(one => one.y), y.limits) } },
      cursor: { drag: { x: true, y: false } },
      axes: [xAxis(x.name), axis(y.name)],
      series: [
        {},
        line("best", "blue", { spanGaps: true }),
        ...["card", "blue"].map(fill => line("points", "blue", { paths: () => null, points: { show: true, size: 8, width: 2, stroke: colour("blue"), fill: colour(fill) } })),
      ],
      hooks: {
        draw: [plot => {
          marks(plot, "x", x.limits);
          marks(plot, "y", y.limits);
          if (known.length <= 40) labels(plot, known, label);
        }],
        setCursor: [plot => {
          const { left, top } = plot.cursor;
          if (left < 0) return;
          const distance = one => Math.hypot(plot.valToPos(one.x, "x") - left, plot.valToPos(one.y, "y") - top);
          const nearest = known.reduce((best, one) => (distance(one) < distance(best) ? one : best));
          hover.textContent = `${flags.map(flag => `${flag} ${nearest.point.values[flag]}`).join(", ")}, run ${nearest.point.repeat}: ${number(nearest.x, 4)} ${x.name}, ${y.name} ${number(nearest.y, 4)}.`;
        }],
      },
    },
    data: [known.map(one => one.x), known.map((one, i) => (best[i] ? one.y : null)),
      ...[false, true].map(meets => known.map(one => (one.point.meets === meets ? one.y : null)))],
  }));
}

function labels(plot, points, label) {
  const { ctx } = plot;
  ctx.save();
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  ctx.textAlign = "center";
  ctx.lineWidth = 4 * devicePixelRatio;
  ctx.strokeStyle = colour("card");
  ctx.fillStyle = colour("soft");
  for (const one of points) {
    const [x, y] = [plot.valToPos(one.x, "x", true), plot.valToPos(one.y, "y", true) - 8 * devicePixelRatio];
    ctx.strokeText(label(one), x, y);
    ctx.fillText(label(one), x, y);
  }
  ctx.restore();
}
