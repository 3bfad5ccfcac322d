# The kernels: <activations>_<weights>, a folder each.
#
#   sparse_export_kernel(<folder> [PREFIX <operators>] [ROUNDING exact] <source> <targets>... [AND <source> <targets>...])
#
# The source is compiled once for each target and defines the table of that name in the kernel's namespace; every other
# source of the folder is compiled once, for the baseline, and fuzz.cpp for the programs of fuzz/ alone.
# PREFIX: operators of float activations, of what traits.h says; without it those of ops/<folder>.cpp, or none.
# ROUNDING exact: products and sums are rounded one by one, as they are written; otherwise the compiler may fuse them.
#
# A new kernel is its folder and one row here.
sparse_export_kernel(f32_csr PREFIX Sparse kernel.cpp scalar avx2 avx512 neon)
sparse_export_kernel(f32_codes PREFIX BinaryWeight kernel.cpp scalar avx2 avx512 neon)
sparse_export_kernel(f32_masked kernel.cpp scalar avx2 avx512 neon)
sparse_export_kernel(bit_bit ROUNDING exact kernel.cpp scalar avx2 avx512 avx512vnni neon neondot neonsha3)
sparse_export_kernel(s8_csr ROUNDING exact kernel.cpp scalar avx2 avxvnni avxvnni_evex avx512 avx512vnni neon neondot neoni8mm)
sparse_export_kernel(u8_pool kernel.cpp scalar avx2 avx512 neon)
