// Which instruction set the kernels use: found once per process, or forced by SPARSE_EXPORT_TARGET.
#pragma once

#include <array>
#include <cstddef>

namespace sparse_export {

// Ordered: a CPU that has one has all before it.
//   reference  plain loops, the definition that every other target is tested against
//   scalar     the compiler's baseline (SSE2 on x86-64, NEON on aarch64)
//   avx2       AVX2, FMA, F16C
//   avx512     AVX-512 F, BW, DQ, VL
//   avx512vnni the above with VNNI and VPOPCNTDQ
enum class Target { reference, scalar, avx2, avx512, avx512vnni };

inline constexpr std::array<const char*, 5> target_names = {"reference", "scalar", "avx2", "avx512", "avx512vnni"};

// The best this CPU has, or what SPARSE_EXPORT_TARGET names. Throws `Error` when the name is unknown or the CPU
// lacks it.
Target detect_target();

// The entry for the current target: the last non-null one at or below it.
template <class T>
const T& for_target(const std::array<const T*, 5>& table, Target target = detect_target()) {
  size_t index = static_cast<size_t>(target);
  while (index > 0 && table[index] == nullptr) {
    --index;
  }
  return *table[index];
}

}  // namespace sparse_export
