// What a panel says of its fields, put into the fields: Grafana does this in its server's pages,
// which are not to be had as a library.
import {
  getDisplayProcessor,
  getFieldDisplayName,
  standardTransformers,
  standardTransformersRegistry,
  transformDataFrame,
} from "@grafana/data";
import { firstValueFrom } from "rxjs";

const used = ["organizeFieldsTransformer", "joinByFieldTransformer", "formatStringTransformer"];
standardTransformersRegistry.setInit(() =>
  used.map((name) => {
    const transformation = standardTransformers[name];
    return { id: transformation.id, name: transformation.name, transformation };
  }));

export async function transformed(panel, frames) {
  const steps = panel.transformations ?? [];
  return steps.length ? await firstValueFrom(transformDataFrame(steps, frames)) : frames;
}

function changed(config, id, value) {
  const [first, second] = id.split(".");
  if (first === "custom") config.custom = { ...config.custom, [second]: value };
  else config[id] = value;
}

/** Links of a cell, with the other fields of its row filled in. */
function linksOf(field, frame) {
  return ({ valueRowIndex }) =>
    field.config.links.map(({ title, url, targetBlank }) => ({
      title,
      target: targetBlank ? "_blank" : "_self",
      origin: field,
      href: url.replace(/\$\{__data\.fields\.(\w+)\}/g, (_, name) => {
        const other = frame.fields.find((each) => each.name === name);
        if (!other) throw new Error(`a link asks for a field ${name}`);
        return other.values[valueRowIndex];
      }),
    }));
}

export function shown(panel, frames, theme) {
  const { defaults, overrides } = panel.fieldConfig;
  const numbers = frames.flatMap(({ fields }) => fields.filter(({ type }) => type === "number"));
  const values = numbers.flatMap(({ values }) => values.filter(Number.isFinite));
  const min = Math.min(...values);
  const max = Math.max(...values);
  let seriesIndex = 0;
  for (const frame of frames) {
    for (const field of frame.fields) {
      const config = { ...structuredClone(defaults), ...field.config };
      config.custom = { ...structuredClone(defaults.custom) };
      field.config = config;
      const name = getFieldDisplayName(field, frame, frames);
      for (const { matcher, properties } of overrides) {
        if (matcher.options !== name) continue;
        for (const { id, value } of properties) changed(config, id, structuredClone(value));
      }
      if (config.thresholds) {
        for (const step of config.thresholds.steps) step.value ??= -Infinity;
      }
      field.state = { displayName: name, range: { min, max, delta: max - min } };
      if (field.type === "number") field.state.seriesIndex = seriesIndex++;
      field.display = getDisplayProcessor({ field, theme });
      if (config.links) field.getLinks = linksOf(field, frame);
    }
  }
  return frames;
}
