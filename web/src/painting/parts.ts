/** Writing a part of a network as a model of its own, which runs on one strip of a photo after the other. */
import { FLOAT, FLOAT16, INT64, makeNode, makeValue, writeModel, type Model, type Node, type Value } from "./model";
import type { RowCounts } from "./row-counts";

/** Operators that number rows, the latter as the sum of a one for each. */
const COUNTING = ["Range", "CumSum"];
const ELEMENTS: Readonly<Record<string, number>> = { float16: FLOAT16, float32: FLOAT, int64: INT64 };

/** What a part of a network takes and returns. */
export interface PartOptions {
  readonly nodes: readonly Node[];
  /** The tensor that the part computes. */
  readonly target: string;
  /** Tensors that it takes as they have been kept. */
  readonly takes: readonly string[];
  /** Tensors that are to be kept. */
  readonly keeps: readonly string[];
  /** Outputs of resizings whose rows must be computed by their places in the whole picture. */
  readonly drifting: ReadonlySet<string>;
}

/** A graph to which nodes, inputs and outputs are added. */
interface Draft {
  readonly nodes: Node[];
  readonly inputs: Value[];
  readonly outputs: Value[];
  readonly element: (name: string) => number;
}

/**
 * The bytes of a part's model, which takes kept tensors and statistics, and returns strips and their moments.
 *
 * Inputs and outputs besides the network's own are called TENSOR/ROLE.
 */
export function writePart(model: Model, rows: RowCounts, part: PartOptions): Uint8Array {
  const element = (name: string) => ELEMENTS[rows.elementOf(name)]!;
  const draft: Draft = { nodes: [], inputs: [], outputs: [], element };
  for (const name of part.takes) {
    draft.nodes.push(makeNode("Cast", [addInput(draft, `${name}/kept`, FLOAT16)], name, { to: element(name) }));
  }
  for (const node of part.nodes) addNode(draft, node, rows, part.drifting);
  addInput(draft, "rows/axis", INT64);
  const picture = model.outputs[0]!.name;
  for (const name of new Set([part.target, ...part.keeps])) {
    const strip = addStrip(draft, name);
    if (name === picture) draft.outputs.push(makeValue(strip));
    else if (name === part.target) addMoments(draft, name, strip);
    if (part.keeps.includes(name)) addOutput(draft, makeNode("Cast", [strip], `${name}/strip_kept`, { to: FLOAT16 }));
  }
  const used = new Set(draft.nodes.flatMap((node) => node.inputs));
  return writeModel({
    ...model,
    nodes: draft.nodes,
    weights: model.weights.filter((weight) => used.has(weight.name)),
    inputs: [...draft.inputs, ...model.inputs.filter((input) => used.has(input.name))],
    outputs: draft.outputs,
  });
}

/** Add a node, or what takes its place in strips. */
function addNode(draft: Draft, node: Node, rows: RowCounts, drifting: ReadonlySet<string>): void {
  const name = node.outputs[0]!;
  if (node.op === "InstanceNormalization") {
    const statistics = ["mean", "variance"].map((role) => addInput(draft, `${node.inputs[0]}/${role}`, FLOAT));
    draft.nodes.push({ ...node, op: "BatchNormalization", inputs: [...node.inputs, ...statistics] });
  } else if (COUNTING.includes(node.op) && rows.scales.has(name)) {
    const first = addInput(draft, `${name}/first`, INT64);
    draft.nodes.push(
      { ...node, outputs: [`${name}/local`] },
      makeNode("Cast", [first], `${name}/rows_above`, { to: draft.element(name) }),
      makeNode("Add", [`${name}/local`, `${name}/rows_above`], name),
    );
  } else if (drifting.has(name)) {
    addExactResizing(draft, node);
  } else {
    draft.nodes.push(node);
  }
}

/** Resize rows by their places in the whole picture, and then only columns as the node does. */
function addExactResizing(draft: Draft, node: Node): void {
  const small = node.inputs[0]!;
  const large = node.outputs[0]!;
  const inside = (role: string) => `${large}/${role}`;
  const index = (role: string) => addInput(draft, inside(role), INT64);
  const weight = addInput(draft, inside("weight"), FLOAT);
  draft.nodes.push(
    makeNode("Gather", [small, index("above")], inside("above_rows"), { axis: 2 }),
    makeNode("Gather", [small, index("below")], inside("below_rows"), { axis: 2 }),
    makeNode("Cast", [weight], inside("share"), { to: draft.element(small) }),
    makeNode("Sub", [inside("below_rows"), inside("above_rows")], inside("difference")),
    makeNode("Mul", [inside("difference"), inside("share")], inside("step")),
    makeNode("Add", [inside("above_rows"), inside("step")], inside("rows")),
    { ...node, inputs: [inside("rows"), ...node.inputs.slice(1)] },
  );
}

/** Cut the strip's own rows out of a tensor. */
function addStrip(draft: Draft, name: string): string {
  const bounds = ["from", "to"].map((role) => addInput(draft, `${name}/${role}`, INT64));
  draft.nodes.push(makeNode("Slice", [name, ...bounds, "rows/axis"], `${name}/strip`));
  return `${name}/strip`;
}

/** Return the means of a strip's values and of their squares. */
function addMoments(draft: Draft, name: string, strip: string): void {
  draft.nodes.push(makeNode("Mul", [strip, strip], `${name}/squares`));
  addOutput(draft, makeNode("GlobalAveragePool", [strip], `${name}/strip_mean`));
  addOutput(draft, makeNode("GlobalAveragePool", [`${name}/squares`], `${name}/strip_square`));
}

function addOutput(draft: Draft, node: Node): void {
  draft.nodes.push(node);
  draft.outputs.push(makeValue(node.outputs[0]!));
}

function addInput(draft: Draft, name: string, element: number): string {
  draft.inputs.push(makeValue(name, element));
  return name;
}
