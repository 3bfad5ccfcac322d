// Rows of a window first, all columns at once, into a row with what lies left and right of the plane; then its columns.
//
// A plane whose windows are 2 x 2 side by side, as most are, is taken the other way round: pairs of neighbours first,
// which lie behind one another through all its rows, however short they are.
#include <cstring>

#include "call.h"
#include "core/scratch.h"
#include "core/simd.h"

namespace sparse_export::u8_pool {
namespace {

template <int64_t bytes>
struct Block {
  typedef uint8_t Type __attribute__((vector_size(bytes)));
};
template <int64_t bytes>
using Bytes = typename Block<bytes>::Type;

template <int64_t bytes>
inline Bytes<bytes> load_bytes(const uint8_t* p) {
  Bytes<bytes> v;
  std::memcpy(&v, p, bytes);
  return v;
}

template <int64_t bytes>
inline void store_bytes(uint8_t* p, Bytes<bytes> v) {
  std::memcpy(p, &v, bytes);
}

template <int64_t bytes>
inline Bytes<bytes> largest(Bytes<bytes> a, Bytes<bytes> b) {
  return a > b ? a : b;
}

inline uint8_t largest_byte(uint8_t a, uint8_t b) { return a > b ? a : b; }

template <class V, int... I>
inline V take_even_bytes(V a, V b, std::integer_sequence<int, I...>) {
  return __builtin_shufflevector(a, b, (2 * I)...);
}

// The bytes of even index of a followed by b.
template <int64_t bytes>
inline Bytes<bytes> even_bytes(Bytes<bytes> a, Bytes<bytes> b) {
#if defined(__AVX512BW__)
  if constexpr (bytes == 64) {
    const __m256i low = _mm512_cvtepi16_epi8(reinterpret_cast<__m512i>(a));
    const __m256i high = _mm512_cvtepi16_epi8(reinterpret_cast<__m512i>(b));
    return reinterpret_cast<Bytes<bytes>>(_mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1));
  }
#endif
  return take_even_bytes(a, b, std::make_integer_sequence<int, bytes>());
}

constexpr int64_t least_bytes = 8;

// Calls block<n>(i) for blocks of n bytes from i that cover [0, count), the last one over the one before; what is less
// than a block goes to one(i).
template <int64_t bytes, class Block, class One>
inline void cover(int64_t count, const Block& block, const One& one) {
  if (count >= bytes) {
    int64_t i = 0;
    for (; i + bytes <= count; i += bytes) {
      block.template operator()<bytes>(i);
    }
    if (i < count) {
      block.template operator()<bytes>(count - bytes);
    }
  } else if constexpr (bytes > least_bytes) {
    cover<bytes / 2>(count, block, one);
  } else {
    for (int64_t i = 0; i < count; ++i) {
      one(i);
    }
  }
}

// The largest of `rows` rows of `width` bytes, one below the other, at every column.
void largest_of_rows(const uint8_t* x, int64_t rows, int64_t width, uint8_t* out) {
  cover<vector_bytes>(
      width,
      [=]<int64_t bytes>(int64_t i) {
        Bytes<bytes> v = load_bytes<bytes>(x + i);
        for (int64_t r = 1; r < rows; ++r) {
          v = largest<bytes>(v, load_bytes<bytes>(x + r * width + i));
        }
        store_bytes<bytes>(out + i, v);
      },
      [=](int64_t i) {
        uint8_t v = x[i];
        for (int64_t r = 1; r < rows; ++r) {
          v = largest_byte(v, x[r * width + i]);
        }
        out[i] = v;
      });
}

// The largest of `columns` bytes from x[i * stride], for `count` i. May read two vectors beyond the last.
void largest_of_columns(const uint8_t* x, int64_t columns, int64_t stride, int64_t count, uint8_t* y) {
  const auto one = [=](int64_t i) {
    uint8_t v = x[i * stride];
    for (int64_t s = 1; s < columns; ++s) {
      v = largest_byte(v, x[i * stride + s]);
    }
    y[i] = v;
  };
  const auto from = [=]<int64_t bytes>(const uint8_t* p) {
    Bytes<bytes> v = load_bytes<bytes>(p);
    for (int64_t s = 1; s < columns; ++s) {
      v = largest<bytes>(v, load_bytes<bytes>(p + s));
    }
    return v;
  };
  if (stride == 1) {
    cover<vector_bytes>(
        count,
        [=]<int64_t bytes>(int64_t i) { store_bytes<bytes>(y + i, from.template operator()<bytes>(x + i)); }, one);
  } else if (stride == 2) {
    cover<vector_bytes>(
        count,
        [=]<int64_t bytes>(int64_t i) {
          const Bytes<bytes> low = from.template operator()<bytes>(x + 2 * i);
          store_bytes<bytes>(y + i, even_bytes<bytes>(low, from.template operator()<bytes>(x + 2 * i + bytes)));
        },
        one);
  } else {
    for (int64_t i = 0; i < count; ++i) {
      one(i);
    }
  }
}

// The larger of every two neighbours of 2 * count bytes.
void larger_of_pairs(const uint8_t* x, int64_t count, uint8_t* out) {
  cover<vector_bytes>(
      count,
      [=]<int64_t bytes>(int64_t i) {
        const Bytes<bytes> a = load_bytes<bytes>(x + 2 * i), b = load_bytes<bytes>(x + 2 * i + bytes);
        // A shift by one byte needs no byte beyond the last pair: only even places are taken.
        typedef uint16_t Pairs __attribute__((vector_size(bytes)));
        const auto odd = [](Bytes<bytes> v) {
          return reinterpret_cast<Bytes<bytes>>(reinterpret_cast<Pairs>(v) >> 8);
        };
        store_bytes<bytes>(out + i, even_bytes<bytes>(largest<bytes>(a, odd(a)), largest<bytes>(b, odd(b))));
      },
      [=](int64_t i) { out[i] = largest_byte(x[2 * i], x[2 * i + 1]); });
}

bool in_pairs(const Call& call) {
  const ConvGeometry& g = call.geometry;
  const bool two = g.kernel[0] == 2 && g.kernel[1] == 2 && g.strides[0] == 2 && g.strides[1] == 2;
  return two && g.begin[0] == 0 && g.begin[1] == 0 && call.size.input[1] % 2 == 0;
}

// `pairs`: the columns' results of a plane.
void pool_pairs(const Call& call, const uint8_t* x, uint8_t* y, uint8_t* pairs) {
  const int64_t rows = call.size.input[0], width = call.size.output[1];
  larger_of_pairs(x, rows * width, pairs);
  for (int64_t row = 0; row < call.size.output[0]; ++row) {
    largest_of_rows(pairs + 2 * row * width, 2 * row + 1 < rows ? 2 : 1, width, y + row * width);
  }
}

// `row`: zeros, but for what this writes into it.
void pool_windows(const Call& call, const uint8_t* x, uint8_t* y, uint8_t* row) {
  const ConvGeometry& g = call.geometry;
  const auto [height, width] = call.size.input;
  for (int64_t down = 0; down < call.size.output[0]; ++down) {
    const int64_t top = down * g.strides[0] - g.begin[0];
    const int64_t from = larger(top, 0), to = smaller(top + g.kernel[0], height);
    largest_of_rows(x + from * width, to - from, width, row + g.begin[1]);
    largest_of_columns(row, g.kernel[1], g.strides[1], call.size.output[1], y + down * call.size.output[1]);
  }
}

bool run_planes(const Call& call, int64_t first, int64_t count) noexcept {
  const ConvGeometry& g = call.geometry;
  const int64_t in = call.size.input[0] * call.size.input[1], out = call.size.output[0] * call.size.output[1];
  const bool pairs = in_pairs(call);
  const int64_t reach = (call.size.output[1] - 1) * g.strides[1] + g.kernel[1];
  const int64_t row = larger(g.begin[1] + call.size.input[1], reach) + 2 * vector_bytes;
  const auto bytes = static_cast<size_t>(pairs ? call.size.input[0] * call.size.output[1] : row);
  thread_local Scratch scratch;
  auto* held = reinterpret_cast<uint8_t*>(scratch.reserve(bytes));
  if (held == nullptr) {
    return false;
  }
  if (!pairs) {
    std::memset(held, 0, bytes);
  }
  for (int64_t plane = first; plane < first + count; ++plane) {
    (pairs ? pool_pairs : pool_windows)(call, call.x + plane * in, call.y + plane * out, held);
  }
  return true;
}

}  // namespace

const Kernels SPARSE_EXPORT_TARGET_NAME = {run_planes};

}  // namespace sparse_export::u8_pool
