// QMaxPool: the largest of every window of uint8 activations [N, C, H, W], whose scale and zero point do not matter.
//
// No file has it: where one is loaded it takes the place of a MaxPool behind a layer of integers.
#include "kernels/u8_pool/call.h"
#include "ort/op.h"

namespace sparse_export::u8_pool {
namespace {

class MaxPool {
 public:
  static constexpr InputLayout layout = {1, 1, 1, 1};
  static constexpr ElementType x_type = element_uint8, y_type = element_uint8;

  static int input_type(size_t) { return element_uint8; }

  MaxPool(const Variant&, const KernelInfo& info)
      : window_(read_pool(info)), rounds_up_(read_rounding(info.integers("ceil_mode", 1))) {
    kernels();  // an unusable SPARSE_EXPORT_TARGET fails here, when the session is created
  }

  void compute(const Context& context) const {
    const Tensor x = read_x(context, element_uint8);
    require(x.shape.size() == 4, "input 'X' has the wrong rank");
    const int64_t planes = checked_count({x.shape[0], x.shape[1]});
    const ConvSize size = pool_size(window_, rounds_up_, {planes, 1, x.shape[2], x.shape[3]});
    auto* y = context.output<uint8_t>(0, {x.shape[0], x.shape[1], size.output[0], size.output[1]});
    run(context, {window_, size, x.as<uint8_t>(), y});
  }

  static bool infer(const ShapeContext& context, std::vector<Dimension>& output) {
    std::vector<Dimension> input;
    std::vector<int64_t> mode, kernel, strides, pads;
    if (!context.input_shape(0, input) || input.size() != 4 || !context.integers("ceil_mode", 1, mode) ||
        !context.integers("kernel_shape", 2, kernel) || !context.integers("strides", 2, strides) ||
        !context.integers("pads", 4, pads)) {
      return false;
    }
    const ConvGeometry window = pool_geometry(kernel, strides, pads);
    output = input;
    for (size_t axis = 0; axis < 2; ++axis) {
      const int64_t extent = input[axis + 2].value;
      output[axis + 2] = {extent < 0 ? -1 : pool_extent(window, read_rounding(mode), axis, extent), ""};
    }
    return true;
  }

 private:
  // A list, because shape inference reads nothing else.
  static bool read_rounding(const std::vector<int64_t>& mode) {
    require(mode.size() == 1 && (mode[0] == 0 || mode[0] == 1), "attribute 'ceil_mode' must be [0] or [1]");
    return mode[0] == 1;
  }

  ConvGeometry window_;
  bool rounds_up_;
};

}  // namespace

void add_operators(Operators& operators) { operators.add<MaxPool>("u8_pool", "Q", "MaxPool", variants[0]); }

}  // namespace sparse_export::u8_pool
