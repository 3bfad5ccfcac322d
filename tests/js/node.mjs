// `node node.mjs FOLDER`: every case of FOLDER/cases.json in onnxruntime-node; outputs as FOLDER/NAME.node.bin.
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import ort from "onnxruntime-node";
import { run } from "./cases.mjs";

const folder = process.argv[2];
for (const { name, inputs } of JSON.parse(await readFile(join(folder, "cases.json")))) {
  const given = [];
  for (const input of inputs) {
    const bytes = await readFile(join(folder, input.file));
    given.push({ ...input, data: new Float32Array(new Uint8Array(bytes).buffer) });
  }
  const output = await run(ort, join(folder, `${name}.onnx`), given);
  await writeFile(join(folder, `${name}.node.bin`), new Uint8Array(output.buffer, output.byteOffset, output.byteLength));
}
