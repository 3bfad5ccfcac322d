#include "selection.h"

#include <string>

#include "api.h"

namespace sparse_export {
namespace {

// Whether `names`, which begins and ends with a comma, holds this one.
bool holds(const std::string& names, const std::string& name) {
  return names.find(',' + name + ',') != std::string::npos;
}

}  // namespace

std::mutex registration;

const std::vector<Entry>& all_operators(const OrtApi* api) {
  static const Operators* const all = [&] {
    auto* const made = new Operators(api);
    add_all_operators(*made);
    return made;
  }();
  return all->entries();
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
  const std::vector<Entry>& all = all_operators(api_);
  added_.resize(all.size());
  const bool every = holds(wanted_, "*");
  for (size_t i = 0; i < all.size(); ++i) {
    if (!added_[i] && (every || holds(wanted_, all[i].name))) {
      check(api_, abi::CustomOpDomainAdd::call(api_, domain_, static_cast<const OrtCustomOp*>(all[i].op.get())));
      added_[i] = true;
    }
  }
  wanted_.clear();
}

}  // namespace sparse_export
