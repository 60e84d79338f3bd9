// The requests of a run as lines over time, and their latencies by the time when they were sent.

const GAPS = ["gap0", "gap1", "gap2", "gap3", "gap4"];

/** What the colours of answers mean; the first is that of gaps up to twice the median. */
function gapKey(edges) {
  return edges.length === 0 ? [["gap0", "answer"]] : [
    ["gap0", `answer, gaps up to ${number(edges[0])} ms`],
    ...edges.slice(1).map((edge, i) => [GAPS[i + 1], `up to ${number(edge)} ms`]),
    ["gap4", "longer"],
  ];
}

/** One request in a sentence. */
function describe(requests, i) {
  const at = (column, from) => requests[column][i] === null ? "n/a" : `${number(requests[column][i] - from, 4)} ms`;
  const [due, sent] = [requests.due_ms[i], requests.sent_ms[i]];
  const outcome = requests.outcome[i];
  const how = outcome === 0 ? "completed" : outcome === 1 ? "given up" : requests.kinds[outcome - 2];
  const tokens = requests.tokens[i] === null ? "" : `, ${plural(requests.tokens[i], "token")}`;
  const round = requests.round[i] > 0 ? ` round ${requests.round[i]}` : "";
  return `Request ${requests.index[i]}${round}: due at ${number(due / 1e3, 5)} s, sent ${at("sent_ms", due)} later, `
    + `first output after ${at("first_ms", sent)}, end after ${at("done_ms", sent)}${tokens}, ${how}.`;
}

/** Each request as a line from when it was due to its end. */
function waterfall(run) {
  const requests = run.requests;
  const n = requests.sent_ms.length;
  const hover = element("p", { class: "hover" }, "Point at a line, or touch it, for its request. Drag to zoom, also over other plots; a double click shows all again.");
  const thinned = requests.of > n
    ? ` ${number(n)} of ${number(requests.of)} requests are drawn: every ${requests.every}th by time of sending, and failed ones beside them as far as there is room.`
    : "";
  const strips = requests.gaps.some(gaps => gaps !== "");
  const about = {
    title: "Requests",
    caption: `One line per request, from the top in the order of sending: wait until it was sent, time to first output, answer.${
      strips ? " Darker (on dark ground brighter) stretches of an answer have longer gaps between events." : ""}${thinned}`,
    key: [["grey", "due, not sent yet"], ["orange", "until first output"], ...(strips ? gapKey(requests.gap_edges_ms) : [["gap0", "answer"]]),
      ...(requests.outcome.some(outcome => outcome > 1) ? [["red", "failed (×)"]] : [])],
    height: Math.max(160, Math.min(560, 70 + n * 14)),
    wide: true,
    hover,
  };
  const x = requests.sent_ms.map(ms => ms / 1e3);
  return figure(about, () => ({
    options: {
      padding: PADDING,
      legend: { show: false },
      scales: { x: { time: false, range: () => [0, run.end_s] }, y: { dir: -1, range: () => [-0.5, n - 0.5] } },
      cursor: { ...TIME_CURSOR, drag: { x: true, y: true, uni: 24 }, points: { show: false } },
      axes: [xAxis("seconds since the start of the run"), axis("requests", { values: (plot, splits) => splits.map(split => (Number.isInteger(split) ? number(split + 1) : "")) })],
      series: [{}, { paths: () => null, points: { show: false } }],
      hooks: {
        draw: [plot => drawRequests(plot, requests)],
        setCursor: [plot => {
          const { top } = plot.cursor;
          if (top === null || top < 0) return;
          const i = Math.round(plot.posToVal(top, "y"));
          if (i >= 0 && i < n) hover.textContent = describe(requests, i);
        }],
      },
    },
    data: [x, x.map((_, i) => i)],
  }));
}

/** Draws the lines: each colour in one path, what matters more above. */
function drawRequests(plot, requests) {
  const { ctx, bbox } = plot;
  const n = requests.sent_ms.length;
  const origin = plot.valToPos(0, "x", true);
  const scale = (plot.valToPos(1, "x", true) - origin) / 1e3;
  const top = plot.valToPos(0, "y", true);
  const row = n > 1 ? (plot.valToPos(n - 1, "y", true) - top) / (n - 1) : bbox.height;
  const paths = Object.fromEntries(["grey", "orange", "red", ...GAPS].map(name => [name, new Path2D()]));
  const crosses = new Path2D();
  const [from, to] = [Math.max(0, Math.floor((bbox.top - top) / row) - 1), Math.min(n, Math.ceil((bbox.top + bbox.height - top) / row) + 2)];
  for (let i = from; i < to; i++) {
    const y = top + i * row;
    const line = (name, begin, end) => {
      paths[name].moveTo(origin + begin * scale, y);
      // What takes no time is still to be seen.
      paths[name].lineTo(Math.max(origin + end * scale, origin + begin * scale + 1), y);
    };
    const { due_ms: { [i]: due }, sent_ms: { [i]: sent }, first_ms: { [i]: first }, done_ms: { [i]: done } } = requests;
    const hasFailed = requests.outcome[i] > 1;
    if (sent > due) line("grey", due, sent);
    line(hasFailed && first === null ? "red" : "orange", sent, first ?? done);
    if (hasFailed) {
      const [at, arm] = [origin + done * scale, 3 * devicePixelRatio];
      crosses.moveTo(at - arm, y - arm);
      crosses.lineTo(at + arm, y + arm);
      crosses.moveTo(at - arm, y + arm);
      crosses.lineTo(at + arm, y - arm);
    }
    if (first === null) continue;
    const gaps = requests.gaps[i] || "0";
    const part = (done - first) / gaps.length;
    for (let begin = 0; begin < gaps.length;) {
      let end = begin + 1;
      while (end < gaps.length && gaps[end] === gaps[begin]) end += 1;
      line(GAPS[gaps[begin]], first + begin * part, first + end * part);
      begin = end;
    }
  }
  ctx.save();
  ctx.beginPath();
  ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
  ctx.clip();
  const width = Math.max(1, Math.min(10 * devicePixelRatio, row * 0.75));
  for (const [name, thickness] of [["grey", Math.max(1, width / 3)], ["gap0", width], ["orange", width], ...GAPS.slice(1).map(name => [name, width]), ["red", width]]) {
    ctx.lineWidth = thickness;
    ctx.strokeStyle = colour(name);
    ctx.stroke(paths[name]);
  }
  ctx.lineWidth = 1.5 * devicePixelRatio;
  ctx.stroke(crosses);
  ctx.restore();
}

/** Time to first output of each request, by when it was sent. */
function firstOutputs(run, objective) {
  const { sent_ms: sent, first_ms: first } = run.requests;
  const some = sent.map((_, i) => i).filter(i => first[i] !== null);
  if (some.length === 0) return null;
  const about = { title: "Time to first output", caption: "One point per request, at the time when it was sent." };
  return figure(about, () => ({
    options: {
      padding: PADDING,
      scales: { x: { time: false, range: () => [0, run.end_s] }, y: { range: (plot, min, max) => [0, (max || 1) * 1.05] } },
      cursor: TIME_CURSOR,
      axes: [xAxis("seconds since the start of the run"), axis("ms")],
      series: [
        { label: "sent at", value: (plot, at) => (at === null ? "" : `${number(at, 4)} s`) },
        line("TTFT in ms", "orange", { paths: () => null, points: { show: true, size: some.length > 2000 ? 3 : 5, width: 0, fill: colour("orange") + (some.length > 2000 ? "99" : "") } }),
      ],
      hooks: { draw: [plot => marks(plot, "y", objective === null ? [] : [{ at: objective, label: `objective ${number(objective)} ms`, name: "red" }])] },
    },
    data: [some.map(i => sent[i] / 1e3), some.map(i => first[i] - sent[i])],
  }));
}
