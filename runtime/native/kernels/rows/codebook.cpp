// `codebook`: an index into a table of the distinct values for every weight.
#include "parts.h"

namespace sparse_export::rows {

Rows read_codebook(const std::vector<Tensor>& components, const Extent& extent) {
  const Tensor& table = components[1];
  check_table(table);
  const Planes indices = read_indices(components[0], extent.size(), table.count);
  return with_bits(table, "input 'table'", [&](const auto* bits) {
    return build(extent, table.type, [&](auto&& visit) {
      int64_t at = 0;
      for (int64_t row = 0; row < extent.rows; ++row) {
        for (int64_t column = 0; column < extent.columns(); ++column, ++at) {
          const auto value = bits[indices[at]];
          if (value != 0) {
            visit(row, column, [&] { return value; });
          }
        }
      }
    });
  });
}

}  // namespace sparse_export::rows
