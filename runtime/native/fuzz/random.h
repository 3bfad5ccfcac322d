// Random numbers of the test programs: the same sequence on every machine.
#pragma once

#include <cstdint>
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

}  // namespace fuzz
