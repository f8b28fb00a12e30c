// Opens the page that `draw` has built in headless Chromium, once for each dashboard. That script
// says how it is called.
import { createReadStream, existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { dirname, extname, join, normalize, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
const NAMES = ["service", "sources", "security", "tenants", "process"];
const SCREEN = { width: 1920, height: 1080 };
const TYPES = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".css": "text/css",
  ".json": "application/json",
  ".svg": "image/svg+xml",
};

const { values: said, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    stack: { type: "string" },
    minutes: { type: "string", default: "10" },
    out: { type: "string", default: here },
    suffix: { type: "string", default: "" },
    whole: { type: "boolean", default: false },
  },
});
if (!said.stack) throw new Error("--stack FILE says which stack is to be drawn");
const unknown = positionals.filter((name) => !NAMES.includes(name));
if (unknown.length) throw new Error(`there is no dashboard ${unknown}; there are ${NAMES}`);
const prometheus = JSON.parse(readFileSync(said.stack, "utf8")).prometheus;

function fileOf(pathname) {
  if (pathname === "/") return join(here, "index.html");
  const [, dashboard] = pathname.match(/^\/dashboards\/(\w+\.json)$/) ?? [];
  if (dashboard) return join(dirname(here), dashboard);
  const [, icon] = pathname.match(/\/img\/icons\/(.+)$/) ?? [];
  if (icon) return join(here, "node_modules/@grafana/ui/dist/public/img/icons", icon);
  return join(here, "dist", pathname);
}

/** The page, the dashboards and Prometheus, all from one origin. */
const server = createServer((asked, answer) => {
  const { pathname } = new URL(asked.url, "http://page");
  if (pathname.startsWith("/api/")) {
    const passed = request(prometheus + asked.url, (got) => {
      answer.writeHead(got.statusCode, { "content-type": "application/json" });
      got.pipe(answer);
    });
    passed.on("error", (error) => answer.writeHead(502).end(error.message)).end();
    return;
  }
  const path = fileOf(normalize(pathname));
  if (!existsSync(path)) return answer.writeHead(404).end();
  answer.writeHead(200, { "content-type": TYPES[extname(path)] ?? "application/octet-stream" });
  createReadStream(path).pipe(answer);
});
await new Promise((ready) => server.listen(0, "127.0.0.1", ready));

async function open(page, address) {
  let asked = 0;
  page.on("request", () => asked++);
  await page.goto(address);
  await page.waitForFunction(() => window.drawn || window.failed, null, { timeout: 30_000 });
  // Icons come last: all is there when nothing more was asked for in a while.
  for (let before = -1; before < asked; ) {
    before = asked;
    await new Promise((ready) => setTimeout(ready, 500));
  }
  const failed = await page.evaluate(() => window.failed);
  if (failed) throw new Error(`${address}: ${failed}`);
}

const profile = mkdtempSync(join(tmpdir(), "pictures-"));
const quiet = "--disable-gpu --disable-quic --no-first-run --disable-background-networking " +
  "--disable-component-update --disable-sync --hide-scrollbars";
const browser = await chromium.launchPersistentContext(profile, {
  executablePath: "/usr/bin/chromium",
  args: quiet.split(" "),
  chromiumSandbox: false,
  viewport: SCREEN,
  timezoneId: "UTC",
});
try {
  const to = Math.floor(Date.now() / 1000);
  for (const dashboard of positionals.length ? positionals : NAMES) {
    const page = await browser.newPage();
    // Whatever goes wrong in the page, the picture is of no use.
    page.on("pageerror", (error) => page.evaluate((text) => (window.failed ??= text), `${error}`));
    const query = new URLSearchParams({ dashboard, to, minutes: said.minutes });
    const address = `http://127.0.0.1:${server.address().port}/?${query}`;
    await open(page, address);
    if (said.whole) {
      // What is out of sight is not drawn in full.
      const height = await page.evaluate(() => document.documentElement.scrollHeight);
      await page.setViewportSize({ ...SCREEN, height });
      await open(page, address);
    }
    const path = resolve(said.out, `${dashboard}${said.suffix}.png`);
    await page.screenshot({ path });
    console.log(path);
    await page.close();
  }
} finally {
  await browser.close();
  server.close();
  rmSync(profile, { recursive: true, force: true });
}
