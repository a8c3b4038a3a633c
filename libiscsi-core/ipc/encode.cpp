#include "base/bytes.hpp"
#include "base/text.hpp"
#include "ipc/describe.hpp"
#include "ipc/requests.hpp"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <type_traits>
#include <utility>

namespace iscsi::ipc {
namespace {

using Json = nlohmann::json;

/// A value is a string; one that JSON could not give back byte for byte is {"hex":"0x..."}.
Json value_json(const std::string& value) {
    if (base::printable(value) == value) {
        return value;
    }
    return Json{{"hex", base::hex_binary(base::bytes_of(value))}};
}

/// Every value, defaults too: the reader may be of a version with other defaults.
Json record_json(const records::Record& record) {
    Json values = Json::object();
    for (const records::Field& row : records::fields()) {
        bool empty_anyway = record.text(row.key).empty() && records::default_text(row.key).empty();
        if (row.applies_to(record.kind()) && !row.has(records::hidden) && !empty_anyway) {
            values[std::string(row.name)] = value_json(record.text(row.key));
        }
    }
    for (const auto& [name, value] : record.unknown()) {
        values[name] = value_json(value);
    }
    const auto* kind =
        std::ranges::find(record_kinds, record.kind(), &decltype(record_kinds)::value_type::first);
    return Json{{"kind", kind->second}, {"values", std::move(values)}};
}

struct Writer {
    Json object = Json::object();

    template <class T>
    void operator()(std::string_view name, const T& value) {
        object[std::string(name)] = json_of(value);
    }

    template <class T>
    static Json json_of(const T& value) {
        if constexpr (std::is_same_v<T, records::Record>) {
            return record_json(value);
        } else if constexpr (std::is_same_v<T, base::Errc>) {
            return static_cast<int>(value);
        } else if constexpr (std::is_enum_v<T>) {
            return std::string(text(value));
        } else if constexpr (std::is_arithmetic_v<T> || std::is_same_v<T, std::string>) {
            return value;
        } else {
            Writer writer;
            describe(writer, value);
            return std::move(writer.object);
        }
    }

    template <class T>
    static Json json_of(const std::vector<T>& values) {
        Json array = Json::array();
        for (const T& value : values) {
            array.push_back(json_of(value));
        }
        return array;
    }
};

template <class Variant>
std::string encode_as(const char* kind, std::uint64_t id, const Variant& message) {
    Writer writer;
    std::visit(
        [&]<class T>(const T& value) {
            describe(writer, value);
            writer.object[kind] = name_of<T>();
            if constexpr (std::is_same_v<T, ErrorReply>) {
                writer.object["exit_code"] = base::exit_code(value.error.code);
            }
        },
        message);
    writer.object["v"] = protocol_version;
    writer.object["id"] = id;
    // Bytes that are no UTF-8 must not make dump() throw; record values never reach it as such.
    return writer.object.dump(-1, ' ', false, Json::error_handler_t::replace) + '\n';
}

} // namespace

std::string encode(std::uint64_t id, const Request& request) {
    return encode_as("request", id, request);
}

std::string encode(std::uint64_t id, const Reply& reply) {
    return encode_as("reply", id, reply);
}

} // namespace iscsi::ipc
