/**
 * The wire format of Google's Protobuf, in which ONNX files are written: as far as it is needed, and so that fields
 * which aren't looked at are kept as they are. See https://protobuf.dev/programming-guides/encoding/
 */

/** A field of a message. */
export interface Field {
  readonly number: number;
  readonly type: number;
  /** The value's bytes; those of texts, messages and lists without their length. */
  readonly value: Uint8Array;
}

const VARINT = 0;
const LENGTH_DELIMITED = 2;
/** The bytes of the types of fixed length. */
const FIXED = new Map([
  [1, 8],
  [5, 4],
]);

/**
 * The fields of a message.
 *
 * @throws RangeError if the bytes are no message, or end too early.
 */
export function parseFields(data: Uint8Array): Field[] {
  const fields: Field[] = [];
  let at = 0;
  while (at < data.length) {
    const keyEnd = varintEnd(data, at);
    const key = parseVarint(data.subarray(at, keyEnd));
    const type = key % 8;
    let [start, end] = [keyEnd, keyEnd + (FIXED.get(type) ?? 0)];
    if (type === VARINT) end = varintEnd(data, start);
    else if (type === LENGTH_DELIMITED) {
      start = varintEnd(data, keyEnd);
      end = start + parseVarint(data.subarray(keyEnd, start));
    } else if (end === start) throw new RangeError(`a field has the unknown type ${type}`);
    if (end > data.length) throw new RangeError("a field ends after its message");
    fields.push({ number: Math.floor(key / 8), type, value: data.subarray(start, end) });
    at = end;
  }
  return fields;
}

/** The bytes of a message. */
export function writeFields(fields: readonly Field[]): Uint8Array {
  const parts = fields.flatMap(({ number, type, value }) => {
    const key = writeVarint(8 * number + type);
    return type === LENGTH_DELIMITED ? [key, writeVarint(value.length), value] : [key, value];
  });
  const data = new Uint8Array(parts.reduce((length, part) => length + part.length, 0));
  let at = 0;
  for (const part of parts) {
    data.set(part, at);
    at += part.length;
  }
  return data;
}

export function integerField(number: number, value: number): Field {
  return { number, type: VARINT, value: writeVarint(value) };
}

export function textField(number: number, value: string): Field {
  return { number, type: LENGTH_DELIMITED, value: new TextEncoder().encode(value) };
}

export function bytesField(number: number, value: Uint8Array): Field {
  return { number, type: LENGTH_DELIMITED, value };
}

export function messageField(number: number, fields: readonly Field[]): Field {
  return bytesField(number, writeFields(fields));
}

/** The values of all fields of a number. */
export function valuesOf(fields: readonly Field[], number: number): Uint8Array[] {
  return fields.filter((field) => field.number === number).map((field) => field.value);
}

/** The texts of all fields of a number. */
export function textsOf(fields: readonly Field[], number: number): string[] {
  return valuesOf(fields, number).map((value) => new TextDecoder().decode(value));
}

/** The whole numbers in all fields of a number, each of which may have a list of them. */
export function integersOf(fields: readonly Field[], number: number): number[] {
  return valuesOf(fields, number).flatMap((value) => {
    const found: number[] = [];
    for (let at = 0, end; at < value.length; at = end) {
      end = varintEnd(value, at);
      found.push(parseVarint(value.subarray(at, end)));
    }
    return found;
  });
}

function varintEnd(data: Uint8Array, start: number): number {
  let end = start;
  while (data[end]! >= 0x80) end++;
  if (end >= data.length) throw new RangeError("a number ends after its message");
  return end + 1;
}

/** A number below 2^53: those of 64 bits that are negative are read as large ones, roughly. */
function parseVarint(bytes: Uint8Array): number {
  return bytes.reduceRight((value, byte) => 128 * value + (byte & 0x7f), 0);
}

function writeVarint(value: number): Uint8Array {
  const bytes: number[] = [];
  for (; value >= 0x80; value = Math.floor(value / 128)) bytes.push((value % 128) | 0x80);
  return Uint8Array.of(...bytes, value);
}
