// The page: what was measured first, then the plots, then everything else that is known of the run.

const DATA = JSON.parse(document.getElementById("data").textContent);

/** Beside percentages, the objective of a latency. */
const MARKS = [["p50", "p50_ms", [2, 4]], ["p90", "p90_ms", [4, 4]], ["p99", "p99_ms", [8, 4]]];

/** An RFC 3339 instant for people. */
const instant = date => date.replace("T", " ").replace("+00:00", " UTC");

function title(run) {
  const load = [run.rate, run.max_concurrency ? `at most ${number(run.max_concurrency)} in flight` : null, run.tag];
  return [
    element("h1", null, run.model || "rbench report"),
    element("p", { class: "about" }, [run.name === run.date ? null : run.name, run.backend, run.dataset, ...load, instant(run.date)].filter(Boolean).join(" · ")),
  ];
}

/** What the figures rest on: whether they are of the server, of all of the plan, and sound. */
function verdict(run) {
  const { ledger } = run;
  const failed = run.checks.filter(check => !check.passed);
  const list = findings => element("ul", null, findings.map(found => element("li", null, `${found.evidence}${found.affects ? ` (affects ${found.affects})` : ""}: ${found.advice}`)));
  const isGood = run.limits.length === 0 && failed.length === 0 && !run.partial;
  const counts = [
    `${number(ledger.completed)} of ${plural(ledger.scheduled, "request")} completed`,
    ledger.failed ? `${number(ledger.failed)} failed` : null,
    ledger.cancelled ? `${number(ledger.cancelled)} were given up` : null,
    ledger.never_sent ? `${number(ledger.never_sent)} were never sent` : null,
    ledger.unfinished ? `of ${number(ledger.unfinished)} nothing is known` : null,
  ].filter(Boolean).join(", ");
  return element("section", { class: isGood ? "verdict" : "verdict bad", "aria-label": "Verdict" },
    element("strong", null, run.limits.length ? "⚠ The client was the limit: " : isGood ? "✓ Client ok: " : "⚠ "),
    `${counts}. `,
    run.partial ? `Partial result: ${run.partial}. ` : "",
    failed.length ? "" : `${plural(run.checks.length, "check")} passed.`,
    run.limits.length ? list(run.limits) : null,
    failed.length ? element("ul", null, failed.map(check => element("li", null, `Check ${check.name} failed: ${check.detail}`))) : null,
    run.notes.length ? ["Notes on the answers:", list(run.notes)] : null);
}

function tiles(run) {
  return element("dl", { class: "tiles" }, run.tiles.map(tile => element("div", { class: "tile" },
    element("dt", null, tile.label),
    element("dd", null, number(tile.value, 4), tile.unit ? element("small", null, ` ${tile.unit}`) : null))));
}

function latencyTable(run) {
  const columns = ["mean", "p50", "p90", "p95", "p99", "max"];
  return element("div", { class: "card" }, table(
    ["Latency in ms", ...columns, "samples", "objective"],
    run.latencies.map(one => [one.label, ...columns.map(column => number(one[`${column}_ms`], 4)), number(one.samples),
      one.objective_ms === null ? "" : number(one.objective_ms)])));
}

function distribution(run, one) {
  const lines = MARKS.map(([label, key, dash]) => ({ at: one[key], label: `${label} ${number(one[key])}`, name: "soft", dash }));
  if (one.objective_ms !== null) lines.push({ at: one.objective_ms, label: `objective ${number(one.objective_ms)}`, name: "red", dash: [1, 0] });
  const thinned = one.samples > one.x.length ? `; drawn from ${number(one.x.length)} percentiles` : "";
  return ecdf({ title: one.label, caption: `${one.about}: share of samples of at most so many ms, over ${plural(one.samples, "sample")}${thinned}.` },
    "ms", [{ label: "share", name: "blue", x: one.x, q: one.q }], lines);
}

/** Slices that rates are shown in: in finer ones a rate is mostly noise. */
const RATE_SLICES = 60;

/** Counts per slice in longer slices, and their length in s. */
function coarser(over, counts) {
  const each = Math.ceil(over.count / RATE_SLICES);
  const sums = Array.from({ length: Math.ceil(over.count / each) }, (_, i) =>
    counts.slice(i * each, (i + 1) * each).reduce((sum, count) => sum + count, 0));
  return [sums, each * over.slice_s];
}

/** Offered against achieved: requests due, sent and ended per second, and how many until then. */
function rates(run) {
  const over = run.over_time;
  const [, slice] = coarser(over, over.due);
  const perSecond = counts => coarser(over, counts)[0].map(count => count / slice);
  const total = counts => counts.map((sum => count => (sum += count))(0));
  const said = run.offered_rate === null
    ? "All requests were due at once, or as soon as the cap let them go"
    : `Offered ${number(run.offered_rate)} requests/s, achieved ${number(run.achieved_rate)}`;
  const all = [["due", "grey", over.due, { dash: [6, 4] }], ["sent", "blue", over.sent, null], ["completed", "green", over.completed, { dash: [2, 3] }]];
  // All at once is one spike beside which nothing is seen.
  const some = run.offered_rate === null ? all.slice(1) : all;
  return [
    overTime({ title: "Offered and achieved rate", caption: `${said}. In slices of ${number(slice)} s.` }, run, "requests/s", slice,
      some.map(([label, name, counts, more]) => [label, name, perSecond(counts), more])),
    overTime({ title: "Requests due, sent and completed", caption: "Counted from the start. Where lines part, requests wait: for the client between due and sent, for the server between sent and completed." },
      run, "requests", over.slice_s, all.map(([label, name, counts, more]) => [label, name, total(counts), more])),
  ];
}

const KIND_COLOURS = ["red", "orange", "purple", "blue", "green", "grey"];

/** Failures by kind over time, one stacked on the other, and their reasons. */
function failures(run) {
  if (run.failures.length === 0) return [];
  const over = run.over_time;
  const parts = [];
  if (over && over.failed.length) {
    const sums = [];
    const [, slice] = coarser(over, over.due);
    for (const kind of over.failed) sums.push(coarser(over, kind.counts)[0].map((n, i) => n + (sums[sums.length - 1]?.[i] ?? 0)));
    const x = sums[0].map((_, i) => (i + 0.5) * slice);
    const bars = uPlot.paths.bars({ size: [0.9, 40] });
    const about = {
      title: "Failures over time",
      caption: `Requests that failed in each slice of ${number(slice)} s, by kind, at their end.`,
      key: over.failed.map((kind, i) => [KIND_COLOURS[i % KIND_COLOURS.length], kind.kind]),
      wide: true,
      height: 200,
    };
    // The tallest sum is drawn first, so that those below it stay visible.
    const order = over.failed.map((_, i) => i).reverse();
    parts.push(element("div", { class: "plots" }, figure(about, () => ({
      options: {
        padding: PADDING,
        scales: { x: { time: false, range: () => [0, run.end_s] }, y: { range: (plot, min, max) => [0, Math.max(1, max) * 1.05] } },
        legend: { show: false },
        cursor: TIME_CURSOR,
        axes: [xAxis("seconds since the start of the run"), axis("requests", { incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 1e4, 1e5] })],
        series: [{}, ...order.map(i => line(over.failed[i].kind, KIND_COLOURS[i % KIND_COLOURS.length],
          { paths: bars, fill: colour(KIND_COLOURS[i % KIND_COLOURS.length]), width: 0 }))],
      },
      data: [x, ...order.map(i => sums[i])],
    }))));
  }
  const rows = run.failures.map(group => [number(group.count), group.kind, group.phase, group.status ?? "",
    element("td", { class: "text" }, group.message, group.excerpt === null ? null : element("pre", null, group.excerpt))]);
  parts.push(element("div", { class: "card" }, table(["requests", "kind", "phase", "status", "reason, and the first body that came with it"], rows, [1, 2, 4])));
  return [element("h2", null, "Failures"), ...parts];
}

function details(summary, value) {
  return element("details", { class: "card" }, element("summary", null, summary),
    element("pre", null, JSON.stringify(value, null, 2)));
}

/** Everything on one run. */
function showRun(run) {
  const parts = [...title(run), verdict(run), tiles(run)];
  if (run.latencies.length) parts.push(element("h2", null, "Latencies"), latencyTable(run));
  const over = run.over_time;
  if (over) {
    const objective = run.latencies.find(one => one.key === "ttft")?.objective_ms ?? null;
    const plots = [waterfall(run)];
    if (run.generates) plots.push(firstOutputs(run, objective));
    if (over.gaps) {
      plots.push(overTime({ title: "Gaps between events", isLog: true, caption: `Median, 99th percentile and longest of the gaps that ended in each slice of ${number(over.gaps.slice_s)} s.` },
        run, "ms", over.gaps.slice_s, [["p50", "blue", over.gaps.p50_ms, { spanGaps: true }], ["p99", "orange", over.gaps.p99_ms, { dash: [6, 3], spanGaps: true }], ["max", "purple", over.gaps.max_ms, { dash: [2, 3], spanGaps: true }]]));
    }
    const lines = [];
    if (run.generates) {
      lines.push(overTime({ title: "Output tokens per second", caption: `Of completed requests, in slices of ${number(over.slice_s)} s.` },
        run, "tokens/s", over.slice_s, [["tokens/s", "blue", over.tokens_per_s, { shade: true }]]));
    }
    lines.push(overTime({ title: "Requests in flight", caption: `The most at one instant of each slice${run.max_concurrency ? `; the cap is ${number(run.max_concurrency)}` : ""}.` },
      run, "requests", over.slice_s, [["in flight", "green", over.in_flight, { shade: true }]]));
    parts.push(element("h2", null, "Timeline"), element("div", { class: "plots" }, plots, lines, rates(run)));
  }
  if (run.latencies.length) {
    parts.push(element("h2", null, "Distributions"),
      element("div", { class: "plots" }, run.latencies.map(one => distribution(run, one))));
  }
  parts.push(...failures(run));
  if (run.servers.length) {
    parts.push(element("h2", null, "Servers"), element("div", { class: "card" }, table(
      ["server", "sent", "completed", "failed", "output tokens", "TTFT p50 (ms)", "TTFT p99 (ms)"],
      run.servers.map(one => [one.name, number(one.sent), number(one.completed), number(one.failed), number(one.output_tokens), number(one.ttft_ms[0]), number(one.ttft_ms[1])]), [0])));
  }
  parts.push(element("h2", null, "The run"));
  parts.push(element("div", { class: "card" }, table(null, [
    ["Model", run.model], ["Backend", run.backend], ["Dataset", run.dataset], ["Tokenizer", run.tokenizer],
    ["Seed", String(run.seed)], ["Start", instant(run.date)], ["Duration", `${number(run.end_s, 4)} s`], ["Written by", `rbench ${DATA.version}`],
  ].map(([key, value]) => [key, element("td", { class: "text" }, value)]))));
  parts.push(details("Checks", run.checks), details("Configuration", run.config));
  if (run.server_info !== null) parts.push(details("What the server reports about itself", run.server_info));
  return parts;
}

/** What the page can show: each has a name, and what makes its parts. */
const VIEWS = [
  ...(DATA.sweep ? [{ name: "All points", make: () => showSweep(DATA.sweep) }] : []),
  ...DATA.comparisons.map(one => ({ name: `${one.new} against ${one.base}`, make: () => showComparison(one) })),
  ...DATA.runs.map(run => ({ name: run.name, make: () => showRun(run) })),
];

/** A list to choose a view from, where the page has several. */
function chooser(chosen) {
  if (VIEWS.length < 2) return [];
  const select = element("select", null, VIEWS.map((view, i) => element("option", { value: i }, view.name)));
  select.value = chosen;
  select.addEventListener("change", () => show(Number(select.value)));
  return [element("label", { class: "views" }, "Show ", select)];
}

function show(chosen) {
  forgetFigures();
  document.title = `rbench: ${VIEWS[chosen].name}`;
  document.getElementById("page").replaceChildren(
    ...chooser(chosen), ...VIEWS[chosen].make(),
    element("footer", null, `Made by rbench ${DATA.version}. The page loads nothing. Plots are drawn by uPlot (MIT).`));
  drawAll();
}

show(0);
