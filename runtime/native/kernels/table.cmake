# The kernels: <activations>_<weights>, a folder each.
#
#   sparse_export_kernel(<folder> [ROUNDING exact] <source> <targets>... [AND <source> <targets>...])
#
# The source is compiled once for each target and defines the table of that name in the kernel's namespace; every other
# source of the folder and ops/<folder>.cpp are compiled once, for the baseline. ROUNDING exact: products and sums are
# rounded one by one, as they are written; otherwise the compiler may fuse them.
#
# A new kernel is its folder, ops/<folder>.cpp and one row here.
sparse_export_kernel(f32_csr kernel.cpp scalar avx2 avx512)
sparse_export_kernel(f32_codes kernel.cpp scalar avx2 avx512)
sparse_export_kernel(f32_masked kernel.cpp scalar avx2 avx512)
sparse_export_kernel(bit_bit ROUNDING exact kernel.cpp scalar avx2 avx512 avx512vnni)
sparse_export_kernel(s8_csr ROUNDING exact kernel.cpp scalar avx2 avx512 avx512vnni)
