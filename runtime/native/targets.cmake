# The instruction sets, in ascending order: a CPU runs the last that it has. One that has a target need not have all before
# it, so the features of each are the whole list of what it needs.
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
  elseif(name IN_LIST SPARSE_EXPORT_LEAVE_OUT)
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

# The compiler's baseline, vectors of four: SSE2 on x86-64, NEON on aarch64.
sparse_export_target(scalar)

set(avx2 avx2 fma "has_f16c()")
set(avx2_flags -mavx2 -mfma -mf16c)
sparse_export_target(avx2 PROCESSOR x86_64|AMD64 FEATURES ${avx2} FLAGS ${avx2_flags})

# Processors without AVX-512: of 2021 and later. A kernel's table of this target is used with later ones only where the CPU
# has both.
sparse_export_target(avxvnni PROCESSOR x86_64|AMD64 FEATURES ${avx2} "has_avxvnni()" FLAGS ${avx2_flags} -mavxvnni)

# The same for tests on processors that have these instructions in the encoding of AVX-512 alone: compiled as `avxvnni`, and
# what the assembler is given differs by the prefix that says which encoding is wanted.
if(SPARSE_EXPORT_DEVELOPER AND CMAKE_SYSTEM_NAME STREQUAL "Linux")
  set(assembler ${CMAKE_CURRENT_BINARY_DIR}/evex)
  file(WRITE ${assembler}/as "#!/bin/sh\n# The last argument is the source.\nfor source; do :; done\n"
                             "sed -i 's/{vex}\\([[:space:]]*vpdpbusd\\)/{evex}\\1/' \"$source\"\nexec as \"$@\"\n")
  file(CHMOD ${assembler}/as PERMISSIONS OWNER_READ OWNER_WRITE OWNER_EXECUTE)
  sparse_export_target(avxvnni_evex PROCESSOR x86_64|AMD64 FEATURES ${avx2} avx512vl avx512vnni
                       FLAGS ${avx2_flags} -mavxvnni -B${assembler} $<$<CXX_COMPILER_ID:Clang>:-fno-integrated-as>)
endif()

set(avx512 ${avx2} avx512f avx512bw avx512dq avx512vl)
set(avx512_flags ${avx2_flags} -mprfchw -mavx512f -mavx512bw -mavx512dq -mavx512vl -mprefer-vector-width=512)
sparse_export_target(avx512 PROCESSOR x86_64|AMD64 FEATURES ${avx512} FLAGS ${avx512_flags})

set(avx512vnni ${avx512} avx512vnni avx512vpopcntdq avx512bitalg avx512vbmi avx512vbmi2)
sparse_export_target(avx512vnni PROCESSOR x86_64|AMD64 FEATURES ${avx512vnni}
                     FLAGS ${avx512_flags} -mavx512vnni -mavx512vpopcntdq -mavx512bitalg -mavx512vbmi -mavx512vbmi2)

# aarch64: written for its 32 registers and its own instructions. Compilers that order instructions before they give out
# registers have too few of them then.
set(neon_flags -DSPARSE_EXPORT_NEON $<$<CXX_COMPILER_ID:GNU>:-fno-schedule-insns>
               "SHELL:$<$<CXX_COMPILER_ID:Clang,AppleClang>:-mllvm -enable-misched=false>")
function(sparse_export_neon_target name extensions)
  # GCC takes extensions of an architecture only, zig's clang of a processor only.
  set(machine $<IF:$<CXX_COMPILER_ID:GNU>,-march=armv8.2-a${extensions},-mcpu=generic${extensions}>)
  sparse_export_target(${name} PROCESSOR aarch64|arm64 FLAGS ${neon_flags} ${machine} ${ARGN})
  set(SPARSE_EXPORT_TARGETS ${SPARSE_EXPORT_TARGETS} PARENT_SCOPE)
  set(SPARSE_EXPORT_FLAGS_${name} ${SPARSE_EXPORT_FLAGS_${name}} PARENT_SCOPE)
  set(SPARSE_EXPORT_SUPPORTED_${name} ${SPARSE_EXPORT_SUPPORTED_${name}} PARENT_SCOPE)
endfunction()
sparse_export_target(neon PROCESSOR aarch64|arm64 FLAGS ${neon_flags})

sparse_export_neon_target(neondot +dotprod FEATURES "has_dotprod()")
sparse_export_neon_target(neonsha3 +dotprod+sha3 FEATURES "has_dotprod()" "has_sha3()")
sparse_export_neon_target(neoni8mm +dotprod+sha3+i8mm FEATURES "has_dotprod()" "has_sha3()" "has_i8mm()")

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
