// The page: two files of the same net, a pad to draw on, what both say.
import * as ort from "./ort/ort.wasm.bundle.min.mjs";
import { cells, enlarge, SIDE, softmax } from "./digits.mjs";

ort.env.wasm.numThreads = 1;  // more threads need headers that not every host sends
const FILES = [
  { title: "packed", path: "model.packed.onnx" },
  { title: "dense", path: "model.dense.onnx" },
];
/** The smallest model, one Identity. */
const IDENTITY = "CAgSADo3ChAKAXgSAXkiCElkZW50aXR5EgFnWg8KAXgSCgoICAESBAoCCAFiDwoBeRIKCggIARIECgIIAUIECgAQDQ==";
const element = (id) => document.getElementById(id);
const pad = element("pad"), pen = pad.getContext("2d", { willReadFrequently: true });

/** A row of the table; its cells by name. */
function addRow(title) {
  const row = element("files").insertRow();
  const names = ["title", "bytes", "load", "run", "says"];
  const found = Object.fromEntries(names.map((name) => [name, row.insertCell()]));
  row.dataset.file = title;
  found.title.textContent = title;
  for (const name of names.slice(1)) found[name].textContent = "–";
  return found;
}

/** Fetches a file and makes its session; says what both cost. */
async function load(file) {
  const bytes = await (await fetch(file.path)).arrayBuffer();
  file.row.bytes.textContent = `${(bytes.byteLength / 1e6).toFixed(2)} MB`;
  file.row.bytes.dataset.bytes = bytes.byteLength;
  const begin = performance.now();
  file.session = await ort.InferenceSession.create(bytes);
  file.row.load.textContent = `${Math.round(performance.now() - begin)} ms`;
  file.times = [];
  await run(file, new Float32Array(3 * SIDE * SIDE));  // a first run pays for what the browser has yet to compile
}

/** What the net gives for an image. */
async function run(file, image) {
  const { inputNames: [input], outputNames: [output] } = file.session;
  const results = await file.session.run({ [input]: new ort.Tensor("float32", image, [1, 3, SIDE, SIDE]) });
  return results[output].data;
}

/** The shares of the ten digits in a file; says what a digit takes, the median of all so far. */
async function classify(file, image) {
  const begin = performance.now();
  const shares = softmax(await run(file, image));
  file.times.push(performance.now() - begin);
  const sorted = file.times.slice().sort((a, b) => a - b);
  file.row.run.textContent = `${sorted[sorted.length >> 1].toFixed(1)} ms`;
  file.row.says.textContent = shares.indexOf(Math.max(...shares));
  return shares;
}

/** Shows the shares of the packed file. */
function show(shares) {
  element("scores").replaceChildren(...shares.flatMap((share, digit) => {
    const [name, bar, text] = ["span", "meter", "span"].map((kind) => document.createElement(kind));
    name.textContent = digit;
    bar.value = share;
    text.textContent = `${(100 * share).toFixed(1)} %`;
    return [name, bar, text];
  }));
}

let turn = Promise.resolve();

/** Runs the drawing through every file that is there, one after another. */
function look() {
  turn = turn.then(async () => {
    const { data } = pen.getImageData(0, 0, pad.width, pad.height);
    const small = cells(Float32Array.from({ length: data.length / 4 }, (_, i) => data[4 * i + 3] / 255), pad.width, pad.height);
    if (!small) return;
    for (const file of FILES.filter((one) => one.session)) {
      const shares = await classify(file, enlarge(small));
      if (file === FILES[0]) {
        show(shares);
        element("answer").textContent = `This is a ${shares.indexOf(Math.max(...shares))}.`;
      }
    }
    document.body.dataset.looked = Number(document.body.dataset.looked ?? 0) + 1;
  });
}

pen.lineWidth = 26;
pen.lineCap = pen.lineJoin = "round";
pen.strokeStyle = "#1a1a1a";
pad.addEventListener("pointerdown", (event) => {
  pad.setPointerCapture(event.pointerId);
  pen.beginPath();
  pen.moveTo(event.offsetX, event.offsetY);
});
pad.addEventListener("pointermove", (event) => {
  if (!pad.hasPointerCapture(event.pointerId)) return;
  pen.lineTo(event.offsetX, event.offsetY);
  pen.stroke();
});
pad.addEventListener("pointerup", look);
element("clear").addEventListener("click", () => {
  pen.clearRect(0, 0, pad.width, pad.height);
  element("answer").textContent = "Draw a digit.";
  element("scores").replaceChildren();
});

for (const file of FILES) file.row = addRow(file.title);
try {
  // The runtime itself is compiled with the first session: not a cost of either file.
  await ort.InferenceSession.create(Uint8Array.from(atob(IDENTITY), (c) => c.charCodeAt(0)));
  for (const file of FILES) await load(file);
  element("answer").textContent = "Draw a digit.";
  document.body.dataset.ready = "true";
} catch (error) {
  element("answer").textContent = `It does not work here: ${error.message}`;
  document.body.dataset.ready = "failed";
}
