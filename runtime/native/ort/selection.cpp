#include "selection.h"

#include <algorithm>
#include <string>
#include <utility>

#include "api.h"

namespace sparse_export {
namespace {

// Whether `names`, which begins and ends with a comma, holds this one.
bool holds(const std::string& names, const std::string& name) {
  return names.find(',' + name + ',') != std::string::npos;
}

}  // namespace

std::mutex registration;

std::vector<const OrtCustomOp*> operators_of(const OrtApi* api, const std::string& names) {
  static auto* const made = new std::vector<Entry>();
  const auto is_new = [](const void* wanted, const std::string& name) {
    const auto& names = *static_cast<const std::string*>(wanted);
    return (holds(names, "*") || holds(names, name)) &&
           std::none_of(made->begin(), made->end(), [&](const Entry& entry) { return entry.name == name; });
  };
  Operators missing(api, is_new, &names);
  add_all_operators(missing);
  for (Entry& entry : missing.take()) {
    made->push_back(std::move(entry));
  }
  std::vector<const OrtCustomOp*> found;
  for (const Entry& entry : *made) {
    if (holds(names, "*") || holds(names, entry.name)) {
      found.push_back(entry.op.get());
    }
  }
  return found;
}

Selection::~Selection() {
  if (domain_ != nullptr) {
    abi::ReleaseCustomOpDomain::call(api_, domain_);
  }
}

void Selection::want(std::string_view names) {
  wanted_.append(",").append(names).append(",");
  if (domain_ != nullptr) {
    add_wanted();
  }
}

void Selection::enter(const OrtApi* api, OrtSessionOptions* options) {
  require(domain_ == nullptr, "these operators are already in other session options");
  api_ = api;
  check(api, abi::CreateCustomOpDomain::call(api, "sparse_export", &domain_));
  add_wanted();
  check(api, abi::AddCustomOpDomain::call(api, options, domain_));
}

void Selection::add_wanted() {
  for (const OrtCustomOp* op : operators_of(api_, wanted_)) {
    if (std::find(added_.begin(), added_.end(), op) == added_.end()) {
      check(api_, abi::CustomOpDomainAdd::call(api_, domain_, op));
      added_.push_back(op);
    }
  }
  wanted_.clear();
}

}  // namespace sparse_export
