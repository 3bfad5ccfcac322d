#include <cstdint>
#include <memory>
#include <new>

#include "../dispatch.h"
#include "binary.h"
#include "binary_plan.h"

namespace sparse_export {
namespace {

// Bit streams that would pass this many words (2 GiB) go to the reference: no real layer has them.
constexpr double most_words = 1 << 28;

// Layout of the packed activations; false where they would be too large.
bool lay_out(const BitCall& call, XnorLayout& layout) {
  if (call.matrix) {
    layout.streams = 1;
    layout.stream_words = divide_up(call.weights.columns, 64) + 1;
    layout.sources = call.size.batch;
    return static_cast<double>(layout.stream_words) * static_cast<double>(layout.sources) < most_words;
  }
  const ConvGeometry& g = call.geometry;
  layout.phases = std::min(g.strides[0], (g.kernel[0] - 1) * g.dilations[0] + 1);
  const double rows = static_cast<double>(call.size.output[0]) +
                      static_cast<double>(g.kernel[0]) * static_cast<double>(g.dilations[0]);
  const double words = rows * static_cast<double>(call.size.output[1]) / 64 + 4;
  const double channels = static_cast<double>(call.size.batch * g.channels + 1);
  if (words * channels * static_cast<double>(layout.phases) * static_cast<double>(g.kernel[1]) > most_words) {
    return false;
  }
  const int64_t height = call.size.output[0] + (g.kernel[0] - 1) * g.dilations[0] / g.strides[0];
  layout.stream_words = divide_up(height * call.size.output[1] + 64, 64) + 2;
  layout.streams = g.kernel[1] * layout.phases;
  layout.sources = call.size.batch * g.channels;
  layout.flat = g.strides[0] == 1 && g.strides[1] == 1 && call.size.input[1] == call.size.output[1];
  return true;
}

}  // namespace

const XnorKernels& xnor_kernels() {
#if defined(__x86_64__)
  static const XnorKernels& chosen =
      for_target<XnorKernels>({&xnor_reference, &xnor_scalar, &xnor_avx2, &xnor_avx512, &xnor_avx512vnni});
#else
  static const XnorKernels& chosen =
      for_target<XnorKernels>({&xnor_reference, &xnor_scalar, nullptr, nullptr, nullptr});
#endif
  return chosen;
}

void run_xnor(const Context& context, const BitCall& call) {
  BitPlan plan = whole_plan(call);
  if (plan.pixels == 0 || plan.images == 0) {
    return;
  }
  cut(plan, call.weights.columns, 4e7, 64, 64, 64, plan.rows);
  XnorLayout layout;
  const bool ordinary = lay_out(call, layout);
  const XnorKernels& kernels = ordinary ? xnor_kernels() : xnor_reference;
  const int64_t sources = call.matrix ? layout.sources : layout.sources + 1;
  std::unique_ptr<uint64_t[]> words;
  if (ordinary) {
    words.reset(new (std::nothrow) uint64_t[static_cast<size_t>(sources * layout.streams * layout.stream_words)]);
    if (words == nullptr) {
      throw Error("out of memory", abi::code_fail);
    }
    if (!call.matrix) {
      kernels.pack(call, layout, words.get(), static_cast<size_t>(layout.sources));
    }
    // A part is a few channels: one alone is too little for a thread to be worth waking.
    const int64_t size = call.matrix ? call.weights.columns : call.size.input[0] * call.size.input[1];
    const int64_t share = std::max<int64_t>(1, 65536 / std::max<int64_t>(size, 1));
    context.parallel(static_cast<size_t>(divide_up(layout.sources, share)), [&](size_t part) {
      const int64_t first = static_cast<int64_t>(part) * share, end = std::min(first + share, layout.sources);
      for (int64_t i = first; i < end; ++i) {
        kernels.pack(call, layout, words.get(), static_cast<size_t>(i));
      }
    });
  }
  run_units(context, plan.units(),
            [&](size_t unit) { return kernels.run(call, plan, layout, words.get(), unit); });
}

}  // namespace sparse_export
