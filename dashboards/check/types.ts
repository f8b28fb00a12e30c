// What a dashboard of ours may be: Grafana's own types, and stricter where they leave things
// open. Their enumerations are written as text in JSON; the options of a panel are those of its
// kind; an override changes a property that there is.
import type * as grafana from "@grafana/schema";
import type * as heatmap from "@grafana/schema/dist/esm/raw/composable/heatmap/panelcfg/x/HeatmapPanelCfg_types.gen";
import type * as stat from "@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen";
import type * as table from "@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen";
import type * as timeseries from "@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen";

/** The same in JSON; what is left out is Grafana's default. */
type Plain<T> = T extends string
  ? `${T}`
  : T extends (infer Item)[]
    ? Plain<Item>[]
    : T extends object
      ? { [Key in keyof T]: Plain<T[Key]> }
      : T;
type Some<T> = T extends unknown[] ? T : T extends object ? { [Key in keyof T]?: Some<T[Key]> } : T;

/** What is asked of Prometheus. */
interface Target {
  refId: string;
  expr: string;
  legendFormat?: string;
  format?: "table" | "heatmap";
  instant?: true;
  range?: true;
}
type Link = Pick<grafana.DashboardLink, "title" | "targetBlank"> & { url: string };

type Defaults = Plain<Omit<grafana.FieldConfig, "custom" | "links">> & { links?: Link[] };
type Changes<Fields> = {
  [Key in keyof Fields & string]-?: { id: Key; value: NonNullable<Fields[Key]> };
}[keyof Fields & string];
type Customized<Custom> = { [Key in keyof Custom & string as `custom.${Key}`]: Custom[Key] };

interface Organize {
  id: "organize";
  options: Record<"indexByName", Record<string, number>> &
    Record<"renameByName", Record<string, string>> &
    Record<"includeByName", Record<string, boolean>>;
}
interface Join {
  id: "joinByField";
  options: { byField: string; mode: "outer" | "inner" };
}
interface Format {
  id: "formatString";
  options: { stringField: string; outputFormat: "Lower Case" };
}

interface PanelOf<Kind extends string, Options, Custom>
  extends Pick<Plain<grafana.Panel>, "id" | "title" | "description" | "datasource" | "gridPos"> {
  type: Kind;
  title: string;
  description: string;
  targets: Target[];
  options: Some<Plain<Options>>;
  fieldConfig: {
    defaults: Defaults & { custom?: Some<Plain<Custom>> };
    overrides: {
      matcher: { id: "byName"; options: string };
      properties: (Changes<Defaults> | Changes<Customized<Plain<Custom>>>)[];
    }[];
  };
  links?: Link[];
  transformations?: (Organize | Join | Format)[];
}

interface Row extends Omit<Plain<grafana.RowPanel>, "panels"> {
  panels: [];
}

export type Panel =
  | Row
  | PanelOf<"timeseries", timeseries.Options, timeseries.FieldConfig>
  | PanelOf<"stat", stat.Options, never>
  | PanelOf<"heatmap", heatmap.Options, heatmap.FieldConfig>
  | PanelOf<"table", table.Options, table.FieldConfig>;

interface Annotation extends Omit<Plain<grafana.AnnotationQuery>, "target"> {
  target: Target;
  titleFormat: string;
  textFormat: string;
}

export interface Dashboard
  extends Omit<Plain<grafana.Dashboard>, "panels" | "annotations" | "templating"> {
  uid: string;
  templating: { list: Plain<grafana.VariableModel>[] };
  annotations: { list: Annotation[] };
  panels: Panel[];
}

/** It stays what Grafana calls a dashboard. */
export type Accepted = Dashboard extends Plain<Omit<grafana.Dashboard, "annotations" | "panels">>
  ? true
  : never;
export const accepted: Accepted = true;
