// One call of a layer, whatever its weights are.
#pragma once

#include "epilogue.h"
#include "geometry.h"

namespace sparse_export {

struct LayerCall {
  const ConvGeometry& geometry;  // of a matrix product: a 1 x 1 convolution
  ConvSize size;
  // A matrix product X [pixels, columns] -> Y [pixels, rows]; otherwise a convolution, NCHW. One pixel an image.
  bool matrix;
  const float* x;
  Epilogue epilogue;
  float* y;
};

}  // namespace sparse_export
