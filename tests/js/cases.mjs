// A case: a model, its float32 inputs, its first output. The same code in node and in the browser.

/** The first output of a model as a Float32Array. */
export async function run(ort, model, inputs) {
  const session = await ort.InferenceSession.create(model);
  const feeds = {};
  for (const { name, shape, data } of inputs) feeds[name] = new ort.Tensor("float32", data, shape);
  const outputs = await session.run(feeds);
  const { data } = outputs[session.outputNames[0]];
  await session.release();
  return data;
}
