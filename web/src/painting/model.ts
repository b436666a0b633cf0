/**
 * The messages of ONNX's file format, as far as cutting a network into parts needs them. Whatever isn't named here is
 * kept as it is. The numbers are those of https://github.com/onnx/onnx/blob/main/onnx/onnx.proto.
 */
import {
  bytesField,
  integerField,
  integersOf,
  messageField,
  parseFields,
  textField,
  textsOf,
  valuesOf,
  writeFields,
  type Field,
} from "./wire";

/** Types of elements. */
export const FLOAT = 1;
export const INT64 = 7;
export const FLOAT16 = 10;

export interface Node {
  readonly op: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Its attributes among them. */
  readonly others: readonly Field[];
}

/** A weight: a constant tensor. */
export interface Weight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Uint8Array;
}

/** An input or output. */
export interface Value {
  readonly name: string;
  readonly data: Uint8Array;
}

export interface Model {
  readonly nodes: readonly Node[];
  readonly weights: readonly Weight[];
  readonly inputs: readonly Value[];
  readonly outputs: readonly Value[];
  readonly graphOthers: readonly Field[];
  readonly others: readonly Field[];
}

const MODEL = { graph: 7, metadata: 14 };
const ENTRY = { key: 1, value: 2 };
const GRAPH = { node: 1, weight: 5, input: 11, output: 12, valueInfo: 13 };
const NODE = { input: 1, output: 2, op: 4, attribute: 5 };
const ATTRIBUTE = { name: 1, integer: 3, text: 4, integers: 8, type: 20 };
const INTEGER = 2; // AttributeProto.AttributeType
const WEIGHT = { shape: 1, name: 8 };
const VALUE = { name: 1, type: 2 };
const TENSOR_TYPE = 1;
const ELEMENT = 1;

/**
 * The model in the bytes of an ONNX file, without what it says about tensors between nodes.
 *
 * @throws RangeError if the bytes are no model.
 */
export function parseModel(data: Uint8Array): Model {
  const fields = parseFields(data);
  const graphs = valuesOf(fields, MODEL.graph);
  if (graphs.length !== 1) throw new RangeError("there is no graph");
  const graph = parseFields(graphs[0]!);
  const known = Object.values(GRAPH);
  return {
    nodes: valuesOf(graph, GRAPH.node).map(parseNode),
    weights: valuesOf(graph, GRAPH.weight).map(parseWeight),
    inputs: valuesOf(graph, GRAPH.input).map(parseValue),
    outputs: valuesOf(graph, GRAPH.output).map(parseValue),
    graphOthers: graph.filter((field) => !known.includes(field.number)),
    others: fields.filter((field) => field.number !== MODEL.graph),
  };
}

/** The bytes of a model's file. */
export function writeModel(model: Model): Uint8Array {
  const graph = [
    ...model.nodes.map((node) => messageField(GRAPH.node, nodeFields(node))),
    ...model.weights.map(({ data }) => bytesField(GRAPH.weight, data)),
    ...model.inputs.map(({ data }) => bytesField(GRAPH.input, data)),
    ...model.outputs.map(({ data }) => bytesField(GRAPH.output, data)),
    ...model.graphOthers,
  ];
  return writeFields([...model.others, messageField(MODEL.graph, graph)]);
}

/** The names and values that a model's file has besides the network. */
export function readMetadata(model: Model): Map<string, string> {
  const entries = valuesOf(model.others, MODEL.metadata).map(parseFields);
  return new Map(entries.map((entry) => [textsOf(entry, ENTRY.key)[0] ?? "", textsOf(entry, ENTRY.value)[0] ?? ""]));
}

/** A node with one output, whose attributes are whole numbers. */
export function makeNode(op: string, inputs: string[], output: string, attributes: Record<string, number> = {}): Node {
  const others = Object.entries(attributes).map(([name, value]) =>
    messageField(NODE.attribute, [
      textField(ATTRIBUTE.name, name),
      integerField(ATTRIBUTE.integer, value),
      integerField(ATTRIBUTE.type, INTEGER),
    ]),
  );
  return { op, inputs, outputs: [output], others };
}

/** An input or output of any shape, the type of whose elements may be left open for outputs. */
export function makeValue(name: string, element?: number): Value {
  const type = element === undefined ? [] : [messageField(TENSOR_TYPE, [integerField(ELEMENT, element)])];
  const fields = [textField(VALUE.name, name), ...type.map((field) => messageField(VALUE.type, [field]))];
  return { name, data: writeFields(fields) };
}

/** An attribute that is a text. */
export function textAttribute(node: Node, name: string): string | undefined {
  return textsOf(attribute(node, name), ATTRIBUTE.text)[0];
}

/** An attribute that is a list of whole numbers, from 0 on; empty if the node lacks it. */
export function integersAttribute(node: Node, name: string): number[] {
  return integersOf(attribute(node, name), ATTRIBUTE.integers);
}

/**
 * A network that takes and returns numbers of shape (N, 3, H, W), of one that does so with bytes of shape (N, H, W, 3).
 *
 * @throws RangeError if other operators are there than `export` has written.
 */
export function takeNumbers(model: Model): Model {
  const first = model.nodes.slice(0, 3);
  const last = model.nodes.slice(-4);
  const found = [...first, ...last].map((node) => node.op).join();
  if (found !== "Cast,Transpose,Div,Mul,Add,Transpose,Cast") throw new RangeError(`bytes are converted by ${found}`);
  const photo = makeValue(first[2]!.outputs[0]!, FLOAT);
  const picture = makeValue(last[0]!.inputs[0]!, FLOAT);
  return { ...model, nodes: model.nodes.slice(3, -4), inputs: [photo, ...model.inputs.slice(1)], outputs: [picture] };
}

function parseNode(data: Uint8Array): Node {
  const fields = parseFields(data);
  const known = [NODE.input, NODE.output, NODE.op];
  return {
    op: textsOf(fields, NODE.op)[0] ?? "",
    inputs: textsOf(fields, NODE.input),
    outputs: textsOf(fields, NODE.output),
    others: fields.filter((field) => !known.includes(field.number)),
  };
}

function nodeFields(node: Node): Field[] {
  return [
    ...node.inputs.map((name) => textField(NODE.input, name)),
    ...node.outputs.map((name) => textField(NODE.output, name)),
    textField(NODE.op, node.op),
    ...node.others,
  ];
}

function parseWeight(data: Uint8Array): Weight {
  const fields = parseFields(data);
  return { name: textsOf(fields, WEIGHT.name)[0] ?? "", shape: integersOf(fields, WEIGHT.shape), data };
}

function parseValue(data: Uint8Array): Value {
  return { name: textsOf(parseFields(data), VALUE.name)[0] ?? "", data };
}

function attribute(node: Node, name: string): Field[] {
  const attributes = valuesOf(node.others, NODE.attribute).map(parseFields);
  return attributes.find((fields) => textsOf(fields, ATTRIBUTE.name)[0] === name) ?? [];
}
