// Stands for Grafana's heatmap, which is no part of its libraries: the same cells and colours.
import { dateTimeFormat, fieldColorModeRegistry, getValueFormat } from "@grafana/data";
import { useTheme2 } from "@grafana/ui";
import { useLayoutEffect, useRef } from "react";

const LEFT = 54;
const BOTTOM = 22;
const TOP = 6;
const TICKS = [5, 15, 30, 60, 120, 300, 600, 1800, 3600, 7200].map((seconds) => seconds * 1000);

/** Of cumulative buckets what fell into each, lowest first. */
function cells(frames) {
  const bound = (frame) => Number(frame.fields[1].labels.le.replace("+Inf", "Infinity"));
  const sorted = [...frames].sort((a, b) => bound(a) - bound(b));
  return sorted.map((frame, n) => {
    const below = n > 0 ? sorted[n - 1].fields[1].values : [];
    const values = frame.fields[1].values.map((value, at) => Math.max(0, value - (below[at] ?? 0)));
    return { bound: bound(frame), times: frame.fields[0].values, values };
  });
}

export function Heatmap({ panel, frames, width, height, timeRange }) {
  const theme = useTheme2();
  const canvas = useRef(null);
  useLayoutEffect(() => {
    const context = canvas.current.getContext("2d");
    const buckets = cells(frames);
    const most = Math.max(...buckets.flatMap(({ values }) => values));
    const scheme = `continuous-${panel.options.color.scheme.toLowerCase()}`;
    const color = fieldColorModeRegistry.get(scheme).getCalculator({ config: {} }, theme);
    const from = timeRange.from.valueOf();
    const to = timeRange.to.valueOf();
    const x = (time) => LEFT + ((time - from) / (to - from)) * (width - LEFT);
    const tall = (height - BOTTOM - TOP) / buckets.length;
    const step = buckets[0].times[1] - buckets[0].times[0];
    context.clearRect(0, 0, width, height);
    context.font = `12px ${theme.typography.fontFamily}`;
    buckets.forEach(({ values, times }, row) => {
      const y = height - BOTTOM - (row + 1) * tall;
      values.forEach((value, at) => {
        if (value <= panel.options.filterValues.le) return;
        context.fillStyle = color(value, (value / most) ** panel.options.color.exponent);
        const left = Math.max(LEFT, x(times[at] - step));
        context.fillRect(left, y, Math.max(1, x(times[at]) - left - 1), tall - 1);
      });
    });
    context.fillStyle = theme.colors.text.primary;
    context.textBaseline = "middle";
    context.textAlign = "right";
    const format = getValueFormat(panel.options.yAxis.unit);
    const every = Math.ceil(16 / tall);
    buckets.forEach(({ bound }, row) => {
      if (row % every !== 0 || !Number.isFinite(bound)) return;
      const { text, suffix = "" } = format(bound);
      context.fillText(`${text}${suffix}`, LEFT - 6, height - BOTTOM - (row + 1) * tall);
    });
    context.textAlign = "center";
    const apart = TICKS.find((ms) => (to - from) / ms <= width / 120) ?? TICKS.at(-1);
    for (let time = Math.ceil(from / apart) * apart; time < to; time += apart) {
      if (x(time) - LEFT < 30 || width - x(time) < 30) continue;
      context.fillText(dateTimeFormat(time, { format: "HH:mm:ss" }), x(time), height - BOTTOM / 2);
    }
  });
  return <canvas ref={canvas} width={width} height={height} />;
}
