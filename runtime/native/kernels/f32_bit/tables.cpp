// 1-bit weights times float activations by table look-up, AVX-512.
//
// For four inputs x0..x3 of one pixel the 16 sums +-x0 +-x1 +-x2 +-x3 fill one register. Four weight bits of 16
// output channels, one channel a lane, index it: one `vpermps` and one addition do 64 multiply-adds, exactly as
// float sums. Idea: Wei et al., "T-MAC: CPU Renaissance via Table Lookup", EuroSys 2025, here with float tables.
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC diagnostic ignored "-Wuninitialized"  // GCC 12 finds them in its own intrinsics (bug 105593)
#endif
#include "core/epilogue_vector.h"
#include "core/scratch.h"
#include "input.h"

namespace sparse_export::f32_bit {
namespace {

constexpr int64_t quads = most_columns / 4;   // tables of one pixel and block
constexpr int64_t words = most_columns / 32;  // of 8 quads each
constexpr int64_t table_pixels = 4;           // whose tables (16 KiB) are at hand together
constexpr int64_t table_bytes = quads * table_pixels * 64;
constexpr int64_t single_blocks = 8;         // whose tables (32 KiB) are at hand together for a single pixel
constexpr int64_t group_bytes = words * 64;  // one block of 16 channels: a register for every 32 columns

// r[i][j] <-> r[j][i] of a 16 x 16 matrix of 32-bit lanes.
inline void transpose(__m512i (&r)[16]) {
  __m512i t[16];
  SPARSE_EXPORT_UNROLL(16)
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
  }
  SPARSE_EXPORT_UNROLL(16)
  for (int i = 0; i < 16; i += 4) {
    r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  SPARSE_EXPORT_UNROLL(16)
  for (int i = 0; i < 16; i += 8) {
    SPARSE_EXPORT_UNROLL(4)
    for (int j = 0; j < 4; ++j) {
      t[i + j] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0x88);
      t[i + j + 4] = _mm512_shuffle_i32x4(r[i + j], r[i + j + 4], 0xdd);
    }
  }
  SPARSE_EXPORT_UNROLL(8)
  for (int j = 0; j < 8; ++j) {
    r[j] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0x88);
    r[j + 8] = _mm512_shuffle_i32x4(t[j], t[j + 8], 0xdd);
  }
}

// Bits of up to 32 rows and 256 columns: for each 16 rows, register d holds columns 32 d.. of row i in lane i.
// Rows past `rows` are 0.
void load_groups(const bit::Weights& weights, int64_t row, int64_t rows, int64_t first_byte, int64_t bytes, char* to) {
  const uint8_t* from = weights.row(row) + first_byte;
  const int64_t pitch = weights.row_bytes();
  __m512i r[16];
  if (rows >= 32 && bytes >= 32) {
    SPARSE_EXPORT_UNROLL(16)
    for (int64_t i = 0; i < 16; ++i, from += pitch) {
      const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
      const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from + 16 * pitch));
      r[i] = _mm512_inserti64x4(_mm512_castsi256_si512(low), high, 1);
    }
  } else {
    const __mmask32 mask = bytes >= 32 ? ~__mmask32{0} : (__mmask32{1} << bytes) - 1;
    const auto half = [&](int64_t i) {
      return i < rows ? _mm256_maskz_loadu_epi8(mask, from + i * pitch) : _mm256_setzero_si256();
    };
    for (int64_t i = 0; i < 16; ++i) {
      r[i] = _mm512_inserti64x4(_mm512_castsi256_si512(half(i)), half(i + 16), 1);
    }
  }
  transpose(r);
  SPARSE_EXPORT_UNROLL(16)
  for (int64_t d = 0; d < 2 * words; ++d) {  // there is room for an even number of groups
    _mm512_store_si512(to + d * 64, r[d]);
  }
}

inline __m512 sums(float x0, float x1, float x2, float x3) {
  const __m512 s0 = _mm512_castsi512_ps(_mm512_setr_epi32(0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0,
                                                          INT32_MIN, 0, INT32_MIN, 0, INT32_MIN, 0, INT32_MIN));
  const __m512 one = _mm512_set1_ps(1);
  const __m512 s1 = _mm512_setr_ps(1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1, 1, 1, -1, -1);
  const __m512 s2 = _mm512_setr_ps(1, 1, 1, 1, -1, -1, -1, -1, 1, 1, 1, 1, -1, -1, -1, -1);
  const __m512 s3 = _mm512_mask_blend_ps(0xFF00, one, _mm512_set1_ps(-1));
  __m512 t = _mm512_xor_ps(_mm512_set1_ps(x0), s0);
  t = _mm512_fmadd_ps(_mm512_set1_ps(x1), s1, t);
  t = _mm512_fmadd_ps(_mm512_set1_ps(x2), s2, t);
  return _mm512_fmadd_ps(_mm512_set1_ps(x3), s3, t);
}

// Tables of `pixels` pixels for `count` columns: [quad][pixels], a register each.
template <int Pixels>
void build_tables(const InputBlock& block, int64_t pixel, int64_t count, char* to) {
  const float* x[Pixels];
  for (int p = 0; p < Pixels; ++p) {
    x[p] = block.base + block.pixel[pixel + p];
  }
  const int64_t* column = block.column;
  int64_t j = 0;
  for (; j + 4 <= count; j += 4, to += Pixels * 64) {
    const int64_t a = column[j], b = column[j + 1], c = column[j + 2], d = column[j + 3];
    SPARSE_EXPORT_UNROLL(4)
    for (int p = 0; p < Pixels; ++p) {
      _mm512_store_ps(to + p * 64, sums(x[p][a], x[p][b], x[p][c], x[p][d]));
    }
  }
  if (j < count) {
    for (int p = 0; p < Pixels; ++p) {
      const float x1 = j + 1 < count ? x[p][column[j + 1]] : 0, x2 = j + 2 < count ? x[p][column[j + 2]] : 0;
      _mm512_store_ps(to + p * 64, sums(x[p][column[j]], x1, x2, 0));
    }
  }
}

// sum[p][16 g ..] += looked-up sums of `count` quads.
template <int Groups, int Pixels>
void look_up(const char* index, const char* table, int64_t count, float* sum, int64_t pitch, bool fresh) {
  __m512 acc[Groups][Pixels];
  SPARSE_EXPORT_UNROLL(4)
  for (int g = 0; g < Groups; ++g) {
    SPARSE_EXPORT_UNROLL(4)
    for (int p = 0; p < Pixels; ++p) {
      acc[g][p] = fresh ? _mm512_setzero_ps() : _mm512_load_ps(sum + p * pitch + g * 16);
    }
  }
  const __m512 one = _mm512_set1_ps(1);
  const auto step = [&](__m512i(&bits)[Groups]) {
    __m512 t[Pixels];
    SPARSE_EXPORT_UNROLL(4)
    for (int p = 0; p < Pixels; ++p) {
      t[p] = _mm512_load_ps(table + p * 64);
    }
    SPARSE_EXPORT_UNROLL(4)
    for (int g = 0; g < Groups; ++g) {
      SPARSE_EXPORT_UNROLL(4)
      for (int p = 0; p < Pixels; ++p) {
        const __m512 found = _mm512_permutexvar_ps(bits[g], t[p]);
        // Additions and multiply-adds have ports of their own: use both.
        acc[g][p] = p % 2 == 0 ? _mm512_add_ps(acc[g][p], found) : _mm512_fmadd_ps(found, one, acc[g][p]);
      }
      bits[g] = _mm512_srli_epi32(bits[g], 4);  // vpermps looks at four bits only
    }
    table += Pixels * 64;
  };
  for (; count > 0; count -= 8, index += 64) {
    __m512i bits[Groups];
    SPARSE_EXPORT_UNROLL(4)
    for (int g = 0; g < Groups; ++g) {
      bits[g] = _mm512_load_si512(index + g * group_bytes);
    }
    SPARSE_EXPORT_UNROLL(
        1)  // unrolled, GCC moves all look-ups of many accumulators ahead of the additions and spills them
    for (int64_t i = 0; i < 8 && i < count; ++i) {
      step(bits);
    }
  }
  SPARSE_EXPORT_UNROLL(4)
  for (int g = 0; g < Groups; ++g) {
    SPARSE_EXPORT_UNROLL(4)
    for (int p = 0; p < Pixels; ++p) {
      _mm512_store_ps(sum + p * pitch + g * 16, acc[g][p]);
    }
  }
}

// The same for one pixel, four groups and whole words. Look-ups and shifts use the same ports: half of the shifts are
// saved by reading the indices a byte further on, where a lane's low four bits are the next but one.
void look_up_single(const char* index, const char* table, int64_t count, float* sum, bool fresh) {
  __m512 a = fresh ? _mm512_setzero_ps() : _mm512_load_ps(sum), b = fresh ? a : _mm512_load_ps(sum + 16);
  __m512 c = fresh ? a : _mm512_load_ps(sum + 32), d = fresh ? a : _mm512_load_ps(sum + 48);
  const auto step = [](__m512 acc, const char* bits, __m512 even, __m512 odd) {
    const __m512i found = _mm512_loadu_si512(bits);
    acc = _mm512_add_ps(acc, _mm512_permutexvar_ps(found, even));
    return _mm512_add_ps(acc, _mm512_permutexvar_ps(_mm512_srli_epi32(found, 4), odd));
  };
  for (; count > 0; count -= 8, index += 64) {
    SPARSE_EXPORT_UNROLL(4)
    for (int64_t i = 0; i < 4; ++i, table += 128) {
      const __m512 even = _mm512_load_ps(table), odd = _mm512_load_ps(table + 64);
      a = step(a, index + i, even, odd);
      b = step(b, index + group_bytes + i, even, odd);
      c = step(c, index + 2 * group_bytes + i, even, odd);
      d = step(d, index + 3 * group_bytes + i, even, odd);
    }
  }
  _mm512_store_ps(sum, a);
  _mm512_store_ps(sum + 16, b);
  _mm512_store_ps(sum + 32, c);
  _mm512_store_ps(sum + 48, d);
}

// The same for up to four groups, their number known only here.
template <int Pixels>
void look_up_rest(const char* index, const char* table, int64_t count, float* sum, int64_t pitch, int64_t groups,
                  bool fresh) {
  switch (groups) {
    case 4:
      return look_up<4, Pixels>(index, table, count, sum, pitch, fresh);
    case 3:
      return look_up<3, Pixels>(index, table, count, sum, pitch, fresh);
    case 2:
      return look_up<2, Pixels>(index, table, count, sum, pitch, fresh);
    case 1:
      return look_up<1, Pixels>(index, table, count, sum, pitch, fresh);
    default:
      return;
  }
}

// One unit's scratch, one after the other.
struct Room {
  char* index;  // [group of 16 rows][word], registers
  char* table;  // [quad][pixel], registers
  float* sum;   // [pixel][row]
  float* copy;  // padded input
};

template <int Pixels>
void advance(const InputBlock& block, int64_t pixel, int64_t count, int64_t groups, bool fresh, const Room& room) {
  build_tables<Pixels>(block, pixel, count, room.table);
  const int64_t quad_count = (count + 3) / 4, pitch = groups * 16;
  float* sum = room.sum + pixel * pitch;
  int64_t g = 0;
  for (; g + 4 <= groups; g += 4) {
    look_up<4, Pixels>(room.index + g * group_bytes, room.table, quad_count, sum + g * 16, pitch, fresh);
  }
  look_up_rest<Pixels>(room.index + g * group_bytes, room.table, quad_count, sum + g * 16, pitch, groups - g, fresh);
}

// One row of X, which leaves no time to read weights twice: rows of weights pass one after the other, each for
// several blocks of columns.
void run_single(const Call& call, const Part& part, InputBlock& block, const Room& room) {
  const bit::Weights& weights = call.weights;
  const int64_t columns = weights.columns, span = single_blocks * most_columns;
  for (int64_t first = 0; first < columns; first += span) {
    const int64_t end = columns - first < span ? columns : first + span;
    for (int64_t at = first; at < end; at += most_columns) {
      const int64_t count = end - at < most_columns ? end - at : most_columns;
      fill_block(call, part, at, count, room.copy, block);
      build_tables<1>(block, 0, count, room.table + (at - first) / 4 * 64);
    }
    for (int64_t row = 0; row < part.rows; row += 64) {
      const int64_t left = part.rows - row, groups = left < 64 ? (left + 15) / 16 : 4;
      for (int64_t at = first; at < end; at += most_columns) {
        const int64_t count = end - at < most_columns ? end - at : most_columns;
        for (int64_t g = 0; g < groups; g += 2) {
          load_groups(weights, part.row + row + g * 16, left - g * 16, at / 8, weights.row_bytes() - at / 8,
                      room.index + g * group_bytes);
        }
        const char* table = room.table + (at - first) / 4 * 64;
        if (groups == 4 && count % 32 == 0) {
          look_up_single(room.index, table, count / 4, room.sum + row, at == 0);
        } else {
          look_up_rest<1>(room.index, table, (count + 3) / 4, room.sum + row, 0, groups, at == 0);
        }
      }
    }
  }
}

void store_matrix(const Call& call, const Part& part, int64_t pitch, const float* sum) {
  const ActivationVec activation = spread(call.epilogue.activation);
  for (int64_t p = 0; p < part.pixels; ++p) {
    float* y = call.y + (part.pixel + p) * call.weights.rows + part.row;
    for (int64_t k = 0; k < part.rows; k += lanes) {
      const LaneMask mask = lane_mask(0, part.rows - k);
      const Vec scale = load_masked(call.epilogue.scale + part.row + k, mask);
      const Vec bias = load_masked(call.epilogue.bias + part.row + k, mask);
      const Vec y_k = finish(load_aligned(sum + p * pitch + k), scale, bias, nullptr, lanes, activation);
      store_lanes(y + k, y_k, part.rows - k);
    }
  }
}

void store_image(const Call& call, const Cut& cut, const Part& part, int64_t pitch, const float* sum) {
  const Epilogue& epilogue = call.epilogue;
  const ActivationVec activation = spread(epilogue.activation);
  for (int64_t p = 0; p < part.pixels; p += 16) {
    for (int64_t k = 0; k < part.rows; k += 16) {
      __m512i r[16];
      for (int64_t i = 0; i < 16; ++i) {
        r[i] = p + i < part.pixels ? _mm512_load_si512(sum + (p + i) * pitch + k) : _mm512_setzero_si512();
      }
      transpose(r);
      for (int64_t i = 0; i < 16 && k + i < part.rows; ++i) {
        const int64_t row = part.group * cut.rows + part.row + k + i;
        const int64_t at = (part.image * call.weights.rows + row) * cut.pixels + part.pixel + p;
        const float* residual = epilogue.residual == nullptr ? nullptr : epilogue.residual + at;
        const Vec y = finish(reinterpret_cast<Vec>(r[i]), broadcast(epilogue.scale[row]), broadcast(epilogue.bias[row]),
                             residual, part.pixels - p, activation);
        store_lanes(call.y + at, y, part.pixels - p);
      }
    }
  }
}

bool reserve(const Call& call, const Part& part, int64_t groups, Room& room) {
  thread_local Scratch scratch;
  const int64_t index = (groups + groups % 2) * group_bytes;
  const int64_t table = part.pixels == 1 ? single_blocks * quads * 64 : table_bytes;
  const int64_t sum = part.pixels * groups * 64;
  char* data = scratch.reserve(static_cast<size_t>(index + table + sum + window_floats(call, part) * 4 + 64));
  room = {data, data + index, reinterpret_cast<float*>(data + index + table),
          reinterpret_cast<float*>(data + index + table + sum)};
  return data != nullptr;
}

bool run_unit(const Call& call, const Cut& cut, size_t unit) noexcept {
  const Part part = part_of(cut, unit);
  const bit::Weights& weights = call.weights;
  const int64_t groups = (part.rows + 15) / 16, row = part.group * cut.rows + part.row;
  Room room;
  if (!reserve(call, part, groups, room)) {
    return false;
  }
  InputBlock block;
  fill_pixels(call, part, block);
  if (call.matrix && part.pixels == 1) {
    run_single(call, part, block, room);
    store_matrix(call, part, groups * 16, room.sum);
    return true;
  }
  for (int64_t first = 0; first < weights.columns; first += most_columns) {
    const int64_t left = weights.columns - first, count = left < most_columns ? left : most_columns;
    for (int64_t g = 0; g < groups; g += 2) {
      load_groups(weights, row + g * 16, part.rows - g * 16, first / 8, weights.row_bytes() - first / 8,
                  room.index + g * group_bytes);
    }
    fill_block(call, part, first, count, room.copy, block);
    int64_t p = 0;
    for (; p + 4 <= part.pixels; p += 4) {
      advance<4>(block, p, count, groups, first == 0, room);
    }
    for (; p + 2 <= part.pixels; p += 2) {
      advance<2>(block, p, count, groups, first == 0, room);
    }
    if (p < part.pixels) {
      advance<1>(block, p, count, groups, first == 0, room);
    }
  }
  if (call.matrix) {
    store_matrix(call, part, groups * 16, room.sum);
  } else {
    store_image(call, cut, part, groups * 16, room.sum);
  }
  return true;
}

}  // namespace

extern const Kernels SPARSE_EXPORT_TARGET_NAME = {
    {.work = 4e6, .pixels = 128, .grain = 4, .fewest_rows = 256, .most_rows = 1024}, run_unit};

}  // namespace sparse_export::f32_bit
