// The system's oneDNN, with the one thing that CTranslate2 asks of oneDNN 3 and oneDNN 2 (Debian 12) spells otherwise: a
// convolution described in one step instead of two.
#pragma once
#include_next <dnnl.hpp>
#include <dnnl_version.h>

#if DNNL_VERSION_MAJOR < 3
namespace dnnl {
struct convolution_forward_3 : convolution_forward {
    using dims = memory::dims;
    using md = memory::desc;
    struct primitive_desc : convolution_forward::primitive_desc {
        using two_steps = convolution_forward::desc;
        primitive_desc(const engine &engine, prop_kind prop, algorithm algorithm, const md &src, const md &weights,
                       const md &bias, const md &dst, const dims &strides, const dims &dilates, const dims &left, const dims &right)
            : convolution_forward::primitive_desc(
                  two_steps(prop, algorithm, src, weights, bias, dst, strides, dilates, left, right), engine) {}
        primitive_desc(const engine &engine, prop_kind prop, algorithm algorithm, const md &src, const md &weights,
                       const md &dst, const dims &strides, const dims &dilates, const dims &left, const dims &right)
            : convolution_forward::primitive_desc(
                  two_steps(prop, algorithm, src, weights, dst, strides, dilates, left, right), engine) {}
    };
    using convolution_forward::convolution_forward;
};
}
#define convolution_forward convolution_forward_3
#endif
