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
  const answer = await fetch(file.path);
  if (!answer.ok) throw new Error(`the server answers ${answer.status}`);
  const bytes = await answer.arrayBuffer();
  file.row.bytes.textContent = `${(bytes.byteLength / 1e6).toFixed(2)} MB`;
  file.row.bytes.dataset.bytes = bytes.byteLength;
  const begin = performance.now();
  const session = await ort.InferenceSession.create(bytes);
  file.row.load.textContent = `${Math.round(performance.now() - begin)} ms`;
  await run(session, new Float32Array(3 * SIDE * SIDE));  // a first run pays for what the browser has yet to compile
  Object.assign(file, { session, times: [] });
}

/** What the net gives for an image. */
async function run(session, image) {
  const { inputNames: [input], outputNames: [output] } = session;
  const results = await session.run({ [input]: new ort.Tensor("float32", image, [1, 3, SIDE, SIDE]) });
  return results[output].data;
}

/** The shares of the ten digits in a file; says what a digit takes, the median of all so far. */
async function classify(file, image) {
  const begin = performance.now();
  const shares = softmax(await run(file.session, image));
  file.times.push(performance.now() - begin);
  const sorted = file.times.slice().sort((a, b) => a - b);
  file.row.run.textContent = `${sorted[sorted.length >> 1].toFixed(1)} ms`;
  file.row.says.textContent = shares.indexOf(Math.max(...shares));
  return shares;
}

/** Shows the shares of the first file that is there. */
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
    const there = FILES.filter((one) => one.session);
    for (const file of there) {
      const shares = await classify(file, enlarge(small));
      if (file === there[0]) {
        show(shares);
        say(`This is a ${shares.indexOf(Math.max(...shares))}.`);
      }
    }
    document.body.dataset.looked = Number(document.body.dataset.looked ?? 0) + 1;
  }).catch((error) => say(`It does not work here: ${reason(error)}`));
}

/** What went wrong, in words; WebAssembly throws numbers too. */
function reason(error) {
  return error instanceof Error ? error.message : `error ${error}`;
}

function say(text) {
  element("answer").textContent = text;
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
  say("Draw a digit.");
  element("scores").replaceChildren();
});

/** Loads the files, each ready to be drawn for as soon as it is there; one that cannot be had leaves the other. */
async function begin() {
  // The runtime itself is compiled with the first session: not a cost of either file.
  await ort.InferenceSession.create(Uint8Array.from(atob(IDENTITY), (c) => c.charCodeAt(0)));
  const problems = [];
  for (const file of FILES) {
    try {
      await load(file);
      if (!document.body.dataset.looked) say("Draw a digit.");
    } catch (error) {
      file.row.says.textContent = "not loaded";
      problems.push(`${file.path}: ${reason(error)}`);
    }
  }
  if (problems.length) say(`Not loaded: ${problems.join("; ")}`);
  document.body.dataset.ready = FILES.some((file) => file.session) ? "true" : "failed";
}

for (const file of FILES) file.row = addRow(file.title);
begin().catch((error) => {
  say(`It does not work here: ${reason(error)}`);
  document.body.dataset.ready = "failed";
});
