# The instruction sets, in ascending order: a CPU that has one has all before it.
#
#   sparse_export_target(<name> [PROCESSOR <regex>] [FEATURES <CPU feature>...] [FLAGS <compiler flag>...])
#
# A feature is a name that __builtin_cpu_supports knows, or one that core/dispatch.cpp has a function for (`has_<name>()`,
# written with its parentheses).
#
# The build, the dispatcher (core/dispatch.h) and, through `SparseExportTables`, the tests and Python derive from this
# list. A new instruction set is an entry here and its name in the rows of kernels/table.cmake that have a use for it.
# `reference`, plain loops, is not in the list: every kernel has it.
set(SPARSE_EXPORT_TARGETS "")
function(sparse_export_target name)
  cmake_parse_arguments(target "" "PROCESSOR" "FEATURES;FLAGS" ${ARGN})
  if(target_PROCESSOR AND NOT CMAKE_SYSTEM_PROCESSOR MATCHES "^(${target_PROCESSOR})$")
    return()
  endif()
  set(SPARSE_EXPORT_TARGETS ${SPARSE_EXPORT_TARGETS} ${name} PARENT_SCOPE)
  set(SPARSE_EXPORT_FLAGS_${name} ${target_FLAGS} PARENT_SCOPE)
  set(supported true)
  foreach(feature IN LISTS target_FEATURES)
    if(feature MATCHES "\\(\\)$")
      string(APPEND supported " && ${feature}")
    else()
      string(APPEND supported " && __builtin_cpu_supports(\"${feature}\")")
    endif()
  endforeach()
  set(SPARSE_EXPORT_SUPPORTED_${name} "${supported}" PARENT_SCOPE)
endfunction()

# The compiler's baseline: SSE2 on x86-64, NEON on aarch64.
sparse_export_target(scalar)

set(avx2 avx2 fma "has_f16c()")
set(avx2_flags -mavx2 -mfma -mf16c)
sparse_export_target(avx2 PROCESSOR x86_64|AMD64 FEATURES ${avx2} FLAGS ${avx2_flags})

set(avx512 ${avx2} avx512f avx512bw avx512dq avx512vl)
set(avx512_flags ${avx2_flags} -mprfchw -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
sparse_export_target(avx512 PROCESSOR x86_64|AMD64 FEATURES ${avx512} FLAGS ${avx512_flags})

set(avx512vnni ${avx512} avx512vnni avx512vpopcntdq avx512bitalg avx512vbmi avx512vbmi2)
sparse_export_target(avx512vnni PROCESSOR x86_64|AMD64 FEATURES ${avx512vnni}
                     FLAGS ${avx512_flags} -mavx512vnni -mavx512vpopcntdq -mavx512bitalg -mavx512vbmi -mavx512vbmi2)

# targets.h, from the list above and the rows of kernels/table.cmake.
function(sparse_export_write_targets file)
  set(text "// Made of targets.cmake and kernels/table.cmake.\n#pragma once\n\n#define SPARSE_EXPORT_TARGETS(ENTRY)")
  foreach(target IN LISTS SPARSE_EXPORT_TARGETS)
    string(APPEND text " \\\n  ENTRY(${target}, ${SPARSE_EXPORT_SUPPORTED_${target}})")
  endforeach()
  foreach(kernel IN LISTS SPARSE_EXPORT_KERNELS)
    string(APPEND text "\n\n#define SPARSE_EXPORT_TARGETS_OF_${kernel}(ENTRY, Kernels)")
    foreach(target IN LISTS SPARSE_EXPORT_TARGETS_OF_${kernel})
      string(APPEND text " ENTRY(${target}, Kernels)")
    endforeach()
  endforeach()
  string(APPEND text "\n\n#define SPARSE_EXPORT_KERNELS(ENTRY)")
  foreach(kernel IN LISTS SPARSE_EXPORT_KERNELS)
    string(APPEND text " ENTRY(${kernel})")
  endforeach()
  file(CONFIGURE OUTPUT ${file} CONTENT "${text}\n" @ONLY)
endfunction()
