#include "dispatch.h"

#include <cstdlib>
#include <string>
#include <string_view>

#include "api.h"

namespace sparse_export {
namespace {

Target best_target() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (!avx2) {
    return Target::scalar;
  }
  const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  if (!avx512) {
    return Target::avx2;
  }
  const bool vnni = __builtin_cpu_supports("avx512vnni") && __builtin_cpu_supports("avx512vpopcntdq");
  return vnni ? Target::avx512vnni : Target::avx512;
#else
  return Target::scalar;
#endif
}

Target choose() {
  const Target best = best_target();
  const char* forced = std::getenv("SPARSE_EXPORT_TARGET");
  if (forced == nullptr || *forced == '\0') {
    return best;
  }
  for (size_t index = 0; index < target_names.size(); ++index) {
    if (std::string_view(forced) == target_names[index]) {
      if (index > static_cast<size_t>(best)) {
        throw Error(std::string("SPARSE_EXPORT_TARGET=") + forced + ": this CPU has no more than " +
                        target_names[static_cast<size_t>(best)],
                    abi::code_not_implemented);
      }
      return static_cast<Target>(index);
    }
  }
  throw Error(std::string("SPARSE_EXPORT_TARGET=") + forced +
              ": unknown; use reference, scalar, avx2, avx512 or avx512vnni");
}

}  // namespace

Target detect_target() {
  static const Target target = choose();
  return target;
}

}  // namespace sparse_export
