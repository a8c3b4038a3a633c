#include "ipc/nesting.hpp"

namespace iscsi::ipc {

bool nests_at_most(std::string_view json, std::size_t depth_max) {
    std::size_t depth = 0;
    bool in_text = false;
    for (std::size_t i = 0; i < json.size(); ++i) {
        char c = json[i];
        if (in_text) {
            in_text = c != '"';
            i += c == '\\' ? 1 : 0;
        } else if (c == '"') {
            in_text = true;
        } else if (c == '[' || c == '{') {
            if (++depth > depth_max) {
                return false;
            }
        } else if ((c == ']' || c == '}') && depth > 0) {
            --depth;
        }
    }
    return true;
}

} // namespace iscsi::ipc
