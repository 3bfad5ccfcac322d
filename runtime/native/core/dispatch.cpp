#include "dispatch.h"

#include <array>
#include <cstdlib>
#include <string>
#include <string_view>

#include "error.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

namespace sparse_export {
namespace {

#if defined(__x86_64__)
// clang's __builtin_cpu_supports does not know it.
bool has_f16c() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid(1, &a, &b, &c, &d) != 0 && (c & bit_F16C) != 0;
}

// GCC 12's __builtin_cpu_supports does not know it. Its registers are those of AVX2, which is asked for as well.
[[maybe_unused]] bool has_avxvnni() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1U) != 0;
}
#elif defined(__aarch64__)
// GCC 12 has no __builtin_cpu_supports here. Bits of Linux's AT_HWCAP and AT_HWCAP2, by number: old headers lack their
// names. On macOS every processor has the first two.
#if defined(__linux__)
bool has_dotprod() { return (getauxval(AT_HWCAP) >> 20 & 1) != 0; }
bool has_sha3() { return (getauxval(AT_HWCAP) >> 17 & 1) != 0; }
bool has_i8mm() { return (getauxval(AT_HWCAP2) >> 13 & 1) != 0; }
#elif defined(__APPLE__)
bool has_dotprod() { return true; }
bool has_sha3() { return true; }
bool has_i8mm() { return false; }
#else
bool has_dotprod() { return false; }
bool has_sha3() { return false; }
bool has_i8mm() { return false; }
#endif
#endif

Target choose() {
  const Target best = best_target();
  const char* forced = std::getenv("SPARSE_EXPORT_TARGET");
  if (forced == nullptr || *forced == '\0') {
    return best;
  }
  std::string known;
  for (size_t index = 0; index < target_names.size(); ++index) {
    if (std::string_view(forced) == target_names[index]) {
      const auto target = static_cast<Target>(index);
      if (!has(target)) {
        throw Error(std::string("SPARSE_EXPORT_TARGET=") + forced + ": this CPU lacks it, its best is " + name_of(best),
                    Fault::unsupported);
      }
      return target;
    }
    known += index == 0 ? "" : index + 1 == target_names.size() ? " or " : ", ";
    known += target_names[index];
  }
  throw Error(std::string("SPARSE_EXPORT_TARGET=") + forced + ": unknown; use " + known);
}

}  // namespace

bool has(Target target) {
  static const std::array<bool, target_names.size()> found = [] {
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
#define SPARSE_EXPORT_ENTRY(name, supported) , (supported)
    return std::array<bool, target_names.size()>{true SPARSE_EXPORT_TARGETS(SPARSE_EXPORT_ENTRY)};
#undef SPARSE_EXPORT_ENTRY
  }();
  return found[static_cast<size_t>(target)];
}

Target best_target() {
  size_t best = target_names.size() - 1;
  while (!has(static_cast<Target>(best))) {
    --best;
  }
  return static_cast<Target>(best);
}

Target detect_target() {
  static const Target target = choose();
  return target;
}

}  // namespace sparse_export
