// oneDNN's lrn primitive behind one C function: forward, and backward where diff_dst is given.
// algorithm 0: across channels, 1: within channel. dims: 2 to 5 of them, row-major (N, C, ...). Returns 0 on success.
#include <cstring>
#include <dnnl.hpp>

using namespace dnnl;

extern "C" int lrn(int algorithm, int ndims, const long *dims, const float *src, const float *diff_dst, float *dst,
                   float *diff_src, int size, float alpha, float beta, float k) {
  try {
    engine cpu(engine::kind::cpu, 0);
    stream order(cpu);
    const memory::format_tag tags[] = {memory::format_tag::ab, memory::format_tag::abc, memory::format_tag::abcd,
                                       memory::format_tag::abcde};
    memory::desc desc(memory::dims(dims, dims + ndims), memory::data_type::f32, tags[ndims - 2]);
    const auto kind = algorithm ? algorithm::lrn_within_channel : algorithm::lrn_across_channels;
    lrn_forward::primitive_desc forward(cpu, prop_kind::forward_training, kind, desc, desc, size, alpha, beta, k);
    memory x(desc, cpu), y(desc, cpu), workspace(forward.workspace_desc(), cpu);
    std::memcpy(x.get_data_handle(), src, desc.get_size());
    lrn_forward(forward).execute(order, {{DNNL_ARG_SRC, x}, {DNNL_ARG_DST, y}, {DNNL_ARG_WORKSPACE, workspace}});
    order.wait();
    std::memcpy(dst, y.get_data_handle(), desc.get_size());
    if (diff_dst) {
      lrn_backward::primitive_desc backward(cpu, kind, desc, desc, desc, size, alpha, beta, k, forward);
      memory g(desc, cpu), dx(desc, cpu);
      std::memcpy(g.get_data_handle(), diff_dst, desc.get_size());
      lrn_backward(backward).execute(order, {{DNNL_ARG_SRC, x},
                                             {DNNL_ARG_DIFF_DST, g},
                                             {DNNL_ARG_DIFF_SRC, dx},
                                             {DNNL_ARG_WORKSPACE, workspace}});
      order.wait();
      std::memcpy(diff_src, dx.get_data_handle(), desc.get_size());
    }
    return 0;
  } catch (const dnnl::error &) {
    return 1;
  }
}
