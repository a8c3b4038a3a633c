#include "ipc/json_tree.hpp"

#include <algorithm>
#include <charconv>
#include <system_error>
#include <utility>

namespace iscsi::ipc {
namespace {

constexpr std::uint32_t no_character = UINT32_MAX;

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

bool is_surrogate(std::uint32_t code, std::uint32_t first) {
    return (code & 0xfc00U) == first;
}

/// Bytes of the UTF-8 character (RFC 3629) at the start of `text`, of more than one; 0 when there is none.
std::size_t long_character(std::string_view text) {
    const auto byte = [&](std::size_t at) { return static_cast<unsigned char>(text[at]); };
    const unsigned lead = byte(0);
    const std::size_t length = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
    if (lead < 0xc2 || lead > 0xf4 || text.size() < length) {
        return 0;
    }
    for (std::size_t i = 1; i < length; ++i) {
        if ((byte(i) & 0xc0U) != 0x80) {
            return 0;
        }
    }
    const unsigned next = byte(1);
    const bool is_overlong = (lead == 0xe0 && next < 0xa0) || (lead == 0xf0 && next < 0x90);
    const bool is_none = (lead == 0xed && next > 0x9f) || (lead == 0xf4 && next > 0x8f);
    return is_overlong || is_none ? 0 : length;
}

void append_character(std::string& out, std::uint32_t code) {
    const auto put = [&](std::uint32_t byte) { out += static_cast<char>(byte); };
    const auto rest = [&](unsigned shift) { put(0x80U | ((code >> shift) & 0x3fU)); };
    if (code < 0x80) {
        return put(code);
    }
    if (code < 0x800) {
        put(0xc0U | (code >> 6));
    } else if (code < 0x10000) {
        put(0xe0U | (code >> 12));
        rest(6);
    } else {
        put(0xf0U | (code >> 18));
        rest(12);
        rest(6);
    }
    rest(0);
}

} // namespace

class JsonParser {
public:
    JsonParser(JsonTree& tree, std::string_view text, std::size_t depth_max)
        : tree_(tree), text_(text), depth_left_(depth_max) {}

    bool parse() { return value({}) && (skip_blanks(), at_ == text_.size()); }

private:
    using Kind = JsonTree::Kind;

    char here() const { return at_ < text_.size() ? text_[at_] : '\0'; }
    bool take(char c) {
        const bool is_there = here() == c;
        at_ += is_there ? 1 : 0;
        return is_there;
    }
    void skip_blanks() {
        while (here() == ' ' || here() == '\t' || here() == '\n' || here() == '\r') {
            ++at_;
        }
    }
    JsonTree::Node& add(Kind kind, std::string_view name) {
        JsonTree::Node& node = tree_.nodes_.emplace_back();
        node.kind = kind;
        node.name = name;
        node.end = tree_.nodes_.size();
        return node;
    }

    bool value(std::string_view name) {
        skip_blanks();
        if (tree_.nodes_.size() == JsonTree::values_max) {
            return false;
        }
        switch (here()) {
        case '{':
            return container(Kind::object, name, '}');
        case '[':
            return container(Kind::list, name, ']');
        case '"': {
            const auto text = string();
            if (text) {
                add(Kind::text, name).text = *text;
            }
            return text.has_value();
        }
        case 't':
            return word("true", Kind::boolean, 1, name);
        case 'f':
            return word("false", Kind::boolean, 0, name);
        case 'n':
            return word("null", Kind::null, 0, name);
        default:
            return number(name);
        }
    }

    bool container(Kind kind, std::string_view name, char end) {
        if (depth_left_ == 0) {
            return false;
        }
        --depth_left_;
        const std::size_t begin = at_++;
        const std::size_t node = tree_.nodes_.size();
        add(kind, name);
        skip_blanks();
        bool is_good = take(end) || values(kind, end);
        tree_.nodes_[node].end = tree_.nodes_.size();
        tree_.nodes_[node].text = text_.substr(begin, at_ - begin);
        ++depth_left_;
        return is_good;
    }

    bool values(Kind kind, char end) {
        for (;;) {
            std::optional<std::string_view> name = std::string_view();
            if (kind == Kind::object) {
                skip_blanks();
                name = string();
                skip_blanks();
                if (!name || !take(':')) {
                    return false;
                }
            }
            if (!value(*name)) {
                return false;
            }
            skip_blanks();
            if (take(end)) {
                return true;
            }
            if (!take(',')) {
                return false;
            }
        }
    }

    bool word(std::string_view spelled, Kind kind, std::uint64_t number, std::string_view name) {
        if (!text_.substr(at_).starts_with(spelled)) {
            return false;
        }
        at_ += spelled.size();
        add(kind, name).number = number;
        return true;
    }

    bool digits() {
        const std::size_t begin = at_;
        while (is_digit(here())) {
            ++at_;
        }
        return at_ != begin;
    }

    bool number(std::string_view name) {
        const std::size_t begin = at_;
        const bool is_negative = take('-');
        const std::size_t first = at_;
        const bool is_zero = here() == '0';
        if (!digits() || (is_zero && at_ - first > 1)) {
            return false;
        }
        const std::size_t whole_end = at_;
        if (take('.') && !digits()) {
            return false;
        }
        if (take('e') || take('E')) {
            static_cast<void>(take('+') || take('-'));
            if (!digits()) {
                return false;
            }
        }
        JsonTree::Node& node = add(Kind::other_number, name);
        if (at_ != whole_end) {
            return true;
        }
        const char* from = text_.data() + begin;
        const char* to = text_.data() + at_;
        if (is_negative) {
            std::int64_t below_zero = 0;
            if (std::from_chars(from, to, below_zero).ec == std::errc()) {
                node.kind = Kind::negative;
                node.number = static_cast<std::uint64_t>(below_zero);
            }
        } else if (std::from_chars(from, to, node.number).ec == std::errc()) {
            node.kind = Kind::positive;
        }
        return true;
    }

    std::optional<std::string_view> string() {
        if (!take('"')) {
            return std::nullopt;
        }
        const std::size_t begin = at_;
        std::string* unescaped = nullptr;
        std::size_t copied = begin; // what is before it is in *unescaped
        while (at_ < text_.size()) {
            const auto c = static_cast<unsigned char>(text_[at_]);
            if (c == '"' || c == '\\') {
                if (c == '"' && unescaped == nullptr) {
                    return text_.substr(begin, at_++ - begin);
                }
                unescaped = unescaped == nullptr ? &tree_.unescaped_.emplace_front() : unescaped;
                unescaped->append(text_.substr(copied, at_ - copied));
                ++at_;
                if (c == '"') {
                    return *unescaped;
                }
                if (!escape(*unescaped)) {
                    return std::nullopt;
                }
                copied = at_;
                continue;
            }
            const std::size_t length = c < 0x20 ? 0 : c < 0x80 ? 1 : long_character(text_.substr(at_));
            if (length == 0) {
                return std::nullopt;
            }
            at_ += length;
        }
        return std::nullopt;
    }

    /// What follows a backslash.
    bool escape(std::string& out) {
        constexpr std::string_view letters = "\"\\/bfnrt";
        constexpr std::string_view meant = "\"\\/\b\f\n\r\t";
        const char letter = here();
        ++at_;
        if (const std::size_t known = letters.find(letter); known != std::string_view::npos) {
            out += meant[known];
            return true;
        }
        std::uint32_t code = letter == 'u' ? four_digits() : no_character;
        if (is_surrogate(code, 0xd800)) {
            const std::uint32_t low = take('\\') && take('u') ? four_digits() : no_character;
            code =
                is_surrogate(low, 0xdc00) ? 0x10000 + ((code & 0x3ffU) << 10) + (low & 0x3ffU) : no_character;
        }
        if (code == no_character || is_surrogate(code, 0xdc00)) {
            return false;
        }
        append_character(out, code);
        return true;
    }

    std::uint32_t four_digits() {
        std::uint32_t code = 0;
        const std::string_view four = text_.substr(std::min(at_, text_.size()), 4);
        const auto [end, error] = std::from_chars(four.data(), four.data() + four.size(), code, 16);
        if (error != std::errc() || end != four.data() + 4) {
            return no_character;
        }
        at_ += 4;
        return code;
    }

    JsonTree& tree_;
    std::string_view text_;
    std::size_t at_ = 0;
    std::size_t depth_left_;
};

std::optional<JsonTree> JsonTree::parse(std::string_view text, std::size_t depth_max) {
    constexpr std::size_t bytes_of_a_value = 32; // of a record's, mostly more
    std::optional<JsonTree> tree(std::in_place);
    tree->nodes_.reserve(text.size() / bytes_of_a_value + 8);
    if (!JsonParser(*tree, text, depth_max).parse()) {
        tree.reset();
    }
    return tree;
}

bool JsonValue::is_object() const {
    return tree_->nodes_[at_].kind == JsonTree::Kind::object;
}

bool JsonValue::is_list() const {
    return tree_->nodes_[at_].kind == JsonTree::Kind::list;
}

bool JsonValue::is_text() const {
    return tree_->nodes_[at_].kind == JsonTree::Kind::text;
}

bool JsonValue::is_null() const {
    return tree_->nodes_[at_].kind == JsonTree::Kind::null;
}

bool JsonValue::is_number() const {
    const JsonTree::Kind kind = tree_->nodes_[at_].kind;
    return kind == JsonTree::Kind::positive || kind == JsonTree::Kind::negative ||
           kind == JsonTree::Kind::other_number;
}

std::optional<bool> JsonValue::boolean() const {
    const JsonTree::Node& node = tree_->nodes_[at_];
    return node.kind == JsonTree::Kind::boolean ? std::optional(node.number != 0) : std::nullopt;
}

std::optional<std::uint64_t> JsonValue::unsigned_number() const {
    const JsonTree::Node& node = tree_->nodes_[at_];
    return node.kind == JsonTree::Kind::positive ? std::optional(node.number) : std::nullopt;
}

std::optional<std::int64_t> JsonValue::negative_number() const {
    const JsonTree::Node& node = tree_->nodes_[at_];
    return node.kind == JsonTree::Kind::negative ? std::optional(static_cast<std::int64_t>(node.number))
                                                 : std::nullopt;
}

std::string_view JsonValue::text() const {
    return tree_->nodes_[at_].text;
}

std::string_view JsonValue::spelling() const {
    return tree_->nodes_[at_].text;
}

JsonValue JsonValue::find(std::string_view name) const {
    JsonValue found;
    each([&](std::string_view member, const JsonValue& value) {
        found = member == name ? value : found;
        return true;
    });
    return found;
}

} // namespace iscsi::ipc
