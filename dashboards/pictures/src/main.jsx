// The page: a dashboard in its own grid, over a time that the address says. It sets `drawn` when
// all is there, or `failed`.
import "@fontsource/inter/400.css";
import "@fontsource/inter/500.css";
import { ThemeContext, createTheme, dateTime } from "@grafana/data";
import { GlobalStyles, PortalContainer } from "@grafana/ui";
import { createRoot } from "react-dom/client";
import { shown, transformed } from "./fields";
import { Panel } from "./panels";
import { frames, scrapeInterval } from "./prometheus";

// Grafana's grid.
const COLUMNS = 24;
const CELL = 30;
const GAP = 8;
const MARGIN = 16;
const HEADER = 48;

const theme = createTheme({ colors: { mode: "dark" } });

function place({ x, y, w, h }, width) {
  const column = (width - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS;
  return {
    left: MARGIN + x * (column + GAP),
    top: HEADER + y * (CELL + GAP),
    width: w * column + (w - 1) * GAP,
    height: h * CELL + (h - 1) * GAP,
  };
}

function Header({ dashboard, from, to }) {
  const at = (time) => dateTime(time * 1000).utc().format("YYYY-MM-DD HH:mm:ss");
  const style = {
    height: HEADER, padding: `0 ${MARGIN}px`, display: "flex", alignItems: "center",
    justifyContent: "space-between", color: theme.colors.text.primary,
  };
  return (
    <div style={style}>
      <strong style={{ fontSize: 18, fontWeight: 500 }}>{dashboard.title}</strong>
      <span style={{ color: theme.colors.text.secondary }}>
        Instance: All · {at(from)} to {at(to)} UTC
      </span>
    </div>
  );
}

function Dashboard({ dashboard, filled, from, to, width }) {
  const timeRange = { from: dateTime(from * 1000), to: dateTime(to * 1000) };
  timeRange.raw = { from: timeRange.from, to: timeRange.to };
  const lowest = Math.max(...dashboard.panels.map(({ gridPos: { y, h } }) => y + h));
  return (
    <ThemeContext.Provider value={theme}>
      <GlobalStyles hackNoBackdropBlur isExtensionSidebarOpen={false} />
      <div style={{ position: "relative", height: HEADER + lowest * (CELL + GAP) }}>
        <Header {...{ dashboard, from, to }} />
        {dashboard.panels.map((panel) => {
          const at = place(panel.gridPos, width);
          return (
            <div key={panel.id} style={{ position: "absolute", ...at }}>
              {panel.type === "row" ? (
                <div style={{ padding: "4px 0", fontSize: 16, fontWeight: 500, color: theme.colors.text.primary }}>
                  {panel.title}
                </div>
              ) : (
                <Panel panel={panel} frames={filled[panel.id]} timeRange={timeRange} width={at.width} height={at.height} />
              )}
            </div>
          );
        })}
      </div>
      <PortalContainer />
    </ThemeContext.Provider>
  );
}

async function draw() {
  const asked = new URLSearchParams(location.search);
  const dashboard = await (await fetch(`/dashboards/${asked.get("dashboard")}.json`)).json();
  const to = Number(asked.get("to"));
  const from = to - 60 * Number(asked.get("minutes"));
  const scrape = await scrapeInterval();
  const width = document.documentElement.clientWidth;
  const filled = {};
  await Promise.all(
    dashboard.panels.filter(({ type }) => type !== "row").map(async (panel) => {
      const found = await frames(panel, { from, to, scrape, width: place(panel.gridPos, width).width });
      filled[panel.id] = shown(panel, await transformed(panel, found), theme);
    }),
  );
  await document.fonts.load("14px Inter");
  await document.fonts.load("500 14px Inter");
  createRoot(document.getElementById("root")).render(
    <Dashboard {...{ dashboard, filled, from, to, width }} />,
  );
  // What is measured is drawn in the frames after the first.
  for (let n = 0; n < 5; n++) await new Promise(requestAnimationFrame);
  window.drawn = true;
}

draw().catch((error) => (window.failed = `${error.stack}`));
