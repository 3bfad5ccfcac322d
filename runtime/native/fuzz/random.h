// Random numbers of the test programs: the same sequence on every machine.
#pragma once

#include <cstdint>
#include <iterator>
#include <random>

namespace fuzz {

using Random = std::mt19937_64;

// In [low, high].
inline int64_t uniform(Random& random, int64_t low, int64_t high) {
  return low + static_cast<int64_t>(random() % static_cast<uint64_t>(high - low + 1));
}

inline bool chance(Random& random, int percent) { return uniform(random, 0, 99) < percent; }

// One of the listed values.
template <class T>
T pick(Random& random, std::initializer_list<T> values) {
  return values.begin()[random() % values.size()];
}

// A number at an edge of some type, or an ordinary one.
inline int64_t odd_value(Random& random) {
  constexpr int64_t values[] = {0,       -1,        1,        2,        3,         7,         255, 256,  65535, 1 << 20,
                                1 << 30, INT32_MAX, 1L << 31, 1L << 40, INT64_MAX, INT64_MIN, 100, 1000, 5000,  12};
  return values[uniform(random, 0, std::size(values) - 1)];
}

}  // namespace fuzz
