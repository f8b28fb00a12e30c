// Asks Prometheus as Grafana would, and gives the frames that Grafana would make of the answers.
import { FieldType } from "@grafana/data";

/** What a variable stands for in this picture. */
function filled(expression, { step, scrape, from, to }) {
  // In a stack that is sped up the requests are not: a window that fits the scrapes has none.
  const rate = Math.max(step + scrape, 4 * scrape, 5);
  const values = {
    $__rate_interval: `${Math.round(rate * 1000)}ms`,
    $__interval: `${Math.round(step * 1000)}ms`,
    $__range: `${Math.round(to - from)}s`,
    $instance: ".*",
  };
  return Object.entries(values).reduce((text, [name, value]) => text.replaceAll(name, value), expression);
}

async function ask(path, parameters) {
  const answer = await fetch(`/api/v1/${path}?${new URLSearchParams(parameters)}`);
  const { status, data, error } = await answer.json();
  if (status !== "success") throw new Error(`${parameters.query}: ${error}`);
  return data;
}

export async function scrapeInterval() {
  const { yaml } = await ask("status/config", {});
  const [, number, unit] = yaml.match(/scrape_interval: (\d+)(ms|s|m)/);
  return Number(number) * { ms: 0.001, s: 1, m: 60 }[unit];
}

function named(legend, labels) {
  return legend ? legend.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => labels[label] ?? "") : undefined;
}

function frame({ target, labels, times, values, step }) {
  const name = named(target.legendFormat, labels);
  return {
    refId: target.refId,
    name,
    length: times.length,
    fields: [
      // A longer pause than this is drawn as one.
      { name: "Time", type: FieldType.time, config: { interval: step * 1000 }, values: times },
      { name: "Value", type: FieldType.number, labels, values, config: { displayNameFromDS: name } },
    ],
  };
}

/** One frame with a row for each series and a column for each label. */
function rows(target, result, isOneOfMany) {
  const labels = [...new Set(result.flatMap(({ metric }) => Object.keys(metric)))].sort();
  const column = (name, type, values) => ({ name, type, values, config: {} });
  return {
    refId: target.refId,
    length: result.length,
    fields: [
      column("Time", FieldType.time, result.map(({ value }) => value[0] * 1000)),
      ...labels.map((label) => column(label, FieldType.string, result.map(({ metric }) => metric[label]))),
      column(
        isOneOfMany ? `Value #${target.refId}` : "Value",
        FieldType.number,
        result.map(({ value }) => Number(value[1])),
      ),
    ],
  };
}

/** The answers to all queries of a panel. */
export async function frames(panel, { from, to, scrape, width }) {
  // A point for every few pixels, but none between two scrapes.
  const step = Math.max((to - from) / Math.max(width / 4, 50), scrape);
  const asked = panel.targets.map(async (target) => {
    const query = filled(target.expr, { step, scrape, from, to });
    if (target.format === "table") {
      const { result } = await ask("query", { query, time: to });
      return [rows(target, result, panel.targets.length > 1)];
    }
    if (target.instant) {
      const { result } = await ask("query", { query, time: to });
      return result.map(({ metric, value }) =>
        frame({ target, labels: metric, times: [value[0] * 1000], values: [Number(value[1])], step }));
    }
    const { result } = await ask("query_range", { query, start: from, end: to, step });
    return result.map(({ metric, values }) =>
      frame({
        target,
        labels: metric,
        times: values.map(([time]) => time * 1000),
        values: values.map(([, value]) => Number(value)),
        step,
      }));
  });
  return (await Promise.all(asked)).flat();
}
