#include "dispatch.h"

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
      if (index > static_cast<size_t>(best)) {
        throw Error(std::string("SPARSE_EXPORT_TARGET=") + forced + ": this CPU has no more than " + name_of(best),
                    Fault::unsupported);
      }
      return static_cast<Target>(index);
    }
    known += index == 0 ? "" : index + 1 == target_names.size() ? " or " : ", ";
    known += target_names[index];
  }
  throw Error(std::string("SPARSE_EXPORT_TARGET=") + forced + ": unknown; use " + known);
}

}  // namespace

Target best_target() {
#if defined(__x86_64__)
  __builtin_cpu_init();
#endif
  Target best = Target::reference;
#define SPARSE_EXPORT_ENTRY(name, supported)                                               \
  if (static_cast<size_t>(best) + 1 == static_cast<size_t>(Target::name) && (supported)) { \
    best = Target::name;                                                                   \
  }
  SPARSE_EXPORT_TARGETS(SPARSE_EXPORT_ENTRY)
#undef SPARSE_EXPORT_ENTRY
  return best;
}

Target detect_target() {
  static const Target target = choose();
  return target;
}

}  // namespace sparse_export
