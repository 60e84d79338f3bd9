// What all plots share: numbers, elements, colours, and figures that follow the width and the colours of the page.

/** A number in few digits, for people. */
function number(x, digits = 3) {
  if (x === null || x === undefined || !Number.isFinite(x)) return "n/a";
  const size = Math.abs(x);
  if (size >= 1e6) return x.toLocaleString("en", { notation: "compact", maximumSignificantDigits: digits + 1 });
  if (Number.isInteger(x) || size >= 1000) return Math.round(x).toLocaleString("en");
  return x.toLocaleString("en", { maximumSignificantDigits: digits });
}

/** A number of things, in words: `plural(1, "request")`. */
function plural(n, thing) {
  return `${number(n)} ${thing}${n === 1 ? "" : "s"}`;
}

/**
 * An element. Strings become text and are never read as markup, since the page shows what servers sent:
 * this is the one place where the page makes elements.
 */
function element(tag, attributes, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "colour") made.style.setProperty("--colour", value);
    else made.setAttribute(name, value);
  }
  made.append(...children.flat().filter(child => child !== null && child !== undefined).map(child =>
    child instanceof Node ? child : String(child)));
  return made;
}

/** A table; each row is a list of texts and elements, and `text` lists the columns that hold prose. */
function table(head, rows, text = []) {
  const kind = i => (text.includes(i) ? { class: "text" } : null);
  const cell = (value, i) => (value instanceof Element && value.tagName === "TD" ? value : element("td", kind(i), value));
  return element("div", { class: "scroll" }, element("table", null,
    head ? element("thead", null, element("tr", null, head.map((label, i) => element("th", { scope: "col", ...kind(i) }, label)))) : null,
    element("tbody", null, rows.map(row => element("tr", null, row.map(cell))))));
}

/** A colour of the style sheet, which follows the reader's scheme. */
function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

/** The figures of the page: what draws each, and the plot that is drawn now. */
const figures = [];

/** A figure with a caption. `make(width)` returns the options and the data of its plot. */
function figure({ title, caption, key, height = 240, wide = false, hover = null }, make) {
  const host = element("div", { class: "plot", role: "img", "aria-label": `${title}. ${caption ?? ""}` });
  const card = element("figure", { class: wide ? "card wide" : "card" },
    element("figcaption", null,
      element("h3", null, title),
      caption ? element("p", null, caption) : null,
      key ? element("div", { class: "key" }, key.map(([name, label]) => element("span", { colour: `var(--${name})` }, label))) : null),
    host, hover);
  figures.push({ host, make, height, plot: null });
  return card;
}

function drawOne(one) {
  one.plot?.destroy();
  const width = Math.max(200, Math.floor(one.host.clientWidth));
  const { options, data } = one.make(width);
  one.plot = new uPlot({ ...options, width, height: one.height }, data, one.host);
}

/** Draws all figures anew, as after the page or its colours changed. */
function drawAll() {
  figures.forEach(drawOne);
  document.documentElement.dataset.plots = String(figures.length);
}

function forgetFigures() {
  figures.forEach(one => one.plot?.destroy());
  figures.length = 0;
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let lastWidth = innerWidth;
addEventListener("resize", () => {
  // Phones report a resize when their bars come and go; only the width matters.
  if (innerWidth === lastWidth) return;
  lastWidth = innerWidth;
  drawAll();
});

const FONT = "12px system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif";

/** An axis with a label for its unit. */
function axis(label, more = {}) {
  const isLeft = more.side === undefined || more.side === 3;
  return {
    stroke: colour("soft"),
    grid: { stroke: colour("grid"), width: 1 },
    ticks: { stroke: colour("line"), width: 1, size: 4 },
    font: FONT,
    labelFont: FONT,
    label,
    labelSize: 18,
    labelGap: 0,
    gap: 4,
    values: (plot, splits) => splits.map(split => (split === null ? "" : number(split, 6))),
    // As wide as the longest label needs.
    size: (plot, values) => (isLeft && values ? 16 + 7 * Math.max(2, ...values.map(value => String(value).length)) : 32),
    ...more,
  };
}

const xAxis = (label, more = {}) => axis(label, { side: 2, size: 32, space: 60, ...more });

/** A line of a plot; `shade` fills what is below it. */
function line(label, name, { shade, ...more } = {}) {
  return {
    label,
    stroke: colour(name),
    ...(shade ? { fill: `${colour(name)}26` } : {}),
    width: 1.5,
    points: { show: false },
    value: (plot, value) => (value === null ? "" : number(value)),
    ...more,
  };
}

/** Steps that hold from one point to the next. */
const STEPS = uPlot.paths.stepped({ align: 1 });

/** Space around the plot area: above, to the right, below, to the left. */
const PADDING = [10, 22, 0, 0];

/** Plots over time are pointed at and zoomed together. */
const TIME_CURSOR = { sync: { key: "time", setSeries: false, scales: ["x", null] }, drag: { x: true, y: false } };

/**
 * A plot over the time of the run. `series` are `[label, colour, values, options]`, one value for each slice of
 * `slice` seconds.
 */
function overTime(about, run, unit, slice, series) {
  const known = series.flatMap(([, , values]) => values).filter(value => value !== null);
  const middle = [...known].sort((a, b) => a - b)[Math.floor(known.length / 2)];
  const most = known.reduce((most, value) => Math.max(most, value), 0);
  // Beside what is rare and long, what is usual would be a line along the axis.
  const isLog = about.isLog && known.every(value => value > 0) && most > 10 * middle;
  const x = Array.from({ length: series[0][2].length + 1 }, (_, i) => i * slice);
  // The last value holds to the end of its slice.
  const held = values => [...values, values[values.length - 1] ?? null];
  return figure(about, () => ({
    options: {
      padding: PADDING,
      scales: { x: { time: false, range: () => [0, run.end_s] }, y: isLog ? { distr: 3 } : { range: (plot, min, max) => [0, (max || 1) * 1.05] } },
      cursor: TIME_CURSOR,
      axes: [xAxis("seconds since the start of the run"), axis(isLog ? `${unit}, logarithmic` : unit)],
      series: [
        { label: "at", value: (plot, at) => (at === null ? "" : `${number(at, 4)} s`) },
        ...series.map(([label, name, , more]) => line(label, name, { paths: STEPS, ...more })),
      ],
    },
    data: [x, ...series.map(([, , values]) => held(values))],
  }));
}

/** Lines across a plot with a label each, such as percentiles and objectives. */
function marks(plot, across, all) {
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.font = `${11 * devicePixelRatio}px system-ui, sans-serif`;
  let next = 0;
  for (const { at, label, name, dash } of all) {
    if (at === null || at === undefined) continue;
    const pos = Math.round(plot.valToPos(at, across, true));
    const write = (text, x, y) => {
      // A rim in the colour of the ground keeps labels legible over lines and points.
      ctx.setLineDash([]);
      ctx.lineWidth = 4 * devicePixelRatio;
      ctx.strokeStyle = colour("card");
      ctx.strokeText(text, x, y);
      ctx.fillText(text, x, y);
    };
    ctx.strokeStyle = ctx.fillStyle = colour(name);
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash((dash ?? [4, 4]).map(length => length * devicePixelRatio));
    ctx.beginPath();
    if (across === "x") {
      if (pos < bbox.left || pos > bbox.left + bbox.width) continue;
      ctx.moveTo(pos, bbox.top);
      ctx.lineTo(pos, bbox.top + bbox.height);
      ctx.stroke();
      const isLeft = pos < bbox.left + bbox.width * 0.6;
      ctx.textAlign = isLeft ? "left" : "right";
      // One below the other, so that labels of marks that are close do not cover each other.
      const y = bbox.top + bbox.height - (8 + 15 * next) * devicePixelRatio;
      write(label, pos + (isLeft ? 5 : -5) * devicePixelRatio, y);
    } else {
      if (pos < bbox.top || pos > bbox.top + bbox.height) continue;
      ctx.moveTo(bbox.left, pos);
      ctx.lineTo(bbox.left + bbox.width, pos);
      ctx.stroke();
      ctx.textAlign = "right";
      write(label, bbox.left + bbox.width - 4 * devicePixelRatio, pos - 5 * devicePixelRatio);
    }
    next += 1;
  }
  ctx.restore();
}

/** Cumulative distributions: `curves` are `{label, name, dash, x, q}` with percentages `q` of samples of at most `x`. */
function ecdf(about, unit, curves, lines) {
  const all = curves.flatMap(curve => [curve.x[0], curve.x[curve.x.length - 1]]);
  const [least, most] = [Math.min(...all), Math.max(...all)];
  const middle = curves[0].x[Math.floor(curves[0].x.length / 2)];
  // A long tail needs a logarithm to be seen beside the rest.
  const isLog = least > 0 && most > 20 * middle;
  return figure(about, () => ({
    options: {
      padding: PADDING,
      scales: {
        x: { time: false, ...(isLog ? { distr: 3 } : { range: () => [Math.max(0, least - (most - least) * 0.05), most + (most - least || 1) * 0.05] }) },
        y: { range: () => [0, 100] },
      },
      cursor: { drag: { x: true, y: false } },
      axes: [xAxis(isLog ? `${unit}, logarithmic` : unit), axis("% of samples")],
      series: [
        { label: unit, value: (plot, value) => (value === null ? "" : number(value, 4)) },
        ...curves.map(curve => line(curve.label, curve.name, { spanGaps: true, dash: curve.dash, value: (plot, q) => (q === null ? "" : `${number(q, 4)} %`) })),
      ],
      hooks: { draw: [plot => marks(plot, "x", lines)] },
    },
    data: uPlot.join(curves.map(curve => [curve.x, curve.q])),
  }));
}
