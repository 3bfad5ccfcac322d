// A weight in the form that runs it: what stands between the operators of kernels/rows and the kernels.
//
//   masked  values under a mask, read where they are in the file, for matrix products of few rows of X
//   codes   few values, as codes of one, two or four columns
//   csr     everything else, and what is sparse enough
//
// Which one is decided by the format and by how many weights are not zero when the session is created. Where a matrix
// product gains by csr for many rows of X and not for few, csr is made when the first such call comes. What is held is
// never more than the dense weight: where both would be, the first form serves every call.
#pragma once

#include <optional>

#include "kernels/f32_codes/call.h"
#include "kernels/f32_csr/call.h"
#include "kernels/f32_masked/call.h"
#include "rows.h"

namespace sparse_export::rows {

enum class Form { csr, masked, codes };

class Packed {
 public:
  using Read = Rows (*)(const std::vector<Tensor>& components, const Extent& extent);

  // Checks the components of `format` by its reader, or by one of a form's. They must outlive this.
  Packed(const char* format, Read read, const std::vector<Tensor>& components, const ConvGeometry& geometry,
         bool matrix);

  void run(const Pool& pool, size_t threads, const LayerCall& call) const;

  // The form that serves a call of so many rows of X, or pixels.
  Form form_for(int64_t pixels) const;

  // The kernels of every form, so that an unusable target is found when a session is created.
  static void prepare();

 private:
  const Rows& csr() const;
  void take_codes(f32_codes::Weights weights, bool matrix);

  Read read_;
  std::vector<Tensor> components_;
  Extent extent_;
  double density_ = 0;
  bool both_ = false;  // csr serves calls of many rows
  std::optional<f32_masked::Weights> masked_;
  std::optional<f32_codes::Weights> codes_;
  mutable Once once_;
  mutable std::optional<Rows> csr_;
};

}  // namespace sparse_export::rows
