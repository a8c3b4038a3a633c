#include "ipc/describe.hpp"
#include "ipc/json.hpp"
#include "ipc/requests.hpp"

#include <type_traits>
#include <utility>

namespace iscsi::ipc {
namespace {

template <class Variant>
std::string encode_as(const char* kind, std::uint64_t id, const Variant& message) {
    JsonWriter writer;
    std::visit(
        [&]<class T>(const T& value) {
            describe(writer, value);
            writer(kind, std::string_view(name_of<T>()));
            if constexpr (std::is_same_v<T, ErrorReply>) {
                writer("exit_code", base::exit_code(value.error.code));
            }
        },
        message);
    writer("v", protocol_version);
    writer("id", id);
    return writer.text() + '\n';
}

} // namespace

std::string encode(std::uint64_t id, const Request& request) {
    return encode_as("request", id, request);
}

std::string encode(std::uint64_t id, const Reply& reply) {
    return encode_as("reply", id, reply);
}

} // namespace iscsi::ipc
