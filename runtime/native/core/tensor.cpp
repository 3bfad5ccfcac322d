#include "tensor.h"

namespace sparse_export {

int64_t checked_count(const Shape& shape) {
  int64_t count = 1;
  bool empty = false;
  for (const int64_t dim : shape) {
    require(dim >= 0 && dim < (int64_t{1} << 48), "a dimension is negative or above 2^48");
    if (dim == 0) {
      empty = true;
      continue;
    }
    require(count <= (int64_t{1} << 48) / dim, "more than 2^48 elements");
    count *= dim;
  }
  return empty ? 0 : count;
}

}  // namespace sparse_export
