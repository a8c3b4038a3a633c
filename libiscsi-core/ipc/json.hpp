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
#include "ipc/json_tree.hpp"
#include "records/record.hpp"

#include <array>
#include <bitset>
#include <charconv>
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

/// From the JSON of a record: {"kind":"node","values":{"node.name":"iqn...",...}}; a value that JSON could
/// not give back byte for byte is {"hex":"0x..."}. The problem in words, or nothing.
std::string read_record(const JsonValue& json, records::Record& record);

/// `number` as that many lower-case digits.
std::string hex_text(std::uint64_t number, unsigned digits);
/// The reverse; empty when `text` is anything else.
std::optional<std::uint64_t> parse_hex(std::string_view text, unsigned digits);

/// The text of `json` on one line. Bytes that are no UTF-8 are replaced, never thrown about.
std::string text_of(const Json& json);
/// An object of at most `bytes_max`, nested no deeper than anything of ours; `text` outlives it. Errors:
/// invalid.
base::Result<JsonTree> parse_object(std::string_view text, std::size_t bytes_max);

/// The name of an enumerator, by the text() of its namespace.
template <class Enum>
auto word_of(Enum value) {
    return text(value);
}

/// Writes an object as text_of() would: on one line, members in the order of their names. Without a Json in
/// between, which takes a dozen pieces of memory for each member: a session is written some times a login.
/// The names it is given outlive it, and are all different.
class JsonWriter {
public:
    template <class T>
    void operator()(std::string_view name, const T& value) {
        begin(name);
        put(value);
        end();
    }

    /// A member that files of older versions do not have.
    template <class T>
    void later(std::string_view name, const T& value) {
        (*this)(name, value);
    }
    /// A list that is mostly empty, and not written then.
    template <class T>
    void rare(std::string_view name, const T& list) {
        if (!list.empty()) {
            (*this)(name, list);
        }
    }
    /// Left out when there is none.
    template <class T>
    void rare(std::string_view name, const std::optional<T>& value) {
        if (value) {
            (*this)(name, *value);
        }
    }

    /// An enum by words[its number].
    template <class Enum>
    void word(std::string_view name, const Enum& value, std::span<const std::string_view> words) {
        (*this)(name, words[static_cast<std::size_t>(value)]);
    }

    /// A number of more than 53 bits, as programs in other languages can take it.
    template <class T>
    void hex(std::string_view name, const T& value, unsigned digits) {
        if constexpr (std::integral<T>) {
            (*this)(name, hex_text(value, digits));
        } else {
            (*this)(name, hex_text(value.value(), digits));
        }
    }

    /// What was written, whole.
    std::string text();

private:
    struct Member {
        std::string_view name;
        std::size_t begin; ///< of `"name":value` in members_text_
        std::size_t end;
    };

    void begin(std::string_view name);
    void end() { members_.back().end = members_text_.size(); }
    void put(std::string_view value);
    void put(const std::string& value) { put(std::string_view(value)); }
    void put(base::Errc value) { put(static_cast<int>(value)); }
    void put(const records::Record& record);
    /// Of a record; it may be a secret.
    void put_value(const std::string& value);

    template <std::integral T>
    void put(T value) {
        if constexpr (std::is_same_v<T, bool>) {
            members_text_ += value ? "true" : "false";
        } else {
            std::array<char, 24> digits;
            members_text_.append(digits.data(), std::to_chars(digits.begin(), digits.end(), value).ptr);
        }
    }

    template <class T>
    requires std::is_enum_v<T>
    void put(T value) { put(std::string_view(word_of(value))); }

    template <class T>
    requires std::is_class_v<T>
    void put(const T& value) {
        JsonWriter writer;
        describe(writer, value);
        members_text_ += writer.text();
    }

    template <class T>
    void put(const std::vector<T>& values) {
        put_list(values.size(), [&](std::size_t i) { put(values[i]); });
    }

    template <class T>
    void put(const std::optional<T>& value) {
        if (value) {
            put(*value);
        } else {
            members_text_ += "null";
        }
    }

    template <class Tag, class Rep>
    void put(const base::Strong<Tag, Rep>& value) {
        put(value.value());
    }

    /// In its own unit, which the member's name says.
    template <class Rep, class Period>
    void put(const std::chrono::duration<Rep, Period>& value) {
        put(value.count());
    }

    /// The numbers of the bits that are set.
    template <std::size_t N>
    void put(const std::bitset<N>& bits) {
        std::vector<std::size_t> numbers;
        for (std::size_t i = 0; i < N; ++i) {
            if (bits[i]) {
                numbers.push_back(i);
            }
        }
        put(numbers);
    }

    template <class PutOne>
    void put_list(std::size_t count, PutOne put_one) {
        members_text_ += '[';
        for (std::size_t i = 0; i < count; ++i) {
            members_text_ += i == 0 ? "" : ",";
            put_one(i);
        }
        members_text_ += ']';
    }

    std::string members_text_;
    std::vector<Member> members_; ///< where they are in it
};

class JsonReader {
public:
    /// The tree of which it is outlives the reader.
    explicit JsonReader(JsonValue object) : object_(object) {}

    template <class T>
    void operator()(std::string_view name, T& value) {
        if (const JsonValue member = find(name)) {
            note(name, read(member, value));
        }
    }

    /// Without it the value stays as it is.
    template <class T>
    void later(std::string_view name, T& value) {
        if (error_.empty() && object_.find(name)) {
            (*this)(name, value);
        }
    }

    /// Without it the list stays as it is.
    template <class T>
    void rare(std::string_view name, T& list) {
        later(name, list);
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
    JsonValue find(std::string_view name);
    void note(std::string_view name, const std::string& problem);

    // Each gives the problem in words, or nothing.
    static std::string read(const JsonValue& json, std::string& value);
    static std::string read(const JsonValue& json, bool& value);
    static std::string read(const JsonValue& json, records::Record& value) {
        return read_record(json, value);
    }
    static std::string read(const JsonValue& json, base::Errc& value);
    static std::string read(const JsonValue& json, base::Cause& value);

    template <std::integral T>
    static std::string read(const JsonValue& json, T& value) {
        if (const auto number = json.unsigned_number(); number && std::in_range<T>(*number)) {
            value = static_cast<T>(*number);
            return {};
        }
        if (const auto number = json.negative_number(); number && std::in_range<T>(*number)) {
            value = static_cast<T>(*number);
            return {};
        }
        return json.is_number() ? "is out of range" : "is no number";
    }

    template <Named T>
    static std::string read(const JsonValue& json, T& value) {
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
    static std::string read(const JsonValue& json, std::vector<T>& values) {
        if (!json.is_list()) {
            return "is no list";
        }
        std::string problem;
        json.each([&](std::string_view, const JsonValue& element) {
            T value = blank<T>();
            problem = read(element, value);
            values.push_back(std::move(value));
            return problem.empty();
        });
        return problem;
    }

    template <class T>
    static std::string read(const JsonValue& json, std::optional<T>& value) {
        if (json.is_null()) {
            value.reset();
            return {};
        }
        return read(json, value.emplace());
    }

    template <class Tag, class Rep>
    static std::string read(const JsonValue& json, base::Strong<Tag, Rep>& value) {
        Rep number{};
        std::string problem = read(json, number);
        value = base::Strong<Tag, Rep>(number);
        return problem;
    }

    template <class Rep, class Period>
    static std::string read(const JsonValue& json, std::chrono::duration<Rep, Period>& value) {
        Rep count{};
        std::string problem = read(json, count);
        value = std::chrono::duration<Rep, Period>(count);
        return problem;
    }

    template <std::size_t N>
    static std::string read(const JsonValue& json, std::bitset<N>& bits) {
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
    static std::string read(const JsonValue& json, T& value) {
        if (!json.is_object()) {
            return "is no object";
        }
        JsonReader reader(json);
        describe(reader, value);
        return reader.error_;
    }

    JsonValue object_;
    std::string error_;
};

} // namespace iscsi::ipc
