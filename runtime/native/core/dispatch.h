// Which instruction set the kernels use: found once per process, or forced by SPARSE_EXPORT_TARGET.
//
// The list of targets is targets.cmake; `targets.h` is made of it when the build is configured. A header of a kernel
// declares its tables with SPARSE_EXPORT_DECLARE, its dispatch.cpp picks one with SPARSE_EXPORT_PICK.
#pragma once

#include <array>
#include <cstddef>
#include <initializer_list>
#include <utility>

#include "targets.h"

namespace sparse_export {

// `reference`, plain loops that define what every other target must compute, then those of targets.cmake in their
// order.
enum class Target {
  reference,
#define SPARSE_EXPORT_ENTRY(name, supported) name,
  SPARSE_EXPORT_TARGETS(SPARSE_EXPORT_ENTRY)
#undef SPARSE_EXPORT_ENTRY
};

inline constexpr std::array target_names = {"reference",
#define SPARSE_EXPORT_ENTRY(name, supported) #name,
                                            SPARSE_EXPORT_TARGETS(SPARSE_EXPORT_ENTRY)
#undef SPARSE_EXPORT_ENTRY
};

inline const char* name_of(Target target) { return target_names[static_cast<size_t>(target)]; }

// Whether this CPU has it.
bool has(Target target);

// The last target this CPU has.
Target best_target();

// The best this CPU has, or what SPARSE_EXPORT_TARGET names. Throws `Error` when the name is unknown or the CPU
// lacks it.
Target detect_target();

// Of a kernel's tables, that of the current target: the last one at or below it that this CPU has. They are in the
// order of the targets.
template <class T>
const T& pick(std::initializer_list<std::pair<Target, const T*>> tables, Target target = detect_target()) {
  const T* found = nullptr;
  for (const auto& [of, table] : tables) {
    found = of <= target && has(of) ? table : found;
  }
  return *found;
}

}  // namespace sparse_export

// In the kernel's namespace: `extern const Kernels reference, scalar, ...;`, one for each target of its row in
// kernels/table.cmake.
#define SPARSE_EXPORT_DECLARE(kernel, Kernels) \
  extern const Kernels reference;              \
  SPARSE_EXPORT_TARGETS_OF_##kernel(SPARSE_EXPORT_DECLARE_ONE, Kernels)
#define SPARSE_EXPORT_DECLARE_ONE(name, Kernels) extern const Kernels name;

#define SPARSE_EXPORT_PICK(kernel, Kernels) \
  pick<Kernels>({{Target::reference, &reference}, SPARSE_EXPORT_TARGETS_OF_##kernel(SPARSE_EXPORT_PICK_ONE, Kernels)})
#define SPARSE_EXPORT_PICK_ONE(name, Kernels) {Target::name, &name},
