// From a drawing to what the net was trained on: scikit-learn's digits, 8 x 8 counts of ink, enlarged to 32 x 32.

/** Mean and standard deviation of the training images, ink being 0 to 1. */
export const MEAN = 0.3054, STD = 0.3761;
export const SIDE = 32;

/** The smallest box around the ink of a grey image (0 paper to 1 ink), or null where there is none. */
export function inkBox(ink, width, height) {
  let [left, top, right, bottom] = [width, height, -1, -1];
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      if (ink[y * width + x] < 0.3) continue;
      left = Math.min(left, x); right = Math.max(right, x);
      top = Math.min(top, y); bottom = Math.max(bottom, y);
    }
  }
  return right < 0 ? null : { left, top, width: right - left + 1, height: bottom - top + 1 };
}

/** 8 x 8 shares of ink: the box scaled to fill the height (or the width), centred, its shape kept. */
export function cells(ink, width, height) {
  const box = inkBox(ink, width, height);
  if (!box) return null;
  const size = Math.max(box.width, box.height);
  const left = box.left - (size - box.width) / 2, top = box.top - (size - box.height) / 2;
  const steps = 8, out = new Float32Array(64);  // 8 x 8 samples in each cell
  for (let row = 0; row < 8 * steps; row++) {
    for (let column = 0; column < 8 * steps; column++) {
      const x = Math.floor(left + ((column + 0.5) * size) / (8 * steps));
      const y = Math.floor(top + ((row + 0.5) * size) / (8 * steps));
      const inside = x >= 0 && y >= 0 && x < width && y < height;
      out[Math.floor(row / steps) * 8 + Math.floor(column / steps)] += inside ? ink[y * width + x] / steps ** 2 : 0;
    }
  }
  return out;
}

/** Normalised, enlarged bilinearly as torch does (pixel centres), three equal channels: [1, 3, 32, 32]. */
export function enlarge(small) {
  const plane = new Float32Array(SIDE * SIDE);
  const at = (i) => Math.min(7, Math.max(0, i));
  for (let y = 0; y < SIDE; y++) {
    for (let x = 0; x < SIDE; x++) {
      const sy = Math.max(0, ((y + 0.5) * 8) / SIDE - 0.5), sx = Math.max(0, ((x + 0.5) * 8) / SIDE - 0.5);
      const y0 = Math.floor(sy), x0 = Math.floor(sx), fy = sy - y0, fx = sx - x0;
      const row = (r) => small[at(r) * 8 + at(x0)] * (1 - fx) + small[at(r) * 8 + at(x0 + 1)] * fx;
      plane[y * SIDE + x] = (row(y0) * (1 - fy) + row(y0 + 1) * fy - MEAN) / STD;
    }
  }
  const image = new Float32Array(3 * plane.length);
  for (let c = 0; c < 3; c++) image.set(plane, c * plane.length);
  return image;
}

/** Shares that sum to one. */
export function softmax(scores) {
  const top = Math.max(...scores);
  const shares = Array.from(scores, (score) => Math.exp(score - top));
  const sum = shares.reduce((a, b) => a + b, 0);
  return shares.map((share) => share / sum);
}
