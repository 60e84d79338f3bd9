// Opens the pages that rbench writes in a headless browser that has no network.
//
// `tools/check-pages` runs this: RBENCH is the program, BROWSER a Chromium, and MODULES a folder with playwright-core.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";

const { RBENCH, BROWSER, MODULES, SCREENSHOTS } = process.env;
const { chromium } = createRequire(join(MODULES, "x"))("playwright-core");

/** What a hostile server says, in bodies and in the name of its model. */
const HOSTILE = "</script><script>window.hacked = 1</script><img src=x onerror='window.hacked = 2'>";

const folder = mkdtempSync(join(tmpdir(), "rbench-pages-"));
const run = promisify(execFile);
let browser;

before(async () => {
  browser = await chromium.launch({ executablePath: BROWSER, args: ["--no-sandbox"] });
});

after(async () => {
  await browser?.close();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs rbench in the folder. Exit codes up to `most` are fine. */
async function rbench(args, most = 0) {
  try {
    return await run(RBENCH, args, { cwd: folder, env: { PATH: process.env.PATH, HOME: folder, HF_HUB_OFFLINE: "1" } });
  } catch (error) {
    assert.ok(error.code <= most, `${args.join(" ")}\n${error.stderr}`);
    return error;
  }
}

/**
 * Records a load of 8 streams on a server that sends a token every `ms`, and `refuse`s requests by their number with
 * markup in the body.
 */
async function record(records, { ms = 5, refuse = () => false, model = "model", seed = 1, requests = 30 }) {
  let asked = 0;
  const server = createServer((request, response) => {
    request.resume().on("end", () => {
      if (!request.url.endsWith("/completions")) return response.writeHead(404).end();
      asked += 1;
      if (refuse(asked)) return response.writeHead(503, { "content-type": "text/html" }).end(HOSTILE);
      response.writeHead(200, { "content-type": "text/event-stream" });
      let left = 8;
      const next = setInterval(() => {
        left -= 1;
        const choices = [{ index: 0, text: " word", finish_reason: left === 0 ? "length" : null }];
        response.write(`data: ${JSON.stringify({ choices, usage: left ? null : { prompt_tokens: 8, completion_tokens: 8 } })}\n\n`);
        if (left > 0) return;
        clearInterval(next);
        response.end("data: [DONE]\n\n");
      }, ms);
    });
  });
  await new Promise(listening => server.listen(0, "127.0.0.1", listening));
  try {
    await rbench(["serve", "--backend", "vllm", "--base-url", `http://127.0.0.1:${server.address().port}`, "--model", model,
      "--tokenizer", "rbench-bundled", "--dataset-name", "random-ids", "--random-input-len", "8", "--random-output-len", "8",
      "--random-range-ratio", "1", "--num-prompts", String(requests), "--warmup-requests", "0", "--max-concurrency", "8",
      "--seed", String(seed), "--records", records], 4);
  } finally {
    server.close();
    server.closeAllConnections();
  }
}

/** Opens a page of the folder without a network; returns it with what it asked for and complained about. */
async function open(name, { width = 1400, height = 900, scheme = "light" } = {}) {
  const context = await browser.newContext({ offline: true, viewport: { width, height }, colorScheme: scheme });
  const page = await context.newPage();
  const asked = [];
  const complaints = [];
  page.on("request", request => asked.push(request.url()));
  page.on("console", message => complaints.push(message.text()));
  page.on("pageerror", error => complaints.push(String(error)));
  const url = pathToFileURL(join(folder, name)).href;
  const begin = performance.now();
  await page.goto(url);
  await page.waitForSelector("html[data-plots]", { timeout: 20_000 });
  const opened = performance.now() - begin;
  assert.deepEqual(asked, [url], "nothing but the page is loaded");
  assert.deepEqual(complaints, []);
  if (SCREENSHOTS) await page.screenshot({ path: join(SCREENSHOTS, `${name}-${width}-${scheme}.png`), fullPage: true });
  return { page, opened };
}

/** For each plot, its title and how many pixels within its axes have a colour. */
const inked = page => page.$$eval(".uplot", plots => plots.map(plot => {
  const canvas = plot.querySelector("canvas");
  const over = plot.querySelector(".u-over");
  const scale = devicePixelRatio;
  const [x, y] = [over.offsetLeft, over.offsetTop].map(at => Math.round(at * scale));
  const { data } = canvas.getContext("2d").getImageData(x, y, Math.round(over.offsetWidth * scale), Math.round(over.offsetHeight * scale));
  let colourful = 0;
  for (let i = 0; i < data.length; i += 4) {
    const [red, green, blue] = [data[i], data[i + 1], data[i + 2]];
    // The grid is grey.
    if (data[i + 3] > 0 && Math.max(red, green, blue) - Math.min(red, green, blue) > 40) colourful += 1;
  }
  return { title: plot.closest("figure").querySelector("h3").textContent, colourful };
}));

const TITLES = ["Requests", "Time to first output", "Gaps between events", "Output tokens per second", "Requests in flight",
  "Offered and achieved rate", "Requests due, sent and completed", "TTFT", "TPOT", "ITL", "E2E"];

async function fits(page) {
  const [content, width] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
  assert.ok(content <= width, `the page is ${content} wide in a window of ${width}`);
}

for (const [scheme, width] of [["light", 1400], ["dark", 1400], ["light", 390], ["dark", 390]]) {
  test(`every plot is drawn, ${scheme}, ${width} px`, async () => {
    if (width === 1400 && scheme === "light") {
      await rbench(["serve", "--mock", "--num-prompts", "120", "--request-rate", "60", "--records", "mock.jsonl", "--goodput", "ttft:400"], 4);
      await rbench(["report", "mock.jsonl", "--html", "mock.html"]);
    }
    const { page } = await open("mock.html", { width, scheme });
    const plots = await inked(page);
    assert.deepEqual(plots.map(plot => plot.title), TITLES);
    for (const { title, colourful } of plots) assert.ok(colourful > 50, `${title}: ${colourful} pixels`);
    await fits(page);
    const line = page.locator(".u-over").first();
    await line.scrollIntoViewIfNeeded();
    const box = await line.boundingBox();
    await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
    await page.waitForFunction(() => /^Request \d+: due at /.test(document.querySelector(".hover").textContent));
  });
}

test("a comparison is drawn", async () => {
  await record("base.jsonl", { ms: 5, requests: 80 });
  await record("new.jsonl", { ms: 9, requests: 80, seed: 2 });
  await rbench(["compare", "base.jsonl", "new.jsonl", "--allow-client-limited", "--html", "compare.html"], 3);
  for (const [scheme, width] of [["light", 1400], ["dark", 390]]) {
    const { page } = await open("compare.html", { scheme, width });
    const plots = await inked(page);
    assert.deepEqual(plots.map(plot => plot.title), ["Changes", "TTFT", "TPOT", "ITL", "E2E"]);
    for (const { title, colourful } of plots) assert.ok(colourful > 50, `${title}: ${colourful} pixels`);
    await fits(page);
  }
});

test("the points of a sweep are drawn", async () => {
  const points = [["1", 4], ["2", 6], ["4", 11]].map(([cap, ms]) => ({ name: `point-${cap}`, values: { "--max-concurrency": cap }, run: 1, ms }));
  for (const { name, ms } of points) {
    mkdirSync(join(folder, "sweep/points", name), { recursive: true });
    await record(`sweep/points/${name}/records.jsonl`, { ms });
  }
  writeFileSync(join(folder, "sweep/sweep.json"), JSON.stringify({
    rbench_sweep: 1, axes: [{ flag: "--max-concurrency" }], tiers: { only: ["p99_ttft<100ms", "p99_tpot<10ms"] }, gpus: 2, points }));
  await rbench(["report", "sweep", "--html", "sweep.html"]);
  for (const [scheme, width] of [["light", 1400], ["dark", 390]]) {
    const { page } = await open("sweep.html", { scheme, width });
    const plots = await inked(page);
    assert.deepEqual(plots.map(plot => plot.title), ["Throughput and interactivity", "Throughput and TTFT", "Throughput and TPOT",
      "Throughput and ITL", "Throughput and end-to-end latency"]);
    for (const { title, colourful } of plots) assert.ok(colourful > 50, `${title}: ${colourful} pixels`);
    await fits(page);
    // Each point has its own plots.
    await page.getByLabel("Show").selectOption("--max-concurrency 4");
    assert.deepEqual((await inked(page)).map(plot => plot.title), TITLES);
  }
});

test("what a server says is text", async () => {
  await record("hostile.jsonl", { refuse: asked => asked % 3 === 0, model: HOSTILE });
  await rbench(["report", "hostile.jsonl", "--html", "hostile.html"]);
  const { page } = await open("hostile.html");
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator("h1").textContent(), HOSTILE);
  assert.ok((await page.locator("pre").allTextContents()).includes(HOSTILE), "the excerpt is shown as it came");
  const plots = await inked(page);
  assert.ok(plots.find(plot => plot.title === "Failures over time").colourful > 50);
  // The policy holds by itself: a script that gets in does not run.
  await page.evaluate(text => {
    const script = document.createElement("script");
    script.textContent = text;
    document.body.append(script);
  }, "window.hacked = 3");
  assert.equal(await page.evaluate(() => window.hacked), undefined);
});
