// The operators that some session options get, in a domain of their own.
#pragma once

#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "op.h"

namespace sparse_export {

// Everything the entry points of the library share, locked by all of them.
extern std::mutex registration;

// The operators whose names stand between commas in `names`, which begins and ends with one; all with "*" among them.
// Each is made once; sessions keep pointers to them, so they are never freed.
std::vector<const OrtCustomOp*> operators_of(const OrtApi* api, const std::string& names);

// Each operator costs a session some 40 kB of onnxruntime's memory, for the lists of types that its inputs may have:
// a program that knows its model asks for no more than that uses.
class Selection {
 public:
  Selection() = default;
  Selection(const Selection&) = delete;
  Selection& operator=(const Selection&) = delete;
  ~Selection();  // no more sessions are made of the options then

  // Names of operators between commas, "*" for all; strangers are passed over: they are other libraries' or expanded.
  void want(std::string_view names);
  // Makes the domain, with what is wanted, and adds it to the options. Later wants are added to it at once.
  void enter(const OrtApi* api, OrtSessionOptions* options);

 private:
  void add_wanted();

  std::string wanted_;
  std::vector<const OrtCustomOp*> added_;
  const OrtApi* api_ = nullptr;
  OrtCustomOpDomain* domain_ = nullptr;
};

}  // namespace sparse_export
