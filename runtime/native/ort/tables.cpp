#include "tables.h"

#include <initializer_list>
#include <utility>
#include <vector>

#include "core/dispatch.h"
#include "op.h"

namespace sparse_export {
namespace {

// Names here are C identifiers: nothing to escape.
std::string quoted(const std::string& text) { return "\"" + text + "\""; }

template <class List, class Text>
std::string list(const List& items, Text text) {
  std::string out = "[";
  for (const auto& item : items) {
    out += (out.size() > 1 ? ", " : "") + text(item);
  }
  return out + "]";
}

std::string object(std::initializer_list<std::pair<const char*, std::string>> fields) {
  std::string out = "{";
  for (const auto& [name, value] : fields) {
    out += (out.size() > 1 ? ", " : "") + quoted(name) + ": " + value;
  }
  return out + "}";
}

struct Kernel {
  std::string name;
  std::vector<std::string> targets;
};

std::vector<Kernel> kernels() {
  std::vector<Kernel> all;
#define SPARSE_EXPORT_ENTRY(kernel) \
  all.push_back({#kernel, {"reference", SPARSE_EXPORT_TARGETS_OF_##kernel(SPARSE_EXPORT_NAME, )}});
#define SPARSE_EXPORT_NAME(name, unused) #name,
  SPARSE_EXPORT_KERNELS(SPARSE_EXPORT_ENTRY)
#undef SPARSE_EXPORT_NAME
#undef SPARSE_EXPORT_ENTRY
  return all;
}

std::string describe(const Entry& entry) {
  return object({{"name", quoted(entry.name)},
                 {"kernel", quoted(entry.kernel)},
                 {"prefix", quoted(entry.prefix)},
                 {"layer", quoted(entry.layer)},
                 {"suffix", quoted(entry.suffix)},
                 {"components", list(entry.components, quoted)},
                 {"x", std::to_string(entry.op->GetInputType(entry.op.get(), 0))},
                 {"y", std::to_string(entry.op->GetOutputType(entry.op.get(), 0))}});
}

}  // namespace

std::string tables_json() {
  std::vector<size_t> targets;
  for (size_t i = 0; i < target_names.size(); ++i) {
    targets.push_back(i);
  }
  const auto target = [&](size_t i) {
    return object({{"name", quoted(target_names[i])}, {"supported", has(static_cast<Target>(i)) ? "true" : "false"}});
  };
  const auto kernel = [](const Kernel& one) {
    return object({{"name", quoted(one.name)}, {"targets", list(one.targets, quoted)}});
  };
  Operators operators(nullptr);
  add_all_operators(operators);
  return object({{"targets", list(targets, target)},
                 {"kernels", list(kernels(), kernel)},
                 {"operators", list(operators.entries(), describe)}});
}

}  // namespace sparse_export
