// A value or an Error. The one place that knows which `expected` is used, so that std::expected can replace
// it.
#pragma once

#include "base/error.hpp"

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace iscsi::base {

template <class T>
using Result = tl::expected<T, Error>;

/// An Error to be returned from a function that gives a Result.
inline tl::unexpected<Error> fail(Errc code, std::string detail = {}) {
    return tl::unexpected<Error>(Error{code, std::move(detail)});
}

inline tl::unexpected<Error> fail(Error error) {
    return tl::unexpected<Error>(std::move(error));
}

} // namespace iscsi::base
