// Weights of few values times float activations by table look-up, on AVX-512 and AVX2.
//
// For one pixel the sixteen sums that the codes of some columns stand for fill one or two registers. The codes of
// `lanes` output channels index them: one permutation and one addition do four, two or one multiply-adds a lane,
// exactly as float sums. Idea: Wei et al., "T-MAC: CPU Renaissance via Table Lookup", EuroSys 2025, here with float
// tables.
#pragma once

#include "core/epilogue_vector.h"
#include "core/scratch.h"
#include "input.h"
#include "lookup.h"

namespace sparse_export::f32_codes {
namespace {

#if defined(__AVX512F__)
constexpr int many = 4;  // registers of sums beside those of up to four pixels
#else
constexpr int many = 2;
#endif
constexpr int few_many = 4;  // of one pixel
constexpr int64_t word_bytes = group_rows * 4;

// Tables of `Pixels` pixels for `count` columns: [code][pixel].
template <int Span, Kind kind, int Pixels>
void build_tables(const Weights& weights, const InputBlock& block, int64_t pixel, int64_t count, char* to) {
  const Sums<Span, kind> sums(weights);
  const float* x[Pixels];
  for (int p = 0; p < Pixels; ++p) {
    x[p] = block.base + block.pixel[pixel + p];
  }
  for (int64_t j = 0; j < count; j += Span) {
    SPARSE_EXPORT_UNROLL(4)
    for (int p = 0; p < Pixels; ++p, to += Lookup<kind>::table_bytes) {
      float inputs[Span];
      for (int c = 0; c < Span; ++c) {
        inputs[c] = j + c < count ? x[p][block.column[j + c]] : 0;
      }
      sums.store(inputs, to);
    }
  }
}

// sum[p][lanes x r ..] += looked-up sums of `count` codes, for registers of rows from `index` on.
template <Kind kind, int Registers, int Pixels>
void look_up(const char* index, int64_t group_bytes, const char* table, int64_t count, float* sum, int64_t pitch,
             bool fresh) {
  using Of = Lookup<kind>;
  Vec acc[Registers][Pixels];
  SPARSE_EXPORT_UNROLL(4)
  for (int r = 0; r < Registers; ++r) {
    SPARSE_EXPORT_UNROLL(4)
    for (int p = 0; p < Pixels; ++p) {
      acc[r][p] = fresh ? Vec{} : load(sum + p * pitch + r * lanes);
    }
  }
  for (; count > 0; count -= word_codes, index += word_bytes) {
    typename Of::Codes codes[Registers];
    SPARSE_EXPORT_UNROLL(4)
    for (int r = 0; r < Registers; ++r) {
      codes[r] = Of::load(index + r / registers_of_group * group_bytes + r % registers_of_group * vector_bytes);
    }
    // Unrolled, GCC moves all look-ups of many accumulators ahead of the additions and spills them.
    SPARSE_EXPORT_UNROLL(1)
    for (int64_t i = 0; i < word_codes && i < count; ++i, table += Pixels * Of::table_bytes) {
      SPARSE_EXPORT_UNROLL(4)
      for (int r = 0; r < Registers; ++r) {
        const auto pick = Of::pick(codes[r]);
        SPARSE_EXPORT_UNROLL(4)
        for (int p = 0; p < Pixels; ++p) {
          const Vec found = Of::find(pick, table + p * Of::table_bytes);
          acc[r][p] = p % 2 == 0 ? acc[r][p] + found : Of::add(acc[r][p], found);
        }
        codes[r] = Of::next(codes[r]);
      }
    }
  }
  SPARSE_EXPORT_UNROLL(4)
  for (int r = 0; r < Registers; ++r) {
    SPARSE_EXPORT_UNROLL(4)
    for (int p = 0; p < Pixels; ++p) {
      store(sum + p * pitch + r * lanes, acc[r][p]);
    }
  }
}

#if defined(__AVX512F__)
// The same for one pixel, four registers and whole words. Look-ups and shifts use the same ports: half of the shifts
// are saved by reading the codes a byte further on, where a lane's low four bits are the next but one.
template <Kind kind>
void look_up_single(const char* index, int64_t group_bytes, const char* table, int64_t count, float* sum, bool fresh) {
  Vec acc[4];
  SPARSE_EXPORT_UNROLL(4)
  for (int r = 0; r < 4; ++r) {
    acc[r] = fresh ? Vec{} : load(sum + r * lanes);
  }
  for (; count > 0; count -= word_codes, index += word_bytes) {
    SPARSE_EXPORT_UNROLL(4)
    for (int i = 0; i < 4; ++i, table += 128) {
      SPARSE_EXPORT_UNROLL(4)
      for (int r = 0; r < 4; ++r) {
        const __m512i codes = _mm512_loadu_si512(index + r * group_bytes + i);
        acc[r] += Lookup<kind>::find({codes}, table);
        acc[r] = Lookup<kind>::add(acc[r], Lookup<kind>::find({_mm512_srli_epi32(codes, 4)}, table + 64));
      }
    }
  }
  SPARSE_EXPORT_UNROLL(4)
  for (int r = 0; r < 4; ++r) {
    store(sum + r * lanes, acc[r]);
  }
}
#elif defined(__AVX2__)
// The same for one pixel, four registers, sixteen sums and whole words. Shifts use the ports of look-ups: which
// register a code's sum is in is asked by a comparison instead, but for as many as keep all ports busy.
inline void look_up_full(const char* index, int64_t group_bytes, const char* table, int64_t count, float* sum,
                         bool fresh) {
  const __m256i none = _mm256_setzero_si256();
  __m256 acc[4];
  SPARSE_EXPORT_UNROLL(4)
  for (int r = 0; r < 4; ++r) {
    acc[r] = fresh ? _mm256_setzero_ps() : _mm256_loadu_ps(sum + r * lanes);
  }
  for (; count > 0; count -= word_codes, index += word_bytes) {
    __m256i codes[4];
    SPARSE_EXPORT_UNROLL(4)
    for (int r = 0; r < 4; ++r) {
      const char* from = index + r / registers_of_group * group_bytes + r % registers_of_group * vector_bytes;
      codes[r] = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    }
    SPARSE_EXPORT_UNROLL(8)
    for (int i = 0; i < word_codes; ++i, table += 64) {
      const __m256 low = _mm256_load_ps(reinterpret_cast<const float*>(table));
      const __m256 high = _mm256_load_ps(reinterpret_cast<const float*>(table) + 8);
      SPARSE_EXPORT_UNROLL(4)
      for (int r = 0; r < 4; ++r) {
        const __m256i at = _mm256_srli_epi32(codes[r], 4 * i);
        const __m256 in_low = _mm256_permutevar8x32_ps(low, at), in_high = _mm256_permutevar8x32_ps(high, at);
        __m256 found;
        if (i >= 5) {
          const __m256i top = _mm256_slli_epi32(codes[r], 28 - 4 * i);
          found = _mm256_blendv_ps(in_low, in_high, _mm256_castsi256_ps(top));
        } else {
          const __m256i top = _mm256_and_si256(codes[r], _mm256_set1_epi32(8 << (4 * i)));
          found = _mm256_blendv_ps(in_high, in_low, _mm256_castsi256_ps(_mm256_cmpeq_epi32(top, none)));
        }
        acc[r] = _mm256_add_ps(acc[r], found);
      }
    }
  }
  SPARSE_EXPORT_UNROLL(4)
  for (int r = 0; r < 4; ++r) {
    _mm256_storeu_ps(sum + r * lanes, acc[r]);
  }
}
#endif

// All rows of a unit. Codes of one row group lie together, so `group_bytes` is their distance.
template <Kind kind, int Pixels>
void look_up_all(const char* index, int64_t group_bytes, int64_t registers, const char* table, int64_t count,
                 float* sum, int64_t pitch, bool fresh) {
  constexpr int step = Pixels == 1 ? few_many : many;
  for (int64_t r = 0; r < registers; r += step, sum += step * lanes) {
    const char* from = index + r / registers_of_group * group_bytes;
#if defined(__AVX512F__)
    if (Pixels == 1 && registers - r >= step && count % word_codes == 0) {
      look_up_single<kind>(from, group_bytes, table, count, sum, fresh);
      continue;
    }
#elif defined(__AVX2__)
    if (kind == Kind::full && Pixels == 1 && registers - r >= step && count % word_codes == 0) {
      look_up_full(from, group_bytes, table, count, sum, fresh);
      continue;
    }
#endif
    switch (smaller(registers - r, step)) {
      case 4:
        look_up<kind, 4, Pixels>(from, group_bytes, table, count, sum, pitch, fresh);
        break;
      case 3:
        look_up<kind, 3, Pixels>(from, group_bytes, table, count, sum, pitch, fresh);
        break;
      case 2:
        look_up<kind, 2, Pixels>(from, group_bytes, table, count, sum, pitch, fresh);
        break;
      default:
        look_up<kind, 1, Pixels>(from, group_bytes, table, count, sum, pitch, fresh);
    }
  }
}

// One unit's scratch.
struct Room {
  char* table;  // [code][pixel]
  float* sum;   // [pixel][row]
  float* copy;  // padded input
};

bool reserve(const Call& call, const Part& part, int64_t registers, Room& room) {
  thread_local Scratch scratch;
  constexpr int64_t table = block_codes * 4 * 64;
  const int64_t sum = part.pixels * registers * vector_bytes;
  char* data = scratch.reserve(static_cast<size_t>(table + sum + window_floats(call, part) * 4 + 64));
  room = {data, reinterpret_cast<float*>(data + table), reinterpret_cast<float*>(data + table + sum)};
  return data != nullptr;
}

template <int Span, Kind kind, int Pixels>
void advance(const Call& call, const InputBlock& block, int64_t pixel, int64_t count, const char* index,
             int64_t group_bytes, int64_t registers, bool fresh, const Room& room) {
  const int64_t pitch = registers * lanes;
  build_tables<Span, kind, Pixels>(call.weights, block, pixel, count, room.table);
  look_up_all<kind, Pixels>(index, group_bytes, registers, room.table, (count + Span - 1) / Span,
                            room.sum + pixel * pitch, pitch, fresh);
}

template <int Span, Kind kind>
void sum_up(const Call& call, const Part& part, int64_t registers, const Room& room) {
  const Weights& weights = call.weights;
  constexpr int64_t block_columns = block_codes * Span;
  InputBlock block;
  fill_pixels(call, part, block);
  for (int64_t first = 0; first < weights.columns; first += block_columns) {
    const int64_t count = smaller(weights.columns - first, block_columns), number = first / block_columns;
    fill_block(call, part, first, count, room.copy, block);
    const char* index = reinterpret_cast<const char*>(weights.at(number, part.group, part.row));
    const int64_t group_bytes = smaller(weights.words() - number * block_words, block_words) * word_bytes;
    const bool fresh = first == 0;
    int64_t p = 0;
    for (; p + 4 <= part.pixels; p += 4) {
      advance<Span, kind, 4>(call, block, p, count, index, group_bytes, registers, fresh, room);
    }
    for (; p + 2 <= part.pixels; p += 2) {
      advance<Span, kind, 2>(call, block, p, count, index, group_bytes, registers, fresh, room);
    }
    if (p < part.pixels) {
      advance<Span, kind, 1>(call, block, p, count, index, group_bytes, registers, fresh, room);
    }
  }
}

void sum_up(const Call& call, const Part& part, int64_t registers, const Room& room) {
  with_codes(call.weights, [&]<int Span, Kind kind>() { sum_up<Span, kind>(call, part, registers, room); });
}

}  // namespace
}  // namespace sparse_export::f32_codes
