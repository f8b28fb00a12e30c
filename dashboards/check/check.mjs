// Checks dashboards/*.json against Grafana's own types: what is misspelt is no error to Grafana,
// it is ignored. Then checks that the check can fail.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const dashboards = dirname(here);
// Beside the types, where their imports are found.
const work = join(here, "node_modules", ".dashboards");

const names = readdirSync(dashboards).filter((name) => name.endsWith(".json"));
if (names.length === 0) throw new Error(`no dashboards in ${dashboards}`);
const texts = Object.fromEntries(
  names.map((name) => [name.replace(".json", ""), readFileSync(join(dashboards, name), "utf8")]),
);

// The same dashboard with one thing wrong; each must be found.
const wrongs = {
  "a field of the dashboard": (d) => (d.refreshes = "30s"),
  "a field of a panel": (d) => (chart(d).help = "help"),
  "an option of its kind": (d) => (chart(d).options.legend.sortDescending = true),
  "a value of an option": (d) => (chart(d).options.legend.placement = "left"),
  "a default of its fields": (d) => (chart(d).fieldConfig.defaults.units = "s"),
  "a custom default": (d) => (chart(d).fieldConfig.defaults.custom.fillAlpha = 8),
  "a property of an override": (d) => (chart(d).fieldConfig.overrides[0].properties[0].id = "colour"),
  "the mode of a threshold": (d) => (number(d).fieldConfig.defaults.thresholds.mode = "absolutely"),
  "a field of a query": (d) => (chart(d).targets[0].legend = "{{code}}"),
  "a kind of panel": (d) => (chart(d).type = "graph"),
  "a type": (d) => (chart(d).gridPos.w = "12"),
  "a panel without help": (d) => delete chart(d).description,
};
const first = (d, kind) => d.panels.find((panel) => panel.type === kind);
const chart = (d) => first(d, "timeseries");
const number = (d) => first(d, "stat");

function written(file, text) {
  const line = 'import type { Dashboard } from "../../types";\n';
  const path = join(work, `${file}.ts`);
  writeFileSync(path, `${line}export const d: Dashboard = ${text.trimEnd()};\n`);
  return path;
}

/** The compiler's errors, by file. */
function errors(paths) {
  const flags = "--noEmit --strict --skipLibCheck --module esnext --moduleResolution bundler";
  const tsc = join(here, "node_modules", "typescript", "bin", "tsc");
  const run = spawnSync(process.execPath, [tsc, ...flags.split(" "), ...paths], {
    encoding: "utf8",
    cwd: here,
  });
  if (run.error) throw run.error;
  const lines = run.stdout.split("\n").filter((line) => /^\S.*error TS/.test(line));
  if (run.status !== 0 && lines.length === 0) throw new Error(run.stdout + run.stderr);
  return lines;
}

rmSync(work, { recursive: true, force: true });
mkdirSync(work, { recursive: true });
const right = Object.entries(texts).map(([name, text]) => written(name, text));
const wrong = Object.entries(wrongs).map(([what, spoil], n) => {
  const spoilt = JSON.parse(texts.service);
  spoil(spoilt);
  return [what, written(`wrong-${n}`, JSON.stringify(spoilt))];
});
const found = errors([...right, ...wrong.map(([, path]) => path)]);

const isOf = (path) => (line) => line.includes(path.slice(work.length));
const bad = found.filter((line) => !wrong.some(([, path]) => isOf(path)(line)));
const blind = wrong.filter(([, path]) => !found.some(isOf(path)));
for (const line of bad) console.error(line);
for (const [what] of blind) console.error(`the check does not see ${what}`);
console.log(
  `${right.length} dashboards, ${bad.length} errors; ` +
    `${wrong.length - blind.length} of ${wrong.length} spoilt ones found`,
);
process.exit(bad.length || blind.length ? 1 : 0);
