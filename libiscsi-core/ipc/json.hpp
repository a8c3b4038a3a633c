// Structs as JSON and back. A struct is described once: describe(member, value) names its members to
// `member`, which is a JsonWriter (the value is const) or a JsonReader, so that the two cannot disagree;
// describe() is found in the struct's namespace or in this one. The reader is strict: a member that is
// missing, of another type or out of range is an error in words that never quotes a value; members that it
// was not asked for are ignored. For the socket's messages and the daemon's state files. Both lend what they
// are given; any thread.
#pragma once

#include "base/error.hpp"
#include "base/result.hpp"
#include "base/units.hpp"
#include "records/record.hpp"

#include <bitset>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

namespace iscsi::ipc {

using Json = nlohmann::json;

/// The last enumerator of an enum whose enumerators text() names; specialised for each.
template <class Enum>
inline constexpr std::nullptr_t last_of = nullptr;

template <class Enum>
concept Named = std::is_enum_v<Enum> && std::same_as<std::remove_const_t<decltype(last_of<Enum>)>, Enum>;

/// JSON of a record: {"kind":"node","values":{"node.name":"iqn...",...}}; a value that JSON could not give
/// back byte for byte is {"hex":"0x..."}.
Json record_json(const records::Record& record);
/// The reverse. The problem in words, or nothing.
std::string read_record(const Json& json, records::Record& record);

/// `number` as that many lower-case digits.
std::string hex_text(std::uint64_t number, unsigned digits);
/// The reverse; empty when `text` is anything else.
std::optional<std::uint64_t> parse_hex(std::string_view text, unsigned digits);

/// The text of `json` on one line. Bytes that are no UTF-8 are replaced, never thrown about.
std::string text_of(const Json& json);
/// An object of at most `bytes_max`, nested no deeper than anything of ours. Errors: invalid.
base::Result<Json> parse_object(std::string_view text, std::size_t bytes_max);

class JsonWriter {
public:
    Json object = Json::object();

    template <class T>
    void operator()(std::string_view name, const T& value) {
        object[std::string(name)] = json_of(value);
    }

    /// A member that files of older versions do not have.
    template <class T>
    void later(std::string_view name, const T& value) {
        (*this)(name, value);
    }

    /// An enum by words[its number].
    template <class Enum>
    void word(std::string_view name, const Enum& value, std::span<const std::string_view> words) {
        object[std::string(name)] = words[static_cast<std::size_t>(value)];
    }

    /// A number of more than 53 bits, as programs in other languages can take it.
    template <class T>
    void hex(std::string_view name, const T& value, unsigned digits) {
        if constexpr (std::integral<T>) {
            object[std::string(name)] = hex_text(value, digits);
        } else {
            object[std::string(name)] = hex_text(value.value(), digits);
        }
    }

private:
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
            JsonWriter writer;
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

    template <class T>
    static Json json_of(const std::optional<T>& value) {
        return value ? json_of(*value) : Json(nullptr);
    }

    template <class Tag, class Rep>
    static Json json_of(const base::Strong<Tag, Rep>& value) {
        return value.value();
    }

    /// In its own unit, which the member's name says.
    template <class Rep, class Period>
    static Json json_of(const std::chrono::duration<Rep, Period>& value) {
        return value.count();
    }

    /// The numbers of the bits that are set.
    template <std::size_t N>
    static Json json_of(const std::bitset<N>& bits) {
        Json array = Json::array();
        for (std::size_t i = 0; i < N; ++i) {
            if (bits[i]) {
                array.push_back(i);
            }
        }
        return array;
    }
};

class JsonReader {
public:
    explicit JsonReader(const Json& object) : object_(&object) {}

    template <class T>
    void operator()(std::string_view name, T& value) {
        if (const Json* member = find(name)) {
            note(name, read(*member, value));
        }
    }

    /// Without it the value stays as it is.
    template <class T>
    void later(std::string_view name, T& value) {
        if (object_->contains(name)) {
            (*this)(name, value);
        }
    }

    template <class Enum>
    void word(std::string_view name, Enum& value, std::span<const std::string_view> words) {
        std::string found;
        (*this)(name, found);
        if (!error_.empty()) {
            return;
        }
        for (std::size_t i = 0; i < words.size(); ++i) {
            if (words[i] == found) {
                value = static_cast<Enum>(i);
                return;
            }
        }
        note(name, "is no known word");
    }

    template <class T>
    void hex(std::string_view name, T& value, unsigned digits) {
        std::string found;
        (*this)(name, found);
        if (!error_.empty()) {
            return;
        }
        if (auto number = parse_hex(found, digits)) {
            value = T(*number);
        } else {
            note(name, "is not " + std::to_string(digits) + " hexadecimal digits");
        }
    }

    /// The first thing that was wrong, or nothing.
    const std::string& error() const { return error_; }

private:
    const Json* find(std::string_view name);
    void note(std::string_view name, const std::string& problem);

    // Each gives the problem in words, or nothing.
    static std::string read(const Json& json, std::string& value);
    static std::string read(const Json& json, bool& value);
    static std::string read(const Json& json, records::Record& value) { return read_record(json, value); }
    static std::string read(const Json& json, base::Errc& value);

    template <std::integral T>
    static std::string read(const Json& json, T& value) {
        // A number that fits no 64 bits is a float by now.
        if (json.is_number_unsigned()) {
            auto number = json.get<std::uint64_t>();
            if (std::in_range<T>(number)) {
                value = static_cast<T>(number);
                return {};
            }
        } else if (json.is_number_integer()) {
            auto number = json.get<std::int64_t>();
            if (std::in_range<T>(number)) {
                value = static_cast<T>(number);
                return {};
            }
        }
        return json.is_number() ? "is out of range" : "is no number";
    }

    template <Named T>
    static std::string read(const Json& json, T& value) {
        std::string name;
        if (std::string problem = read(json, name); !problem.empty()) {
            return problem;
        }
        for (int i = 0; i <= static_cast<int>(last_of<T>); ++i) {
            if (text(static_cast<T>(i)) == name) {
                value = static_cast<T>(i);
                return {};
            }
        }
        return "is no known state";
    }

    template <class T>
    static std::string read(const Json& json, std::vector<T>& values) {
        if (!json.is_array()) {
            return "is no list";
        }
        for (const Json& element : json) {
            T value = blank<T>();
            if (std::string problem = read(element, value); !problem.empty()) {
                return problem;
            }
            values.push_back(std::move(value));
        }
        return {};
    }

    template <class T>
    static std::string read(const Json& json, std::optional<T>& value) {
        if (json.is_null()) {
            value.reset();
            return {};
        }
        return read(json, value.emplace());
    }

    template <class Tag, class Rep>
    static std::string read(const Json& json, base::Strong<Tag, Rep>& value) {
        Rep number{};
        std::string problem = read(json, number);
        value = base::Strong<Tag, Rep>(number);
        return problem;
    }

    template <class Rep, class Period>
    static std::string read(const Json& json, std::chrono::duration<Rep, Period>& value) {
        Rep count{};
        std::string problem = read(json, count);
        value = std::chrono::duration<Rep, Period>(count);
        return problem;
    }

    template <std::size_t N>
    static std::string read(const Json& json, std::bitset<N>& bits) {
        std::vector<std::size_t> numbers;
        std::string problem = read(json, numbers);
        for (std::size_t number : numbers) {
            if (number >= N) {
                return "is out of range";
            }
            bits.set(number);
        }
        return problem;
    }

    template <class T>
    static T blank() {
        if constexpr (std::is_same_v<T, records::Record>) {
            return T(records::RecordKind::iface);
        } else {
            return T{};
        }
    }

    template <class T>
    requires std::is_class_v<T>
    static std::string read(const Json& json, T& value) {
        if (!json.is_object()) {
            return "is no object";
        }
        JsonReader reader(json);
        describe(reader, value);
        return reader.error_;
    }

    const Json* object_;
    std::string error_;
};

} // namespace iscsi::ipc
