// Each kind of panel, drawn by Grafana's own components.
import { getDisplayValueAlignmentFactors, getFieldDisplayValues } from "@grafana/data";
import { BigValue, PanelChrome, TimeSeries, VizRepeater, useTheme2 } from "@grafana/ui";
import { TableNG } from "@grafana/ui/unstable";
import { Heatmap } from "./heatmap";

function Stat({ panel, frames, width, height }) {
  const theme = useTheme2();
  const { reduceOptions, orientation, textMode, colorMode, graphMode, justifyMode } = panel.options;
  const values = () =>
    getFieldDisplayValues({
      fieldConfig: panel.fieldConfig,
      reduceOptions,
      replaceVariables: (text) => text,
      theme,
      data: frames,
      sparkline: graphMode !== "none",
    });
  return (
    <VizRepeater
      getValues={values}
      getAlignmentFactors={getDisplayValueAlignmentFactors}
      source={frames}
      width={width}
      height={height}
      itemSpacing={3}
      autoGrid
      orientation={orientation}
      renderValue={({ value, alignmentFactors, width, height, count }) => (
        <BigValue
          value={value.display}
          count={count}
          sparkline={value.sparkline}
          {...{ colorMode, graphMode, justifyMode, textMode, alignmentFactors, width, height, theme }}
        />
      )}
    />
  );
}

function Chart({ panel, frames, width, height, timeRange }) {
  return (
    <TimeSeries
      {...{ frames, width, height, timeRange }}
      timeZone="utc"
      legend={panel.options.legend}
      options={panel.options}
    />
  );
}

function Rows({ panel, frames, width, height, timeRange }) {
  return (
    <TableNG
      {...{ width, height, timeRange }}
      data={frames[0]}
      noHeader={!panel.options.showHeader}
      cellHeight={panel.options.cellHeight}
      initialSortBy={panel.options.sortBy}
      fieldConfig={panel.fieldConfig}
    />
  );
}

const KINDS = { stat: Stat, timeseries: Chart, table: Rows, heatmap: Heatmap };

function Nothing({ panel, height }) {
  const theme = useTheme2();
  return (
    <div style={{ height, display: "grid", placeContent: "center", color: theme.colors.text.secondary }}>
      {panel.fieldConfig.defaults.noValue ?? "No data"}
    </div>
  );
}

export function Panel({ panel, frames, width, height, timeRange }) {
  const Kind = KINDS[panel.type];
  if (!Kind) throw new Error(`there is no way to draw ${panel.type}`);
  const isEmpty = frames.every(({ length }) => length === 0) && panel.type !== "stat";
  return (
    <PanelChrome
      title={panel.title}
      description={panel.description}
      width={width}
      height={height}
      padding={panel.type === "table" ? "none" : "md"}
    >
      {(innerWidth, innerHeight) =>
        isEmpty ? (
          <Nothing panel={panel} height={innerHeight} />
        ) : (
          <Kind {...{ panel, frames, timeRange }} width={innerWidth} height={innerHeight} />
        )}
    </PanelChrome>
  );
}
