// A JSON text that was read (RFC 8259), for JsonReader: one piece of memory for all values of a message,
// where a library's tree takes four for each, and a login is a hundred of them. Values refer to the text,
// which outlives them, and to the tree. As strict as the library: what is no UTF-8, or has anything behind
// it, is no JSON. Owned; any thread, one at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <forward_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace iscsi::ipc {

class JsonTree;

/// A value of a tree; what is asked for must be what it is. Of an empty one nothing may be asked.
class JsonValue {
public:
    JsonValue() = default;

    explicit operator bool() const { return tree_ != nullptr; }
    bool is_object() const;
    bool is_list() const;
    bool is_text() const;
    bool is_null() const;
    bool is_number() const;
    std::optional<bool> boolean() const;
    /// Of a number without fraction and exponent, in the range of 64 bits.
    std::optional<std::uint64_t> unsigned_number() const;
    /// Of one below zero, likewise.
    std::optional<std::int64_t> negative_number() const;
    std::string_view text() const;
    /// A list or an object as it is spelled.
    std::string_view spelling() const;

    /// The member of an object; the last, when there are several of that name. Empty when there is none.
    JsonValue find(std::string_view name) const;
    /// Calls `told(name, value)` for each of an object's members, or a list's elements (which have no name),
    /// in their order, as long as that says true; whether it always did.
    template <class Told>
    bool each(Told told) const;

private:
    friend class JsonTree;
    JsonValue(const JsonTree& tree, std::size_t at) : tree_(&tree), at_(at) {}

    const JsonTree* tree_ = nullptr;
    std::size_t at_ = 0;
};

class JsonTree {
public:
    /// Values of a text. The longest line could have millions more, of two bytes each, which would take a
    /// gigabyte; the fullest page of a list of sessions (page.hpp) has less than half of this.
    static constexpr std::size_t values_max = std::size_t{2} << 20;

    /// Empty when `text` is no JSON, has more than values_max, or its lists and objects nest deeper than
    /// `depth_max`.
    static std::optional<JsonTree> parse(std::string_view text, std::size_t depth_max);

    JsonValue root() const { return {*this, 0}; }

private:
    friend class JsonValue;
    friend class JsonParser;

    enum class Kind : std::uint8_t { null, boolean, positive, negative, other_number, text, list, object };

    /// Those within a list or an object follow it, up to `end`.
    struct Node {
        Kind kind = Kind::null;
        std::size_t end = 0;
        std::string_view name;
        std::string_view text;
        std::uint64_t number = 0;
    };

    std::vector<Node> nodes_;
    std::forward_list<std::string> unescaped_; ///< texts that are not spelled as they are
};

template <class Told>
bool JsonValue::each(Told told) const {
    const std::size_t end = tree_->nodes_[at_].end;
    for (std::size_t at = at_ + 1; at < end; at = tree_->nodes_[at].end) {
        if (!told(tree_->nodes_[at].name, JsonValue(*tree_, at))) {
            return false;
        }
    }
    return true;
}

} // namespace iscsi::ipc
