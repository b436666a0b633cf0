/** What a file's metadata say about its styles. */
import { MINIMUM_SIZE } from "./input-shape";
import { roundHalfToEven } from "./sizes";

/** A style of a network. */
export interface Style {
  /** Empty if the file doesn't say. */
  readonly name: string;
  /** Painter, title and year, as far as the file says. */
  readonly credit?: string;
  /** Short side, in pixels, of the photos on which the style was trained: there, strokes are as in the painting. */
  readonly size?: number;
}

type Metadata = ReadonlyMap<string, string>;

/** The styles of a network with weights of styles, in the order of these; undefined if the file doesn't name them. */
export function readStyles(metadata: Metadata, count: number): Style[] | undefined {
  const names = parseJson(metadata.get("styles"));
  if (!Array.isArray(names) || names.length !== count || !names.every((name) => typeof name === "string")) {
    return undefined;
  }
  const credits = parseObject(metadata.get("credits"));
  const sizes = parseObject(metadata.get("sizes"));
  return names.map((given) => {
    const name = given.normalize();
    return describe(name, credits.get(name), sizes.get(name) ?? metadata.get("size"));
  });
}

/** The style of a network that has no others, or the blend that it was made of. */
export function readStyle(metadata: Metadata): Style {
  const credits = [...parseObject(metadata.get("credits")).values()].join("; ");
  return describe(metadata.get("style") ?? "", credits || metadata.get("painter"), metadata.get("size"));
}

/** Short side of the photos on which a blend was trained: the mean; undefined if a style's is unknown. */
export function trainedShortSide(styles: readonly Style[], weights: readonly number[]): number | undefined {
  const used = styles.map(({ size }, i) => ({ size, weight: weights[i] ?? 0 })).filter(({ weight }) => weight);
  if (used.some(({ size }) => size === undefined)) return undefined;
  return roundHalfToEven(used.reduce((sum, { size, weight }) => sum + weight * size!, 0));
}

function describe(name: string, credit: unknown, size: unknown): Style {
  const side = /^\d+$/.test(String(size)) ? Number(size) : 0;
  return { name, ...(credit ? { credit: String(credit) } : {}), ...(side >= MINIMUM_SIZE ? { size: side } : {}) };
}

function parseObject(text: string | undefined): Map<string, unknown> {
  const found = parseJson(text);
  if (typeof found !== "object" || found === null || Array.isArray(found)) return new Map();
  return new Map(Object.entries(found).map(([name, value]) => [name.normalize(), value]));
}

function parseJson(text: string | undefined): unknown {
  try {
    return JSON.parse(text ?? "");
  } catch {
    return undefined;
  }
}
